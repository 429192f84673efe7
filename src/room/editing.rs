//! An edit's way through its room: judged, applied, gathered with others, and sent off.

use std::sync::Arc;

use crate::{
    access::Access,
    protocol::{
        close::CloseReason,
        update::{Admission, CheckedUpdate, merge},
    },
};

use super::{Effect, Micros, READ_ONLY, Room, SECOND, cadence::edit_pause, outbox::Kind, session::SessionId};

/// How often a session is asked again for what its updates refer to.
const GAP_ASK: Micros = 10 * SECOND;

/// Updates that were applied and have not left.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub updates: Vec<CheckedUpdate>,
    pub sources: Vec<SessionId>,
    /// Sessions that have what is in it from elsewhere: they are told "saved" only when it is, too.
    pub waiters: Vec<SessionId>,
    pub bytes: usize,
    pub oldest: Micros,
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
        if session.identity.access == Access::Read {
            session.saving.answered |= answer;
            // An answer to our SyncStep1 repeats every deletion that the peer knows of.
            let new_structs = !update.has_known_structs(self.replica.clocks());
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
        if self.replica.knows(&update) {
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
    pub(super) fn wait_for_known(&mut self, id: SessionId) {
        if !self.batch.updates.is_empty() && !self.batch.waiters.contains(&id) {
            self.batch.waiters.push(id);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.saving.last_seq = self.journal.appended;
        }
    }

    /// What was gathered leaves: one append, one frame for each dialect, shared by all.
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

    pub(super) fn ask_for_missing(&mut self, id: SessionId, now: Micros) {
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
}
