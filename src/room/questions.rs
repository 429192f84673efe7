//! "Is it saved?": who asks, and who may be told.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use crate::{protocol::dialect::Outbound, store::Seq};

use super::{
    Micros, Room, SECOND,
    outbox::Kind,
    session::{Question, SavedAnswer, Session, SessionId},
    sweep::SWEEP_WAITING,
};

/// A client that does not answer our SyncStep1 for this long has nothing that we lack, unless it must answer.
pub(super) const ANSWER_PATIENCE: Micros = 2 * SECOND;
/// Most bytes of acknowledgements that are queued as one.
const TAKEN_BYTES_MAX: usize = 16 * 1024;
/// Questions of one session that may wait.
const QUESTIONS_MAX: usize = 64;

/// Who waits to hear that something is durable.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Those who asked.
    asked: FxHashSet<SessionId>,
    /// Those who are told of each update without asking.
    told: FxHashSet<SessionId>,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.told.is_empty()
    }

    /// Whether one of them asked.
    pub fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    pub fn remove(&mut self, id: SessionId) {
        self.asked.remove(&id);
        self.told.remove(&id);
    }
}

impl Room {
    pub(super) fn asks_whether_saved(&mut self, id: SessionId, answer: SavedAnswer, now: Micros) {
        let in_batch = self.is_in_batch(id);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // The position of what is still gathered is known when it leaves.
        let needs = if in_batch { Seq::MAX } else { session.saving.last_seq };
        match answer {
            SavedAnswer::Echo(_) => self.waiting.asked.insert(id),
            SavedAnswer::Taken(_) => self.waiting.told.insert(id),
        };
        let questions = &mut session.saving.questions;
        match (questions.back_mut(), &answer) {
            (
                Some(Question {
                    needs: known,
                    answer: SavedAnswer::Taken(updates),
                }),
                SavedAnswer::Taken(more),
            ) if *known == needs => *updates += more,
            _ => questions.push_back(Question { needs, answer }),
        }
        if questions.len() > QUESTIONS_MAX {
            forget_oldest(questions);
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

    /// What this session waits to be told of needs all that it has sent until now: it asked before it said what it has, or
    /// while something was missing.
    pub(super) fn needs_latest(&mut self, id: SessionId) {
        let in_batch = self.is_in_batch(id);
        if let Some(session) = self.sessions.get_mut(&id) {
            let saving = &mut session.saving;
            let needs = if in_batch { Seq::MAX } else { saving.last_seq };
            for question in &mut saving.questions {
                question.needs = question.needs.max(needs);
            }
        }
    }

    /// Whether what a session sent is still gathered, or what it repeated.
    fn is_in_batch(&self, id: SessionId) -> bool {
        self.batch.sources.contains(&id) || self.batch.waiters.contains(&id)
    }

    /// An update of this session was looked at; if its client counts, it is told when that is durable.
    pub(super) fn waits_to_be_told(&mut self, id: SessionId, now: Micros) {
        let in_batch = self.is_in_batch(id);
        let counts = |session: &&mut Session| session.dialect.tells_of_each_update();
        let Some(session) = self.sessions.get_mut(&id).filter(counts) else {
            return;
        };
        if in_batch
            && let Some(Question {
                needs: Seq::MAX,
                answer: SavedAnswer::Taken(updates),
            }) = session.saving.questions.back_mut()
        {
            // With the one before it: it was asked for then, and nothing that is gathered is durable yet.
            *updates += 1;
            return;
        }
        self.asks_whether_saved(id, SavedAnswer::Taken(1), now);
    }

    pub(super) fn answer_questions(&mut self, now: Micros) {
        let Waiting { asked, told } = &self.waiting;
        let waiting: Vec<SessionId> = asked.iter().chain(told).copied().collect();
        for id in waiting {
            self.answer_questions_of(id, now);
        }
    }

    /// A session that may hold edits which we lack is not told that all is saved.
    pub(super) fn answer_questions_of(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let saving = &session.saving;
        let complete = if session.dialect.tells_of_each_update() {
            // It counts its answer to our question as well, and it was told which of its edits are not taken. When nothing
            // is left to be told of, it takes itself for synced: it must have the document by then.
            !session.wants_document && (!saving.owes_uncounted() || saving.asked + ANSWER_PATIENCE <= now)
        } else {
            let has_time = session.dialect.must_answer() || now < saving.asked + ANSWER_PATIENCE;
            !session.refused && (saving.unanswered() == 0 || !has_time)
        };
        let has_gap = session.gap.as_ref().is_some_and(|gap| gap.unseen_for.is_empty());
        if has_gap || !complete {
            return;
        }
        let durable = self.journal.durable;
        let mut taken = 0;
        while let Some(question) = session
            .saving
            .questions
            .pop_front_if(|question| question.needs <= durable)
        {
            match question.answer {
                SavedAnswer::Echo(payload) => {
                    session.say(Outbound::Saved(&payload));
                    self.counts.frames += 1;
                }
                SavedAnswer::Taken(updates) => taken += updates,
            }
            session.sent = now;
        }
        say_taken(session, taken);
        self.counts.frames += u64::from(taken);
        if session.saving.questions.is_empty() {
            self.waiting.remove(id);
        }
    }
}

/// Says of so many updates that they are durable, several with one entry of the outbox: each costs more than what it says.
fn say_taken(session: &Session, updates: u32) {
    let Some(one) = session.dialect.frame(Outbound::Taken(true)).filter(|_| updates > 0) else {
        return;
    };
    let together = (TAKEN_BYTES_MAX / one.len()).max(1);
    let mut left = updates as usize;
    while left > 0 {
        let count = left.min(together);
        session.outbox.push(one.repeat(count).into(), Kind::Other);
        left -= count;
    }
}

/// A question is answered by the answer to a later one; an update that is told of late is told of all the same.
fn forget_oldest(questions: &mut VecDeque<Question>) {
    if let Some(oldest) = questions.pop_front()
        && let SavedAnswer::Taken(updates) = oldest.answer
        && let Some(Question {
            answer: SavedAnswer::Taken(more),
            ..
        }) = questions.front_mut()
    {
        *more += updates;
    }
}
