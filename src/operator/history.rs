//! Which records make a document what it was at a time, and when nobody can know (rules B9 and B10).
//!
//! Records have an order of writing (`lsn`) and a time. What a document was at TIME is made of its records
//! up to the first that is later, in the order of writing: a clock that was set back changes nothing then.
//!
//! A snapshot supersedes updates, and the journal lets go of those. So of a snapshot that is later than
//! TIME nobody knows which of the updates in it were written before TIME, unless they are still there.
//!
//! What must stay true: [`at`] answers with records only when no update that is not there can have been
//! written up to TIME.

use std::collections::BTreeMap;

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
        /// Up to this time the document can be known, in milliseconds; none when at no time before `until_ms`.
        since_ms: Option<u64>,
        /// From this time on it can be known again.
        until_ms: u64,
    },
}

/// What the document of which `entries` are all records that are there was at `at_ms`.
pub(super) fn at(mut entries: Vec<Placed>, at_ms: u64) -> Past {
    // A copy keeps its order of writing: of two the one in the later segment counts, as for a start.
    entries.sort_by_key(|(segment, entry)| (entry.lsn, *segment));
    let cut = entries
        .iter()
        .position(|(_, entry)| entry.at_ms > at_ms)
        .unwrap_or(entries.len());
    let (before, after) = entries.split_at(cut);

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
    let whole: Vec<&Placed> = updates
        .values()
        .zip(base_seq + 1..)
        .take_while(|(placed, seq)| placed.1.seq == *seq)
        .map(|(placed, _)| *placed)
        .collect();
    let last_seq = base_seq + whole.len() as u64;

    let follows = after
        .iter()
        .any(|(_, entry)| entry.kind == Kind::Update && entry.seq == last_seq + 1);
    let beyond = entries.iter().filter(|(_, entry)| entry.seq > last_seq);
    let is_exact = whole.len() == updates.len() && (follows || beyond.clone().next().is_none());
    if is_exact {
        let records: Vec<Placed> = base.into_iter().chain(whole).cloned().collect();
        return if records.is_empty() {
            Past::Unborn
        } else {
            Past::Known(records)
        };
    }
    let bases = beyond.filter(|(_, entry)| entry.kind != Kind::Update);
    Past::Gone {
        since_ms: base.into_iter().chain(whole).map(|(_, entry)| entry.at_ms).max(),
        until_ms: bases.map(|(_, entry)| entry.at_ms).min().unwrap_or(u64::MAX),
    }
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
        let deletion = record(Kind::Deleted, 1, 2, 20);
        let all = vec![update(1, 1, 10), deletion.clone(), update(2, 3, 30)];

        assert_eq!(at(all.clone(), 19), Past::Known(vec![update(1, 1, 10)]));
        assert_eq!(at(all.clone(), 20), Past::Known(vec![deletion.clone()]));
        assert_eq!(at(all, 30), Past::Known(vec![deletion, update(2, 3, 30)]));
    }

    #[test]
    fn b10_updates_that_a_later_snapshot_replaced_may_be_missing() {
        let some = vec![update(1, 1, 10), snapshot(3, 4, 40), update(4, 5, 50)];
        let none = vec![snapshot(3, 4, 40)];

        assert_eq!(
            at(some.clone(), 20),
            Past::Gone {
                since_ms: Some(10),
                until_ms: 40
            }
        );
        assert_eq!(at(some, 40), Past::Known(vec![snapshot(3, 4, 40)]));
        assert_eq!(
            at(none, 39),
            Past::Gone {
                since_ms: None,
                until_ms: 40
            }
        );
    }

    #[test]
    fn b10_a_snapshot_of_what_is_there_hides_nothing() {
        let all = vec![update(1, 1, 10), update(2, 2, 20), snapshot(2, 3, 90)];

        assert_eq!(at(all, 50), Past::Known(vec![update(1, 1, 10), update(2, 2, 20)]));
    }

    #[test]
    fn b10_a_hole_before_the_time_is_no_state() {
        let all = vec![update(2, 2, 20), snapshot(4, 5, 40)];

        assert_eq!(
            at(all, 30),
            Past::Gone {
                since_ms: None,
                until_ms: 40
            }
        );
    }
}
