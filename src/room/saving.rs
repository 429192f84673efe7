//! What is durable, what is on its way, and when a snapshot is due.
//!
//! What must stay true: `durable <= appended`; `unsaved` has one entry for each `Append` that was
//! emitted and whose `Stored` has not come, oldest first; a snapshot covers only appended records.

use std::collections::VecDeque;

use crate::store::Seq;

/// The journal as the room sees it.
#[derive(Debug)]
pub(super) struct Journal {
    pub appended: Seq,
    pub durable: Seq,
    /// Position and bytes.
    unsaved: VecDeque<(Seq, usize)>,
    unsaved_bytes: usize,
    /// Bytes and records appended after the newest snapshot.
    since_snapshot: (usize, usize),
    snapshot_bytes: usize,
    /// A snapshot is being made or written.
    pub snapshotting: bool,
    /// What of `since_snapshot` the one that is being made covers.
    covered: (usize, usize),
}

/// How many more bytes of all documents together may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Of edits.
    pub edits: usize,
    /// Of the edits of each document, whatever waits of others.
    pub each: usize,
    /// Of snapshots.
    pub snapshots: usize,
}

/// Any number.
impl Default for Free {
    fn default() -> Self {
        Self {
            edits: usize::MAX,
            each: 0,
            snapshots: usize::MAX,
        }
    }
}

impl Journal {
    pub fn new(last_seq: Seq, snapshot_bytes: usize, updates_bytes: usize, updates: usize) -> Self {
        Self {
            appended: last_seq,
            durable: last_seq,
            unsaved: VecDeque::new(),
            unsaved_bytes: 0,
            since_snapshot: (updates_bytes, updates),
            snapshot_bytes,
            snapshotting: false,
            covered: (0, 0),
        }
    }

    /// The position of the next record, which has `bytes`.
    pub fn append(&mut self, bytes: usize) -> Seq {
        self.appended += 1;
        self.unsaved.push_back((self.appended, bytes));
        self.unsaved_bytes += bytes;
        self.since_snapshot.0 += bytes;
        self.since_snapshot.1 += 1;
        self.appended
    }

    /// Everything up to `seq` is durable.
    pub fn stored(&mut self, seq: Seq) {
        self.durable = self.durable.max(seq);
        while let Some((_, bytes)) = self.unsaved.pop_front_if(|(unsaved, _)| *unsaved <= seq) {
            self.unsaved_bytes -= bytes;
        }
    }

    pub fn unsaved_bytes(&self) -> usize {
        self.unsaved_bytes
    }

    /// Bytes and records that were appended after the newest snapshot.
    pub fn since_snapshot(&self) -> (usize, usize) {
        self.since_snapshot
    }

    pub fn all_saved(&self) -> bool {
        self.unsaved.is_empty()
    }

    /// Whether the records since the last snapshot weigh enough: `floor` bytes, and as much as the
    /// snapshot itself, so that the work stays proportional to what is written.
    pub fn wants_snapshot(&self, floor: usize) -> bool {
        !self.snapshotting && self.since_snapshot.0 >= floor.max(self.snapshot_bytes)
    }

    /// Whether a document that nobody uses is worth a snapshot before it leaves memory.
    pub fn wants_parting_snapshot(&self) -> bool {
        let (bytes, records) = self.since_snapshot;
        !self.snapshotting && (records >= 16 || bytes * 4 > self.snapshot_bytes.max(16 * 1024))
    }

    /// A snapshot of everything that was appended is being made.
    pub fn snapshot_begins(&mut self) -> Seq {
        self.snapshotting = true;
        self.covered = self.since_snapshot;
        self.appended
    }

    /// It was made, and takes `bytes`.
    pub fn snapshot_taken(&mut self, bytes: usize) {
        self.snapshot_bytes = bytes;
        self.since_snapshot.0 -= self.covered.0;
        self.since_snapshot.1 -= self.covered.1;
    }

    /// It could not be made. The log stays; the next attempt comes when as much again was written.
    pub fn snapshot_refused(&mut self) {
        self.snapshotting = false;
        self.snapshot_bytes = self.snapshot_bytes.max(self.since_snapshot.0) * 2;
        self.since_snapshot.1 = 0;
        self.covered = (0, 0);
    }
}
