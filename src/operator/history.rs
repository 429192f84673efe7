//! Which records make a document what it was at a time, and when nobody can know (rules B9 and B10).
//!
//! Records have an order of writing (`lsn`) and a time. What a document was at TIME is made of its records
//! up to the first that is later, in the order of writing: a clock that was set back changes nothing then.
//!
//! A snapshot supersedes updates, and the journal lets go of those. So of a snapshot that is later than
//! TIME nobody knows which of the updates in it were written before TIME, unless they are still there.
//!
//! A deletion has a position of its own, behind all that it deletes: one that is not there leaves a gap.
//!
//! What must stay true: [`at`] answers with records only when no update that is not there can have been
//! written up to TIME.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Seq, journal::segment::Entry, record::Kind};

/// A record and the segment that it lies in.
pub(super) type Placed = (u32, Entry);

/// A document at a time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// Nobody had written to it.
    Unborn,
    /// Its base, if it had one, then its updates without gaps.
    Known(Vec<Placed>),
    /// Something that is gone may belong to it.
    Gone {
        /// The next time at which the document can be known, in milliseconds.
        next_ms: u64,
    },
}

/// What the document of which `entries` are all records that are there was at `at_ms`.
pub(super) fn at(mut entries: Vec<Placed>, at_ms: u64) -> Past {
    // A copy keeps its order of writing: of two the one in the later segment counts, as for a start.
    entries.sort_by_key(|(segment, entry)| (entry.lsn, *segment));
    if let Some(past) = known(&entries, at_ms) {
        return past;
    }
    // A state can be known again where a base is, and when everything is in it.
    let latest_ms = entries.iter().map(|(_, entry)| entry.at_ms).max();
    let bases = entries.iter().filter(|(_, entry)| entry.kind != Kind::Update);
    let times: BTreeSet<u64> = bases.map(|(_, entry)| entry.at_ms).chain(latest_ms).collect();
    let next_ms = times
        .range(at_ms..)
        .find(|time| known(&entries, **time).is_some())
        .copied();
    Past::Gone {
        next_ms: next_ms.or(latest_ms).unwrap_or(at_ms),
    }
}

