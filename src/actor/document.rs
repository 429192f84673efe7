//! The actor that owns one document.
//!
//! It has no judgement: it loads, calls its room, and carries out effects. While the document is loaded, or takes a large
//! update, its mailbox waits (`ctx.wait`), and no other document does. While a large state is encoded nothing waits.
//!
//! A room that panics is given up: its sessions are told to come back, and the actor waits until what it
//! had appended is durable. (actix would drop the actor alone; the next one would then load a document
//! without the last records, and give their positions away a second time.)
//!
//! What must stay true: an actor leaves the registry only when everything it took is durable; after
//! that it takes nothing more.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture,
    SpawnHandle, WrapFuture,
};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    access::{Identity, Revocation},
    budgets::LOADING_COST,
    document::State,
    id::DocumentId,
    limits::UPDATE_HERE_BYTES_MAX,
    protocol::{
        close::{CloseReason, Exceeded},
        dialect::Inbound,
        update::CheckedUpdate,
    },
    room::{
        Effect, Micros, Room, WrittenBy,
        inside::{Inside, Onlooker},
        session::{Joining, Present, SessionId},
        states::Encoded,
    },
    store::{Holder, NodeId, Seq, StoreError, StoredDocument},
};

use super::{
    clock,
    durable::{Durable, Stored},
    helpers::Turn,
    registry::{Generation, Registry},
    writer::{Append, Writer},
};

/// Messages that may wait for one document before its senders do.
const MAILBOX: usize = 64;
/// How long an actor that could not load says so before the next attempt.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same when another node has the document: who asks goes there.
const FAREWELL_ELSEWHERE: Duration = Duration::from_millis(100);

/// Owns one document.
#[derive(Debug)]
pub struct DocumentActor {
    document: DocumentId,
    generation: Generation,
    /// Tells the store this actor from every other of the document.
    holder: Holder,
    registry: Arc<Registry>,
    durable: Arc<Durable>,
    /// What of `durable` the room has been told.
    told: (Seq, u64),
    /// The last position that was stored when it was opened.
    opened: Seq,
    /// The last position that was handed to the writer.
    appended: Seq,
    life: Life,
    /// Another node has the document.
    elsewhere: Option<NodeId>,
    timer: Option<(Micros, SpawnHandle)>,
    effects: Vec<Effect>,
    /// Who waits to hear that a write is durable.
    writers: FxHashMap<SessionId, oneshot::Sender<Result<(), CloseReason>>>,
}

#[derive(Debug)]
enum Life {
    Loading,
    Serving(Box<Room>),
    /// Its room is with a helper; nothing else runs here until it is back.
    Away,
    /// Takes nothing more, and goes when all is durable.
    Draining(Box<Room>),
    /// Its room panicked. Goes when all that it had appended is durable.
    Broken,
    Failed(CloseReason),
    Gone,
}

/// Why a document was not loaded.
#[derive(Debug)]
enum Unopened {
    Unreadable(StoreError),
    Full(Exceeded),
}

impl From<StoreError> for Unopened {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Exceeded> for Unopened {
    fn from(exceeded: Exceeded) -> Self {
        Self::Full(exceeded)
    }
}

/// A session joins. Refused with the reason to close it with.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), CloseReason>")]
pub struct Join {
    /// Who.
    pub joining: Joining,
    /// Whether it may begin the document.
    pub begins: Begins,
}

/// Asked when somebody comes to a document that holds nothing and that nobody else has open.
#[derive(Clone)]
pub struct Begins(Arc<dyn Fn() -> Result<(), CloseReason> + Send + Sync>);

impl Begins {
    /// As the answer is.
    #[must_use]
    pub fn if_allowed(allowed: impl Fn() -> Result<(), CloseReason> + Send + Sync + 'static) -> Self {
        Self(Arc::new(allowed))
    }

    /// Always.
    #[must_use]
    pub fn always() -> Self {
        Self::if_allowed(|| Ok(()))
    }
}

impl fmt::Debug for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begins")
    }
}

