//! The gate: what a client's update (Yjs encoding v1) must be before the document may see it.
//!
//! yrs, which holds the documents, follows raw pointers wherever an update leads it. So no update
//! reaches it that has not passed here, in two steps:
//!
//! 1. [`CheckedUpdate::check`] looks at the bytes alone: is this the structure that Yjs writes?
//! 2. [`CheckedUpdate::admit`] holds it against what the document knows ([`Known`]): does everything
//!    that it refers to exist, and is it what the reference takes it for?
//!
//! What must stay true:
//!
//! * Only this module makes a [`CheckedUpdate`]: to have one is to have the proof of step 1. Its sections
//!   are in strictly descending order of client, none is empty, and nothing in it needs repair.
//! * An admitted update starts, for every client, exactly where the document ends, has no gaps, and every
//!   struct in it can be integrated after those before it. So admitted updates of one document can be
//!   merged by concatenation in the order in which they were admitted.
//! * What is repaired (see [`rewrite`]) means the same to Yjs: repair never invents or drops content.
//!
//! The numbered rules (G1 ..) are in `docs/SPEC.md`.

mod admit;
mod clocks;
mod crowd;
mod deleted;
pub(crate) mod encode;
mod known;
mod lacking;
mod merge;
mod parse;
pub(crate) mod piece;
mod rewrite;
mod split;
pub(crate) mod structs;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

pub use admit::Admission;
pub use clocks::Clocks;
pub use deleted::Deleted;
pub use known::Known;
pub use lacking::lacking;
pub use merge::merge;
pub use split::split;

use bytes::Bytes;
use known::Run;
use smallvec::SmallVec;
use std::borrow::Cow;

/// The update that says nothing: no structs, no deletions.
pub const EMPTY_UPDATE: &[u8] = &[0, 0];

/// One position in the history of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The client that wrote it.
    pub client: u64,
    /// Its number among what that client wrote, in UTF-16 units for text.
    pub clock: u32,
}

/// The consecutive structs of one client in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    pub client: u64,
    /// First clock.
    pub start: u32,
    /// The clock after the last.
    pub end: u32,
    /// Number of structs.
    pub count: u32,
    /// Byte range of the structs, without the section's header.
    pub from: usize,
    pub to: usize,
    /// Whether a `Skip` (a declared gap) is among them.
    pub gaps: bool,
}

/// A range of deleted clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deletion {
    /// Whose structs are deleted.
    pub client: u64,
    /// First clock.
    pub start: u32,
    /// The clock after the last.
    pub end: u32,
}

/// An update whose structure is proven: see the module's header.
#[derive(Debug, Clone)]
pub struct CheckedUpdate {
    bytes: Bytes,
    pub(crate) sections: SmallVec<[Section; 1]>,
    deletions: SmallVec<[Deletion; 2]>,
    /// What [`CheckedUpdate::admit`] learned about the structs, for [`Known::absorb`].
    runs: SmallVec<[Run; 2]>,
    admitted: bool,
}

impl CheckedUpdate {
    /// The encoded update (Yjs v1), ready for yrs, for the journal and for other clients.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty() && self.deletions.is_empty()
    }

    /// Whether a document that knows `known` has all its structs.
    pub fn has_known_structs(&self, known: &Clocks) -> bool {
        self.sections.iter().all(|s| s.end <= known.next(s.client))
    }

    /// Number of structs, gaps included: each costs the document a few hundred bytes of memory.
    pub fn struct_count(&self) -> u64 {
        self.sections.iter().map(|s| u64::from(s.count)).sum()
    }

    /// For every client with structs here: its first clock and the clock after its last.
    pub fn spans(&self) -> impl Iterator<Item = (u64, std::ops::Range<u32>)> + '_ {
        self.sections.iter().map(|s| (s.client, s.start..s.end))
    }

    /// The same without the structs of some clients.
    #[must_use]
    pub fn without(&self, clients: &[u64]) -> Self {
        let kept = self
            .sections
            .iter()
            .filter(|section| !clients.contains(&section.client));
        let sections: SmallVec<[encode::Out; 2]> = kept
            .map(|section| encode::Out {
                client: section.client,
                start: section.start,
                end: section.end,
                count: section.count,
                parts: smallvec::smallvec![Cow::Borrowed(&self.bytes[section.from..section.to])],
            })
            .collect();
        let mut without = encode::assemble(&sections, self.deletions.clone());
        for section in &mut without.sections {
            section.gaps = self
                .section_of(section.client)
                .is_some_and(|index| self.sections[index].gaps);
        }
        without
    }

    /// The deleted ranges.
    pub fn deletions(&self) -> &[Deletion] {
        &self.deletions
    }

    pub(crate) fn section_of(&self, client: u64) -> Option<usize> {
        if let [only] = self.sections.as_slice() {
            return (only.client == client).then_some(0);
        }
        self.sections
            .binary_search_by(|section| client.cmp(&section.client))
            .ok()
    }
}
