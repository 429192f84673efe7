//! A document that was opened: shown as it is stored, merged when that is needed or there is time.

use crate::protocol::dialect::Inbound;

use super::{Effect, Micros, Room, SECOND, replica::Poisoned, states::Encoding};

/// So long after the first was shown what is stored it is merged: behind the answers to all who open it, and before
/// most of them say anything.
const MERGE_AFTER: Micros = SECOND;

impl Room {
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

    /// Somebody asks what the document holds.
    pub(super) fn merge_soon(&mut self, now: Micros) {
        if !self.is_merged() && self.merge_due.is_none() {
            self.merge_due = Some(now + MERGE_AFTER);
        }
    }

    /// Not for who has left.
    pub(super) fn merge_if_due(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        if self.merge_due.take_if(|due| *due <= now).is_some() && !self.sessions.is_empty() {
            effects.push(Effect::Merge);
        }
    }
}
