//! One document's life as a state machine.
//!
//! The room is told what happened ([`Room::join`], [`Room::hear`], [`Room::stored`], …) together
//! with the time, and answers with [`Effect`]s in order; frames for its sessions go straight into
//! their [`Outbox`]es. It knows no clock, disk, socket or randomness, so a test can replay any life.
//!
//! | organ | decides |
//! |---|---|
//! | `editing` | an edit: judged, applied, gathered, sent off |
//! | `writing` | a write and a read without a session |
//! | `fan_out` | who is sent what: broadcasts, catching up, resynchronising the slow |
//! | `session`, `outbox` | who is connected, what each has of the document, what waits for it |
//! | `states`, `sync_cache` | what readers lack, and snapshots; answers shared by all who ask the same |
//! | `stream`, `cut`, `given_up` | how a large answer leaves, whole or in pieces |
//! | `had` | what a reader has, and the latest deletions |
//! | `questions`, `saving` | who may be told "saved"; positions, what is durable, when a snapshot is due |
//! | `presence` | awareness |
//! | `firsts` | whose a client id was first |
//! | `cadence` | when edits and presence leave |
//! | `sweep` | silence, expiry |
//! | `leaving` | the end of a document that nobody uses |
//! | `authorship` | who writes under which client id |
//! | `inside` | what whoever looks inside may know, and rates |
//!
//! What must stay true: an update is broadcast and appended in the order in which it was applied;
//! nothing is acknowledged whose `Append` has not been answered by [`Room::stored`].

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    access::{Access, Identity, Revocation},
    budgets::{Accounts, Charge, Counted, Memory, Network, OfDocument},
    document::{Damaged, Deleted, Document},
    id::DocumentId,
    limits::{CROWD_MIN, UPDATE_HERE_BYTES_MAX},
    protocol::{
        awareness::Entry,
        close::{CloseReason, Exceeded},
        dialect::{Inbound, Outbound},
        frame,
        update::{CheckedUpdate, Clocks},
    },
    store::{Seq, StoredDocument},
};

mod authorship;
pub mod cadence;
mod cut;
mod editing;
mod effect;
mod fan_out;
mod firsts;
mod given_up;
mod had;
pub mod inside;
mod leaving;
pub mod outbox;
pub mod presence;
mod questions;
mod saving;
pub mod session;
pub mod states;
pub mod stream;
mod sweep;
mod sync_cache;
mod writing;

pub use effect::{Counts, Effect};
pub use writing::WrittenBy;

use authorship::Authorship;
use cadence::{Cadence, presence_pause};
use editing::Batch;
use given_up::GivenUp;
use had::Recent;
use inside::{Pulse, present};
use leaving::Leaving;
use presence::Presence;
use questions::Waiting;
pub use saving::Free;
use saving::Journal;
use session::{Joining, Present, Reading, SavedAnswer, Saving, Session, SessionId};
use states::Encoding;
use stream::Pinged;
use sweep::{SWEEP, SWEEP_WAITING};
use sync_cache::SyncCache;

/// Microseconds of a clock that never goes back; its zero is the shell's choice.
pub type Micros = u64;

const MS: Micros = 1_000;
const SECOND: Micros = 1_000_000;

/// How often a session that is behind is looked at.
const CATCH_UP: Micros = 10 * MS;
/// Client ids that one session is asked about because another page may have written under them: it has one, as a rule.
const ASKED_ABOUT_MAX: usize = 64;
/// A state vector of more clients than this may be more than a slow line carries in a message (F12).
const VECTOR_CLIENTS_MAX: usize = 4_096;
/// What is larger than this is encoded where it delays nobody.
const ENCODE_HERE_BYTES_MAX: usize = 1024 * 1024;