/// What lasts until a message was heard, which may wait: a budget's part that its bytes take.
pub type Held = Option<Arc<dyn Any + Send + Sync>>;

/// A session said something; answered when it was taken, so that the sender does not run ahead.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Hear {
    /// Who.
    pub session: SessionId,
    /// What, in order.
    pub messages: Vec<Inbound>,
    /// For as long as that waits.
    pub held: Held,
}

impl Hear {
    /// Whether the room takes long for it.
    fn takes_long(&self, room: &Room) -> bool {
        let bytes: usize = self.messages.iter().map(Inbound::bytes).sum();
        bytes > UPDATE_HERE_BYTES_MAX || room.hears_long(self.session, &self.messages)
    }

    /// Tells the room; `time` says how much of it that takes.
    fn tell(self, room: &mut Room, writer: &Writer, time: fn() -> Micros, effects: &mut Vec<Effect>) {
        room.store_free(writer.free());
        let started = time();
        for message in self.messages {
            room.hear(self.session, message, clock::now(), effects);
        }
        room.spent(self.session, time().saturating_sub(started));
    }
}

/// Somebody without a session writes an update. Answered when it is durable, or with the reason why it is not taken.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), CloseReason>")]
pub struct Write {
    /// Names the write; no session has this name.
    pub id: SessionId,
    /// Who writes.
    pub by: WrittenBy,
    /// What.
    pub update: CheckedUpdate,
    /// Whether it may begin the document.
    pub begins: Begins,
    /// For as long as it waits.
    pub held: Held,
}

/// Somebody without a session reads. Answered with the document and about how many bytes it takes, encoded, or with the reason
/// why it cannot be read.
#[derive(Debug, Message)]
#[rtype(result = "Result<(State, usize), CloseReason>")]
pub struct Read;

/// A session has another token.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Renew {
    /// Who.
    pub session: SessionId,
    /// Who that is now, and what it may do.
    pub identity: Identity,
    /// When the token ends, on the room's clock.
    pub expires: Option<Micros>,
}

/// Tokens are no longer good. Answered with the number of sessions that were ended.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub struct Revoke(pub Revocation);

/// Asks which node has the document, if it cannot be served here for that; answered when it was loaded, or was not.
#[derive(Debug, Message)]
#[rtype(result = "Option<NodeId>")]
pub struct Elsewhere;

/// Another node has taken the document from this holder.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Lost(pub Holder);

/// Asks how many sessions there are.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub struct Sessions;

/// Asks who is here.
#[derive(Debug, Message)]
#[rtype(result = "(DocumentId, Vec<Present>)")]
pub struct Who;

/// Somebody looks inside; `None` while it cannot be looked into.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<Insight>")]
pub struct Inspect {
    /// Who looks.
    pub onlooker: Onlooker,
    /// How many sessions are shown at most.
    pub sessions_max: usize,
}

/// What is seen inside.
#[derive(Debug, Clone)]
pub struct Insight {
    /// What the room says.
    pub inside: Inside,
    /// How long it takes from an edit to its being durable, in microseconds: the last time, and in the mean.
    pub took: Option<[Micros; 2]>,
}

/// A session is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave(pub SessionId);

/// What was to be encoded is, unless that panicked.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Done(Option<Encoded>);

/// Who is here is to go to another server, and the document stays in memory until all of it is saved. Answered with the number of
/// sessions that were told.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct SendAway;

/// The server stops. Answered with the number of sessions that were told.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct ShutDown;

impl DocumentActor {
    pub(super) fn new(
        document: DocumentId,
        generation: Generation,
        registry: Arc<Registry>,
        ctx: &Context<Self>,
    ) -> Self {
        let durable = Arc::new(Durable::of(ctx.address().recipient()));
        let life = Life::Loading;
        Self {
            document,
            generation,
            holder: Holder::drawn(Uuid::new_v4().as_u64_pair().1),
            registry,
            durable,
            told: (0, 0),
            opened: 0,
            appended: 0,
            life,
            elsewhere: None,
            timer: None,
            effects: Vec::new(),
            writers: FxHashMap::default(),
        }
    }

