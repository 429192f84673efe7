//! Who is sent what of the document, and when.
//!
//! A session is *live* (broadcasts go to it), or *behind*: it has what some state vector says and
//! is sent the difference when its outbox has room. A newcomer starts behind, with what its
//! SyncStep1 says; a reader whose outbox is full loses the updates that wait there and is behind
//! from the last checkpoint that it is known to have passed. A large difference is *streamed*: its
//! frames go out as the outbox drains, and what happened meanwhile is the next, smaller difference.
//!
//! What must stay true: a live session's outbox was given every broadcast since `since_version`; a
//! session that is not live is in `lagging`, or was never asked for anything; when a session becomes
//! live, its outbox holds nothing that its `had` counts on.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use crate::{
    access::Access,
    budgets::Rate,
    limits::{SYNC_FRAME_BYTES_MAX, SYNC_WHOLE_BYTES_MAX},
    protocol::{
        awareness::{self, Entry},
        dialect::{Dialect, Outbound},
        frame::Frame,
        update::{CheckedUpdate, Clocks, EMPTY_UPDATE, Sizes, seal},
    },
};

use super::presence::{self, Speaker, States};
use super::{
    CATCH_UP, Effect, MS, Micros, Room,
    had::Had,
    outbox::{Asks, Kind},
    questions::ANSWER_PATIENCE,
    session::{Reading, Session, SessionId},
    states::Encoding,
    stream::{Step, Stream},
    sync_cache::{Answer, Tail},
};

/// How often a session is answered what it lacks: each answer may be an encoding of the document.
const SYNC_PAUSE: Micros = 100 * MS;
/// How often sessions of a line that ask again are answered with what is encoded for them alone.
const AGAIN: Rate = Rate::per_second(1, 5);
/// How often those that ask for the first time are: as many documents as a line takes come back at once.
const FIRST: Rate = Rate::per_second(5, 1_000);
/// Slowest look at sessions of which none makes progress.
const CATCH_UP_MAX: Micros = 640_000;

/// Traffic between two checkpoints, in bytes: what a slow reader is sent needlessly at most.
const CHECKPOINT_BYTES: usize = 256 * 1024;

/// Checkpoints kept; a reader that is further behind is sent what it lacks since its own last sync.
const CHECKPOINTS_MAX: usize = 16;

/// State vectors of so many clients are remembered whatever others there are.
const HAD_CLIENTS_MIN: usize = 256;
/// Larger ones have so many clients together, or so many times what the document has.
const HAD_CLIENTS_MAX: usize = 65_536;
const HAD_SHARE: usize = 4;

/// All states of a document take so many bytes while memory is short: some hundred people without pictures.
const PRESENCE_BYTES_SHORT: usize = 64 * 1024;

/// Clients of all checkpoints together.
const CHECKPOINTS_CLIENTS_MAX: usize = 65_536;

/// What the document knew at some versions.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    ring: VecDeque<(u64, Arc<Clocks>)>,
    bytes_since: usize,
}

impl Checkpoints {
    fn note(&mut self, version: u64, bytes: usize, clocks: &Clocks) {
        self.bytes_since += bytes;
        if self.bytes_since < CHECKPOINT_BYTES {
            return;
        }
        self.bytes_since = 0;
        if clocks.len() > CHECKPOINTS_CLIENTS_MAX {
            self.ring.clear();
            return;
        }
        let mut held: usize = self.ring.iter().map(|(_, clocks)| clocks.len()).sum();
        while self.ring.len() >= CHECKPOINTS_MAX || held + clocks.len() > CHECKPOINTS_CLIENTS_MAX {
            let Some((_, oldest)) = self.ring.pop_front() else {
                break;
            };
            held -= oldest.len();
        }
        self.ring.push_back((version, Arc::new(clocks.clone())));
    }

    /// All who passed the same one have the same to get.
    fn newest_up_to(&self, version: u64) -> Option<Had> {
        let passed = self.ring.iter().rev().find(|(at, _)| *at <= version);
        passed.map(|(at, clocks)| Had::sent(clocks.clone(), *at))
    }
}

