//! A store that lives as long as the process, for tests of what stands on the trait: it keeps the same
//! promises, and refuses on demand.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{
    Body, DocumentEntry, EMPTY_UPDATE, Holder, NodeId, Record, Refusals, Seq, Store, StoreError, StoreStatus,
    StoredDocument, holder::NOT_THE_HOLDERS, record,
};
use crate::id::DocumentId;

/// Documents in memory. A clone is another handle of the same node on the same documents, [`MemoryStore::reopen`] a
/// handle of another node: dropping one and going on with another is what a restart is to a store on disk.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    node: Arc<Node>,
}

/// A node lives as long as somebody has a handle of it.
#[derive(Debug)]
struct Node {
    id: NodeId,
    closed: Mutex<bool>,
}

/// Who may write to a document, or take it.
#[derive(Debug)]
enum Held {
    By(Holder, Weak<Node>),
    For(Weak<Node>),
}

#[derive(Debug, Default)]
struct State {
    documents: BTreeMap<DocumentId, Kept>,
    held: BTreeMap<DocumentId, Held>,
    nodes: Vec<Weak<Node>>,
    commits: u64,
    refuse_commits: bool,
    refuse_loads: bool,
    damaged: BTreeMap<DocumentId, String>,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    stored: StoredDocument,
    /// The same with times and authors.
    records: Vec<Record>,
    deleted: bool,
    changed_ms: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Arc::default())
    }

    fn on(state: Arc<Mutex<State>>) -> Self {
        let mut known = state.lock().unwrap_or_else(PoisonError::into_inner);
        let node = Arc::new(Node {
            id: NodeId(known.nodes.len() as u128 + 1),
            closed: Mutex::default(),
        });
        known.nodes.push(Arc::downgrade(&node));
        drop(known);
        Self { state, node }
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

    /// The same documents, for another node.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self::on(self.state.clone())
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.node.closed.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        self.readable()?;
        if let Some(reason) = self.damaged.get(document) {
            return Err(StoreError::Damaged {
                document: document.clone(),
                reason: reason.clone(),
            });
        }
        let kept = self.documents.get(document);
        Ok(kept.map(|kept| kept.stored.clone()).unwrap_or_default())
    }

    fn holder(&self, document: &DocumentId) -> Option<Holder> {
        match self.held.get(document) {
            Some(Held::By(holder, _)) => Some(*holder),
            Some(Held::For(_)) | None => None,
        }
    }

    /// Stores a record that is its holder's and follows.
    fn put(&mut self, record: &Record) -> Result<(), String> {
        if self.holder(&record.document) != record.holder {
            return Err(NOT_THE_HOLDERS.to_owned());
        }
        match self.documents.get_mut(&record.document) {
            Some(kept) => kept.apply(record)?,
            None => {
                let mut kept = Kept::default();
                kept.apply(record)?;
                self.documents.insert(record.document.clone(), kept);
            }
        }
        if !matches!(record.body, Body::Update(_)) {
            self.damaged.remove(&record.document);
        }
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn node(&self) -> NodeId {
        self.node.id
    }

    fn take(&self, document: &DocumentId, holder: Holder) -> Result<StoredDocument, StoreError> {
        let mut state = self.state();
        let has = match state.held.get(document) {
            Some(Held::By(_, node) | Held::For(node)) => node.upgrade().map(|node| node.id),
            None => None,
        };
        if let Some(node) = has.filter(|node| *node != self.node.id) {
            let document = document.clone();
            return Err(StoreError::Elsewhere { document, node });
        }
        state
            .held
            .insert(document.clone(), Held::By(holder, Arc::downgrade(&self.node)));
        state.load(document)
    }

    fn release(&self, document: &DocumentId, holder: Holder, next: Option<NodeId>) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.holder(document) != Some(holder) {
            return Ok(());
        }
        let mut living = state.nodes.iter().filter_map(Weak::upgrade);
        let next = next.and_then(|next| living.find(|node| node.id == next));
        match next {
            Some(node) => state.held.insert(document.clone(), Held::For(Arc::downgrade(&node))),
            None => state.held.remove(document),
        };
        Ok(())
    }

    fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError> {
        if *self.closed() {
            return Err(StoreError::Unusable("the store is closed".into()));
        }
        let mut state = self.state();
        if state.refuse_commits {
            return Err(refused("write"));
        }
        let mut refusals = Refusals::default();
        for record in records {
            if refusals.cover(record) {
                continue;
            }
            if let Err(reason) = state.put(record) {
                refusals.refuse(record, reason);
            }
        }
        state.commits += 1;
        Ok(refusals)
    }

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        self.state().load(document)
    }

    fn history(&self, document: &DocumentId) -> Result<Vec<Record>, StoreError> {
        self.load(document)?;
        let state = self.state();
        let kept = state.documents.get(document);
        Ok(kept.map(|kept| kept.records.clone()).unwrap_or_default())
    }

    fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        let state = self.state();
        state.readable()?;
        let follows = |name: &DocumentId| after.is_none_or(|after| name > after);
        let documents = state
            .documents
            .iter()
            .filter(|(name, kept)| follows(name) && kept.exists());
        Ok(documents
            .take(most)
            .map(|(name, kept)| DocumentEntry {
                document: name.clone(),
                last_seq: kept.stored.last_seq(),
                bytes: kept.bytes(),
                changed_ms: kept.changed_ms,
                damaged: state.damaged.get(name).cloned(),
            })
            .collect())
    }

    fn maintain(&self, _now_ms: u64) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn status(&self) -> StoreStatus {
        let state = self.state();
        let existing: Vec<&Kept> = state.documents.values().filter(|kept| kept.exists()).collect();
        StoreStatus {
            documents: existing.len() as u64,
            damaged: state.damaged.len() as u64,
            live_bytes: existing.iter().map(|kept| kept.bytes()).sum(),
            ..StoreStatus::default()
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        *self.closed() = true;
        Ok(())
    }
}

impl Kept {
    fn apply(&mut self, record: &Record) -> Result<(), String> {
        let last = self.stored.last_seq();
        match &record.body {
            Body::Update(body) if record.seq == last + 1 => {
                self.stored.updates.push((record.seq, body.clone()));
                self.records.push(unheld(record));
            }
            Body::Update(body) if self.stored.updates.contains(&(record.seq, body.clone())) => return Ok(()),
            Body::Update(_) => {
                return Err(format!("an update with position {} cannot follow {last}", record.seq));
            }
            Body::Snapshot(body) => self.rebase(record, body.clone(), false),
            Body::Deleted => self.rebase(record, EMPTY_UPDATE, true),
        }
        self.changed_ms = self.changed_ms.max(record.at_ms);
        Ok(())
    }

    fn rebase(&mut self, record: &Record, body: bytes::Bytes, deleted: bool) {
        let seq: Seq = record.seq;
        if self.stored.snapshot.as_ref().is_some_and(|(newer, _)| *newer > seq) {
            return;
        }
        self.deleted = deleted;
        self.stored.snapshot = Some((seq, body));
        self.stored.updates.retain(|(position, _)| *position > seq);
        self.records
            .retain(|known| known.seq > seq && matches!(known.body, Body::Update(_)));
        self.records.insert(0, unheld(record));
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

fn unheld(record: &Record) -> Record {
    Record {
        holder: None,
        ..record.clone()
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