    fn load(&mut self, ctx: &mut Context<Self>) {
        let (store, document, holder) = (self.registry.store.clone(), self.document.clone(), self.holder);
        let policy = self.registry.policies.of(&document);
        let memory = self.registry.policies.memory.clone();
        let loaded = self.registry.helpers.run(move || {
            // Many may have been opened while there was room for one.
            memory.may_load(|| store.stored_bytes(&document))?;
            let stored: StoredDocument = store.take(&document, holder)?;
            let bytes: usize = stored.records().map(|(_, record)| record.len()).sum();
            let _while_it_opens = memory.holds(LOADING_COST * bytes);
            let room = Room::open(document.clone(), &stored, policy, clock::now());
            let room = room.map_err(|damaged| StoreError::Damaged {
                document,
                reason: damaged.to_string(),
            })?;
            memory.opens(room.memory_bytes());
            Ok::<_, Unopened>((room, stored.last_seq()))
        });
        ctx.wait(loaded.into_actor(self).map(|loaded, actor, ctx| {
            match loaded {
                Ok(Ok((mut room, opened))) => {
                    actor.opened = opened;
                    room.shares(actor.registry.policies.memory.clone());
                    room.serves(clock::now());
                    actor.life = Life::Serving(Box::new(room));
                }
                Ok(Err(Unopened::Full(exceeded))) => actor.fail(exceeded.into(), ctx),
                Ok(Err(Unopened::Unreadable(error))) => {
                    if let StoreError::Elsewhere { node, .. } = error {
                        actor.elsewhere = Some(node);
                    }
                    let reason = actor.unreadable(&error);
                    actor.fail(reason, ctx);
                }
                Err(_) => {
                    log::error!("opening document {} panicked", actor.document);
                    actor.fail(
                        CloseReason::Unavailable("the document cannot be opened".to_owned()),
                        ctx,
                    );
                }
            }
            actor.settle(ctx);
        }));
    }

    /// The document cannot be loaded; returns what its sessions are told.
    fn unreadable(&self, error: &StoreError) -> CloseReason {
        if let StoreError::Elsewhere { .. } = error {
            log::debug!("{error}");
            return CloseReason::Restarting;
        }
        if let StoreError::Resting { seconds, .. } = error {
            log::debug!("{error}");
            let reason = format!("servers that opened this document crashed: come back in {seconds} s");
            return CloseReason::Overloaded(reason);
        }
        self.registry.metrics.loads_failed.inc();
        log::error!("document {} cannot be opened: {error}", self.document);
        match error {
            StoreError::Io { .. } => CloseReason::Overloaded("the document cannot be read now".to_owned()),
            _ => CloseReason::Unavailable("the document is damaged, the operator has to look".to_owned()),
        }
    }

    /// Gives everybody who comes the same answer for a while, then goes; the next who opens tries
    /// again. Clients of a document that cannot be read would otherwise have it read without pause.
    fn fail(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        self.life = Life::Failed(reason);
        let farewell = self.elsewhere.map_or(FAREWELL, |_| FAREWELL_ELSEWHERE);
        ctx.run_later(farewell, |actor, ctx| actor.go(ctx));
    }

    /// Whether who comes is served now; if not, the reason why.
    fn serves(&self) -> Result<(), CloseReason> {
        match &self.life {
            Life::Serving(_) => Ok(()),
            Life::Failed(reason) => Err(reason.clone()),
            Life::Away | Life::Loading | Life::Draining(_) | Life::Broken | Life::Gone => Err(CloseReason::Restarting),
        }
    }

    /// That of nobody in particular.
    fn own_turn(&self) -> Turn {
        Turn::Document(self.generation)
    }

    /// Whether what grows with the number of client ids takes long.
    fn is_crowded(&self) -> bool {
        matches!(&self.life, Life::Serving(room) if room.is_crowded())
    }