impl Room {
    /// A session says what it has and asks for the rest.
    pub(super) fn wants_sync(&mut self, id: SessionId, had: &Clocks, now: Micros, effects: &mut Vec<Effect>) {
        // Clients that the document does not know make no difference to the answer, only to its price.
        let had = self.remembered(had.restricted_to(self.document.clocks()));
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.outbox.drop_sync();
        // What it was sent before counts no more.
        session.outbox.begins_anew();
        // What stood before that ping was dropped.
        session.pinged.asking.take_if(|asking| !asking.is_for_line);
        session.follows = false;
        session.reading = Reading::behind(Had::said(had));
        session.wants_document = true;
        session.asks_again = session.served.is_some();
        self.lagging.insert(id);
        if session.served.is_some_and(|at| now < at + SYNC_PAUSE) {
            return self.catch_up_by(now + CATCH_UP);
        }
        self.serve(id, now, effects);
        // Also when it made progress: the pieces of a large state are followed by what came meanwhile.
        if self.lagging.contains(&id) {
            self.catch_up_by(now + CATCH_UP);
        }
    }

    /// What a session says that it has, if there is room for it beside what others said; else nothing, and it is sent all: a
    /// document that very many wrote to would otherwise take as much again for each who asks.
    fn remembered(&self, had: Clocks) -> Arc<Clocks> {
        if had.len() <= HAD_CLIENTS_MIN {
            return Arc::new(had);
        }
        let mut seen = FxHashSet::default();
        let known = self
            .sessions
            .values()
            .filter_map(|session| Some(&session.reading.had()?.clocks));
        let known: Vec<&Arc<Clocks>> = known.filter(|known| seen.insert(Arc::as_ptr(known))).collect();
        if let Some(same) = known.iter().find(|known| ****known == had) {
            return (*same).clone();
        }
        let held: usize = known.iter().map(|known| known.len()).sum();
        let room = HAD_CLIENTS_MAX.max(HAD_SHARE * self.document.clocks().len());
        if held + had.len() > room {
            return Arc::default();
        }
        Arc::new(had)
    }

    /// One frame for each form of address, shared by all live sessions but the only author.
    pub(super) fn broadcast_updates(&mut self, merged: &[CheckedUpdate], sources: &BTreeSet<SessionId>, now: Micros) {
        self.cache.advance(self.version, merged);
        let bytes = merged.iter().map(|update| update.bytes().len()).sum();
        self.checkpoints.note(self.version, bytes, self.document.clocks());
        self.recent
            .note(self.version, merged, self.document.totals().deleted_ranges);
        let only_author = sources.first().copied().filter(|_| sources.len() == 1);
        let hears = |id: &SessionId, session: &Session| {
            matches!(session.reading, Reading::Live { .. }) && Some(*id) != only_author
        };
        let is_heard = self.sessions.iter().any(|(id, session)| hears(id, session));
        // A large one leaves in pieces that a slow line carries one by one, too.
        let mut pieces: SmallVec<[Bytes; 1]> = SmallVec::new();
        for update in merged.iter().filter(|_| is_heard) {
            if update.bytes().len() <= SYNC_FRAME_BYTES_MAX {
                pieces.push(update.bytes().clone());
            } else {
                pieces.extend(seal(update, Sizes::of(SYNC_FRAME_BYTES_MAX)));
            }
        }
        let lay_out = |dialect: &Dialect| match &pieces[..] {
            [one] => dialect.sync_frame(one, false),
            many => dialect.frames(many.iter().map(|piece| Outbound::Update(piece))).into(),
        };
        let mut layouts = Layouts::default();
        for (id, session) in &mut self.sessions {
            let Reading::Live { since_version, had } = &session.reading else {
                continue;
            };
            if Some(*id) == only_author {
                continue;
            }
            let frame = layouts.of(&session.dialect, lay_out);
            if session
                .outbox
                .push_within(frame, Kind::Sync(self.version), self.policy.outbox_bytes_max)
            {
                session.sent = now;
                self.counts.frames += 1;
                continue;
            }
            session.outbox.drop_sync();
            session.outbox.line().seen_to_carry(None);
            let taken = session.outbox.taken_version();
            let passed = if taken >= *since_version {
                self.checkpoints.newest_up_to(taken)
            } else {
                None
            };
            session.reading = Reading::behind(passed.unwrap_or_else(|| had.clone()));
            self.lagging.insert(*id);
            self.counts.resyncs += 1;
        }
        if !self.lagging.is_empty() {
            self.catch_up_by(now + CATCH_UP);
        }
    }

