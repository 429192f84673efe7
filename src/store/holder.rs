//! Whose a document is: at most one opening of it may write, wherever it runs.

use std::{fmt, num::NonZeroU64};

use super::Record;
use crate::id::DocumentId;

/// Tells one opening of a document from every other, on any node. Drawn at random, never used twice: a counter that the
/// store keeps would be given twice by a store that came back with less than it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(NonZeroU64);

impl Holder {
    /// From a number that was drawn at random; bit 0 does not count.
    #[must_use]
    pub fn drawn(random: u64) -> Self {
        Self(NonZeroU64::MIN | (random & !1))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

/// A server among those that share a store; drawn at random at each of its starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u128);

impl NodeId {
    /// The one server of a store that has no other.
    pub const ALONE: Self = Self(0);
}

/// As a UUID.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

/// Somebody lets go of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which document.
    pub document: DocumentId,
    /// Who has it.
    pub holder: Holder,
    /// Who is to have it, if not anybody.
    pub next: Option<NodeId>,
}

/// What a store left out of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose document's records.
    pub document: DocumentId,
    /// Of which holder.
    pub holder: Option<Holder>,
    /// The positions that disagree, the length that is too large, or that somebody else has the document.
    pub reason: String,
}

/// All that a store left out of a commit: one refusal for each document and holder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "what was refused is not durable"]
pub struct Refusals(Vec<Refusal>);

/// Why the record of a holder that lost the document is refused.
pub const NOT_THE_HOLDERS: &str = "the document is not this holder's any more";

impl Refusals {
    /// Whether all is durable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something of this record's document and holder was refused: it must not be acknowledged.
    #[must_use]
    pub fn cover(&self, record: &Record) -> bool {
        let same = |refusal: &Refusal| refusal.holder == record.holder && refusal.document == record.document;
        self.0.iter().any(same)
    }

    /// Refuses this record and all behind it of its document and holder.
    pub fn refuse(&mut self, record: &Record, reason: impl Into<String>) {
        if !self.cover(record) {
            self.0.push(Refusal {
                document: record.document.clone(),
                holder: record.holder,
                reason: reason.into(),
            });
        }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.0.iter()
    }
}

impl IntoIterator for Refusals {
    type Item = Refusal;
    type IntoIter = std::vec::IntoIter<Refusal>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
