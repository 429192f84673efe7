//! One update out of several, by copying bytes.

use super::encode::{Out, assemble, deletions_in_order};
use super::{CheckedUpdate, Deletion};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Merges admitted updates of one document, in the order in which they were admitted. The result is one
/// update, unless a client's structs do not follow each other (they do, if none is left out): then several,
/// to be applied in order. A single update comes back with its bytes shared.
///
/// Copies every byte once; the parsed form is not touched.
pub fn merge(updates: &[CheckedUpdate]) -> Vec<CheckedUpdate> {
    if let [only] = updates {
        return vec![only.clone()];
    }
    let mut merged = Vec::with_capacity(1);
    let mut group = Group::default();
    for update in updates {
        if !group.fits(update) {
            merged.extend(std::mem::take(&mut group).finish());
        }
        group.add(update);
    }
    merged.extend(group.finish());
    merged
}

#[derive(Default)]
struct Group<'a> {
    members: usize,
    first: Option<&'a CheckedUpdate>,
    gaps: bool,
    sections: BTreeMap<u64, Out<'a>>,
    deletions: SmallVec<[Deletion; 2]>,
}

impl<'a> Group<'a> {
    fn fits(&self, update: &CheckedUpdate) -> bool {
        let gaps = self.gaps || update.sections.iter().any(|section| section.gaps);
        let follows = |section: &super::Section| {
            self.sections
                .get(&section.client)
                .is_none_or(|out| out.end == section.start)
        };
        self.members == 0 || (!gaps && update.sections.iter().all(follows))
    }

    fn add(&mut self, update: &'a CheckedUpdate) {
        self.members += 1;
        self.first.get_or_insert(update);
        for section in &update.sections {
            self.gaps |= section.gaps;
            let out = self.sections.entry(section.client).or_insert_with(|| Out {
                client: section.client,
                start: section.start,
                end: section.start,
                count: 0,
                parts: SmallVec::new(),
            });
            out.end = section.end;
            out.count += section.count;
            out.parts.push(Cow::Borrowed(&update.bytes[section.from..section.to]));
        }
        self.deletions.extend_from_slice(&update.deletions);
    }

    fn finish(mut self) -> Option<CheckedUpdate> {
        let first = self.first?;
        if self.members == 1 {
            return Some(first.clone());
        }
        deletions_in_order(&mut self.deletions);
        let sections: Vec<Out> = self.sections.into_values().rev().collect();
        let merged = assemble(&sections, self.deletions);
        (!merged.is_empty()).then_some(merged)
    }
}
