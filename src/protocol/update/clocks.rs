//! State vectors: how far each client's history is known.
//!
//! A tree, not a hash table: client ids come from outside, and a peer who chooses them can make any hash
//! without a secret degenerate.

use crate::protocol::lib0::{Malformed, Reader, write_var_uint};
use std::collections::BTreeMap;

use super::structs::CLOCK_MAX;

/// For each client the clock after the last one known; a client without entry is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clocks {
    next: BTreeMap<u64, u32>,
}

impl Clocks {
    /// Reads a state vector, as in SyncStep1. A client may appear once; one at clock 0 says nothing.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let count = r.count(2)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let client = r.var_uint()?;
            let clock = r.var_uint()?;
            if clock > CLOCK_MAX {
                return Err(r.malformed("a clock beyond 2^31 - 1"));
            }
            entries.push((client, clock as u32));
        }
        r.finish()?;
        // Nearly always sorted as it comes, one way or the other.
        entries.sort();
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(r.malformed("a client twice in a state vector"));
        }
        entries.retain(|(_, clock)| *clock > 0);
        Ok(Self {
            next: entries.into_iter().collect(),
        })
    }

    /// What is known here and in `other`: of a peer's state vector, the part that a document can make use of.
    pub fn restricted_to(&self, other: &Clocks) -> Clocks {
        let (few, many) = if self.len() <= other.len() {
            (self, other)
        } else {
            (other, self)
        };
        let both = |(client, clock): (u64, u32)| Some((client, clock.min(*many.next.get(&client)?)));
        Clocks {
            next: few.iter().filter_map(both).collect(),
        }
    }

    /// What is known here, of these clients at most up to these clocks. Linear in what is known here.
    pub fn cut_to(&self, most: &BTreeMap<u64, u32>) -> Clocks {
        let mut cut = self.clone();
        if most.len() > cut.len() {
            for (client, next) in &mut cut.next {
                *next = most.get(client).map_or(*next, |clock| (*next).min(*clock));
            }
        } else {
            for (client, clock) in most {
                if let Some(next) = cut.next.get_mut(client) {
                    *next = (*next).min(*clock);
                }
            }
        }
        cut.next.retain(|_, clock| *clock > 0);
        cut
    }

    /// Writes the state vector, clients in descending order as Yjs does.
    pub fn encode_state_vector(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.next.len() * 8);
        write_var_uint(&mut out, self.next.len() as u64);
        for (client, clock) in self.next.iter().rev() {
            write_var_uint(&mut out, *client);
            write_var_uint(&mut out, u64::from(*clock));
        }
        out
    }

    /// The next clock expected of `client`: 0 if it is unknown.
    #[inline]
    pub fn next(&self, client: u64) -> u32 {
        self.next.get(&client).copied().unwrap_or(0)
    }

    /// Whether everything in `other` is known here.
    pub fn contains(&self, other: &Clocks) -> bool {
        other.iter().all(|(client, clock)| clock <= self.next(client))
    }

    /// Notes that `client` is known up to `clock` (exclusive), unless more is known already.
    pub fn advance(&mut self, client: u64, clock: u32) {
        if clock > 0 {
            let next = self.next.entry(client).or_insert(0);
            *next = (*next).max(clock);
        }
    }

    /// Clients and their next clocks, in ascending order of client.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.next.iter().map(|(client, clock)| (*client, *clock))
    }

    /// The clients, in ascending order.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.next.keys().copied()
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.next.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }
}
