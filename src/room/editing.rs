//! An edit's way through its room: judged, taken, gathered with others, and sent off.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{
    access::Access,
    document::{News, Verdict},
    protocol::{
        close::CloseReason,
        dialect::Outbound,
        frame,
        update::{CheckedUpdate, Clocks, Id, merge},
    },
};

use super::{
    Effect, MS, Micros, Room, SECOND, VECTOR_CLIENTS_MAX,
    authorship::{ANSWER_TIME, Author, Authorship, Right},
    cadence::edit_pause,
    outbox::Kind,
    session::{Gap, SavedAnswer, Session, SessionId},
};

/// How often a session is asked again for what its updates refer to.
const GAP_ASK: Micros = 10 * SECOND;

/// Updates that were taken and have not left.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub updates: Vec<CheckedUpdate>,
    pub sources: BTreeSet<SessionId>,
    /// The subjects of who wrote it.
    pub authors: BTreeSet<Arc<str>>,
    /// Sessions that have what is in it from elsewhere: they are told "saved" only when it is, too.
    pub waiters: BTreeSet<SessionId>,
    pub bytes: usize,
    pub oldest: Micros,
}

/// An update of which something is not this session's to write.
struct Withheld {
    rest: CheckedUpdate,
    /// Whether who may write it was asked whether it lives.
    owner_asked: bool,
}

impl Room {
    pub(super) fn take_update(
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
        let is_asked = answer && session.saving.unanswered() > 0;
        let counts = !answer || session.saving.answered();
        if session.identity.access == Access::Read {
            // An answer to our SyncStep1 repeats every deletion that the peer knows of, also those that every Yjs finds by
            // itself and nobody tells (two values of one key).
            let new_structs = !update.has_known_structs(self.document.clocks());
            let is_new = new_structs || (!answer && !update.deletions().is_empty());
            session.refused |= is_new && !answer;
            if answer {
                // It may know what a crash of ours lost and what its author has yet to send again.
                session.gap = is_new.then(|| session.gap.take().unwrap_or(Gap::since(now)));
                if let Some(gap) = &mut session.gap {
                    // What can be taken of it, it shows.
                    let is_unseen = is_asked && matches!(self.document.judge(update.clone()), Verdict::Nothing);
                    let lacks = is_unseen.then(|| self.document.lacks(&update)).flatten();
                    gap.unseen_for = lacks.unwrap_or_default();
                    self.unseen.insert(id);
                }
            }
            if is_new {
                self.counts.updates_of_readers += 1;
                if !std::mem::replace(&mut session.told_read_only, true) {
                    session.say(Outbound::ReadOnly);
                }
            }
            if counts && is_new {
                session.say(Outbound::Taken(false));
            } else if counts {
                self.waits_to_be_told(id, now);
            }
            return;
        }
        let held = self.withhold(id, &update, now);
        if held.is_some()
            && !self.authorship.has_id(id)
            && let Some(known) = self.document.conflict(&update)
        {
            // A cloned page wrote it: of what is withheld a part is known, with another content. It is told soon: other
            // windows of its browser have by then what it wrote, and know whose it is.
            if let Some(session) = self.sessions.get_mut(&id) {
                session.twin.get_or_insert(known);
            }
        }
        let withheld = held.is_some();
        let owner_asked = held.as_ref().is_some_and(|held| held.owner_asked);
        // All that its client has beyond what we had when we asked.
        let all = (is_asked && !withheld).then(|| update.clone());
        let update = held.map_or(update, |held| held.rest);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (news, gap) = match self.document.judge(update) {
            Verdict::Refused(why) => {
                let reason = CloseReason::Refused(format!("the update is not Yjs: {why}"));
                return self.end(id, reason, now, effects);
            }
            Verdict::Conflict(known) => {
                self.counts.conflicts += 1;
                return self.end(id, CloseReason::conflict(known), now, effects);
            }
            Verdict::Known => (None, withheld),
            Verdict::Nothing => (None, true),
            Verdict::News(news) => {
                let gap = withheld || news.is_partial();
                (Some(news), gap)
            }
        };
        if gap {
            let gap = session.gap.get_or_insert(Gap::since(now));
            let lacks = all.and_then(|all| self.document.lacks(&all));
            gap.unseen_for = lacks.unwrap_or_default();
            if !gap.unseen_for.is_empty() {
                self.unseen.insert(id);
            }
            self.counts.updates_with_gaps += 1;
            self.ask_for_missing(id, now);
            if owner_asked {
                self.ask_after_owner(id, now);
            }
        }
        let mut closes_gap = false;
        if !gap
            && answer
            && let Some(session) = self.sessions.get_mut(&id)
        {
            closes_gap = session.gap.take().is_some();
            self.unseen.remove(&id);
            session.withheld.clear();
        }
        match news {
            Some(news) => self.take_news(id, news, answer, now, effects),
            None => {
                self.counts.updates_known += u64::from(!gap);
                self.wait_for_known(id);
            }
        }
        if closes_gap {
            // What they are about came with this answer.
            self.needs_latest(id);
        }
        if counts {
            self.waits_to_be_told(id, now);
        }
    }

