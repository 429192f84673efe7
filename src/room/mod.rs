//! One document's life as a state machine.
//!
//! The room is told what happened ([`Room::join`], [`Room::hear`], [`Room::stored`], …) together
//! with the time, and answers with [`Effect`]s in order; frames for its sessions go straight into
//! their [`Outbox`]es. It knows no clock, disk, socket or randomness, so a test can replay any life.
//!
//! | organ | decides |
//! |---|---|
//! | `replica` | merging into yrs, encoding |
//! | `session`, `outbox` | who is connected, what each has of the document, what waits for it |
//! | `fan_out` | who is sent what: broadcasts, catching up, resynchronising the slow |
//! | `presence` | awareness |
//! | `cadence` | when edits and presence leave |
//! | `saving` | positions, what is durable, snapshots |
//! | `sync_cache` | encoded answers shared by all who ask the same |
//!
//! What must stay true: an update is broadcast and appended in the order in which it was applied;
//! nothing is acknowledged whose `Append` has not been answered by [`Room::stored`].

use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::{
    access::Access,
    id::DocumentId,
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound},
        frame,
        update::{Admission, CheckedUpdate, Clocks, merge},
    },
    store::{Seq, StoredDocument},
};

pub mod cadence;
mod fan_out;
pub mod outbox;
pub mod presence;
pub mod replica;
mod saving;
pub mod session;
mod sync_cache;

use cadence::{Cadence, edit_pause, presence_pause};
use outbox::Kind;
use presence::Presence;
use replica::{EncodeJob, Encoded, Poisoned, Replica};
use saving::Journal;
use session::{Joining, Reading, Saving, Session, SessionId};
use sync_cache::SyncCache;

/// Microseconds of a clock that never goes back; its zero is the shell's choice.
pub type Micros = u64;

const MS: Micros = 1_000;
const SECOND: Micros = 1_000_000;

/// How often sessions are looked after: silence, expiry, presence.
const SWEEP: Micros = 5 * SECOND;
/// The same while somebody waits to hear that edits are saved.
const SWEEP_WAITING: Micros = SECOND;
/// How often a session that is behind is looked at.
const CATCH_UP: Micros = 10 * MS;
/// Providers reconnect when no message came for 30 s.
const SILENCE_MAX: Micros = 20 * SECOND;
/// y-sweet's client reconnects when its question stays unanswered and nothing else comes for 3 s.
const SILENCE_WAITING_MAX: Micros = 2 * SECOND;
/// A client that does not answer our SyncStep1 for this long has nothing that we lack.
const ANSWER_PATIENCE: Micros = 2 * SECOND;
/// How often a session is answered what it lacks: each answer may be an encoding of the document.
const SYNC_PAUSE: Micros = 100 * MS;
/// How often a session is asked again for what its updates refer to.
const GAP_ASK: Micros = 10 * SECOND;
/// A peer of which nothing was heard for this long, in spite of pings, is gone.
const DEAF_MAX: Micros = 75 * SECOND;
/// So long after the first was shown what is stored it is merged: behind the answers to all who open it, and before
/// most of them say anything.
const MERGE_AFTER: Micros = SECOND;
/// Questions of one session that may wait.
const QUESTIONS_MAX: usize = 64;
/// Full states above this size are encoded where they delay no other document.
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
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// Make this durable, then tell [`Room::stored`].
    Append {
        /// Its position.
        seq: Seq,
        /// A Yjs v1 update.
        update: Bytes,
        /// The subjects of its authors.
        authors: Arc<[Arc<str>]>,
        /// When the oldest edit in it came in.
        received: Micros,
    },
    /// Make this durable when there is time, then tell [`Room::snapshot_stored`].
    Snapshot {
        /// The last position that it covers.
        seq: Seq,
        /// A Yjs v1 update.
        state: Bytes,
    },
    /// Run this away from other documents, then tell [`Room::encoded`]; until then the room must not
    /// be called.
    Encode(EncodeJob),
    /// Call [`Room::merge`] where that delays no other document.
    Merge,
    /// A session was ended by the room (its socket still has to say [`Room::leave`], which is then
    /// without effect).
    Ended {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// Nobody uses the document and everything is saved: forget it.
    Unload,
    /// The document must be thrown away and loaded anew.
    Poisoned(Poisoned),
}

