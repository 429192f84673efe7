//! What every wire does for a session: it joins its document, and what its client says is handed over in batches.
//!
//! A peer cannot run ahead of its document: large batches go one at a time, small ones as long as the mailbox has room.

use std::{pin::pin, sync::Arc, time::Duration};

use actix::{Addr, prelude::SendError};
use actix_web::{
    rt::time::timeout,
    web::{Bytes, Data},
};

use crate::{
    access::Identity,
    actor::{
        clock,
        document::{Begins, DocumentActor, Hear, Held, Join, Leave, Renew},
    },
    budgets::Network,
    id::DocumentId,
    limits::UPDATE_HERE_BYTES_MAX,
    protocol::{close::CloseReason, dialect::Inbound, update::CheckedUpdate},
    room::{outbox::Line, session::SessionId},
};

use super::{Shared, doorkeeper, unfinished::Begun};

/// Most messages handed to a document at once.
const BATCH_MESSAGES_MAX: usize = 256;
/// Most bytes handed to a document at once.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Batches up to this size are handed over without waiting for the document to take them, as long as its
/// mailbox has room: waiting costs as much as merging them.
const UNWAITED_BYTES_MAX: usize = 8 * 1024;
/// How long a connection waits for its document: as long as providers wait for a message.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// How often an actor that is just going away is asked for its successor.
const OPEN_TRIES: usize = 8;
/// How often a line is said to be heard of whose message waits to be read.
const LISTENS: Duration = Duration::from_secs(1);

/// What came on a line, `bytes` long, is read where it delays nobody: in the turn of those who come from where the line does, at
/// the line's expense (H8), and among what H4 bounds, also when the line has ended. It is until what is returned is dropped.
///
/// # Errors
/// Too much waits, or reading it panicked.
pub async fn aside<T: Send + 'static>(
    shared: &Shared,
    line: &Line,
    bytes: usize,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, Begun), CloseReason> {
    let waits = waits(shared, bytes)?;
    let read = move || {
        let began = clock::thread_cpu();
        let read = read();
        (read, waits, clock::thread_cpu().saturating_sub(began))
    };
    let mut reads = pin!(shared.registry.aside(line.network(), read));
    let (read, waits, spent) = loop {
        match timeout(LISTENS, &mut reads).await {
            Ok(read) => break read?,
            // It is not the peer who is silent.
            Err(_) => line.heard(clock::now() / 1_000),
        }
    };
    line.spends(spent);
    Ok((read, waits))
}

/// So many bytes wait to be read, among all that do.
fn waits(shared: &Shared, bytes: usize) -> Result<Begun, CloseReason> {
    let mut waits = Begun::of(&shared.unfinished);
    waits.wait(bytes)?;
    Ok(waits)
}

/// An update that somebody without a session writes, who comes from `network`. A large one is read where it delays nobody, and
/// its bytes count until what is returned with it is dropped.
///
/// # Errors
/// What is wrong with it, or too much waits to be read.
pub async fn checked(
    update: Bytes,
    network: Option<Network>,
    shared: &Shared,
) -> Result<(CheckedUpdate, Held), CloseReason> {
    if update.len() <= UPDATE_HERE_BYTES_MAX {
        return Ok((CheckedUpdate::check(update)?, None));
    }
    let waits = waits(shared, update.len())?;
    let read = move || (CheckedUpdate::check(update), waits);
    let (checked, waits) = shared.registry.aside(network, read).await?;
    Ok((checked?, Some(Arc::new(waits))))
}

/// Joins a document.
///
/// # Errors
/// The reason to end the session with.
pub async fn join(shared: &Shared, join: Join, document: &DocumentId) -> Result<Addr<DocumentActor>, CloseReason> {
    let id = join.joining.id;
    // Who was admitted before it was so would stay until the next look.
    if shared.is_stranded() {
        return Err(CloseReason::Restarting);
    }
    for _ in 0..OPEN_TRIES {
        let actor = shared.registry.open_for(document, &join.joining.accounts)?;
        match timeout(JOIN_PATIENCE, actor.send(join.clone())).await {
            Ok(Ok(Ok(()))) => {
                // A revocation while it joined did not find it.
                if shared.keys.is_some() {
                    let found = obey(shared, &actor, id, &join.joining.identity, document);
                    found.inspect_err(|_| actor.do_send(Leave(id)))?;
                }
                return Ok(actor);
            }
            Ok(Ok(Err(reason))) => return Err(reason),
            // It left memory between the two lines; the next one loads anew.
            Ok(Err(_)) => {}
            Err(_) => {
                // Whether it joins all the same or has done so: it leaves behind that.
                actor.do_send(Leave(id));
                let reason = "the document is busy, try again".to_owned();
                return Err(CloseReason::Overloaded(reason));
            }
        }
    }
    Err(CloseReason::Restarting)
}

/// Tells a document what revocations leave of a session that it was just told of, where it was told of more.
///
/// # Errors
/// The reason to end the session with: nothing is left.
pub fn obey(
    shared: &Shared,
    actor: &Addr<DocumentActor>,
    session: SessionId,
    told: &Identity,
    document: &DocumentId,
) -> Result<(), CloseReason> {
    let identity = shared.revocations.apply(told.clone(), document)?;
    if identity != *told {
        let expires = identity.expires_at_ms.map(clock::at_wall_ms);
        actor.do_send(Renew {
            session,
            identity,
            expires,
        });
    }
    Ok(())
}

/// Whether a document may begin when somebody comes from `network`.
#[must_use]
pub fn begins(shared: &Data<Shared>, network: Option<Network>, identity: &Identity) -> Begins {
    let keeper = shared.doorkeeper.clone();
    let user = doorkeeper::user(identity, network);
    Begins::if_allowed(move || Ok(keeper.begins_document(network, user.as_ref())?))
}

/// Messages of one session that go to its document together.
#[derive(Debug, Default)]
pub struct Batch {
    messages: Vec<Inbound>,
    bytes: usize,
    presence: u32,
    /// What the large ones count for until they are heard.
    waiting: Vec<Begun>,
}

impl Batch {
    /// One of its messages counts for this until it is heard.
    pub fn holds(&mut self, waiting: Begun) {
        self.waiting.push(waiting);
    }

    /// Adds a message that took so many bytes.
    pub fn add(&mut self, bytes: usize, message: Inbound) {
        self.bytes += bytes;
        self.presence += u32::from(matches!(message, Inbound::Awareness(_) | Inbound::AwarenessQuery));
        self.messages.push(message);
    }

    /// How many of its messages are presence.
    #[must_use]
    pub fn presence(&self) -> u32 {
        self.presence
    }

    /// Whether it is to be handed over before more is added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.messages.len() >= BATCH_MESSAGES_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The bytes of its messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hands it to the document.
    ///
    /// # Errors
    /// The document has gone.
    pub async fn hand_over(self, actor: &Addr<DocumentActor>, session: SessionId) -> Result<(), CloseReason> {
        let hear = Hear {
            session,
            messages: self.messages,
            held: (!self.waiting.is_empty()).then(|| Arc::new(self.waiting) as Arc<_>),
        };
        let hear = if self.bytes <= UNWAITED_BYTES_MAX {
            match actor.try_send(hear) {
                Ok(()) => return Ok(()),
                Err(SendError::Full(hear)) => hear,
                Err(SendError::Closed(_)) => return Err(CloseReason::Restarting),
            }
        } else {
            hear
        };
        actor.send(hear).await.map_err(|_| CloseReason::Restarting)
    }
}