    /// Calls the room, then does what follows from it.
    fn with_room<R: Default>(
        &mut self,
        ctx: &mut Context<Self>,
        call: impl FnOnce(&mut Room, &mut Vec<Effect>, Micros) -> R,
    ) -> R {
        let answer = self.call(call).unwrap_or_default();
        self.settle(ctx);
        answer
    }

    /// Calls the room, if there is one; a room that panics is broken.
    fn call<R>(&mut self, call: impl FnOnce(&mut Room, &mut Vec<Effect>, Micros) -> R) -> Option<R> {
        let (Life::Serving(room) | Life::Draining(room)) = &mut self.life else {
            return None;
        };
        let effects = &mut self.effects;
        if let Ok(answer) = catch_unwind(AssertUnwindSafe(|| call(room, effects, clock::now()))) {
            return Some(answer);
        }
        self.give_up_room();
        None
    }

    /// The room has panicked.
    fn give_up_room(&mut self) {
        log::error!("document {} is loaded anew: its room panicked", self.document);
        self.registry.metrics.poisoned.inc();
        if let Life::Serving(mut room) | Life::Draining(mut room) = std::mem::replace(&mut self.life, Life::Broken) {
            let told = catch_unwind(AssertUnwindSafe(|| {
                room.end_all(&CloseReason::Restarting, clock::now(), &mut self.effects);
                drop(room);
            }));
            if told.is_err() {
                log::error!("the sessions of document {} could not be told", self.document);
            }
        }
        self.effects.retain(is_kept_at_the_end);
    }

    /// Calls the room on a helper, where that delays no other document, when it is somebody's turn.
    fn call_elsewhere(
        &mut self,
        ctx: &mut Context<Self>,
        turn: Turn,
        call: impl FnOnce(&mut Room, &mut Vec<Effect>) + Send + 'static,
    ) {
        self.call_elsewhere_then(ctx, turn, call, Self::settle);
    }

    /// The same; `then` is done when the room is back.
    fn call_elsewhere_then(
        &mut self,
        ctx: &mut Context<Self>,
        turn: Turn,
        call: impl FnOnce(&mut Room, &mut Vec<Effect>) + Send + 'static,
        then: fn(&mut Self, &mut Context<Self>),
    ) {
        let mut room = match std::mem::replace(&mut self.life, Life::Away) {
            Life::Serving(room) => room,
            other => {
                self.life = other;
                return;
            }
        };
        let called = self.registry.takers.run_for(turn, move || {
            let mut effects = Vec::new();
            let done = catch_unwind(AssertUnwindSafe(|| call(&mut room, &mut effects))).is_ok();
            (room, effects, done)
        });
        ctx.wait(called.into_actor(self).map(move |called, actor, ctx| {
            let Ok((room, effects, done)) = called else {
                // Cannot be: the call is guarded. All the same it goes when what it had appended is durable.
                actor.life = Life::Broken;
                return actor.settle(ctx);
            };
            actor.life = Life::Serving(room);
            actor.effects.extend(effects);
            if !done {
                actor.give_up_room();
            }
            then(actor, ctx);
        }));
    }

