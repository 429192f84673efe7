//! What the open documents of one client take.
//!
//! Each session is charged with an equal part of what its document takes in memory; a client, with the parts of all its
//! sessions.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use smallvec::SmallVec;

use crate::protocol::close::Exceeded;

use super::{Memory, Whose};

/// When somebody who was refused comes back, in microseconds.
const AGAIN: u64 = 10_000_000;

/// What one client is charged with, in bytes.
#[derive(Debug)]
pub struct Account {
    whose: Whose,
    /// Most that its documents take where memory may become short, of all.
    percent: usize,
    bytes: AtomicUsize,
}

impl Account {
    /// Nothing yet.
    #[must_use]
    pub fn of(whose: Whose, percent: usize) -> Arc<Self> {
        Arc::new(Self {
            whose,
            percent,
            bytes: AtomicUsize::new(0),
        })
    }

    /// Bytes of memory that its documents take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// `document_bytes` is what one document takes that it may have in any case.
    fn within(&self, memory: &Memory, document_bytes: usize) -> Result<(), Exceeded> {
        let (label, what) = match self.whose {
            Whose::User => (
                "memory_of_user",
                "the documents that this user has open take too much of the server's memory, close some",
            ),
            Whose::Address => (
                "memory_of_address",
                "the documents that are open from your address take too much of the server's memory, close some",
            ),
        };
        if self.bytes() <= document_bytes.max(memory.max() / 100 * self.percent) {
            Ok(())
        } else {
            Err(Exceeded::new(label, what, AGAIN))
        }
    }
}

/// The accounts that are charged with a session: its address's and its user's, as far as these are counted.
#[derive(Debug, Clone, Default)]
pub struct Accounts(SmallVec<[Arc<Account>; 2]>);

impl Accounts {
    /// These.
    #[must_use]
    pub fn of(accounts: impl IntoIterator<Item = Arc<Account>>) -> Self {
        Self(accounts.into_iter().collect())
    }

    /// Whether a document may be opened for them that nobody has open.
    ///
    /// # Errors
    /// Theirs take too much already, and memory may become short.
    pub fn may_open(&self, memory: &Memory) -> Result<(), Exceeded> {
        if memory.fills() { self.within(memory, 0) } else { Ok(()) }
    }

    /// Whether their session of a document that takes `document_bytes` may go on. Who has no other one open stays.
    ///
    /// # Errors
    /// Their documents take too much, and memory is short.
    pub fn may_stay(&self, memory: &Memory, document_bytes: usize) -> Result<(), Exceeded> {
        if memory.is_short() {
            self.within(memory, document_bytes)
        } else {
            Ok(())
        }
    }

    fn within(&self, memory: &Memory, document_bytes: usize) -> Result<(), Exceeded> {
        self.0
            .iter()
            .try_for_each(|account| account.within(memory, document_bytes))
    }
}

/// What a session is charged with, until this is dropped.
#[derive(Debug, Default)]
pub struct Charge {
    accounts: Accounts,
    bytes: usize,
}

impl Charge {
    /// Nothing yet.
    #[must_use]
    pub fn of(accounts: Accounts) -> Self {
        Self { accounts, bytes: 0 }
    }

    /// Who is charged.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// It is so much now.
    pub fn is(&mut self, bytes: usize) {
        for account in &self.accounts.0 {
            account.bytes.fetch_add(bytes, Relaxed);
            account.bytes.fetch_sub(self.bytes, Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.is(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l84_who_has_too_much_open_opens_no_more_as_memory_fills_and_does_not_stay_when_it_is_short() {
        let memory = Memory::new(1_000, 0);
        let (user, address) = (Account::of(Whose::User, 12), Account::of(Whose::Address, 50));
        let accounts = Accounts::of([user.clone(), address.clone()]);
        let state = |used: usize| {
            memory.uses(used);
            let refused = |result: Result<(), Exceeded>| result.err().map(|exceeded| exceeded.label());
            (
                refused(accounts.may_open(&memory)),
                refused(accounts.may_stay(&memory, 100)),
            )
        };
        let mut charge = Charge::of(accounts.clone());
        charge.is(120);
        assert_eq!(state(1_000), (None, None), "that is the user's part");

        charge.is(121);

        let of_user = Some("memory_of_user");
        assert_eq!(state(700), (None, None), "there is plenty");
        assert_eq!(state(701), (of_user, None));
        assert_eq!(state(851), (of_user, of_user));
        assert!(accounts.may_stay(&memory, 121).is_ok(), "it is one document");

        let others: Vec<_> = (0..3)
            .map(|_| {
                let mut charge = Charge::of(Accounts::of([Account::of(Whose::User, 12), address.clone()]));
                charge.is(120);
                charge
            })
            .collect();
        charge.is(120);
        assert_eq!(state(1_000), (None, None), "half is the address's part");
        let mut one_more = Charge::of(Accounts::of([address.clone()]));
        one_more.is(21);
        let of_address = Some("memory_of_address");
        assert_eq!(state(1_000), (of_address, of_address));
        drop(others);
        assert_eq!(address.bytes(), 141, "what is left of it");
        drop(charge);
        assert_eq!((user.bytes(), address.bytes()), (0, 21));
    }
}
