//! A document that was opened: shown as it is stored, merged when somebody edits it.

use crate::{access::Access, protocol::dialect::Inbound};

use super::{
    Room,
    replica::Poisoned,
    session::{Session, SessionId},
    states::Encoding,
};

impl Room {
    /// Whether what the store held is merged.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.replica.is_merged()
    }

    /// Whether `message` of a session can be heard without merging what the store held first. [`Room::hear`] would do
    /// that, too, however long it takes.
    #[must_use]
    pub fn can_hear(&self, id: SessionId, message: &Inbound) -> bool {
        let Inbound::Update { update, .. } = message else {
            return true;
        };
        let writes = |session: &Session| session.identity.access != Access::Read;
        self.is_merged() || self.replica.knows(update) || !self.sessions.get(&id).is_some_and(writes)
    }

    /// Merges what the store held.
    ///
    /// # Errors
    /// [`Poisoned`] when that is no document: the room must be thrown away.
    pub fn merge(&mut self) -> Result<(), Poisoned> {
        debug_assert_eq!(
            self.encoding,
            Encoding::Nothing,
            "what is being cut from it would no longer be all"
        );
        self.replica.merge()
    }

    /// What the store held cannot be merged any more.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self) {
        self.replica.poison();
    }
}