    /// What the room answers, which may look at each client id.
    fn answer<R: Send + 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        call: impl FnOnce(&mut Room) -> Result<R, CloseReason> + Send + 'static,
    ) -> ResponseFuture<Result<R, CloseReason>> {
        if let Err(reason) = self.serves() {
            return Box::pin(std::future::ready(Err(reason)));
        }
        if !self.is_crowded() {
            let answer = self.call(|room, _, _| call(room));
            self.settle(ctx);
            return Box::pin(std::future::ready(answer.unwrap_or(Err(CloseReason::Restarting))));
        }
        let (sender, answer) = oneshot::channel();
        self.call_elsewhere(ctx, self.own_turn(), move |room, _| {
            // Who does not wait any more has left, or will.
            let _ = sender.send(call(room));
        });
        Box::pin(async { answer.await.unwrap_or(Err(CloseReason::Restarting)) })
    }

    /// Does what is due, carries out what the room decided, and sets the timer.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        self.settle_and(true, ctx);
    }

    /// The same when the room has just been woken where that takes long: whoever waits in the mailbox is heard before it is woken so
    /// again, also if that is due by now.
    fn settle_awake(&mut self, ctx: &mut Context<Self>) {
        self.settle_and(false, ctx);
    }

    fn settle_and(&mut self, wakes_long: bool, ctx: &mut Context<Self>) {
        let (durable, mut told) = (self.durable.clone(), self.told);
        let free = self.registry.writer.free();
        let (may_be_away, mut goes) = (matches!(self.life, Life::Serving(_)), false);
        let counts = self.call(|room, effects, now| {
            tell_durable(room, &durable, &mut told, now, effects);
            if room.deadline().is_some_and(|due| due <= now) {
                room.store_free(free);
                let takes_long = may_be_away && room.wakes_long();
                goes = takes_long && wakes_long;
                if !takes_long {
                    room.wake(now, effects);
                }
            }
            room.take_counts()
        });
        self.told = told;
        if let Some(counts) = counts {
            self.registry.metrics.room(counts);
        }
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out(effect, ctx);
        }
        self.look_for_durable(ctx);
        if goes {
            let wakes = |room: &mut Room, effects: &mut Vec<Effect>| room.wake(clock::now(), effects);
            self.call_elsewhere_then(ctx, self.own_turn(), wakes, Self::settle_awake);
        }
        match &self.life {
            Life::Draining(room) if room.all_saved() => self.go(ctx),
            Life::Broken if self.durable.reached().0 >= self.appended => self.go(ctx),
            Life::Serving(room) => self.set_timer(room.deadline(), ctx),
            _ => {}
        }
    }

    /// Asks the writer to be told, when somebody waits for it.
    fn look_for_durable(&mut self, ctx: &mut Context<Self>) {
        let (waits, asked) = match &self.life {
            Life::Serving(room) => (room.wants_stored() && !room.all_saved(), room.is_asked()),
            Life::Draining(room) => (!room.all_saved(), true),
            Life::Broken => (true, true),
            Life::Away | Life::Loading | Life::Failed(_) | Life::Gone => (false, false),
        };
        if waits {
            self.durable.want(asked);
            let (durable, mut told) = (self.durable.clone(), self.told);
            self.call(|room, effects, now| tell_durable(room, &durable, &mut told, now, effects));
            self.told = told;
            // Nobody else comes with news of what was durable by now.
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out(effect, ctx);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Append {
                seq,
                update,
                authors,
                received,
            } => {
                self.append(seq, update, authors, Some(received));
            }
            Effect::Snapshot { seq, state } => self.append(seq, state, Arc::default(), None),
            Effect::Encode(job) => {
                let encoded = self.registry.helpers.run(move || job.run());
                // By the mailbox, which waits while the room is away; what is spawned may not.
                ctx.spawn(
                    encoded
                        .into_actor(self)
                        .map(|encoded, _, ctx| ctx.address().do_send(Done(encoded.ok()))),
                );
            }
            Effect::Written { write, result } => {
                if let Some(waits) = self.writers.remove(&write) {
                    // Who does not wait any more needs no answer.
                    let _ = waits.send(result);
                }
            }
            Effect::Ended { session, reason } => {
                self.registry.metrics.ended(reason.label());
                log::info!(
                    "session {} of document {} was closed: {reason}",
                    session.0,
                    self.document
                );
            }
            Effect::Unload => {
                log::debug!("document {} leaves memory", self.document);
                self.go(ctx);
            }
        }
    }

    /// `received` is when the oldest edit came in; a snapshot has none.
    fn append(&mut self, seq: u64, update: bytes::Bytes, authors: Arc<[Arc<str>]>, received: Option<Micros>) {
        self.appended = self.appended.max(seq);
        let document = self.document.clone();
        let (snapshot, received, durable) = (received.is_none(), received.unwrap_or_default(), self.durable.clone());
        let append = Append {
            document,
            holder: self.holder,
            seq,
            authors,
            update,
            snapshot,
            received,
            durable,
        };
        self.registry.writer.append(append);
    }

    /// Ends all sessions; goes when everything is durable.
    fn drain(&mut self, reason: &CloseReason, ctx: &mut Context<Self>) {
        match std::mem::replace(&mut self.life, Life::Gone) {
            Life::Serving(room) => {
                self.life = Life::Draining(room);
                let counts = self.call(|room, effects, now| {
                    effects.clear();
                    room.flush(now, effects);
                    room.end_all(reason, now, effects);
                    effects.retain(is_kept_at_the_end);
                    room.take_counts()
                });
                if let Some(counts) = counts {
                    self.registry.metrics.room(counts);
                }
                self.settle(ctx);
            }
            Life::Loading => self.fail(reason.clone(), ctx),
            other => self.life = other,
        }
    }

    fn go(&mut self, ctx: &mut Context<Self>) {
        let last = std::mem::replace(&mut self.life, Life::Gone);
        if let Life::Serving(room) | Life::Draining(room) = last
            && room.is_large()
        {
            // Nobody waits for the answer.
            drop(self.registry.helpers.run(move || drop(room)));
        }
        if self.elsewhere.is_none() {
            let next = self.registry.heir();
            self.registry.writer.release(self.document.clone(), self.holder, next);
        }
        self.registry.forget(&self.document, self.generation);
        ctx.stop();
    }

    /// The store refuses what this document appends: what is in memory does not follow on what is stored, or somebody
    /// else has taken the document. It is loaded anew, and what it holds beyond that is given back.
    fn give_up_document(&mut self, ctx: &mut Context<Self>) {
        // First: a room of which all was called saved leaves memory with its last session, and the store may have come back
        // with less.
        let held = self.call(|room, _, _| room.read());
        self.drain(&CloseReason::Restarting, ctx);
        if let Some(state) = held {
            self.registry.give_back(self.document.clone(), state, self.opened);
        }
        if !matches!(self.life, Life::Gone) {
            self.go(ctx);
        }
    }

    fn set_timer(&mut self, deadline: Option<Micros>, ctx: &mut Context<Self>) {
        let Some(deadline) = deadline else { return };
        if let Some((set, handle)) = self.timer {
            // A timer that rings too early costs less than setting one for every message.
            if set <= deadline {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = Duration::from_micros(deadline.saturating_sub(clock::now()));
        let handle = ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.settle(ctx);
        });
        self.timer = Some((deadline, handle));
    }
}

