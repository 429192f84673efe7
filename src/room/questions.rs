//! "Is it saved?": who asks, and who may be told.

use bytes::Bytes;

use crate::{protocol::dialect::Outbound, store::Seq};

use super::{Micros, Room, SECOND, session::SessionId, sweep::SWEEP_WAITING};

/// A client that does not answer our SyncStep1 for this long has nothing that we lack.
const ANSWER_PATIENCE: Micros = 2 * SECOND;
/// Questions of one session that may wait.
const QUESTIONS_MAX: usize = 64;

impl Room {
    pub(super) fn asks_whether_saved(&mut self, id: SessionId, payload: Bytes, now: Micros) {
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

    pub(super) fn answer_questions(&mut self, now: Micros) {
        let asking: Vec<SessionId> = self.asking.iter().copied().collect();
        for id in asking {
            self.answer_questions_of(id, now);
        }
    }

    /// A session that may hold edits which we lack is not told that all is saved.
    pub(super) fn answer_questions_of(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let saving = &session.saving;
        let complete = saving.unanswered == 0 || saving.asked + ANSWER_PATIENCE <= now;
        if session.gap.is_some() || session.refused || !complete {
            return;
        }
        let durable = self.journal.durable;
        while let Some((_, payload)) = session.saving.questions.pop_front_if(|(needs, _)| *needs <= durable) {
            session.say(Outbound::Saved(&payload));
            session.sent = now;
            self.counts.frames += 1;
        }
        if session.saving.questions.is_empty() {
            self.asking.remove(&id);
        }
    }
}