    fn take_news(&mut self, id: SessionId, news: News, answer: bool, now: Micros, effects: &mut Vec<Effect>) {
        if let Err(reason) = self.may_take(news.update()) {
            return self.end(id, reason, now, effects);
        }
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if !answer && let Some((client, _)) = news.update().spans().next() {
            let next = self.document.clocks().next(client);
            self.authorship.write(client, session.author(id), next);
        }
        let subject = session.identity.subject.clone();
        self.take(id, subject, news, now);
    }

    /// Whether there is room for an edit.
    pub(super) fn may_take(&self, update: &CheckedUpdate) -> Result<(), CloseReason> {
        if self.too_large {
            let limit = self.policy.document_bytes_max;
            let reason =
                format!("the document has reached the server's limit of {limit} bytes and takes no more edits");
            return Err(CloseReason::DocumentTooLarge(reason));
        }
        // Not what it weighs: a letter each of many clients takes twenty times as much.
        self.memory
            .may_edit(update.memory_bytes_max(), self.document.memory_bytes())?;
        let bytes = update.bytes().len();
        let unsaved_bytes = self.journal.unsaved_bytes() + self.batch.bytes;
        // Where nothing waits there is room for anything: whoever comes back with it would be refused for ever.
        let is_too_much = unsaved_bytes > 0 && unsaved_bytes + bytes > self.policy.unsaved_bytes_max;
        // Those of whom much waits leave room for those of whom little does, and many of them leave some.
        let has_room = unsaved_bytes + bytes <= (self.store_free.edits / 2).max(self.store_free.each);
        if is_too_much || !has_room {
            let reason = "too much waits to be saved, keep the edits and try again".to_owned();
            return Err(CloseReason::Overloaded(reason));
        }
        Ok(())
    }

    /// Takes an edit of `source`; it leaves with others.
    pub(super) fn take(&mut self, source: SessionId, subject: Option<Arc<str>>, news: News, now: Micros) {
        let update = news.update().clone();
        self.memory
            .takes(update.memory_bytes_max(), self.document.memory_bytes());
        self.document.take(news);
        self.look_for_unseen(now);
        self.counts.updates += 1;
        self.pulse.beat(now);
        self.counts.update_bytes += update.bytes().len() as u64;
        if self.batch.updates.is_empty() {
            self.batch.oldest = now;
        }
        self.batch.bytes += update.bytes().len();
        self.batch.updates.push(update);
        self.batch.sources.insert(source);
        self.batch.authors.extend(subject);
        self.edit_cadence.gather(now, edit_pause(self.sessions.len()));
    }

