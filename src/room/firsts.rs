//! To whom a client id belonged first, for as long as the document is open.
//!
//! A client id is nobody's property for ever: a page may go on under another name. But whoever had it before another one
//! did has it again when it comes back, or somebody who waits until a page is away could keep it from its own id.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::FxHashMap;

/// Client ids that are remembered of one person: its pages of one day. Of more the oldest are forgotten.
const OF_ONE_MAX: usize = 64;
/// Client ids that are remembered of all, some 100 bytes each.
const OF_ALL_MAX: usize = 16 * 1_024;

/// Who had which client id first. Nobody without a name is in it.
#[derive(Debug, Default)]
pub(super) struct Firsts {
    persons: FxHashMap<u64, Arc<str>>,
    ids: FxHashMap<Arc<str>, VecDeque<u64>>,
}

impl Firsts {
    /// A client id is this person's, unless it was somebody's before.
    pub fn remember(&mut self, client: u64, person: Option<&Arc<str>>) {
        let Some(person) = person.filter(|_| !self.persons.contains_key(&client)) else {
            return;
        };
        let is_known = self.ids.get(person).is_some_and(|ids| ids.len() >= OF_ONE_MAX);
        if self.persons.len() >= OF_ALL_MAX && !is_known {
            return;
        }
        let ids = self.ids.entry(person.clone()).or_default();
        if is_known && let Some(oldest) = ids.pop_front() {
            self.persons.remove(&oldest);
        }
        ids.push_back(client);
        self.persons.insert(client, person.clone());
    }

    /// Whether a client id was this person's before it was anybody else's.
    pub fn is_of(&self, client: u64, person: Option<&Arc<str>>) -> bool {
        person.is_some() && self.persons.get(&client) == person
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p30_what_is_remembered_of_whose_client_ids_were_is_bounded() {
        let person = |n: usize| Arc::<str>::from(format!("{n}"));
        let mut firsts = Firsts::default();
        firsts.remember(7, Some(&person(0)));
        firsts.remember(7, Some(&person(1)));
        firsts.remember(8, None);
        assert!(firsts.is_of(7, Some(&person(0))));
        assert!(!firsts.is_of(7, Some(&person(1))) && !firsts.is_of(8, None));

        for n in 0..2 * OF_ONE_MAX as u64 {
            firsts.remember(1_000 + n, Some(&person(1)));
        }
        assert_eq!(firsts.persons.len(), 1 + OF_ONE_MAX);
        assert!(firsts.is_of(7, Some(&person(0))), "one takes nothing of another");
        for n in 0..2 * OF_ALL_MAX {
            firsts.remember(1_000_000 + n as u64, Some(&person(n)));
        }
        assert_eq!(firsts.persons.len(), OF_ALL_MAX);
        assert!(firsts.ids.len() <= OF_ALL_MAX);
    }
}