/// What the document was, unless something of it may be gone.
fn known(entries: &[Placed], at_ms: u64) -> Option<Past> {
    let cut = entries.iter().position(|(_, entry)| entry.at_ms > at_ms);
    let (before, after) = entries.split_at(cut.unwrap_or(entries.len()));
    let base = before
        .iter()
        .filter(|(_, entry)| entry.kind != Kind::Update)
        .max_by_key(|(_, entry)| (entry.seq, entry.lsn));
    let base_seq = base.map_or(0, |(_, entry)| entry.seq);
    // Of two with one position the later written counts.
    let updates: BTreeMap<Seq, &Placed> = before
        .iter()
        .filter(|(_, entry)| entry.kind == Kind::Update && entry.seq > base_seq)
        .map(|placed| (placed.1.seq, placed))
        .collect();
    let has_gap = updates.keys().zip(base_seq + 1..).any(|(seq, next)| *seq != next);
    let last_seq = base_seq + updates.len() as u64;
    let follows = after
        .iter()
        .any(|(_, entry)| entry.kind != Kind::Snapshot && entry.seq == last_seq + 1);
    let is_last = entries.iter().all(|(_, entry)| entry.seq <= last_seq);
    if has_gap || !(follows || is_last) {
        return None;
    }
    let records: Vec<Placed> = base.into_iter().chain(updates.into_values()).cloned().collect();
    Some(if records.is_empty() {
        Past::Unborn
    } else {
        Past::Known(records)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DocumentId;

    fn record(kind: Kind, seq: Seq, lsn: u64, at_ms: u64) -> Placed {
        let document = DocumentId::parse("plan").unwrap();
        let (offset, bytes) = (0, 0);
        (
            1,
            Entry {
                document,
                kind,
                seq,
                at_ms,
                lsn,
                offset,
                bytes,
            },
        )
    }

    fn update(seq: Seq, lsn: u64, at_ms: u64) -> Placed {
        record(Kind::Update, seq, lsn, at_ms)
    }

    fn snapshot(seq: Seq, lsn: u64, at_ms: u64) -> Placed {
        record(Kind::Snapshot, seq, lsn, at_ms)
    }

    #[test]
    fn b9_all_updates_are_there_and_the_time_decides() {
        let all = vec![update(1, 1, 10), update(2, 2, 20), snapshot(2, 3, 25), update(3, 4, 30)];

        assert_eq!(at(all.clone(), 9), Past::Unborn);
        assert_eq!(at(all.clone(), 10), Past::Known(vec![update(1, 1, 10)]));
        assert_eq!(
            at(all.clone(), 24),
            Past::Known(vec![update(1, 1, 10), update(2, 2, 20)])
        );
        assert_eq!(at(all.clone(), 29), Past::Known(vec![snapshot(2, 3, 25)]));
        assert_eq!(at(all, 99), Past::Known(vec![snapshot(2, 3, 25), update(3, 4, 30)]));
    }

    #[test]
    fn b9_a_clock_that_was_set_back_leaves_no_gap() {
        let all = vec![update(1, 1, 10), update(2, 2, 50), update(3, 3, 20)];

        assert_eq!(at(all, 30), Past::Known(vec![update(1, 1, 10)]));
    }

    #[test]
    fn b9_a_deletion_counts_from_its_time_on() {
        let deletion = record(Kind::Deleted, 2, 2, 20);
        let all = vec![update(1, 1, 10), deletion.clone(), update(3, 3, 30)];

        assert_eq!(at(all.clone(), 19), Past::Known(vec![update(1, 1, 10)]));
        assert_eq!(at(all.clone(), 20), Past::Known(vec![deletion.clone()]));
        assert_eq!(at(all, 30), Past::Known(vec![deletion, update(3, 3, 30)]));
    }

    #[test]
    fn b10_a_deletion_that_is_gone_leaves_a_gap() {
        let all = vec![update(1, 1, 10), update(3, 3, 30), snapshot(3, 4, 40)];

        assert_eq!(at(all.clone(), 20), Past::Gone { next_ms: 40 });
        assert_eq!(at(all.clone(), 30), Past::Gone { next_ms: 40 });
        assert_eq!(at(all, 40), Past::Known(vec![snapshot(3, 4, 40)]));
    }

    #[test]
    fn b10_updates_that_a_later_snapshot_replaced_may_be_missing() {
        let some = vec![update(1, 1, 10), snapshot(3, 4, 40), update(4, 5, 50)];
        let none = vec![snapshot(3, 4, 40)];

        assert_eq!(at(some.clone(), 9), Past::Unborn);
        assert_eq!(at(some.clone(), 20), Past::Gone { next_ms: 40 });
        assert_eq!(at(some, 40), Past::Known(vec![snapshot(3, 4, 40)]));
        assert_eq!(at(none, 39), Past::Gone { next_ms: 40 });
    }

    #[test]
    fn b10_what_followed_a_snapshot_may_be_gone_as_well() {
        let all = vec![snapshot(3, 4, 40), snapshot(9, 20, 90)];

        assert_eq!(at(all.clone(), 20), Past::Gone { next_ms: 90 });
        assert_eq!(at(all.clone(), 50), Past::Gone { next_ms: 90 });
        assert_eq!(at(all, 90), Past::Known(vec![snapshot(9, 20, 90)]));
    }

    #[test]
    fn b10_a_snapshot_of_what_is_there_hides_nothing() {
        let all = vec![update(1, 1, 10), update(2, 2, 20), snapshot(2, 3, 90)];

        assert_eq!(at(all, 50), Past::Known(vec![update(1, 1, 10), update(2, 2, 20)]));
    }

    #[test]
    fn b10_a_hole_before_the_time_is_no_state() {
        let all = vec![update(2, 2, 20), snapshot(4, 5, 40)];

        assert_eq!(at(all, 30), Past::Gone { next_ms: 40 });
    }
}