    /// Clients that have got now what they lacked may show what we do not have: they are asked for it.
    fn look_for_unseen(&mut self, now: Micros) {
        if self.unseen.is_empty() {
            return;
        }
        let clocks = self.document.clocks();
        let is_there = |id: &Id| id.clock < clocks.next(id.client);
        let mut shown = Vec::new();
        for id in &self.unseen {
            if let Some(session) = self.sessions.get_mut(id)
                && let Some(gap) = &mut session.gap
                && gap.unseen_for.iter().any(is_there)
            {
                gap.unseen_for.clear();
                session.may_ask = now;
                shown.push(*id);
            }
        }
        for id in shown {
            self.unseen.remove(&id);
            self.ask_for_missing(id, now);
        }
    }

    /// What is left without new structs that are other sessions' to write; `None` when there are none.
    fn withhold(&mut self, id: SessionId, update: &CheckedUpdate, now: Micros) -> Option<Withheld> {
        let session = self.sessions.get(&id)?;
        let author = session.author(id);
        let mut others: SmallVec<[(u64, u32); 2]> = SmallVec::new();
        let mut owner_asked = false;
        for (client, span) in update.spans() {
            let next = self.document.clocks().next(client);
            if span.end <= next {
                continue;
            }
            match right(&mut self.authorship, &self.sessions, client, author, now) {
                Right::Granted => {}
                // Of a client that comes to be nothing is known that could differ.
                Right::Followed if next == 0 => {}
                Right::Followed if self.authorship.doubt(client, next, &author) => {}
                Right::Followed => others.push((client, next)),
                Right::Denied => others.push((client, next)),
                Right::Ask(_) => {
                    others.push((client, next));
                    owner_asked = true;
                }
            }
        }
        if others.is_empty() {
            return None;
        }
        self.counts.updates_of_others += 1;
        let clients: SmallVec<[u64; 2]> = others.iter().map(|(client, _)| *client).collect();
        for (client, next) in &others {
            // It may come back on another line, when the owner has written there.
            let _ = self.authorship.doubt(*client, *next, &author);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            for (client, next) in others {
                session.withheld.entry(client).or_insert(next);
            }
        }
        Some(Withheld {
            rest: update.without(&clients),
            owner_asked,
        })
    }

    /// What this session sent is known already, but perhaps not durable yet.
    pub(super) fn wait_for_known(&mut self, id: SessionId) {
        if !self.batch.updates.is_empty() {
            self.batch.waiters.insert(id);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.saving.last_seq = self.journal.appended;
        }
    }

