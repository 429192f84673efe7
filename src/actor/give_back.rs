//! Giving back: what a document held that the store refused to take.
//!
//! Sessions that are told to come back bring what their pages hold. What people wrote who have left since, nobody
//! brings; so the state that was in memory is compared with what is stored, and what that lacks is written as an edit
//! of the document that is open by then.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    document::{Deleted, Document, State, Verdict},
    id::DocumentId,
    protocol::{close::CloseReason, update::CheckedUpdate},
    room::{WrittenBy, session::SessionId},
    store::{EMPTY_UPDATE, Seq, Store, StoreError},
};

use super::{
    document::{Begins, ShutDown, Write},
    registry::Registry,
    visit::PATIENCE,
};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// Tries before it is given up: five minutes, when each fails at once.
const TRIES: usize = 1_200;

/// Why it cannot be given back.
enum Trouble {
    /// It may succeed later.
    Now(String),
    /// It never will.
    Ever(String),
}

impl Registry {
    /// Sees to it that the store gets all of `state`, what a document held that is open no more; `opened` is the last
    /// position that was stored when it was opened.
    pub(super) fn give_back(self: &Arc<Self>, document: DocumentId, state: State, opened: Seq) {
        let registry = self.clone();
        registry.giving_back.fetch_add(1, Ordering::Relaxed);
        actix_rt::spawn(async move {
            registry.give_back_until_done(&document, &state, opened).await;
            registry.giving_back.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// How many documents are being given back.
    #[must_use]
    pub fn giving_back(&self) -> usize {
        self.giving_back.load(Ordering::Relaxed)
    }

    async fn give_back_until_done(self: &Arc<Self>, document: &DocumentId, state: &State, opened: Seq) {
        for _ in 0..TRIES {
            match self.try_to_give_back(document, state, opened).await {
                Ok(0) => return log::info!("document {document}: nothing had to be given back"),
                Ok(bytes) => {
                    self.metrics.given_back.inc();
                    return log::info!("document {document}: {bytes} bytes of edits were given back");
                }
                Err(Trouble::Ever(why)) => {
                    return log::error!("edits of document {document} cannot be given back: {why}");
                }
                Err(Trouble::Now(why)) => log::debug!("document {document} is not given back yet: {why}"),
            }
            actix_rt::time::sleep(PAUSE).await;
        }
        log::error!("edits of document {document} were not given back: the store is not to be reached");
    }

    /// Bytes of what was lacking and is durable now.
    async fn try_to_give_back(
        self: &Arc<Self>,
        document: &DocumentId,
        state: &State,
        opened: Seq,
    ) -> Result<usize, Trouble> {
        let (store, name, state) = (self.store.clone(), document.clone(), state.clone());
        let lacks = self.helpers.run(move || lacks(&*store, &name, &state, opened)).await;
        let lacks = lacks.unwrap_or_else(|_| Err(Trouble::Ever("comparing it panicked".to_owned())))?;
        let Some(update) = lacks else { return Ok(0) };
        let bytes = update.bytes().len();
        if let Some(others) = self.others.get() {
            // Where it lives it is an edit as any other.
            let there = others.write(document.clone(), update.bytes().clone()).await;
            match there {
                Ok(true) => return Ok(bytes),
                Ok(false) => {}
                Err(reason) => return Err(of(&reason)),
            }
        }
        let write = Write {
            id: self.next_writer(),
            by: WrittenBy::Server,
            update,
            begins: Begins::always(),
            held: None,
        };
        let written = if self.is_closed() {
            self.write_before_it_stops(document, write).await
        } else {
            self.write(document, write).await
        };
        written.map(|()| bytes).map_err(|reason| of(&reason))
    }

    /// Nobody else has the document, and this server takes no more visitors.
    async fn write_before_it_stops(self: &Arc<Self>, document: &DocumentId, write: Write) -> Result<(), CloseReason> {
        let actor = self.open_anyway(document)?;
        let answer = timeout(PATIENCE, actor.send(write)).await;
        actor.do_send(ShutDown);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(CloseReason::Restarting),
        }
    }

    /// Names a write; sessions are counted from the other end.
    fn next_writer(&self) -> SessionId {
        SessionId(u64::MAX - self.next_generation())
    }
}

/// Whether trying again may help.
fn of(reason: &CloseReason) -> Trouble {
    match reason {
        CloseReason::Refused(_) | CloseReason::DocumentTooLarge(_) | CloseReason::Unavailable(_) => {
            Trouble::Ever(reason.to_string())
        }
        _ => Trouble::Now(reason.to_string()),
    }
}

/// What the store lacks of a state.
fn lacks(
    store: &dyn Store,
    document: &DocumentId,
    state: &State,
    opened: Seq,
) -> Result<Option<CheckedUpdate>, Trouble> {
    let stored = store.load(document).map_err(|error| match error {
        StoreError::Damaged { .. } => Trouble::Ever(error.to_string()),
        _ => Trouble::Now(error.to_string()),
    })?;
    // A deletion that was there when it was opened is not one of what was written since.
    let is_later = |(seq, body): &(Seq, _)| *body == EMPTY_UPDATE && *seq > opened;
    if stored.snapshot.as_ref().is_some_and(is_later) {
        return Ok(None);
    }
    let ever = |why: String| Trouble::Ever(why);
    let there = Document::open(stored.records(), Deleted::Kept).map_err(|damaged| ever(damaged.to_string()))?;
    let update = CheckedUpdate::check(state.since(there.clocks())).map_err(|malformed| ever(malformed.to_string()))?;
    match there.judge(update) {
        Verdict::Known => Ok(None),
        Verdict::News(news) if !news.is_partial() => Ok(Some(news.update().clone())),
        Verdict::News(_) | Verdict::Nothing => Err(ever("they refer to what is not stored".to_owned())),
        Verdict::Refused(why) => Err(ever(why.to_owned())),
        Verdict::Conflict(id) => Err(ever(format!(
            "client {} from clock {} is stored with another content",
            id.client, id.clock
        ))),
    }
}
