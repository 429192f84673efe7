//! The store's promise: what is committed survives losing power, and is found again.
//!
//! The server talks to [`Store`] alone. The rules R of `docs/SPEC.md` say what every implementation
//! must hold; `contract` is the suite that each of them runs.
//!
//! * `holder`: whose a document is, and what is refused to whom
//! * `record`: the bytes of one record, versioned, checked against golden bytes
//! * `memory`: for tests; durable as long as the process lives
//! * `journal`: the truth on disk, an append-only log of segments
//! * `sled` (feature `server`): what is read: snapshots and the catalogue, rebuilt from the journal
//! * `durable` (feature `server`): the two together, what the server runs on
//! * `postgres` (feature `postgres`): a database that several servers may share
//! * `directory` (feature `server`): what these know of each other through it
//! * `orders`: what all of these are told

#[cfg(test)]
mod contract;
#[cfg(feature = "server")]
pub mod directory;
#[cfg(feature = "server")]
pub mod durable;
pub mod holder;
pub mod journal;
#[cfg(test)]
#[cfg(feature = "server")]
mod measure;
pub mod memory;
pub mod orders;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod record;
#[cfg(feature = "server")]
pub mod sled;

use std::{fmt, io, sync::Arc};

use bytes::Bytes;

pub use self::holder::{Holder, NodeId, Refusal, Refusals, Release};
use crate::id::DocumentId;

/// Position of an update in its document's history: 1 is the first, without gaps.
pub type Seq = u64;

/// One fact about one document, to be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose fact this is.
    pub document: DocumentId,
    /// For an update its own position; for a snapshot or a deletion the last position it covers.
    pub seq: Seq,
    /// When it was written, in milliseconds since the Unix epoch (told by the caller).
    pub at_ms: u64,
    /// The token subjects whose edits this holds, without repeats; empty when anonymous.
    pub authors: Arc<[Arc<str>]>,
    /// What happened.
    pub body: Body,
    /// Who has the document. None is whoever has the whole store for itself, as a command on a folder: its records are
    /// taken while nobody has the document. It is not stored.
    pub holder: Option<Holder>,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A Yjs v1 update that follows on all earlier ones of this document.
    Update(Bytes),
    /// The whole document as one Yjs v1 update: supersedes every record with `seq` up to this one's.
    Snapshot(Bytes),
    /// The document was deleted by a person: supersedes everything up to `seq`.
    Deleted,
}

/// What a deleted document starts from: the Yjs v1 update that changes nothing.
pub const EMPTY_UPDATE: Bytes = Bytes::from_static(&[0, 0]);

/// A document as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredDocument {
    /// The newest snapshot and the position it covers.
    pub snapshot: Option<(Seq, Bytes)>,
    /// The updates after the snapshot, ascending, without gaps or repeats.
    pub updates: Vec<(Seq, Bytes)>,
}

impl StoredDocument {
    /// The snapshot and the updates after it, with their positions.
    pub fn records(&self) -> impl Iterator<Item = (Seq, &Bytes)> {
        let snapshot = self.snapshot.iter().map(|(seq, bytes)| (*seq, bytes));
        snapshot.chain(self.updates.iter().map(|(seq, bytes)| (*seq, bytes)))
    }

    /// The last position that is stored; 0 for a document that nobody has written to.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.updates
            .last()
            .map_or_else(|| self.snapshot.as_ref().map_or(0, |(seq, _)| *seq), |(seq, _)| *seq)
    }
}

/// A line of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentEntry {
    /// The name.
    pub document: DocumentId,
    /// The last position that is stored.
    pub last_seq: Seq,
    /// Bytes of its live records.
    pub bytes: u64,
    /// Time of its newest record, in milliseconds since the Unix epoch.
    pub changed_ms: u64,
    /// Set when the document cannot be read; it then says why.
    pub damaged: Option<String>,
}

/// What a store says about itself, for `/readyz` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStatus {
    /// Documents that exist.
    pub documents: u64,
    /// Documents that cannot be read.
    pub damaged: u64,
    /// Bytes that are live (not superseded).
    pub live_bytes: u64,
    /// Bytes on disk, all files of the store.
    pub disk_bytes: u64,
    /// Journal segments.
    pub segments: u64,
    /// Why the read side (sled) was set aside and is being rebuilt, if it was.
    pub rebuilding: Option<String>,
}