    /// What was gathered leaves: one append, one frame for each form of address, shared by all.
    pub(super) fn send_edits(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        self.edit_cadence.left_at(now);
        if self.batch.updates.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let merged = merge(&batch.updates);
        self.version += 1;
        self.counts.to_broadcast.push(now.saturating_sub(batch.oldest));
        self.broadcast_updates(&merged, &batch.sources, now);

        let authors: Arc<[Arc<str>]> = batch.authors.into_iter().collect();
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
                for question in &mut session.saving.questions {
                    question.needs = question.needs.min(self.journal.appended);
                }
            }
        }
        for (needs, _) in &mut self.writes {
            *needs = (*needs).min(self.journal.appended);
        }
        let limit = self.policy.document_bytes_max;
        let grown = self.compacted_bytes + self.compacted_bytes / 16;
        let may_be_too_large = self.document.weight_bytes() > limit.max(grown);
        if may_be_too_large || self.journal.wants_snapshot(self.policy.snapshot_bytes) {
            self.encode_snapshot(effects);
        }
    }

    pub(super) fn ask_for_missing(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if now < session.may_ask {
            return;
        }
        session.may_ask = now + GAP_ASK;
        let had = self.asks_from().into_owned();
        self.ask_for(id, &had);
    }

    /// Who asks for what we have, and has `had`, is asked for what we lack: a client that counts what it sends each time, since its
    /// answer is counted, too, and who was not asked when it came.
    pub(super) fn ask_back(&mut self, id: SessionId, had: &Clocks, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.dialect.asks_at_join() {
            if !std::mem::take(&mut session.asked_late) {
                return;
            }
            session.saving.asked = now;
            // As when it came: some of it may be its own.
            self.wait_for_known(id);
        } else {
            // It counts anew from here: the answer to this question is all that it waits to be told of. One that it has not
            // answered yet serves as well.
            session
                .saving
                .questions
                .retain(|question| !matches!(question.answer, SavedAnswer::Taken(_)));
            if session.saving.owes_counted() {
                return;
            }
            session.saving.asks(true);
        }
        let mut known = self.asks_from();
        if known.len() > VECTOR_CLIENTS_MAX {
            known = Cow::Owned(known.restricted_to(had));
        }
        if let Some(session) = self.sessions.get(&id) {
            let known = known.cut_to(&session.withheld);
            session.say(Outbound::SyncStep1(&known.encode_state_vector()));
        }
    }

    /// Who never says what it has is asked about everybody, with what all such are asked (L79).
    pub(super) fn ask_at_last(&mut self, id: SessionId, now: Micros) {
        let question = self.newcomers_are_asked();
        if let Some(session) = self.sessions.get_mut(&id) {
            session.asked_late = false;
            session.saving.asked = now;
            session.say(Outbound::SyncStep1(&question));
            self.wait_for_known(id);
        }
    }

    /// Asks a session for what it has beyond `had`.
    pub(super) fn ask_for(&mut self, id: SessionId, had: &Clocks) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.saving.asks(false);
            let had = if session.withheld.is_empty() {
                Cow::Borrowed(had)
            } else {
                // Another session may have written there since: what this one wrote differently must show.
                Cow::Owned(had.cut_to(&session.withheld))
            };
            // It is asked seldom: that much waits for it is no reason to send it away.
            if let Some(question) = session.dialect.frame(Outbound::SyncStep1(&had.encode_state_vector())) {
                let _ = session.outbox.push_within(question.into(), Kind::Other, usize::MAX);
            }
        }
    }

    /// Another session was asked whether it lives. If it does not, this is the same page on another line: it is asked
    /// again as soon as that is known.
    fn ask_after_owner(&mut self, id: SessionId, now: Micros) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.may_ask = now + ANSWER_TIME;
            self.sweep_by(now + ANSWER_TIME);
        }
    }

    /// Who had these client ids is gone. Sessions from which nothing was taken under them may be the same page on another
    /// line: they are asked at once.
    pub(super) fn ask_who_waited(&mut self, clients: &[u64], now: Micros) {
        if clients.is_empty() {
            return;
        }
        let waits = |session: &Session| clients.iter().any(|client| session.withheld.contains_key(client));
        let waiting = self.sessions.iter_mut().filter(|(_, session)| waits(session));
        let ids: Vec<SessionId> = waiting
            .map(|(id, session)| {
                session.may_ask = now;
                *id
            })
            .collect();
        for id in ids {
            self.ask_for_missing(id, now);
        }
    }

    /// The state vector with which a newcomer is asked for what is missing here.
    pub(super) fn newcomers_are_asked(&mut self) -> Bytes {
        let (clocks, doubts) = (self.document.clocks(), self.authorship.doubts());
        self.cache.vector(self.version, clocks, doubts)
    }

    /// What of the document a client need not send: all of it, but for what two pages may have written differently.
    pub(super) fn asks_from(&self) -> Cow<'_, Clocks> {
        let doubts = self.authorship.doubts();
        if doubts.is_empty() {
            Cow::Borrowed(self.document.clocks())
        } else {
            Cow::Owned(self.document.clocks().cut_to(doubts))
        }
    }
}

/// Whether somebody may write under a client id. Its owner is asked whether it lives, where that is to be known first.
pub(super) fn right(
    authorship: &mut Authorship,
    sessions: &FxHashMap<SessionId, Session>,
    client: u64,
    author: Author,
    now: Micros,
) -> Right {
    let heard = |session: SessionId| {
        let session = sessions.get(&session);
        session.map_or(0, |session| session.outbox.line().heard_ms() * MS)
    };
    let right = authorship.right(client, author, now, heard);
    if let Right::Ask(owner) = right
        && let Some(owner) = sessions.get(&owner)
    {
        owner.outbox.push(frame::ping(), Kind::Other);
    }
    right
}
