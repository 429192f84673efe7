//! What several updates delete together, to be looked up in.

use super::encode::deletions_in_order;
use super::{CheckedUpdate, Deletion};
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Most ranges that are looked up: it takes a millisecond.
const LOOK_UPS_MAX: usize = 8_192;

/// Ranges in order; neighbours are joined.
#[derive(Debug, Default)]
pub struct Deleted(SmallVec<[Deletion; 2]>);

impl Deleted {
    /// What `updates` delete.
    pub fn by(updates: &[CheckedUpdate]) -> Self {
        let mut ranges = updates.iter().flat_map(|update| &update.deletions).copied().collect();
        deletions_in_order(&mut ranges);
        Self(ranges)
    }

    /// Whether all that `update` deletes is among it, as far as that is quick to say.
    pub fn covers(&self, update: &CheckedUpdate) -> bool {
        update.deletions.len() <= LOOK_UPS_MAX && update.deletions.iter().all(|deletion| self.has(deletion))
    }

    fn has(&self, deletion: &Deletion) -> bool {
        let place = |range: &Deletion| (Reverse(range.client), range.start);
        let after = self.0.partition_point(|range| place(range) <= place(deletion));
        let range = after.checked_sub(1).map(|at| self.0[at]);
        range.is_some_and(|range| range.client == deletion.client && deletion.end <= range.end)
    }
}