/// What an operator may change about rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Largest full state that still takes edits, in bytes.
    pub document_bytes_max: usize,
    /// Most that waits for one connection, in bytes.
    pub outbox_bytes_max: usize,
    /// Most that waits to become durable, in bytes, before edits are refused.
    pub unsaved_bytes_max: usize,
    /// Journal bytes of a document after which a snapshot is taken.
    pub snapshot_bytes: usize,
    /// How long a document that nobody uses stays in memory.
    pub idle_timeout: Micros,
    /// What happens to the content of what is deleted.
    pub deleted: Deleted,
    /// Whether what sessions with tokens say of themselves says who they are.
    pub stamps_presence: bool,
    /// Whether others see who only reads.
    pub shows_readers: bool,
}

/// One document and everybody who is connected to it.
#[derive(Debug)]
pub struct Room {
    name: DocumentId,
    policy: Policy,
    document: Document,
    authorship: Authorship,
    sessions: FxHashMap<SessionId, Session>,
    presence: Presence,
    presence_cadence: Cadence,
    greeting: fan_out::Greeting,
    batch: Batch,
    edit_cadence: Cadence,
    journal: Journal,
    cache: SyncCache,
    /// Counts the broadcasts; 0 only before anything.
    version: u64,
    checkpoints: fan_out::Checkpoints,
    recent: Recent,
    encoding: Encoding,
    sweep_due: Option<Micros>,
    catch_up_due: Option<Micros>,
    catch_up_pause: Micros,
    /// Sessions that are not live, or whose presence is stale.
    lagging: FxHashSet<SessionId>,
    given_up: GivenUp,
    /// Sessions that wait to hear what is durable.
    waiting: Waiting,
    /// Sessions with a gap that their clients have, too.
    unseen: FxHashSet<SessionId>,
    /// Writes without a session: the record that must be durable, and which.
    writes: Vec<(Seq, SessionId)>,
    /// When it leaves memory unless somebody comes.
    leaving: Option<Leaving>,
    too_large: bool,
    /// The size of the last full state that was put together anew.
    compacted_bytes: usize,
    store_free: Free,
    memory: Arc<Memory>,
    /// What the document weighs, among all that are open.
    weighs: Counted,
    /// What its answers take that are on their way, in bytes.
    answers: Arc<OfDocument>,
    counts: Counts,
    /// Updates that were taken.
    pulse: Pulse,
}

impl Room {
    /// Opens a room over what the store holds.
    ///
    /// # Errors
    /// [`Damaged`] when the stored bytes do not pass the gate.
    pub fn open(name: DocumentId, stored: &StoredDocument, policy: Policy, now: Micros) -> Result<Self, Damaged> {
        let document = Document::open(stored.records(), policy.deleted)?;
        let snapshot_bytes = stored.snapshot.as_ref().map_or(0, |(_, bytes)| bytes.len());
        let updates_bytes = stored.updates.iter().map(|(_, bytes)| bytes.len()).sum();
        // What it dropped as it was opened may have made it small again.
        let too_large = snapshot_bytes.min(document.weight_bytes()) > policy.document_bytes_max;
        let mut room = Self {
            name,
            policy,
            document,
            authorship: Authorship::default(),
            sessions: FxHashMap::default(),
            presence: Presence::default(),
            presence_cadence: Cadence::default(),
            greeting: fan_out::Greeting::default(),
            batch: Batch::default(),
            edit_cadence: Cadence::default(),
            journal: Journal::new(stored.last_seq(), snapshot_bytes, updates_bytes, stored.updates.len()),
            cache: SyncCache::default(),
            version: 1,
            checkpoints: fan_out::Checkpoints::default(),
            recent: Recent::default(),
            encoding: Encoding::Nothing,
            sweep_due: None,
            catch_up_due: None,
            catch_up_pause: CATCH_UP,
            lagging: FxHashSet::default(),
            given_up: GivenUp::default(),
            waiting: Waiting::default(),
            unseen: FxHashSet::default(),
            writes: Vec::new(),
            leaving: None,
            too_large,
            compacted_bytes: snapshot_bytes,
            store_free: Free::default(),
            memory: Memory::unbounded(),
            weighs: Counted::default(),
            answers: Arc::default(),
            counts: Counts::default(),
            pulse: Pulse::default(),
        };
        room.serves(now);
        Ok(room)
    }

