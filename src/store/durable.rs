//! The store that the server runs on: the journal is the truth, sled is what is read.
//!
//! A commit ends when the journal has it; sled hears of it afterwards, from a thread of its own. A load
//! asks the index where the document stands, sled for the snapshot, and the journal for the updates behind
//! it and for everything that sled does not have or that fails its check. Whatever happens to sled, no call
//! here fails because of it.

use std::{path::Path, sync::Arc};

use super::{
    Body, DocumentEntry, Holder, NodeId, Record, Refusals, Store, StoreError, StoreStatus, StoredDocument,
    journal::{
        self, Journal, JournalOptions,
        disk::{Disk, FileDisk},
    },
    sled::{ReadSide, SledOptions},
};
use crate::id::DocumentId;

/// What an operator may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Of the journal.
    pub journal: JournalOptions,
    /// Of sled.
    pub sled: SledOptions,
}

/// Journal and sled in one folder: `journal/`, `sled-000001/`, and what was set aside.
pub struct DurableStore {
    read_side: ReadSide,
    journal: Arc<Journal>,
}

impl DurableStore {
    /// Opens the store in the folder `path`, which is made when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when another server has the folder or a restore to it was killed, [`StoreError::Io`]
    /// when the disk did not answer. Never because of sled, and not because the disk is full.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(FileDisk), path, options)
    }

    /// The same with the journal on another disk; sled is always on the machine's own.
    ///
    /// # Errors
    /// See [`DurableStore::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, StoreError> {
        journal::refuse_unfinished(path)?;
        let journal = Arc::new(Journal::open_beside(disk, &path.join("journal"), options.journal)?);
        let read_side = ReadSide::open(path, Arc::clone(&journal), options.sled)?;
        Ok(Self { read_side, journal })
    }

    /// The journal, for what only it knows.
    #[must_use]
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// The read side, for what only it knows.
    #[must_use]
    pub fn read_side(&self) -> &ReadSide {
        &self.read_side
    }
}

impl Store for DurableStore {
    fn take(&self, document: &DocumentId, holder: Holder) -> Result<StoredDocument, StoreError> {
        self.journal.hold(document, holder);
        self.load(document)
    }

    fn release(&self, document: &DocumentId, holder: Holder, _: Option<NodeId>) -> Result<(), StoreError> {
        self.journal.let_go(document, holder);
        Ok(())
    }

    fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError> {
        let refused = self.journal.commit(records)?;
        let rebased = records.iter().filter(|record| !matches!(record.body, Body::Update(_)));
        let mut rebased = rebased.map(|record| record.document.clone()).peekable();
        if rebased.peek().is_some() {
            self.read_side.changed(rebased);
        }
        Ok(refused)
    }

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        self.journal
            .load_with(document, |name, base| self.read_side.find(name, base))
    }

    fn stored_bytes(&self, document: &DocumentId) -> Option<u64> {
        self.journal.stored_bytes(document)
    }

    fn history(&self, document: &DocumentId) -> Result<Vec<Record>, StoreError> {
        self.journal.history(document)
    }

    fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        self.journal.list(after, most)
    }

    fn maintain(&self, now_ms: u64) -> Result<bool, StoreError> {
        self.read_side.look_after();
        self.journal
            .maintain_with(now_ms, |name, base| self.read_side.find(name, base))
    }

    fn status(&self) -> StoreStatus {
        let journal = self.journal.status();
        StoreStatus {
            disk_bytes: journal.disk_bytes + self.read_side.disk_bytes(),
            rebuilding: self.read_side.rebuilding(),
            ..journal
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.read_side.close();
        self.journal.close()
    }
}