/// What a room that goes wants is no longer of use, but for this.
fn is_kept_at_the_end(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Append { .. } | Effect::Ended { .. } | Effect::Written { .. }
    )
}

/// Whether somebody may use a room who would be the first in it.
fn may_begin(room: &mut Room, begins: &Begins, now: Micros) -> Result<(), CloseReason> {
    if !room.is_unused() {
        return Ok(());
    }
    begins.0().inspect_err(|_| room.stays_unused(now))
}

/// Tells the room what has become durable since it was last told, and those who waited for it.
fn tell_durable(room: &mut Room, durable: &Durable, told: &mut (Seq, u64), now: Micros, effects: &mut Vec<Effect>) {
    let reached = durable.reached();
    if reached.0 > told.0 {
        room.stored(reached.0, now);
        room.tell_writers(effects);
    }
    if reached.1 > told.1 {
        room.snapshot_stored();
    }
    *told = reached;
}

impl Actor for DocumentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.load(ctx);
    }
}

impl Handler<Join> for DocumentActor {
    type Result = ResponseFuture<Result<(), CloseReason>>;

    fn handle(&mut self, join: Join, ctx: &mut Self::Context) -> Self::Result {
        let sessions_max = self.registry.policies.sessions_max;
        self.answer(ctx, move |room| {
            let now = clock::now();
            room.may_join(sessions_max, &join.joining.accounts)?;
            may_begin(room, &join.begins, now)?;
            room.join(join.joining, now);
            Ok(())
        })
    }
}

impl Handler<Hear> for DocumentActor {
    type Result = ();

