//! The gate: what a client's update (Yjs encoding v1) must be before the document may see it.
//!
//! [`CheckedUpdate::check`] looks at the bytes alone: is this the structure that Yjs writes, and can every Yjs write
//! again what it reads of it? Whether everything exists that it refers to is judged by the document
//! (`document::judge`).
//!
//! What must stay true:
//!
//! * Only this module makes a [`CheckedUpdate`]: to have one is to have that proof. Its sections are in strictly
//!   descending order of client, none is empty, and nothing in it needs repair.
//! * What is repaired (see [`rewrite`]) is order and emptiness. What an author wrote stays as it is, byte for byte.
//! * Updates of which each starts, for every client, where those before it end, are merged by concatenation.
//!
//! The numbered rules (G1 ..) are in `docs/SPEC.md`.

mod clocks;
pub(crate) mod encode;
mod merge;
mod parse;
pub(crate) mod piece;
mod rewrite;
mod seal;
mod split;
pub(crate) mod structs;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

pub use clocks::Clocks;
pub use merge::merge;
pub use seal::{Sizes, apart, seal};
pub use split::split;

use bytes::Bytes;
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
}

impl CheckedUpdate {
    /// The encoded update (Yjs v1), ready for the journal and for other clients.
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

    /// Number of structs, gaps included.
    pub fn struct_count(&self) -> u64 {
        self.sections.iter().map(|s| u64::from(s.count)).sum()
    }

    /// For every client with structs here: its first clock and the clock after its last.
    pub fn spans(&self) -> impl Iterator<Item = (u64, std::ops::Range<u32>)> + '_ {
        self.sections.iter().map(|s| (s.client, s.start..s.end))
    }

    /// How many bytes of memory a document takes more when it has taken this, at most: what is known of each client, and what
    /// is known of each struct.
    #[must_use]
    pub fn memory_bytes_max(&self) -> usize {
        let structs = usize::try_from(self.struct_count()).unwrap_or(usize::MAX / 64);
        320 * self.sections.len() + 64 * (structs + self.deletions.len()) + 2 * self.bytes.len()
    }

    /// This without the structs of some clients.
    #[must_use]
    pub fn without(&self, clients: &[u64]) -> Self {
        // Both may be very many.
        let mut clients = clients.to_vec();
        clients.sort_unstable();
        let kept = self
            .sections
            .iter()
            .filter(|section| clients.binary_search(&section.client).is_err());
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
