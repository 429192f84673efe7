//! Where everything is: per document the positions of its current records, per segment how much of it
//! is still needed.
//!
//! What must stay true:
//!
//! * A record is *current* when a load reads it: the newest base (snapshot or deletion) of its document and
//!   the updates after it. `updates[i]` is the update with position `base.seq + 1 + i`: positions have no
//!   gaps, so they are not stored.
//! * A record is *past* when it was superseded less than `retain_ms` ago: history. When it was superseded
//!   is the time of the first base that covers it; `superseders` keeps those, not the records.
//! * All records of a damaged document are kept, whatever they are: a person may need them.
//! * The byte counts choose what to compact and what to report. Whether a record may go is always asked of
//!   [`Index::need`].
//! * 16 bytes per update and about 200 per document, name included: 100,000 documents take 20 to 30 MB.

use std::collections::BTreeMap;

use super::segment::{Entry, HEADER_BYTES};
use crate::{
    id::DocumentId,
    store::{
        Seq,
        record::{self, Kind},
    },
};

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Where it begins in the file.
    pub offset: u64,
    /// In which segment.
    pub segment: u32,
    /// Its length in bytes.
    pub bytes: u32,
}

impl Position {
    /// The position of `entry` in `segment`.
    #[must_use]
    pub fn of(segment: u32, entry: &Entry) -> Self {
        // The record format bounds a record to `u32::MAX` bytes.
        Self {
            offset: entry.offset,
            segment,
            bytes: u32::try_from(entry.bytes).unwrap_or(u32::MAX),
        }
    }
}

/// The record that a document starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Snapshot or deletion.
    pub kind: Kind,
    /// The last position it covers.
    pub seq: Seq,
    /// Its order of first writing.
    pub lsn: u64,
    /// Where it lies.
    pub position: Position,
}

/// A base that superseded something which is kept as history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superseder {
    /// The last position it covers.
    pub seq: Seq,
    /// Its order of first writing.
    pub lsn: u64,
    /// Its time in milliseconds.
    pub at_ms: u64,
}

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File, offset and what did not match.
    pub reason: String,
    /// The last position that is known to have been given.
    pub last_seq: Seq,
}

/// One document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// What it starts from; none when all its updates are there.
    pub base: Option<Base>,
    /// The updates after the base.
    pub updates: Vec<Position>,
    /// Time of its newest record in milliseconds.
    pub changed_ms: u64,
    /// Set when it cannot be read.
    pub damage: Option<Box<Damage>>,
    /// The bases that superseded history, oldest first; empty when no history is kept.
    pub superseders: Vec<Superseder>,
}

impl Document {
    /// The position that the base covers, 0 without one.
    #[must_use]
    pub fn base_seq(&self) -> Seq {
        self.base.map_or(0, |base| base.seq)
    }

    /// The last position that was given.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        let stored = self.base_seq() + self.updates.len() as u64;
        self.damage
            .as_ref()
            .map_or(stored, |damage| damage.last_seq.max(stored))
    }

    /// False when nothing but a deletion is left.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.damage.is_some() || !self.updates.is_empty() || self.base.is_some_and(|base| base.kind == Kind::Snapshot)
    }

    /// Bytes of its current records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let base = self.base.map_or(0, |base| u64::from(base.position.bytes));
        base + self.updates.iter().map(|update| u64::from(update.bytes)).sum::<u64>()
    }

    /// Marks it as damaged; two reasons are enough for a person to start with.
    pub fn damaged(&mut self, reason: String, last_seq: Seq) {
        match &mut self.damage {
            Some(damage) => {
                damage.last_seq = damage.last_seq.max(last_seq);
                if !damage.reason.contains("; ") && damage.reason != reason {
                    damage.reason = format!("{}; {reason}", damage.reason);
                }
            }
            None => self.damage = Some(Box::new(Damage { reason, last_seq })),
        }
    }

    /// Where the current record `(kind, seq, lsn)` lies, if that is current.
    fn current(&mut self, entry: &Entry) -> Option<&mut Position> {
        match entry.kind {
            Kind::Update => {
                let index = entry.seq.checked_sub(self.base_seq() + 1)?;
                self.updates.get_mut(usize::try_from(index).ok()?)
            }
            Kind::Snapshot | Kind::Deleted => self
                .base
                .as_mut()
                .filter(|base| base.lsn == entry.lsn)
                .map(|base| &mut base.position),
        }
    }

    fn superseded_ms(&self, entry: &Entry) -> Option<u64> {
        self.superseders
            .iter()
            .find(|base| base.seq >= entry.seq && base.lsn > entry.lsn)
            .map(|base| base.at_ms)
    }
}