    fn handle(&mut self, hear: Hear, ctx: &mut Self::Context) {
        let registry = Arc::clone(&self.registry);
        if let Life::Serving(room) = &self.life
            && hear.takes_long(room)
        {
            let turn = room.network(hear.session).map_or(self.own_turn(), Turn::Network);
            return self.call_elsewhere(ctx, turn, move |room, effects| {
                hear.tell(room, &registry.writer, clock::thread_cpu, effects);
            });
        }
        self.call(|room, effects, _| hear.tell(room, &registry.writer, clock::now, effects));
        self.settle(ctx);
    }
}

impl Handler<Write> for DocumentActor {
    type Result = ResponseFuture<Result<(), CloseReason>>;

    fn handle(&mut self, write: Write, ctx: &mut Self::Context) -> Self::Result {
        if let Err(reason) = self.serves() {
            return Box::pin(std::future::ready(Err(reason)));
        }
        let (sender, written) = oneshot::channel();
        let Write {
            id,
            by,
            update,
            begins,
            held,
        } = write;
        if let Some(Err(reason)) = self.call(|room, _, now| may_begin(room, &begins, now)) {
            self.settle(ctx);
            return Box::pin(std::future::ready(Err(reason)));
        }
        self.writers.insert(id, sender);
        let registry = Arc::clone(&self.registry);
        let takes_long = match &self.life {
            Life::Serving(room) => room.takes_long(&update),
            _ => false,
        };
        let is_long = takes_long || update.bytes().len() > UPDATE_HERE_BYTES_MAX;
        let writes = move |room: &mut Room, effects: &mut Vec<Effect>| {
            room.store_free(registry.writer.free());
            room.write(id, by, update, clock::now(), effects);
            drop(held);
        };
        if is_long {
            self.call_elsewhere(ctx, self.own_turn(), writes);
        } else {
            self.call(|room, effects, _| writes(room, effects));
            self.settle(ctx);
        }
        // An actor that goes takes the sender with it, and the room may not have it: it is to be tried again.
        Box::pin(async { written.await.unwrap_or(Err(CloseReason::Restarting)) })
    }
}

impl Handler<Read> for DocumentActor {
    type Result = ResponseFuture<Result<(State, usize), CloseReason>>;

    fn handle(&mut self, _: Read, ctx: &mut Self::Context) -> Self::Result {
        self.answer(ctx, |room| {
            let state = room.read();
            let bytes = state.bytes();
            Ok((state, bytes))
        })
    }
}

impl Handler<Renew> for DocumentActor {
    type Result = ();

    fn handle(&mut self, renew: Renew, ctx: &mut Self::Context) {
        let Renew {
            session,
            identity,
            expires,
        } = renew;
        self.with_room(ctx, |room, _, now| room.renew(session, identity, expires, now));
    }
}

impl Handler<Revoke> for DocumentActor {
    type Result = MessageResult<Revoke>;

    fn handle(&mut self, Revoke(revocation): Revoke, ctx: &mut Self::Context) -> Self::Result {
        MessageResult(self.with_room(ctx, |room, effects, now| room.revoke(&revocation, now, effects)))
    }
}

impl Handler<Who> for DocumentActor {
    type Result = MessageResult<Who>;

    fn handle(&mut self, _: Who, _: &mut Self::Context) -> Self::Result {
        let present = self.call(|room, _, now| room.present(now)).unwrap_or_default();
        MessageResult((self.document.clone(), present))
    }
}

impl Handler<Inspect> for DocumentActor {
    type Result = Option<Insight>;

    fn handle(&mut self, inspect: Inspect, _: &mut Self::Context) -> Self::Result {
        self.serves().ok()?;
        let inside = self.call(|room, _, now| room.inside(inspect.onlooker, inspect.sessions_max, now))?;
        let took = self.durable.took();
        Some(Insight { inside, took })
    }
}

impl Handler<Elsewhere> for DocumentActor {
    type Result = MessageResult<Elsewhere>;

    fn handle(&mut self, _: Elsewhere, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.elsewhere)
    }
}