    /// It shares this with all others; without this it may take what it likes.
    pub fn shares(&mut self, memory: Arc<Memory>) {
        self.weighs = Counted::of(memory.documents().clone());
        self.weighs.is(self.document.weight_bytes());
        self.memory = memory;
    }

    /// From now on it can be used: how long opening took is no idleness.
    pub fn serves(&mut self, now: Micros) {
        self.leaves_at(now + self.policy.idle_timeout, now);
    }

    /// Whether somebody waits to hear that something became durable; otherwise [`Room::stored`] may be
    /// late.
    #[must_use]
    pub fn wants_stored(&self) -> bool {
        !self.waiting.is_empty() || !self.writes.is_empty()
    }

    /// Whether one of them asked. Who is told of each update, and may not look at it, is told a moment later just as well.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.waiting.has_asked() || !self.writes.is_empty()
    }

    /// Which document this is.
    #[must_use]
    pub fn name(&self) -> &DocumentId {
        &self.name
    }

    /// Whether so much is in it that encoding it, or letting go of it, takes long.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.document.weight_bytes() > ENCODE_HERE_BYTES_MAX
    }

    /// Whether so many client ids wrote to it that what looks at each of them takes long.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.document.clocks().len() >= CROWD_MIN
    }

    /// Whether [`Room::wake`] takes long: much is to be broadcast, or it may look at very many client ids.
    #[must_use]
    pub fn wakes_long(&self) -> bool {
        self.batch.bytes > UPDATE_HERE_BYTES_MAX || self.is_crowded()
    }

    /// Whether an update takes long, however short it is: it deletes much.
    #[must_use]
    pub fn takes_long(&self, update: &CheckedUpdate) -> bool {
        self.document.deletes_much(std::iter::once(update))
    }

    /// Whether hearing messages takes long, however short they are. They may delete much, or look at very many client ids: all
    /// of them are looked at for who asks for the document, for who is sent it when it has said what it has, and for who says
    /// that a client id is its own.
    #[must_use]
    pub fn hears_long(&self, id: SessionId, messages: &[Inbound]) -> bool {
        let looks_at_all = |message: &Inbound| match message {
            Inbound::SyncStep1(_) | Inbound::Update { answer: true, .. } => true,
            Inbound::Awareness(entries) => self.announces(id, entries),
            _ => false,
        };
        if self.is_crowded() && messages.iter().any(looks_at_all) {
            return true;
        }
        let updates = messages.iter().filter_map(|message| match message {
            Inbound::Update { update, .. } => Some(update),
            _ => None,
        });
        let may_write = |session: &Session| session.identity.access == Access::Write;
        self.sessions.get(&id).is_some_and(may_write) && self.document.deletes_much(updates)
    }

    /// Whether somebody says that a client id is its own that was not.
    fn announces(&self, id: SessionId, entries: &[Entry]) -> bool {
        let is_new = |entry: &Entry| entry.state.is_some() && self.authorship.owner(entry.client) != Some(id);
        entries.iter().any(is_new)
    }

    /// Where a session comes from; `None` when that is not counted.
    #[must_use]
    pub fn network(&self, id: SessionId) -> Option<Network> {
        self.sessions.get(&id)?.outbox.line().network()
    }

    /// An estimate of the size of its full state, in bytes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.document.weight_bytes()
    }

    /// About how many bytes of memory its document takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let remembered = self.recent.held_bytes() + self.authorship.held_bytes() + self.presence.held_bytes();
        self.document.memory_bytes() + remembered
    }

    /// How many sessions are here.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether every edit that was taken is durable.
    #[must_use]
    pub fn all_saved(&self) -> bool {
        self.batch.updates.is_empty() && self.journal.all_saved()
    }

    /// What the document knows.
    #[must_use]
    pub fn clocks(&self) -> &Clocks {
        self.document.clocks()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> Counts {
        self.weighs.is(self.document.weight_bytes());
        std::mem::take(&mut self.counts)
    }

    /// Whether there is room for one more session, of these clients.
    ///
    /// # Errors
    /// There are so many already, or memory is short, and those have too much of it.
    pub fn may_join(&self, sessions_max: usize, accounts: &Accounts) -> Result<(), CloseReason> {
        accounts.may_stay(&self.memory, self.memory_bytes())?;
        if self.sessions.len() < sessions_max {
            return Ok(());
        }
        let what = "too many people have this document open";
        Err(Exceeded::new("sessions_of_document", what, 10 * SECOND).into())
    }

    /// Whether nothing was ever written here, and nobody is here who could.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.sessions.is_empty() && self.is_new()
    }

    /// Who came was not let in: if nobody uses it, it need not wait for others.
    pub fn stays_unused(&mut self, now: Micros) {
        if self.is_unused() {
            self.leaves_at(now, now);
        }
    }

    fn is_new(&self) -> bool {
        self.journal.appended == 0 && self.batch.updates.is_empty()
    }

    /// A thread spent so many microseconds on what a session said.
    pub fn spent(&self, id: SessionId, micros: Micros) {
        if let Some(session) = self.sessions.get(&id) {
            session.outbox.line().spends(micros);
        }
    }

    /// A session joins: it is asked for what it has, and shown who is here.
    pub fn join(&mut self, joining: Joining, now: Micros) {
        let Joining {
            id,
            identity,
            expires,
            dialect,
            outbox,
            accounts,
        } = joining;
        outbox.line().heard(now / MS);
        let mut charge = Charge::of(accounts);
        charge.is(self.memory_bytes() / (self.sessions.len() + 1));
        let mut session = Session {
            identity,
            expires,
            token_wanted: None,
            dialect,
            outbox,
            reading: Reading::New,
            joined: now,
            sent: now,
            greeted: false,
            presence_id: None,
            presence_stale: false,
            may_ask: now,
            gap: None,
            withheld: BTreeMap::new(),
            announces: None,
            twin: None,
            asked_about: BTreeMap::new(),
            refused: false,
            asked_late: false,
            wants_document: false,
            served: None,
            asks_again: false,
            saving: Saving::new(now),
            told_read_only: false,
            charge,
            pinged: Pinged::default(),
            follows: false,
            sent_large: None,
        };
        let may_write = session.identity.access == Access::Write;
        session.say(Outbound::Admitted { may_write });
        if session.dialect.asks_at_join() {
            session.saving.asks(true);
            session.asked_late = self.document.clocks().len() > VECTOR_CLIENTS_MAX;
            if !session.asked_late {
                session.say(Outbound::SyncStep1(&self.newcomers_are_asked()));
            }
        }
        let is_asked_late = session.asked_late;
        self.sessions.insert(id, session);
        // What our SyncStep1 says that we have may have come from this very client, before it reconnected.
        self.wait_for_known(id);
        self.leaving = None;
        let next = if is_asked_late { SWEEP_WAITING } else { SWEEP };
        self.sweep_by(expires.map_or(now + next, |expires| expires.min(now + next)));
    }

    /// A session has another token. Without effect for one that is not here.
    pub fn renew(&mut self, id: SessionId, identity: Identity, expires: Option<Micros>, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let may_write = identity.access == Access::Write;
        session.refused &= !may_write;
        session.told_read_only &= !may_write;
        (session.identity, session.expires, session.token_wanted) = (identity, expires, None);
        session.say(Outbound::Admitted { may_write });
        self.hide_reader(id, now);
        self.sweep_by(expires.map_or(now + SWEEP, |expires| expires.min(now + SWEEP)));
    }

    /// Where readers are not shown: takes away what a session said when it might still write.
    fn hide_reader(&mut self, id: SessionId, now: Micros) {
        let is_reader = |session: &Session| session.identity.access == Access::Read;
        if self.policy.shows_readers || !self.sessions.get(&id).is_some_and(is_reader) {
            return;
        }
        self.presence.leave(id, now);
        if self.presence.has_changed() {
            self.presence_cadence.gather(now, presence_pause(self.sessions.len()));
        }
    }

    /// A session is gone. Without effect for one that is not here.
    pub fn leave(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if session.pinged.asking.is_some_and(|asking| asking.is_for_line) {
            session.outbox.line().asks(false);
        }
        if let Some(tried) = session.sent_large {
            self.given_up.remember(session.client(), tried, now);
        }
        // Its answer may be the last one's.
        drop(session);
        self.lagging.remove(&id);
        self.waiting.remove(id);
        self.unseen.remove(&id);
        self.cache.tidy();
        self.presence.leave(id, now);
        let document = &self.document;
        let wanted = self.authorship.leave(id, now, |client| document.clocks().next(client));
        self.ask_who_waited(&wanted, now);
        if self.presence.has_changed() {
            self.presence_cadence.gather(now, presence_pause(self.sessions.len()));
        }
        if self.sessions.is_empty() {
            // One that nobody has ever written to is worth nothing in memory.
            let idle = if self.is_new() { 0 } else { self.policy.idle_timeout };
            self.leaves_at(now + idle, now);
            self.cache.clear();
            self.recent.clear(self.version);
        }
    }

    /// What may still wait for the disk. Of that, one document may take half, and what each may take.
    pub fn store_free(&mut self, free: Free) {
        self.store_free = free;
    }

    /// A session said something. Without effect for one that is not here.
    pub fn hear(&mut self, id: SessionId, message: Inbound, now: Micros, effects: &mut Vec<Effect>) {
        if !self.sessions.contains_key(&id) {
            return;
        }
        let is_question = matches!(message, Inbound::SyncStep1(_));
        match message {
            Inbound::SyncStep1(had) => {
                self.ask_back(id, &had, now);
                self.wants_sync(id, &had, now, effects);
            }
            Inbound::Update { update, answer } => {
                self.take_update(id, update, answer, now, effects);
                if answer {
                    self.has_answered(id, now, effects);
                }
            }
            Inbound::Awareness(entries) => {
                let entries = self.within_its_share(id, entries, now);
                self.hear_presence(id, &entries, now);
                self.announced(id, &entries, now);
                if self.presence.has_changed() {
                    self.presence_cadence.gather(now, presence_pause(self.sessions.len()));
                }
            }
            Inbound::AwarenessQuery => {
                // Answered with the next look at those who lag: a flood of questions costs one answer.
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.presence_stale = true;
                    self.lagging.insert(id);
                    self.catch_up_by(now + CATCH_UP);
                }
            }
            Inbound::SavedQuery(payload) => self.asks_whether_saved(id, SavedAnswer::Echo(payload), now),
            Inbound::Stateless(text) => self.relay(id, &text, now),
            Inbound::Pong(number) => self.line_carries(id, number, now, effects),
            Inbound::Ignored => {}
        }
        if !is_question {
            self.greet(id, now);
        }
    }

    /// A session has said what it has.
    fn has_answered(&mut self, id: SessionId, now: Micros, effects: &mut Vec<Effect>) {
        self.needs_latest(id);
        self.answer_questions_of(id, now);
        let waits = |session: &Session| session.dialect.must_answer() && session.served.is_none();
        if self.lagging.contains(&id) && self.sessions.get(&id).is_some_and(waits) {
            self.serve(id, now, effects);
        }
    }

    /// What a session that may write says of itself shows under which client ids it writes.
    fn announced(&mut self, id: SessionId, entries: &[Entry], now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.identity.access == Access::Read {
            return;
        }
        let first = entries.iter().find(|entry| entry.state.is_some());
        session.announces = session.announces.or(first.map(|entry| entry.client));
        let session = &*session;
        let mut unsure = BTreeMap::new();
        for entry in entries {
            let (client, author) = (entry.client, session.author(id));
            let next = self.document.clocks().next(client);
            let from = match self.presence.owner(client) {
                _ if entry.state.is_none() => None,
                Some(_) => self.authorship.announce(client, author, next),
                None => self.authorship.come_back(client, author, next),
            };
            if let Some(from) = from {
                unsure.insert(client, from);
            }
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            // Once: what it writes later it sends, and a peer that says the same without end costs nothing.
            let asked = &mut session.asked_about;
            unsure.retain(|client, from| {
                let before = asked.get(client);
                let new = before.map_or(asked.len() < ASKED_ABOUT_MAX, |before| *from < *before);
                if new {
                    asked.insert(*client, *from);
                }
                new
            });
        }
        if !unsure.is_empty() {
            let had = self.asks_from().cut_to(&unsure);
            self.ask_for(id, &had);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.saving.asked = now;
            }
        }
    }

    /// Everything up to `seq` is durable.
    pub fn stored(&mut self, seq: Seq, now: Micros) {
        self.journal.stored(seq);
        self.answer_questions(now);
    }

    /// The snapshot that was last asked for is durable, or could not be made so (then the records
    /// that it covers stay, and the next one is tried in its time).
    pub fn snapshot_stored(&mut self) {
        self.journal.snapshotting = false;
    }

    /// When [`Room::wake`] is to be called next, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        [
            self.edit_cadence.due(),
            self.presence_cadence.due(),
            self.sweep_due,
            self.catch_up_due,
            self.leaving.as_ref().map(Leaving::due),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        if self.edit_cadence.leaves(now) {
            self.send_edits(now, effects);
        }
        if self.presence_cadence.leaves(now) {
            self.send_presence(now);
        }
        if self.sweep_due.is_some_and(|due| due <= now) {
            self.sweep(now, effects);
        }
        if self.catch_up_due.is_some_and(|due| due <= now) {
            self.catch_up(now, effects);
        }
        self.leaves_if_due(now, effects);
    }

    /// What was gathered leaves now.
    pub fn flush(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.send_edits(now, effects);
    }

    /// Tokens are no longer good: ends the sessions that have them, or lowers their access, and says how many. A session whose
    /// access is lowered is told so, and goes on.
    pub fn revoke(&mut self, revocation: &Revocation, now: Micros, effects: &mut Vec<Effect>) -> usize {
        let concerned = |session: &Session| {
            revocation.concerns(&session.identity, &self.name) && Some(session.identity.access) > revocation.leaves
        };
        let concerned = self.sessions.iter().filter(|(_, session)| concerned(session));
        let ids: Vec<SessionId> = concerned.map(|(id, _)| *id).collect();
        for id in &ids {
            match revocation.leaves {
                None => self.end(*id, CloseReason::revoked(), now, effects),
                Some(access) => self.lower(*id, access, now),
            }
        }
        ids.len()
    }

    fn lower(&mut self, id: SessionId, access: Access, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.identity.access = access;
        session.say(Outbound::Admitted {
            may_write: access == Access::Write,
        });
        self.hide_reader(id, now);
    }

    /// Who is here.
    #[must_use]
    pub fn present(&self, now: Micros) -> Vec<Present> {
        let sessions = self.sessions.iter();
        sessions.map(|(id, session)| present(*id, session, now)).collect()
    }

    /// Ends every session with the same reason.
    pub fn end_all(&mut self, reason: &CloseReason, now: Micros, effects: &mut Vec<Effect>) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.end(id, reason.clone(), now, effects);
        }
    }

    fn end(&mut self, id: SessionId, reason: CloseReason, now: Micros, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let ends = session.dialect.ends(&reason);
        if ends.is_denied {
            session.say(Outbound::Denied(&session.dialect.denial(&reason)));
        }
        session.outbox.end(ends.line.map(|reason| frame::close(&reason)));
        self.leave(id, now);
        effects.push(Effect::Ended { session: id, reason });
    }
}