/// Where documents are kept.
///
/// All calls block on the disk: never call them on an arbiter thread. `commit`, the releases and `maintain` are
/// called by the writer's threads, the others by any thread, at the same time.
pub trait Store: Send + Sync + 'static {
    /// Threads that may commit at once; all records of a document go through one of them.
    fn lanes(&self) -> usize {
        1
    }

    /// Which node this is among those that share the store.
    fn node(&self) -> NodeId {
        NodeId::ALONE
    }

    /// Reads a document as [`Store::load`] does and makes it this holder's: records of earlier holders are refused from
    /// now on, also those on their way.
    ///
    /// # Errors
    /// [`StoreError::Elsewhere`] when a node that lives has the document, or is to have it. Otherwise as
    /// [`Store::load`]; the document may be this holder's all the same: release it.
    fn take(&self, document: &DocumentId, holder: Holder) -> Result<StoredDocument, StoreError>;

    /// Lets go of a document, so that `next` can take it, or anybody; nothing happens when it is another holder's by
    /// now. The holder's last commit has returned.
    ///
    /// # Errors
    /// As [`Store::commit`]. Nobody is hurt when it is not called again: whoever takes the document needs no release by
    /// this node, and other nodes none by a dead one.
    fn release(&self, document: &DocumentId, holder: Holder, next: Option<NodeId>) -> Result<(), StoreError>;

    /// [`Store::release`] of many, at the cost of one where the store can do that.
    ///
    /// # Errors
    /// As [`Store::release`]: the first one; the others may have been released all the same.
    fn release_all(&self, releases: &[Release]) -> Result<(), StoreError> {
        let release = |release: &Release| self.release(&release.document, release.holder, release.next);
        releases.iter().map(release).fold(Ok(()), Result::and)
    }

    /// Makes `records` durable together, in this order. What does not follow on what is stored (a gap, or another record
    /// has its position), is too large, or is not its holder's any more, is left out with all behind it of that document
    /// and holder, and named in the answer; what is not named is durable.
    ///
    /// # Errors
    /// After an error *nothing* of the batch may be acknowledged, and nobody knows whether it is durable. The caller
    /// keeps the records and calls again with the same ones (and perhaps more behind them) later; the store recovers by
    /// itself as soon as the disk takes writes. Records that had become durable are not doubled by that.
    fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError>;

    /// [`Store::commit`] for whoever expects that all is taken.
    ///
    /// # Errors
    /// [`StoreError::Refused`] names the first refusal; what was not refused is durable all the same.
    fn commit_all(&self, records: &[Record]) -> Result<(), StoreError> {
        match self.commit(records)?.into_iter().next() {
            Some(Refusal { document, reason, .. }) => Err(StoreError::Refused { document, reason }),
            None => Ok(()),
        }
    }

    /// Reads one document; a document that was never written or was deleted is `Ok(default)`, with
    /// the deletion's `seq` kept so that positions go on (`snapshot: Some((seq, empty update))`).
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a record of it fails its check: a person must look. Never an
    /// empty document instead. [`StoreError::Io`] when the disk did not answer: try again later.
    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError>;

    /// About how many bytes a load of the document reads, where the store knows that without a read.
    fn stored_bytes(&self, _: &DocumentId) -> Option<u64> {
        None
    }

    /// The records that [`Store::load`] reads, with their times and authors: the newest snapshot or deletion, then the
    /// updates after it. A store that keeps no times says 0.
    ///
    /// # Errors
    /// As [`Store::load`].
    fn history(&self, document: &DocumentId) -> Result<Vec<Record>, StoreError> {
        let stored = self.load(document)?;
        let snapshot = stored.snapshot.map(|(seq, body)| (seq, Body::Snapshot(body)));
        let updates = stored.updates.into_iter().map(|(seq, body)| (seq, Body::Update(body)));
        let record = |(seq, body)| Record {
            document: document.clone(),
            seq,
            at_ms: 0,
            authors: Arc::default(),
            body,
            holder: None,
        };
        Ok(snapshot.into_iter().chain(updates).map(record).collect())
    }

    /// Up to `most` documents whose names follow `after`, in the order of their names.
    ///
    /// # Errors
    /// As [`Store::load`].
    fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError>;

    /// Does at most one step of upkeep (copy forward, delete a dead segment, feed sled) and says
    /// whether more is waiting. `now_ms` decides what history is old enough to go.
    ///
    /// # Errors
    /// As [`Store::commit`]; nothing durable is lost by a step that failed.
    fn maintain(&self, now_ms: u64) -> Result<bool, StoreError>;

    /// Sizes and health.
    fn status(&self) -> StoreStatus;

    /// Leaves the files so that the next start need not recover. Calling `commit` after it is an error.
    ///
    /// # Errors
    /// What could not be written; everything committed is durable all the same.
    fn close(&self) -> Result<(), StoreError>;
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// What went wrong, sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused (full, failing, gone): keep the records, tell people, try again.
    #[error("the store cannot {doing} {path}: {source}")]
    Io {
        /// The verb: `write`, `sync`, `open`, …
        doing: &'static str,
        /// The file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Stored bytes fail their check: this document is quarantined, a person must look.
    #[error("document {document} is damaged in the store: {reason}")]
    Damaged {
        /// Which document.
        document: DocumentId,
        /// File, offset and what did not match.
        reason: String,
    },
    /// A record does not follow on what is stored, or is not its holder's: see [`Store::commit_all`].
    #[error("the store refuses a record of document {document}: {reason}")]
    Refused {
        /// Which document.
        document: DocumentId,
        /// The positions that disagree, or the length that is too large.
        reason: String,
    },
    /// Another node has the document, or is to have it.
    #[error("another server has document {document} (node {node})")]
    Elsewhere {
        /// Which document.
        document: DocumentId,
        /// Who has it.
        node: NodeId,
    },
    /// Several nodes crashed soon after they had opened the document: nobody opens it for a while.
    #[error("document {document} rests for {seconds} s: servers that opened it crashed")]
    Resting {
        /// Which document.
        document: DocumentId,
        /// How much longer.
        seconds: u64,
    },
    /// The folder cannot be used at all (locked by another server, unknown format, not a folder).
    #[error("{0}")]
    Unusable(String),
}