impl Handler<Lost> for DocumentActor {
    type Result = ();

    fn handle(&mut self, Lost(holder): Lost, ctx: &mut Self::Context) {
        if self.holder == holder && matches!(self.life, Life::Serving(_)) {
            log::warn!(
                "document {} was taken by another server, or the store has less of it than it said",
                self.document
            );
            self.give_up_document(ctx);
        }
    }
}

impl Handler<Sessions> for DocumentActor {
    type Result = usize;

    fn handle(&mut self, _: Sessions, _: &mut Self::Context) -> Self::Result {
        match &self.life {
            Life::Serving(room) => room.sessions(),
            _ => 0,
        }
    }
}

impl Handler<Leave> for DocumentActor {
    type Result = ();

    fn handle(&mut self, Leave(session): Leave, ctx: &mut Self::Context) {
        self.with_room(ctx, |room, _, now| room.leave(session, now));
    }
}

impl Handler<Stored> for DocumentActor {
    type Result = ();

    fn handle(&mut self, Stored: Stored, ctx: &mut Self::Context) {
        if self.durable.is_refused() {
            return self.give_up_document(ctx);
        }
        self.settle(ctx);
    }
}

impl Handler<Done> for DocumentActor {
    type Result = ();

    fn handle(&mut self, Done(encoded): Done, ctx: &mut Self::Context) {
        match encoded {
            Some(encoded) if self.is_crowded() => {
                self.call_elsewhere(ctx, self.own_turn(), |room, effects| {
                    room.encoded(encoded, clock::now(), effects);
                });
            }
            Some(encoded) => self.with_room(ctx, |room, effects, now| room.encoded(encoded, now, effects)),
            None => self.drain(&CloseReason::Restarting, ctx),
        }
    }
}

impl Handler<SendAway> for DocumentActor {
    type Result = MessageResult<SendAway>;

    fn handle(&mut self, _: SendAway, ctx: &mut Self::Context) -> Self::Result {
        MessageResult(self.with_room(ctx, |room, effects, now| {
            let sessions = room.sessions();
            if sessions > 0 {
                // They take along what the others have said.
                room.flush(now, effects);
                room.end_all(&CloseReason::Restarting, now, effects);
            }
            sessions
        }))
    }
}

impl Handler<ShutDown> for DocumentActor {
    type Result = MessageResult<ShutDown>;

    fn handle(&mut self, _: ShutDown, ctx: &mut Self::Context) -> Self::Result {
        let sessions = match &self.life {
            Life::Serving(room) => room.sessions(),
            _ => 0,
        };
        self.drain(&CloseReason::Restarting, ctx);
        MessageResult(sessions)
    }
}

/// Breaks the room.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Break {
    /// It panics, as with a mistake of ours.
    Here,
    /// The same with a helper.
    Elsewhere,
}

#[cfg(test)]
impl Handler<Break> for DocumentActor {
    type Result = ();

    fn handle(&mut self, breaks: Break, ctx: &mut Self::Context) {
        match breaks {
            Break::Here => self.with_room(ctx, |_, _, _| -> () { panic!("a mistake of ours") }),
            Break::Elsewhere => {
                self.call_elsewhere(ctx, self.own_turn(), |_, _| panic!("a mistake of ours"));
            }
        }
    }
}

/// Asks on which thread it lives.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "std::thread::ThreadId")]
pub(super) struct Where;

#[cfg(test)]
impl Handler<Where> for DocumentActor {
    type Result = MessageResult<Where>;

    fn handle(&mut self, _: Where, _: &mut Self::Context) -> Self::Result {
        MessageResult(std::thread::current().id())
    }
}

/// Asks whether the writer is to tell it of the next commit, and whether somebody has asked for that.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "(bool, bool)")]
pub(super) struct IsAsked;

#[cfg(test)]
impl Handler<IsAsked> for DocumentActor {
    type Result = MessageResult<IsAsked>;

    fn handle(&mut self, _: IsAsked, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.durable.is_wanted())
    }
}