/// What happened since the counts were last taken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Updates that changed the document.
    pub updates: u64,
    /// Their bytes.
    pub update_bytes: u64,
    /// Updates that brought nothing new.
    pub updates_known: u64,
    /// Updates that were refused, in whole or in part, because they refer to what nobody sent.
    pub updates_with_gaps: u64,
    /// Updates of readers, which are never applied.
    pub updates_of_readers: u64,
    /// Frames queued, each counted once per receiver.
    pub frames: u64,
    /// Awareness entries that were refused.
    pub awareness_refused: u64,
    /// Readers that fell behind and were resynchronised.
    pub resyncs: u64,
    /// Times from an edit to its broadcast, of the oldest edit in each.
    pub to_broadcast: SmallVec<[Micros; 2]>,
}

/// One document and everybody who is connected to it.
#[derive(Debug)]
pub struct Room {
    document: DocumentId,
    policy: Policy,
    replica: Replica,
    sessions: FxHashMap<SessionId, Session>,
    presence: Presence,
    presence_cadence: Cadence,
    batch: Batch,
    edit_cadence: Cadence,
    journal: Journal,
    cache: SyncCache,
    /// Counts the broadcasts; 0 only before anything.
    version: u64,
    checkpoints: fan_out::Checkpoints,
    encoding: Encoding,
    sweep_due: Option<Micros>,
    catch_up_due: Option<Micros>,
    merge_due: Option<Micros>,
    catch_up_pause: Micros,
    /// Sessions that are not live, or whose presence is stale.
    lagging: FxHashSet<SessionId>,
    /// Sessions with a question whether they are saved.
    asking: FxHashSet<SessionId>,
    idle_since: Option<Micros>,
    too_large: bool,
    store_full: bool,
    counts: Counts,
}

/// Updates that were applied and have not left.
#[derive(Debug, Default)]
struct Batch {
    updates: Vec<CheckedUpdate>,
    sources: Vec<SessionId>,
    /// Sessions that have what is in it from elsewhere: they are told "saved" only when it is, too.
    waiters: Vec<SessionId>,
    bytes: usize,
    oldest: Micros,
}

/// What a full state is being encoded for, elsewhere.
#[derive(Debug, Default, PartialEq, Eq)]
enum Encoding {
    #[default]
    Nothing,
    ForReaders,
    ForSnapshot,
}

impl Room {
    /// Opens a room over what the store holds. It is merged when [`Room::merge`] is called, or when that is needed.
    ///
    /// # Errors
    /// [`Poisoned`] when the stored bytes do not pass the gate.
    pub fn open(document: DocumentId, stored: &StoredDocument, policy: Policy, now: Micros) -> Result<Self, Poisoned> {
        let (mut cache, mut version) = (SyncCache::default(), 0);
        let replica = Replica::read(stored, |update| {
            version += 1;
            cache.opened_with(version, update, Dialect::YWebsocket);
        })?;
        let snapshot_bytes = stored.snapshot.as_ref().map_or(0, |(_, bytes)| bytes.len());
        let updates_bytes = stored.updates.iter().map(|(_, bytes)| bytes.len()).sum();
        Ok(Self {
            document,
            policy,
            replica,
            sessions: FxHashMap::default(),
            presence: Presence::default(),
            presence_cadence: Cadence::default(),
            batch: Batch::default(),
            edit_cadence: Cadence::default(),
            journal: Journal::new(stored.last_seq(), snapshot_bytes, updates_bytes, stored.updates.len()),
            cache,
            version: version.max(1),
            checkpoints: fan_out::Checkpoints::default(),
            encoding: Encoding::Nothing,
            sweep_due: None,
            catch_up_due: None,
            merge_due: None,
            catch_up_pause: CATCH_UP,
            lagging: FxHashSet::default(),
            asking: FxHashSet::default(),
            idle_since: Some(now),
            too_large: false,
            store_full: false,
            counts: Counts::default(),
        })
    }

    /// Whether somebody waits to hear that something became durable; otherwise [`Room::stored`] may be
    /// late.
    #[must_use]
    pub fn wants_stored(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Which document this is.
    #[must_use]
    pub fn document(&self) -> &DocumentId {
        &self.document
    }

    /// Whether so much is in it that letting go of it takes long.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.replica.weight_bytes() > ENCODE_HERE_BYTES_MAX
    }