    /// What a session says, without client ids that nobody has said lately when too many of these came from its address: who has
    /// left is remembered for a while. The first that it said is its own.
    pub(super) fn within_its_share(
        &mut self,
        id: SessionId,
        mut entries: SmallVec<[Entry; 1]>,
        now: Micros,
    ) -> SmallVec<[Entry; 1]> {
        let Some(session) = self.sessions.get(&id) else {
            return entries;
        };
        let first = entries.iter().find(|entry| entry.state.is_some());
        let own = session.announces.or(first.map(|entry| entry.client));
        let is_new =
            |entry: &Entry| entry.state.is_some() && own != Some(entry.client) && !self.presence.knows(entry.client);
        let new = entries.iter().filter(|entry| is_new(entry)).count();
        if new > 0 && !session.outbox.line().may_add(new, now) {
            self.counts.awareness_refused += new as u64;
            entries.retain(|entry| !is_new(entry));
        }
        entries
    }

    /// A session says who is there.
    pub(super) fn hear_presence(&mut self, id: SessionId, entries: &[Entry], now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !session.greeted {
            let first = entries.iter().find(|entry| entry.state.is_some());
            session.presence_id = session.presence_id.or(first.map(|entry| entry.client));
        }
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.identity.access == Access::Read && !self.policy.shows_readers {
            return;
        }
        let speaker = Speaker {
            session: id,
            person: session.identity.person(),
            stamp: self.policy.stamps_presence.then_some(&session.identity),
            joined: session.joined,
            own: session.presence_id,
        };
        let heard = |owner: SessionId| {
            let owner = self.sessions.get(&owner);
            owner.map_or(0, |owner| owner.outbox.line().heard_ms() * MS)
        };
        let mut bytes_max = self.policy.outbox_bytes_max / 2;
        if self.memory.is_short() {
            bytes_max = bytes_max.min(PRESENCE_BYTES_SHORT);
        }
        let answer = self.presence.hear(speaker, entries, bytes_max, now, heard);
        self.counts.awareness_refused += answer.refused as u64;
        if !answer.corrections.is_empty() {
            session.say(Outbound::Awareness(&awareness::encode(answer.corrections.iter())));
        }
    }