/// One file of the journal.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    /// Seed of the sums of its records.
    pub salt: u32,
    /// Where its last record ends.
    pub end: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Length of its hint, 0 without one.
    pub hint_bytes: u64,
    /// Bytes of current records.
    pub current: u64,
    /// Bytes of past records by when they were superseded.
    pub(super) past: BTreeMap<u64, u64>,
    /// Documents that something in this file was damaged of.
    pub damaged: Vec<DocumentId>,
    /// Set when something in it is damaged and nobody can say whose it was.
    pub unnamed: bool,
}

/// Whether a record is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A load reads it.
    Current,
    /// It is history that the options keep, or of a damaged document.
    Past,
    /// Nobody.
    None,
}

/// How many documents there are, and how many of them cannot be read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Those that hold something.
    pub existing: u64,
    /// Those that are damaged.
    pub damaged: u64,
}

impl Counts {
    fn of(document: &Document) -> Self {
        Self {
            existing: u64::from(document.exists()),
            damaged: u64::from(document.damage.is_some()),
        }
    }

    /// One of the documents was `before`, and is `after`.
    fn change(&mut self, before: Self, after: Self) {
        self.existing = self.existing + after.existing - before.existing;
        self.damaged = self.damaged + after.damaged - before.damaged;
    }
}

/// Everything that is in the journal.
#[derive(Debug, Default)]
pub struct Index {
    /// Kept as documents change: whoever asks must not wait for a look at all.
    pub counts: Counts,
    /// By name.
    pub documents: BTreeMap<DocumentId, Document>,
    /// By number.
    pub segments: BTreeMap<u32, Segment>,
    /// Sums of the names of documents of which everything is gone, and why: nobody can say the names, but
    /// whoever asks for one of them can be told.
    pub lost: BTreeMap<u32, String>,
    /// How long superseded records are kept, in milliseconds.
    pub retain_ms: u64,
    /// The latest time that was told.
    pub now_ms: u64,
}

