//! Are the ids of a document's clients spread out, or chosen to collide?
//!
//! yrs keeps clients in a hash table whose hash is the id itself: whoever chooses 40,000 ids that agree in
//! their low bits makes one update of 600 kB take 12 s, and every later one slow. Ids drawn at random, and
//! ids that count up, fill every part of a table alike. So for every size that the table may have, its
//! parts are counted; no part may hold many times its share.

use crate::limits::{COLLIDING_CLIENTS_MAX, CROWDED_CLIENTS_MIN};

/// Tables of 2^`BITS_MIN` to 2^`BITS_MAX` places are watched, each in 256 parts.
const BITS_MIN: u32 = 8;
const BITS_MAX: u32 = 24;
const PARTS: usize = 256;

/// How many clients fall in each part of each table. Empty for a small document.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd {
    parts: Vec<u32>,
}

impl Crowd {
    /// Whether one more client, the `count`th, would crowd a part of some table that is in use.
    pub fn refuses(&self, client: u64, count: usize) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        let share = COLLIDING_CLIENTS_MAX + 4 * count / PARTS;
        (BITS_MIN..=BITS_MAX)
            .take_while(|bits| 1usize << bits <= 4 * count)
            .any(|bits| self.parts[part(client, bits)] as usize >= share)
    }

    /// Counts a new client; `all` are those of the document, with it.
    pub fn add(&mut self, client: u64, all: impl ExactSizeIterator<Item = u64>) {
        if !self.parts.is_empty() {
            self.count(client);
        } else if all.len() >= CROWDED_CLIENTS_MIN {
            self.parts = vec![0; (BITS_MAX - BITS_MIN + 1) as usize * PARTS];
            all.for_each(|client| self.count(client));
        }
    }

    fn count(&mut self, client: u64) {
        for bits in BITS_MIN..=BITS_MAX {
            self.parts[part(client, bits)] += 1;
        }
    }
}

/// The place of `client` in a table of 2^`bits`, in 256ths of it.
fn part(client: u64, bits: u32) -> usize {
    let place = client & ((1 << bits) - 1);
    (bits - BITS_MIN) as usize * PARTS + (place >> (bits - BITS_MIN)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(ids: impl Iterator<Item = u64>) -> Option<usize> {
        let mut crowd = Crowd::default();
        let mut all: Vec<u64> = Vec::new();
        for id in ids {
            if crowd.refuses(id, all.len() + 1) {
                return Some(all.len());
            }
            all.push(id);
            crowd.add(id, all.iter().copied());
        }
        None
    }

    #[test]
    fn v5_ids_drawn_at_random_or_counted_up_are_never_refused() {
        let mut state = 7u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 32
        };
        assert_eq!(refused((0..200_000).map(|_| random())), None);
        assert_eq!(refused((0..200_000).map(|_| (random() << 21) ^ random())), None);
        assert_eq!(refused(0..200_000), None);
        assert_eq!(refused((0..200_000).map(|i| (1 << 52) - i)), None);
    }

    #[test]
    fn v5_ids_chosen_to_collide_are_refused() {
        let soon = CROWDED_CLIENTS_MIN + 10;
        assert!(refused((0..200_000).map(|i| i << 32)).is_some_and(|count| count < soon));
        assert!(refused((0..200_000).map(|i| i << 16)).is_some_and(|count| count < soon));
        // Spread in the lowest bits, and in one place of a larger table.
        assert!(refused((0..200_000).map(|i| (i % 1_024) | ((i / 1_024) << 20))).is_some_and(|count| count < 4 * soon));
    }
}