    /// An estimate of the size of its full state, in bytes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.replica.weight_bytes()
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
        self.replica.clocks()
    }

    /// Whether what the store held is merged.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.replica.is_merged()
    }

    /// Merges what the store held.
    ///
    /// # Errors
    /// [`Poisoned`] when that is no document: the room must be thrown away.
    pub fn merge(&mut self) -> Result<(), Poisoned> {
        debug_assert_eq!(self.encoding, Encoding::Nothing, "what is being encoded stays as it is");
        self.merge_due = None;
        self.cache.forget_unasked();
        self.replica.merge()
    }

    /// What the store held cannot be merged any more.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self) {
        self.replica.poison();
    }

    /// Whether `message` can be heard without merging what the store held first: a newcomer is shown the stored bytes.
    #[must_use]
    pub fn can_hear(&self, message: &Inbound) -> bool {
        if self.is_merged() {
            return true;
        }
        match message {
            Inbound::SyncStep1(had) => {
                let had = had.restricted_to(self.replica.clocks());
                self.cache.has(&had, self.version)
            }
            Inbound::Update { update, .. } => update.is_known(self.replica.clocks()),
            Inbound::Awareness(_) | Inbound::AwarenessQuery | Inbound::SavedQuery(_) | Inbound::Ignored => true,
        }
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// A session joins: it is asked for what it has, and shown who is here.
    pub fn join(&mut self, joining: Joining, now: Micros) {
        let Joining {
            id,
            identity,
            expires,
            dialect,
            outbox,
        } = joining;
        outbox.push(
            dialect.sync_step1(&self.replica.clocks().encode_state_vector()),
            Kind::Other,
        );
        if let Some(everybody) = self.presence.everybody() {
            outbox.push(dialect.awareness(&everybody), Kind::Other);
        }
        if identity.access == Access::Read {
            outbox.push(dialect.denied(READ_ONLY), Kind::Other);
        }
        outbox.heard(now / MS);
        let session = Session {
            identity,
            expires,
            dialect,
            outbox,
            reading: Reading::New,
            joined: now,
            sent: now,
            presence_stale: false,
            asked: None,
            gap: false,
            refused: false,
            served: None,
            saving: Saving::default(),
            told_read_only: false,
        };
        self.sessions.insert(id, session);
        // What our SyncStep1 says that we have may have come from this very client, before it reconnected.
        self.wait_for_known(id);
        self.idle_since = None;
        self.sweep_by(expires.map_or(now + SWEEP, |expires| expires.min(now + SWEEP)));
    }

    /// A session is gone. Without effect for one that is not here.
    pub fn leave(&mut self, id: SessionId, now: Micros) {
        if self.sessions.remove(&id).is_none() {
            return;
        }
        self.lagging.remove(&id);
        self.asking.remove(&id);
        self.presence.leave(id, now);
        if self.presence.has_changed() {
            self.presence_cadence.gather(now, presence_pause(self.sessions.len()));
        }
        if self.sessions.is_empty() {
            self.idle_since = Some(now);
            // What is not merged would have to be, to answer the next one.
            if self.is_merged() {
                self.cache.clear();
            }
        }
    }

    /// Whether all documents together wait for as much as they may: edits are then refused.
    pub fn store_full(&mut self, full: bool) {
        self.store_full = full;
    }

    /// A session said something. Without effect for one that is not here.
    pub fn hear(&mut self, id: SessionId, message: Inbound, now: Micros, effects: &mut Vec<Effect>) {
        if !self.sessions.contains_key(&id) {
            return;
        }
        match message {
            Inbound::SyncStep1(had) => self.wants_sync(id, &had, now, effects),
            Inbound::Update { update, answer } => self.take_update(id, update, answer, now, effects),
            Inbound::Awareness(entries) => {
                let bytes_max = self.policy.outbox_bytes_max / 2;
                self.counts.awareness_refused += self.presence.hear(id, &entries, bytes_max, now) as u64;
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
            Inbound::SavedQuery(payload) => self.asks_whether_saved(id, payload, now),
            Inbound::Ignored => {}
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

    /// An [`Effect::Encode`] was carried out.
    pub fn encoded(&mut self, result: Result<Encoded, Poisoned>, now: Micros, effects: &mut Vec<Effect>) {
        let purpose = std::mem::take(&mut self.encoding);
        match result {
            Err(poisoned) => {
                self.replica.poison();
                effects.push(Effect::Poisoned(poisoned));
            }
            Ok(mut encoded) => {
                // The job ran after everything that was broadcast until now had been applied.
                encoded.version = self.version;
                self.keep_encoded(&encoded);
                if purpose == Encoding::ForSnapshot {
                    self.snapshot(&encoded, effects);
                }
                self.catch_up(now, effects);
            }
        }
    }

    /// When [`Room::wake`] is to be called next, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        let idle = self.idle_since.map(|since| since + self.policy.idle_timeout);
        [
            self.edit_cadence.due(),
            self.presence_cadence.due(),
            self.sweep_due,
            self.catch_up_due,
            self.merge_due,
            idle,
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
        if self.merge_due.take_if(|due| *due <= now).is_some() && !self.sessions.is_empty() {
            effects.push(Effect::Merge);
        }
        if self
            .idle_since
            .is_some_and(|since| since + self.policy.idle_timeout <= now)
        {
            self.part(now, effects);
        }
    }

    /// What was gathered leaves now.
    pub fn flush(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.send_edits(now, effects);
    }

    /// Ends every session with the same reason.
    pub fn end_all(&mut self, reason: &CloseReason, now: Micros, effects: &mut Vec<Effect>) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.end(id, reason.clone(), now, effects);
        }
    }

    fn take_update(
        &mut self,
        id: SessionId,
        update: CheckedUpdate,
        answer: bool,
        now: Micros,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.identity.access == Access::Read {
            session.saving.answered |= answer;
            // An answer to our SyncStep1 repeats every deletion that the peer knows of.
            let new_structs = update
                .spans()
                .any(|(client, span)| span.end > self.replica.clocks().next(client));
            let edited = !answer && (new_structs || !update.deletions().is_empty());
            session.refused |= edited;
            if answer {
                // It may know what a crash of ours lost and what its author has yet to send again.
                session.gap = new_structs;
            }
            if edited || new_structs {
                self.counts.updates_of_readers += 1;
                if !std::mem::replace(&mut session.told_read_only, true) {
                    session.outbox.push(session.dialect.denied(READ_ONLY), Kind::Other);
                }
            }
            return;
        }
        if update.is_known(self.replica.clocks()) {
            session.gap &= !answer;
            session.saving.answered |= answer;
            self.counts.updates_known += 1;
            return self.wait_for_known(id);
        }
        let admitted = match self.replica.admit(update) {
            Admission::Whole(update) => {
                session.gap &= !answer;
                Some(update)
            }
            Admission::Part(update) => {
                session.gap = true;
                Some(update)
            }
            Admission::Nothing => {
                session.gap = true;
                None
            }
            Admission::Refused(why) => {
                return self.end(
                    id,
                    CloseReason::Refused(format!("the update is not Yjs: {why}")),
                    now,
                    effects,
                );
            }
        };
        session.saving.answered |= answer;
        if session.gap {
            self.counts.updates_with_gaps += 1;
            self.ask_for_missing(id, now);
        }
        let Some(update) = admitted.filter(|update| !update.is_empty()) else {
            return self.wait_for_known(id);
        };
        if self.too_large {
            let limit = self.policy.document_bytes_max;
            let reason =
                format!("the document has reached the server's limit of {limit} bytes and takes no more edits");
            return self.end(id, CloseReason::DocumentTooLarge(reason), now, effects);
        }
        let unsaved_bytes = self.journal.unsaved_bytes() + self.batch.bytes + update.bytes().len();
        if self.store_full || unsaved_bytes > self.policy.unsaved_bytes_max {
            let reason = "too much waits to be saved, keep the edits and try again".to_owned();
            return self.end(id, CloseReason::Overloaded(reason), now, effects);
        }
        debug_assert_eq!(self.encoding, Encoding::Nothing, "what is being encoded stays as it is");
        match self.replica.apply(&update) {
            Err(poisoned) => {
                let reason = CloseReason::Refused("the update cannot be merged".to_owned());
                self.end(id, reason, now, effects);
                effects.push(Effect::Poisoned(poisoned));
            }
            Ok(false) => {
                self.counts.updates_known += 1;
                self.wait_for_known(id);
            }
            Ok(true) => {
                self.counts.updates += 1;
                self.counts.update_bytes += update.bytes().len() as u64;
                if self.batch.updates.is_empty() {
                    self.batch.oldest = now;
                }
                self.batch.bytes += update.bytes().len();
                self.batch.updates.push(update);
                if !self.batch.sources.contains(&id) {
                    self.batch.sources.push(id);
                }
                self.edit_cadence.gather(now, edit_pause(self.sessions.len()));
            }
        }
    }

    /// What this session sent is known already, but perhaps not durable yet.
    fn wait_for_known(&mut self, id: SessionId) {
        if !self.batch.updates.is_empty() && !self.batch.waiters.contains(&id) {
            self.batch.waiters.push(id);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.saving.last_seq = self.journal.appended;
        }
    }

    /// What was gathered leaves: one append, one frame for each dialect, shared by all.
    fn send_edits(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.edit_cadence.left_at(now);
        if self.batch.updates.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let merged = merge(&batch.updates);
        self.version += 1;
        self.counts.to_broadcast.push(now.saturating_sub(batch.oldest));
        self.broadcast_updates(&merged, &batch.sources, now);

        let mut authors: Vec<Arc<str>> = Vec::new();
        for source in &batch.sources {
            if let Some(subject) = self
                .sessions
                .get(source)
                .and_then(|session| session.identity.subject.clone())
                && !authors.contains(&subject)
            {
                authors.push(subject);
            }
        }
        let authors: Arc<[Arc<str>]> = authors.into();
        for update in &merged {
            let update = update.bytes().clone();
            let seq = self.journal.append(update.len());
            effects.push(Effect::Append {
                seq,
                update,
                authors: authors.clone(),
                received: batch.oldest,
            });
        }
        for id in batch.sources.iter().chain(&batch.waiters) {
            if let Some(session) = self.sessions.get_mut(id) {
                session.saving.last_seq = self.journal.appended;
                for (needs, _) in &mut session.saving.questions {
                    *needs = (*needs).min(self.journal.appended);
                }
            }
        }
        if self.replica.weight_bytes() > self.policy.document_bytes_max
            || self.journal.wants_snapshot(self.policy.snapshot_bytes)
        {
            self.encode_snapshot(effects);
        }
    }

    fn asks_whether_saved(&mut self, id: SessionId, payload: Bytes, now: Micros) {
        let in_batch = self.batch.sources.contains(&id) || self.batch.waiters.contains(&id);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // The position of what is still gathered is known when it leaves.
        let needs = if in_batch { Seq::MAX } else { session.saving.last_seq };
        self.asking.insert(id);
        session.saving.questions.push_back((needs, payload));
        if session.saving.questions.len() > QUESTIONS_MAX {
            session.saving.questions.pop_front();
        }
        self.answer_questions_of(id, now);
        if self
            .sessions
            .get(&id)
            .is_some_and(|session| !session.saving.questions.is_empty())
        {
            self.sweep_by(now + SWEEP_WAITING);
        }
    }

    fn answer_questions(&mut self, now: Micros) {
        let asking: Vec<SessionId> = self.asking.iter().copied().collect();
        for id in asking {
            self.answer_questions_of(id, now);
        }
    }

    /// A session that may hold edits which we lack is not told that all is saved.
    fn answer_questions_of(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let complete = session.saving.answered || session.joined + ANSWER_PATIENCE <= now;
        if session.gap || session.refused || !complete {
            return;
        }
        let durable = self.journal.durable;
        while let Some((_, payload)) = session.saving.questions.pop_front_if(|(needs, _)| *needs <= durable) {
            session.outbox.push(session.dialect.saved(&payload), Kind::Other);
            session.sent = now;
            self.counts.frames += 1;
        }
        if session.saving.questions.is_empty() {
            self.asking.remove(&id);
        }
    }

    fn ask_for_missing(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.asked.is_some_and(|asked| now < asked + GAP_ASK) {
            return;
        }
        session.asked = Some(now);
        session.outbox.push(
            session.dialect.sync_step1(&self.replica.clocks().encode_state_vector()),
            Kind::Other,
        );
    }

    fn end(&mut self, id: SessionId, reason: CloseReason, now: Micros, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else { return };
        if matches!(reason, CloseReason::Unauthenticated(_) | CloseReason::Forbidden(_)) {
            session.outbox.push(session.dialect.denied(reason.text()), Kind::Other);
        }
        session.outbox.close(&reason);
        self.leave(id, now);
        effects.push(Effect::Ended { session: id, reason });
    }

    /// Looks after the sessions: expired tokens, the deaf, the silent, open questions and gaps.
    fn sweep(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.sweep_due = None;
        self.presence.expire(now);
        if self.presence.has_changed() {
            self.presence_cadence.gather(now, presence_pause(self.sessions.len()));
        }
        let mut next = now + SWEEP;
        let mut ended = Vec::new();
        let mut asked = Vec::new();
        let mut questions = Vec::new();
        for (id, session) in &mut self.sessions {
            if let Some(expires) = session.expires {
                if expires <= now {
                    let reason = "the token has expired, get a new one".to_owned();
                    ended.push((*id, CloseReason::Unauthenticated(reason)));
                    continue;
                }
                next = next.min(expires);
            }
            if session.outbox.heard_ms() * MS + DEAF_MAX <= now {
                ended.push((*id, CloseReason::Overloaded("nothing was heard for 75 s".to_owned())));
                continue;
            }
            if !session.saving.questions.is_empty() {
                questions.push(*id);
                next = next.min(now + SWEEP_WAITING);
            }
            if session.gap {
                asked.push(*id);
            }
            let waiting = !session.saving.questions.is_empty();
            let patience = if waiting {
                SILENCE_WAITING_MAX
            } else {
                SILENCE_MAX - SWEEP
            };
            if session.sent + patience <= now {
                session.sent = now;
                session.outbox.push(keep_alive(session), Kind::Other);
            }
        }
        for (id, reason) in ended {
            self.end(id, reason, now, effects);
        }
        for id in questions {
            self.answer_questions_of(id, now);
        }
        for id in asked {
            self.ask_for_missing(id, now);
        }
        if !self.sessions.is_empty() {
            self.sweep_by(next);
        }
    }

    fn sweep_by(&mut self, at: Micros) {
        self.sweep_due = Some(self.sweep_due.map_or(at, |due| due.min(at)));
    }

    /// Nobody uses the document: save what a quick opening needs, then go.
    fn part(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        if !self.all_saved() || self.journal.snapshotting || self.encoding != Encoding::Nothing {
            self.idle_since = Some(now);
            return;
        }
        // Who came and said nothing is no reason to merge.
        if self.is_merged() && self.journal.wants_parting_snapshot() {
            self.idle_since = Some(now);
            return self.encode_snapshot(effects);
        }
        self.idle_since = None;
        effects.push(Effect::Unload);
    }

    fn encode_snapshot(&mut self, effects: &mut Vec<Effect>) {
        if self.encoding != Encoding::Nothing || self.journal.snapshotting {
            return;
        }
        let job = self.replica.encode_job(Arc::new(Clocks::default()), self.version);
        if self.replica.weight_bytes() > ENCODE_HERE_BYTES_MAX {
            self.encoding = Encoding::ForSnapshot;
            effects.push(Effect::Encode(job));
            return;
        }
        match job.run() {
            Err(poisoned) => {
                self.replica.poison();
                effects.push(Effect::Poisoned(poisoned));
            }
            Ok(encoded) => {
                self.keep_encoded(&encoded);
                self.snapshot(&encoded, effects);
            }
        }
    }

    fn snapshot(&mut self, encoded: &Encoded, effects: &mut Vec<Effect>) {
        // A snapshot supersedes the log, so it must be at least readable and complete.
        let complete = encoded.clocks().is_some_and(|clocks| clocks == *self.replica.clocks());
        let state = &encoded.update;
        if !complete {
            log::error!(
                "the full state of document {} does not read back: its log is kept instead",
                self.document
            );
            return self.journal.snapshot_refused();
        }
        self.journal.snapshot_taken(state.len());
        effects.push(Effect::Snapshot {
            seq: self.journal.appended,
            state: state.clone(),
        });
    }

    fn keep_encoded(&mut self, encoded: &Encoded) {
        if encoded.had.is_empty() {
            self.replica.weighs(encoded.update.len());
            self.too_large = encoded.update.len() > self.policy.document_bytes_max;
        }
        self.cache.keep(encoded, self.replica.clocks(), Dialect::YWebsocket);
    }
}

/// What a reader is told, in the dialect's way.
const READ_ONLY: &str = "read-only: your edits are not taken";

/// Something at the level of the application, and a ping that makes the peer's socket answer.
fn keep_alive(session: &Session) -> Bytes {
    let awareness = session.dialect.awareness(&[0]);
    let mut both = bytes::BytesMut::from(frame::ping().as_ref());
    both.extend_from_slice(&awareness);
    both.freeze()
}