    /// A session that has said which client id is its own, or that it says nothing of that, is told who is here.
    pub(super) fn greet(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.greeted) else {
            return;
        };
        session.greeted = true;
        let Some(everybody) = self.presence.everybody(id) else {
            return;
        };
        let lay_out = |dialect: &Dialect| {
            let messages = everybody.states.iter().map(|states| Outbound::Awareness(states));
            Frame::from(dialect.frames(messages))
        };
        let frame = match everybody.shared {
            Some(times) => {
                let (known, layouts) = &mut self.greeting;
                if *known != times {
                    (*known, *layouts) = (times, Layouts::default());
                }
                layouts.of(&session.dialect, lay_out)
            }
            None => lay_out(&session.dialect),
        };
        if !frame.is_empty() {
            if session
                .outbox
                .push_within(frame, Kind::Other, self.policy.outbox_bytes_max)
            {
                session.sent = now;
            } else {
                session.presence_stale = true;
                self.lagging.insert(id);
                self.catch_up_by(now + CATCH_UP);
            }
        }
    }

    /// A text of one session for the others; who has no room for it misses it, as the wire allows.
    pub(super) fn relay(&mut self, id: SessionId, text: &[u8], now: Micros) {
        let sender = self.sessions.get(&id);
        if sender.is_none_or(|sender| sender.identity.access == Access::Read) {
            return;
        }
        let lay_out = |dialect: &Dialect| {
            let frame = dialect.frame(Outbound::Stateless(text));
            frame.unwrap_or_default().into()
        };
        let mut layouts = Layouts::default();
        for (_, session) in self.sessions.iter_mut().filter(|(other, _)| **other != id) {
            let frame = layouts.of(&session.dialect, lay_out);
            if !frame.is_empty()
                && session
                    .outbox
                    .push_within(frame, Kind::Other, self.policy.outbox_bytes_max)
            {
                session.sent = now;
                self.counts.frames += 1;
            }
        }
    }

    /// The latest state of everybody that changed; who has no room for it is sent all of them later.
    pub(super) fn send_presence(&mut self, now: Micros) {
        if !self.presence.has_changed() {
            return;
        }
        let changes = self.presence.take_changes();
        self.greeting = Greeting::default();
        let states = presence::encode(&changes);
        let frames = |dialect: &Dialect, states: &States| {
            let messages = states.iter().map(|states| Outbound::Awareness(states));
            Frame::from(dialect.frames(messages))
        };
        let lay_out = |dialect: &Dialect| frames(dialect, &states);
        let mut layouts = Layouts::default();
        for (id, session) in self.sessions.iter_mut().filter(|(_, session)| session.greeted) {
            let frame = match self.presence.for_estranged(*id, &changes) {
                Some(others) => frames(&session.dialect, &others),
                None => layouts.of(&session.dialect, lay_out),
            };
            // All of it may be of ids of its own.
            if frame.is_empty() {
                continue;
            }
            if session
                .outbox
                .push_within(frame, Kind::Other, self.policy.outbox_bytes_max)
            {
                session.sent = now;
                self.counts.frames += 1;
            } else {
                session.presence_stale = true;
                self.lagging.insert(*id);
            }
        }
        if !self.lagging.is_empty() {
            self.catch_up_by(now + CATCH_UP);
        }
    }

    /// Sends those who are behind what their outboxes have room for.
    pub(super) fn catch_up(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.catch_up_due = None;
        let lagging: Vec<SessionId> = self.lagging.iter().copied().collect();
        let mut progress = false;
        for id in lagging {
            progress |= self.serve(id, now, effects) == Progress::Made;
        }
        self.catch_up_pause = if progress {
            CATCH_UP
        } else {
            (self.catch_up_pause * 2).clamp(CATCH_UP, CATCH_UP_MAX)
        };
        if !self.lagging.is_empty() {
            self.catch_up_by(now + self.catch_up_pause);
        }
    }

    pub(super) fn serve(&mut self, id: SessionId, now: Micros, effects: &mut Vec<Effect>) -> Progress {
        let half = self.policy.outbox_bytes_max / 2;
        let Some(session) = self.sessions.get(&id) else {
            self.lagging.remove(&id);
            return Progress::Made;
        };
        if session.outbox.line().waiting_bytes() > half {
            return Progress::Waits;
        }
        if let Reading::Behind { had, .. } = &session.reading {
            if session.outbox.holds_sync() {
                // `had` counts on these frames; a reader that became live would lose them with its queue.
                return Progress::Waits;
            }
            if session.served.is_some_and(|at| now < at + SYNC_PAUSE) || is_awaited(session, now) {
                return Progress::Waits;
            }
            let had = had.clone();
            let outbox = session.outbox.clone();
            let (asks, rate) = if session.asks_again {
                (Asks::Again, AGAIN)
            } else {
                (Asks::First, FIRST)
            };
            // Who has nothing asks for what many ask for.
            let may_be_odd = session.asks_again || !had.clocks.is_empty();
            let is_odd = may_be_odd && self.cache.find(&had, self.version).is_none();
            let weight = self.document.weight_bytes();
            if is_odd && !outbox.line().may_ask(asks, rate, weight, now) {
                return Progress::Waits;
            }
            let encodes = self.encoding == Encoding::Nothing;
            let answer = self.answer_for(id, &had, effects);
            let begins = encodes && self.encoding != Encoding::Nothing;
            if is_odd && (answer.is_some() || begins) {
                outbox.line().asked(asks, rate, weight, now);
            }
            let Some((answer, tail)) = answer else {
                return Progress::Waits;
            };
            let Some(session) = self.sessions.get_mut(&id) else {
                return Progress::Made;
            };
            session.served = Some(now);
            session.asks_again = false;
            let message_bytes_max = if session.outbox.line().takes_large() && !self.memory.is_short() {
                usize::MAX
            } else {
                SYNC_WHOLE_BYTES_MAX
            };
            session.reading = Reading::Streaming(Box::new(Stream::new(
                answer,
                tail,
                had,
                &session.dialect,
                session.follows,
                message_bytes_max,
            )));
        }
        let progress = self.stream(id, now, effects);
        if let Some(session) = self.sessions.get_mut(&id)
            && matches!(session.reading, Reading::Live { .. })
            && std::mem::take(&mut session.wants_document)
        {
            self.answer_questions_of(id, now);
        }
        progress
    }

    /// A session answered a ping: what its line carries is known.
    pub(super) fn line_carries(&mut self, id: SessionId, pong: u32, now: Micros, effects: &mut Vec<Effect>) {
        self.is_careful_with(id, now);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(rate) = session.pinged.answers(pong, session.outbox.line(), now) else {
            return;
        };
        if let Reading::Streaming(stream) = &mut session.reading {
            stream.carries(rate, session.pinged.seen_with);
            self.serve(id, now, effects);
        }
    }

    /// To whom it did not come is sent it in smaller pieces (F15).
    fn is_careful_with(&mut self, id: SessionId, now: Micros) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !self.given_up.is_empty()
            && let client = session.client()
            && let Reading::Streaming(stream) = &mut session.reading
        {
            stream.has_failed(self.given_up.times(&client, &stream.had.clocks, now));
        }
    }

    /// Queues the messages of an answer as far as there is room for them.
    fn stream(&mut self, id: SessionId, now: Micros, effects: &mut Vec<Effect>) -> Progress {
        let bytes_max = self.policy.outbox_bytes_max;
        self.is_careful_with(id, now);
        if let Some(session) = self.sessions.get_mut(&id)
            && let Reading::Streaming(stream) = &mut session.reading
        {
            match stream.step(&mut session.pinged, session.outbox.line(), now) {
                Step::Waits => return Progress::Waits,
                Step::Asks(bytes) => {
                    // Providers wait for messages, and do not see pings.
                    let filling = session.dialect.frame(Outbound::Awareness(awareness::nothing()));
                    let filling = filling.unwrap_or_default();
                    let times = bytes.div_ceil(filling.len().max(1));
                    let filling = filling.repeat(times);
                    if filling.len() > SYNC_FRAME_BYTES_MAX {
                        session.sent_large = stream.tried();
                    }
                    let pings = Stream::asks(id, &filling, &mut session.pinged, now);
                    session.outbox.line().asks(true);
                    session.outbox.push(pings, Kind::Other);
                    return Progress::Made;
                }
                Step::Cuts(cut) if !self.has_pieces(id, &cut, effects) => return Progress::Waits,
                Step::Cuts(_) | Step::Sends => {}
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return Progress::Made;
        };
        if let Reading::Streaming(stream) = &mut session.reading {
            let (version, closed) = (stream.answer.version, stream.answer.closed);
            let kind = if closed { Kind::Sync(version) } else { Kind::Sync(0) };
            // The first always goes, on top of what half an outbox may hold: a reader to whom others
            // talk without pause gets on, too.
            let mut within = usize::MAX;
            while let Some(message) = stream.next() {
                if message.len() > SYNC_FRAME_BYTES_MAX {
                    session.sent_large = stream.tried();
                }
                let frame = session.dialect.sync_frame(&message, closed);
                if !session.outbox.push_within(frame, kind, within) {
                    stream.later(message);
                    return Progress::Made;
                }
                within = bytes_max;
                session.sent = now;
                self.counts.frames += 1;
                let waiting = session.outbox.waiting_bytes();
                if let Some(ping) = stream.sent(message.len(), id, &mut session.pinged, waiting, now) {
                    session.outbox.push(ping, Kind::Other);
                    return Progress::Made;
                }
            }
            let answer = &mut stream.answer;
            if answer.reached.is_some() && session.outbox.line().waiting_bytes() > bytes_max / 2 {
                // Live, it would lose all of them to the first that does not fit.
                return Progress::Made;
            }
            let lacks = answer.reached.take().filter(|_| version < self.version);
            session.reading = match lacks {
                Some(reached) => {
                    session.follows = true;
                    Reading::behind(Had::sent(reached, version))
                }
                None => {
                    session.follows = false;
                    if let Some(tail) = stream.tail.take() {
                        let frames = session.dialect.frames(tail.updates().map(Outbound::Update));
                        let _ = session.outbox.push_within(frames.into(), Kind::Sync(0), usize::MAX);
                    }
                    if !closed {
                        let end = session.dialect.frame(Outbound::SyncStep2(EMPTY_UPDATE));
                        let end = end.unwrap_or_default().into();
                        let _ = session.outbox.push_within(end, Kind::Sync(version), usize::MAX);
                    }
                    Reading::Live {
                        since_version: version,
                        had: stream.had.clone(),
                    }
                }
            };
        }
        if matches!(session.reading, Reading::Live { .. } | Reading::New) {
            if std::mem::take(&mut session.presence_stale)
                && let Some(everybody) = self.presence.everybody_and_gone(id)
            {
                for states in &everybody {
                    session.say(Outbound::Awareness(states));
                }
                session.sent = now;
            }
            self.lagging.remove(&id);
        }
        Progress::Made
    }

    /// The answer for a session that has `had`; `None` while it is encoded elsewhere, or has no room beside others.
    fn answer_for(&mut self, asker: SessionId, had: &Had, effects: &mut Vec<Effect>) -> Option<(Answer, Option<Tail>)> {
        if let Some(found) = self.cache.find(had, self.version) {
            return Some(found);
        }
        let lacking = self.encode(asker, had.clone(), effects)?;
        if self.memory.is_short() {
            return Some((Answer::from(&lacking), None));
        }
        self.cache.keep(&lacking);
        self.cache.find(had, self.version)
    }

    pub(super) fn catch_up_by(&mut self, at: Micros) {
        self.catch_up_due = Some(self.catch_up_due.map_or(at, |due| due.min(at)));
    }
}

/// The frames of one broadcast, by form of address: sessions that are addressed alike share one.
#[derive(Debug, Default)]
pub(super) struct Layouts(SmallVec<[(Dialect, Frame); 1]>);

impl Layouts {
    fn of(&mut self, dialect: &Dialect, lay_out: impl Fn(&Dialect) -> Frame) -> Frame {
        if dialect.is_alone() {
            return lay_out(dialect);
        }
        let dialect = dialect.words();
        if let Some((_, frame)) = self.0.iter().find(|(known, _)| known == dialect) {
            return frame.clone();
        }
        let frame = lay_out(dialect);
        self.0.push((dialect.clone(), frame.clone()));
        frame
    }
}

/// Who is here, laid out for those who come, and which encoding of it.
pub(super) type Greeting = (u64, Layouts);

/// A client that connects again without a pause for as long as it was told what there is, and what it then says is not
/// taken: such a one is told first that it has to go. Not waited for without end, for what it has may be large.
fn is_awaited(session: &Session, now: Micros) -> bool {
    session.dialect.must_answer() && session.saving.unanswered() > 0 && now < session.joined + ANSWER_PATIENCE
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    Waits,
}
