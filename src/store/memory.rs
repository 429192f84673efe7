//! A store that lives as long as the process, for tests of what stands on the trait: it keeps the same
//! promises, and refuses on demand.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Body, DocumentEntry, EMPTY_UPDATE, Record, Seq, Store, StoreError, StoreStatus, StoredDocument, record};
use crate::id::DocumentId;

/// Documents in memory. A clone is another handle on the same documents: dropping one and going on with
/// another is what a restart is to a store on disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    documents: BTreeMap<DocumentId, Held>,
    commits: u64,
    closed: bool,
    refuse_commits: bool,
    refuse_loads: bool,
    damaged: BTreeMap<DocumentId, String>,
}

#[derive(Debug, Clone, Default)]
struct Held {
    stored: StoredDocument,
    deleted: bool,
    changed_ms: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes commits fail, as a full disk does, until told otherwise.
    pub fn refuse_commits(&self, refuse: bool) {
        self.state().refuse_commits = refuse;
    }

    /// Makes loads and lists fail, as a failing disk does, until told otherwise.
    pub fn refuse_loads(&self, refuse: bool) {
        self.state().refuse_loads = refuse;
    }

    /// Makes one document damaged until a snapshot or a deletion covers it.
    pub fn damage(&self, document: &DocumentId, reason: &str) {
        self.state().damaged.insert(document.clone(), reason.to_owned());
    }

    /// How many commits succeeded.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.state().commits
    }

    /// The same documents after a restart.
    #[must_use]
    pub fn reopen(&self) -> Self {
        self.state().closed = false;
        self.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn readable(&self) -> Result<(), StoreError> {
        if self.refuse_loads {
            Err(refused("read"))
        } else {
            Ok(())
        }
    }
}

impl Store for MemoryStore {
    fn commit(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Unusable("the store is closed".into()));
        }
        if state.refuse_commits {
            return Err(refused("write"));
        }
        // Nothing of a batch that is refused may be seen: the copies replace the originals at the end.
        let mut changed: BTreeMap<&DocumentId, Held> = BTreeMap::new();
        for record in records {
            let stored = || state.documents.get(&record.document).cloned().unwrap_or_default();
            changed.entry(&record.document).or_insert_with(stored).apply(record)?;
        }
        for (document, held) in changed {
            state.documents.insert(document.clone(), held);
        }
        for record in records.iter().filter(|record| !matches!(record.body, Body::Update(_))) {
            state.damaged.remove(&record.document);
        }
        state.commits += 1;
        Ok(())
    }

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        let state = self.state();
        state.readable()?;
        if let Some(reason) = state.damaged.get(document) {
            return Err(StoreError::Damaged {
                document: document.clone(),
                reason: reason.clone(),
            });
        }
        Ok(state
            .documents
            .get(document)
            .map(|held| held.stored.clone())
            .unwrap_or_default())
    }

    fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        let state = self.state();
        state.readable()?;
        let follows = |name: &DocumentId| after.is_none_or(|after| name > after);
        let documents = state
            .documents
            .iter()
            .filter(|(name, held)| follows(name) && held.exists());
        Ok(documents
            .take(most)
            .map(|(name, held)| DocumentEntry {
                document: name.clone(),
                last_seq: held.stored.last_seq(),
                bytes: held.bytes(),
                changed_ms: held.changed_ms,
                damaged: state.damaged.get(name).cloned(),
            })
            .collect())
    }

    fn maintain(&self, _now_ms: u64) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn status(&self) -> StoreStatus {
        let state = self.state();
        let existing: Vec<&Held> = state.documents.values().filter(|held| held.exists()).collect();
        StoreStatus {
            documents: existing.len() as u64,
            damaged: state.damaged.len() as u64,
            live_bytes: existing.iter().map(|held| held.bytes()).sum(),
            ..StoreStatus::default()
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.state().closed = true;
        Ok(())
    }
}

impl Held {
    fn apply(&mut self, record: &Record) -> Result<(), StoreError> {
        let last = self.stored.last_seq();
        match &record.body {
            Body::Update(body) if record.seq == last + 1 => self.stored.updates.push((record.seq, body.clone())),
            Body::Update(body) if self.stored.updates.contains(&(record.seq, body.clone())) => return Ok(()),
            Body::Update(_) => {
                let reason = format!("an update with position {} cannot follow {last}", record.seq);
                return Err(StoreError::Refused {
                    document: record.document.clone(),
                    reason,
                });
            }
            Body::Snapshot(body) => self.rebase(record.seq, body.clone(), false),
            Body::Deleted => self.rebase(record.seq, EMPTY_UPDATE, true),
        }
        self.changed_ms = self.changed_ms.max(record.at_ms);
        Ok(())
    }

    fn rebase(&mut self, seq: Seq, body: bytes::Bytes, deleted: bool) {
        if self.stored.snapshot.as_ref().is_some_and(|(newer, _)| *newer > seq) {
            return;
        }
        self.deleted = deleted;
        self.stored.snapshot = Some((seq, body));
        self.stored.updates.retain(|(position, _)| *position > seq);
    }

    fn exists(&self) -> bool {
        !self.deleted || !self.stored.updates.is_empty()
    }

    fn bytes(&self) -> u64 {
        let snapshot = self.stored.snapshot.iter().map(|(_, body)| body.len());
        let updates = self.stored.updates.iter().map(|(_, body)| body.len());
        snapshot
            .chain(updates)
            .map(|bytes| (bytes + record::FIXED_BYTES) as u64)
            .sum()
    }
}

fn refused(doing: &'static str) -> StoreError {
    let source = io::Error::new(io::ErrorKind::StorageFull, "a test refuses");
    StoreError::Io {
        doing,
        path: "memory".into(),
        source,
    }
}
