//! What a reader has of the document, and the latest deletions.
//!
//! A state vector says which structs somebody has, and nothing of deletions. What a reader was sent says both: whoever was
//! brought to a version lacks only what was deleted since. All deletions of a document may be more than what its line carries
//! before somebody writes the next letter, so one who was sent them at each step would never be up to date (F17).

use std::{collections::VecDeque, sync::Arc};

use crate::{
    document::DeleteSet,
    protocol::update::{CheckedUpdate, Clocks, Deletion},
};

/// What a reader has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Had {
    /// Which structs.
    pub clocks: Arc<Clocks>,
    /// All that was deleted up to this version of the room; `None` when nothing is known of that.
    pub deletions: Option<u64>,
}

impl Had {
    /// What somebody says who comes.
    pub fn said(clocks: Arc<Clocks>) -> Self {
        Self {
            clocks,
            deletions: None,
        }
    }

    /// What somebody has who was sent everything up to a version.
    pub fn sent(clocks: Arc<Clocks>, version: u64) -> Self {
        Self {
            clocks,
            deletions: Some(version),
        }
    }
}

/// So many deletions are kept of any document, and of a document with many ranges of deleted clocks one for so many of these:
/// while a reader is sent all of them, others delete fewer.
const KEPT_MIN: usize = 256;
const KEPT_SHARE: usize = 4;

/// The latest deletions, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    kept: VecDeque<(u64, Deletion)>,
    /// What was deleted up to this version is not all here.
    forgotten: u64,
}

impl Recent {
    /// These updates made `version` of a document that has so many ranges of deleted clocks.
    pub fn note(&mut self, version: u64, updates: &[CheckedUpdate], ranges: usize) {
        for deletion in updates.iter().flat_map(CheckedUpdate::deletions) {
            match self.kept.back_mut() {
                // Who deletes letter by letter adds to one.
                Some((at, last)) if last.client == deletion.client && touch(last, deletion) => {
                    *at = version;
                    last.start = last.start.min(deletion.start);
                    last.end = last.end.max(deletion.end);
                }
                _ => self.kept.push_back((version, *deletion)),
            }
        }
        let most = KEPT_MIN.max(ranges / KEPT_SHARE);
        while self.kept.len() > most
            && let Some((version, _)) = self.kept.pop_front()
        {
            self.forgotten = version;
        }
        if self.kept.len() * 4 < self.kept.capacity() {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }

    /// What was deleted since what a reader has; `None` when that is everything that ever was, or not known.
    pub fn since(&self, had: &Had) -> Option<DeleteSet> {
        // What is for somebody who has no structs is for newcomers, too.
        let is_known = |from: &u64| *from >= self.forgotten && !had.clocks.is_empty();
        let from = had.deletions.filter(is_known)?;
        let known = self.kept.partition_point(|(version, _)| *version <= from);
        Some(self.kept.range(known..).map(|(_, deletion)| *deletion).collect())
    }

    /// Bytes of memory that they take.
    pub fn held_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<(u64, Deletion)>()
    }

    /// Gives the memory back: nobody was sent anything of what there is now.
    pub fn clear(&mut self, version: u64) {
        *self = Self {
            kept: VecDeque::new(),
            forgotten: version,
        };
    }
}

fn touch(a: &Deletion, b: &Deletion) -> bool {
    a.start <= b.end && b.start <= a.end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::Document;

    fn deletes(client: u64, start: u32, end: u32) -> CheckedUpdate {
        let mut update = vec![0, 1];
        crate::protocol::lib0::write_var_uint(&mut update, client);
        update.push(1);
        crate::protocol::lib0::write_var_uint(&mut update, u64::from(start));
        crate::protocol::lib0::write_var_uint(&mut update, u64::from(end - start));
        CheckedUpdate::check(update.into()).unwrap()
    }

    fn something() -> Arc<Clocks> {
        let mut clocks = Clocks::default();
        clocks.advance(1, 1);
        Arc::new(clocks)
    }

    proptest! {
        #[test]
        fn f17_whoever_was_brought_to_a_version_is_told_all_that_was_deleted_since(
            all in prop::collection::vec((1u64..4, 0u32..5_000, 1u32..4), 1..1_200),
            from in 0usize..1_200,
        ) {
            let mut recent = Recent::default();
            for (version, (client, start, len)) in all.iter().enumerate() {
                recent.note(version as u64 + 1, &[deletes(*client, *start, start + len)], 0);
            }
            let from = from.min(all.len());
            let had = Had::sent(something(), from as u64);

            let told = recent.since(&had);

            prop_assert!(recent.kept.len() <= KEPT_MIN);
            prop_assert!(recent.held_bytes() <= 8 * KEPT_MIN * size_of::<(u64, Deletion)>());
            prop_assert!(told.is_some() || all.len() - from > KEPT_MIN, "one that is not far behind");
            let Some(told) = told else { return Ok(()) };
            let told = Document::default().since_telling(&Clocks::default(), Some(&told));
            let told = CheckedUpdate::check(told).unwrap();
            for (client, start, len) in &all[from..] {
                let is_in = |deletion: &Deletion| deletion.client == *client && deletion.start <= *start && start + len <= deletion.end;
                prop_assert!(told.deletions().iter().any(is_in));
            }
        }
    }

    #[test]
    fn f17_who_deletes_letter_by_letter_takes_no_memory_and_an_empty_room_keeps_nothing() {
        let mut recent = Recent::default();
        for clock in (0..5_000).rev() {
            recent.note(5_000 - u64::from(clock), &[deletes(7, clock, clock + 1)], 0);
        }
        assert_eq!(recent.kept.len(), 1);
        assert!(recent.since(&Had::sent(something(), 3)).is_some());
        recent.clear(5_000);
        assert_eq!(recent.held_bytes(), 0);
        assert!(recent.since(&Had::sent(something(), 4_999)).is_none());
        assert!(recent.since(&Had::sent(something(), 5_000)).is_some());
        assert!(
            recent.since(&Had::said(Arc::default())).is_none(),
            "what somebody says is nothing of deletions"
        );
    }
}