impl Index {
    /// Counts all documents.
    #[must_use]
    pub fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for document in self.documents.values() {
            counts.change(Counts::default(), Counts::of(document));
        }
        counts
    }

    /// Takes in a record that was made durable and follows on what is here.
    pub fn apply(&mut self, segment: u32, entry: &Entry) {
        let position = Position::of(segment, entry);
        self.now_ms = self.now_ms.max(entry.at_ms);
        self.enter(position);
        let expired = self.now_ms.saturating_sub(self.retain_ms);
        let document = self.documents.entry(entry.document.clone()).or_default();
        let before = Counts::of(document);
        document.changed_ms = document.changed_ms.max(entry.at_ms);

        if entry.kind == Kind::Update {
            let next = document.base_seq() + document.updates.len() as u64 + 1;
            match &mut document.damage {
                Some(damage) if entry.seq != next => damage.last_seq = damage.last_seq.max(entry.seq),
                _ => document.updates.push(position),
            }
            return self.counts.change(before, Counts::of(document));
        }

        if document
            .damage
            .as_ref()
            .is_some_and(|damage| damage.last_seq <= entry.seq)
        {
            document.damage = None;
        }
        let mut superseded = Vec::new();
        if entry.seq < document.base_seq() {
            superseded.push(position);
        } else {
            let covered = usize::try_from(entry.seq - document.base_seq()).unwrap_or(usize::MAX);
            superseded.extend(document.base.map(|base| base.position));
            superseded.extend(document.updates.drain(..covered.min(document.updates.len())));
            document.base = Some(Base {
                kind: entry.kind,
                seq: entry.seq,
                lsn: entry.lsn,
                position,
            });
            if self.retain_ms > 0 {
                // One that is out of its time stays: it says that what it covers is out of its time too.
                let gone = document
                    .superseders
                    .iter()
                    .skip(1)
                    .take_while(|base| base.at_ms < expired)
                    .count();
                document.superseders.drain(..gone);
                document.superseders.push(Superseder {
                    seq: entry.seq,
                    lsn: entry.lsn,
                    at_ms: entry.at_ms,
                });
            }
        }
        self.counts.change(before, Counts::of(document));
        for position in superseded {
            self.leave(position);
            self.remember(position, entry.at_ms);
        }
    }

    /// A record that its document needs cannot be read.
    pub fn quarantine(&mut self, document: &DocumentId, segment: u32, reason: &str) {
        log::error!("document {document} is damaged in the journal: {reason}");
        if let Some(known) = self.documents.get_mut(document) {
            let (before, last_seq) = (Counts::of(known), known.last_seq());
            known.damaged(reason.to_owned(), last_seq);
            self.counts.change(before, Counts::of(known));
        }
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.damaged.push(document.clone());
        }
    }

    /// Counts a record as current in its segment.
    pub fn enter(&mut self, position: Position) {
        if let Some(segment) = self.segments.get_mut(&position.segment) {
            segment.current += u64::from(position.bytes);
        }
    }

    fn leave(&mut self, position: Position) {
        if let Some(segment) = self.segments.get_mut(&position.segment) {
            segment.current = segment.current.saturating_sub(u64::from(position.bytes));
        }
    }

    /// Counts a record as past, superseded at `superseded_ms`.
    pub fn remember(&mut self, position: Position, superseded_ms: u64) {
        if self.retain_ms == 0 {
            return;
        }
        let bucket = superseded_ms / self.bucket_ms();
        if let Some(segment) = self.segments.get_mut(&position.segment) {
            *segment.past.entry(bucket).or_default() += u64::from(position.bytes);
        }
    }

    /// Whether the record that `entry` says is at its place in `segment` is still needed.
    #[must_use]
    pub fn need(&mut self, segment: u32, entry: &Entry) -> Need {
        let kept_since = self.now_ms.saturating_sub(self.retain_ms);
        let retains = self.retain_ms > 0;
        let Some(document) = self.documents.get_mut(&entry.document) else {
            // The index knows all documents; one it does not know is a mistake that must not cost data.
            return Need::Past;
        };
        let place = Position::of(segment, entry);
        if document.current(entry).is_some_and(|current| *current == place) {
            return Need::Current;
        }
        let remembered = retains && document.superseded_ms(entry).is_some_and(|at_ms| at_ms >= kept_since);
        if document.damage.is_some() || remembered {
            Need::Past
        } else {
            Need::None
        }
    }

    /// A record was copied: its current place is the copy from now on.
    pub fn relocate(&mut self, from: u32, entry: &Entry, to: Position) {
        let old = Position::of(from, entry);
        let Some(document) = self.documents.get_mut(&entry.document) else {
            return;
        };
        let superseded_ms = document.superseded_ms(entry);
        match document.current(entry) {
            Some(current) if *current == old => {
                *current = to;
                self.leave(old);
                self.enter(to);
            }
            _ => self.remember(to, superseded_ms.unwrap_or(self.now_ms)),
        }
    }

    /// Why a document that is not in the index may have been here all the same.
    #[must_use]
    pub fn lost(&self, document: &DocumentId) -> Option<&String> {
        self.lost
            .get(&record::name_sum(document))
            .filter(|_| !self.documents.contains_key(document))
    }

    /// Bytes of records in a segment that nobody needs.
    #[must_use]
    pub fn dead(&self, segment: &Segment) -> u64 {
        let oldest = self.now_ms.saturating_sub(self.retain_ms) / self.bucket_ms();
        let past: u64 = segment.past.range(oldest..).map(|(_, bytes)| bytes).sum();
        segment
            .end
            .saturating_sub(HEADER_BYTES)
            .saturating_sub(segment.current + past)
    }

    /// True when a person may need the file as it is.
    #[must_use]
    pub fn pinned(&self, segment: &Segment) -> bool {
        let damaged = |name: &DocumentId| {
            self.documents
                .get(name)
                .is_some_and(|document| document.damage.is_some())
        };
        segment.unnamed || segment.damaged.iter().any(damaged)
    }

    /// Bytes of all current records.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.segments.values().map(|segment| segment.current).sum()
    }

    fn bucket_ms(&self) -> u64 {
        (self.retain_ms / 16).max(1)
    }
}
