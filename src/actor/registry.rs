//! At most one actor for each document.
//!
//! A document runs on its home ([`super::homes`]), whoever asks for it.
//!
//! Opening is single-flight by construction: the first who asks starts the actor and everybody else
//! finds it; the actor loads its document before it answers anybody. An actor takes itself out only
//! when all it was given is durable, so the next one finds everything in the store.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use actix::{Actor, Addr, Context};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    access::Patterns,
    budgets::{Accounts, Memory},
    document::Deleted,
    id::DocumentId,
    limits::SESSIONS_PER_DOCUMENT,
    protocol::close::CloseReason,
    room::Policy,
    store::{Holder, NodeId, Store},
    telemetry::Metrics,
};

use super::{
    document::{DocumentActor, Elsewhere, Lost},
    helpers::Helpers,
    homes::Homes,
    visit::{OPEN_TRIES, PATIENCE, copies_kb_max},
    writer::Writer,
};

/// What every document actor needs.
#[derive(Debug)]
pub struct Registry {
    actors: Mutex<Actors>,
    generation: AtomicU64,
    /// Where documents are loaded from.
    pub(super) store: Arc<dyn Store>,
    pub(super) writer: Writer,
    /// For loads, with all that belongs to opening a document, and encodes.
    pub(super) helpers: Helpers,
    /// For large edits: they wait for no load, and no load for them.
    pub(super) takers: Helpers,
    pub(super) policies: Policies,
    pub(super) metrics: Arc<Metrics>,
    /// Room for whole documents that visitors read.
    pub(super) copies: Arc<Semaphore>,
    pub(super) copies_kb_max: usize,
    /// Documents that are being given back.
    pub(super) giving_back: AtomicUsize,
    homes: Arc<Homes>,
    /// The other servers on the store, if there may be some.
    pub(super) others: OnceLock<Arc<dyn Others>>,
}

/// The other servers on the store, for documents that go there.
pub trait Others: Send + Sync {
    /// Who is to have the next document that is let go of, when this server stops.
    fn heir(&self) -> Option<NodeId>;

    /// Has the server that a document lives on write an update to it; true when that was done, false when it can be done here.
    ///
    /// # Errors
    /// Why it cannot be done now.
    fn write(&self, document: DocumentId, update: Bytes) -> Pin<Box<dyn Future<Output = Result<bool, CloseReason>>>>;
}

impl fmt::Debug for dyn Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Others")
    }
}

#[derive(Debug, Default)]
struct Actors {
    open: FxHashMap<DocumentId, (Generation, Addr<DocumentActor>)>,
    closed: bool,
}

/// What an operator chose, for each document.
#[derive(Debug, Clone)]
pub struct Policies {
    /// For all documents.
    pub rooms: Policy,
    /// In these documents the content of what is deleted is kept.
    pub keep_deleted: Patterns,
    /// Most sessions of each.
    pub sessions_max: usize,
    /// What all of them may hold.
    pub memory: Arc<Memory>,
}

impl Policies {
    pub(super) fn of(&self, document: &DocumentId) -> Policy {
        let kept = self.keep_deleted.cover(document);
        Policy {
            deleted: if kept { Deleted::Kept } else { self.rooms.deleted },
            ..self.rooms
        }
    }
}

impl From<Policy> for Policies {
    fn from(rooms: Policy) -> Self {
        Self {
            rooms,
            keep_deleted: Patterns::default(),
            sessions_max: SESSIONS_PER_DOCUMENT,
            memory: Memory::unbounded(),
        }
    }
}

/// Tells an actor from a later one of the same document.
pub(super) type Generation = u64;

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        writer: Writer,
        [helpers, takers]: [Helpers; 2],
        policies: impl Into<Policies>,
        metrics: Arc<Metrics>,
        homes: Arc<Homes>,
    ) -> Arc<Self> {
        let actors = Mutex::default();
        let policies = policies.into();
        let copies_kb_max = copies_kb_max(policies.memory.max());
        Arc::new(Self {
            actors,
            generation: AtomicU64::new(1),
            store,
            writer,
            helpers,
            takers,
            policies,
            metrics,
            copies: Arc::new(Semaphore::new(copies_kb_max)),
            copies_kb_max,
            giving_back: AtomicUsize::new(0),
            homes,
            others: OnceLock::new(),
        })
    }

    /// There may be other servers on the store.
    pub fn is_one_of(&self, others: Arc<dyn Others>) {
        // Said once.
        let _ = self.others.set(others);
    }

    /// Who is to have a document that is let go of now: anybody, unless the server stops.
    pub(super) fn heir(&self) -> Option<NodeId> {
        let others = self.others.get()?;
        self.is_closed().then(|| others.heir()).flatten()
    }

    /// The largest document, in bytes.
    #[must_use]
    pub fn document_bytes_max(&self) -> usize {
        self.policies.rooms.document_bytes_max
    }

    /// Whether a document is open here.
    #[must_use]
    pub fn has(&self, document: &DocumentId) -> bool {
        let actors = self.lock();
        !actors.closed && actors.open.get(document).is_some_and(|(_, addr)| addr.connected())
    }

    /// Opens a document; returns which node has it instead, if one has. A document that cannot be opened for any other
    /// reason is nowhere else.
    pub async fn elsewhere(self: &Arc<Self>, document: &DocumentId) -> Option<NodeId> {
        for _ in 0..OPEN_TRIES {
            let actor = self.open(document).ok()?;
            match timeout(PATIENCE, actor.send(Elsewhere)).await {
                Ok(Ok(node)) => return node,
                // It left memory between the two lines; the next one loads anew.
                Ok(Err(_)) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Another node has taken a document from this holder, or the store has less of it than it said.
    pub fn lost(&self, document: &DocumentId, holder: Holder) {
        let actor = self.lock().open.get(document).map(|(_, addr)| addr.clone());
        if let Some(actor) = actor {
            actor.do_send(Lost(holder));
        }
    }

    /// The actor of `document`, started on its home if there is none, or on the caller's arbiter while no thread has
    /// settled there.
    ///
    /// # Errors
    /// The server is stopping, or has no memory for a document that is not open.
    pub fn open(self: &Arc<Self>, document: &DocumentId) -> Result<Addr<DocumentActor>, CloseReason> {
        self.open_for(document, &Accounts::default())
    }

    /// The same for somebody who is charged with it.
    ///
    /// # Errors
    /// The same, or it is not open, and theirs that are open take too much.
    pub fn open_for(
        self: &Arc<Self>,
        document: &DocumentId,
        accounts: &Accounts,
    ) -> Result<Addr<DocumentActor>, CloseReason> {
        let mut actors = self.lock();
        if actors.closed {
            return Err(CloseReason::Restarting);
        }
        self.opens(&mut actors, document, accounts)
    }

    /// The same, also when the server is stopping: for what has to be written before.
    pub(super) fn open_anyway(self: &Arc<Self>, document: &DocumentId) -> Result<Addr<DocumentActor>, CloseReason> {
        self.opens(&mut self.lock(), document, &Accounts::default())
    }

    fn opens(
        self: &Arc<Self>,
        actors: &mut Actors,
        document: &DocumentId,
        accounts: &Accounts,
    ) -> Result<Addr<DocumentActor>, CloseReason> {
        if let Some((_, addr)) = actors.open.get(document).filter(|(_, addr)| addr.connected()) {
            return Ok(addr.clone());
        }
        accounts.may_open(&self.policies.memory)?;
        let stored = || self.store.stored_bytes(document);
        self.policies.memory.may_open(stored)?;
        let generation = self.next_generation();
        let (name, registry) = (document.clone(), self.clone());
        let starts = move |ctx: &mut Context<DocumentActor>| DocumentActor::new(name, generation, registry, ctx);
        let addr = match self.homes.arbiter(self.homes.of(document)) {
            Some(home) => DocumentActor::start_in_arbiter(&home, starts),
            None => DocumentActor::create(starts),
        };
        actors.open.insert(document.clone(), (generation, addr.clone()));
        self.metrics.documents_open.set(actors.open.len() as i64);
        Ok(addr)
    }

    pub(super) fn next_generation(&self) -> Generation {
        self.generation.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The actor of this generation is done with `document`.
    pub(super) fn forget(&self, document: &DocumentId, generation: Generation) {
        let mut actors = self.lock();
        if actors.open.get(document).is_some_and(|(known, _)| *known == generation) {
            actors.open.remove(document);
        }
        if actors.open.is_empty() {
            actors.open.shrink_to_fit();
        }
        self.metrics.documents_open.set(actors.open.len() as i64);
    }

    /// How many documents are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether no document is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The actor of `document`, if it runs.
    #[must_use]
    pub fn find(&self, document: &DocumentId) -> Option<Addr<DocumentActor>> {
        self.lock().open.get(document).map(|(_, addr)| addr.clone())
    }

    /// Those that run, of documents whose names hold `part`.
    #[must_use]
    pub fn holding(&self, part: &str) -> Vec<(DocumentId, Addr<DocumentActor>)> {
        let actors = self.lock();
        let named = actors
            .open
            .iter()
            .filter(|(document, _)| document.as_str().contains(part));
        named
            .map(|(document, (_, addr))| (document.clone(), addr.clone()))
            .collect()
    }

    /// Those that run.
    #[must_use]
    pub fn all(&self) -> Vec<Addr<DocumentActor>> {
        self.lock().open.values().map(|(_, addr)| addr.clone()).collect()
    }

    /// Starts no more actors, and returns those that run.
    pub fn close(&self) -> Vec<Addr<DocumentActor>> {
        let mut actors = self.lock();
        actors.closed = true;
        actors.open.values().map(|(_, addr)| addr.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Actors> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Registry {
    /// Keeps so many of the threads for what takes long busy until what is returned is dropped.
    pub(crate) fn occupied(&self, threads: usize) -> Vec<std::sync::mpsc::Sender<()>> {
        (0..threads).map(|_| self.takers.occupied()).collect()
    }

    /// How much waits for these threads.
    pub(crate) fn waiting(&self) -> usize {
        self.takers.waiting()
    }
}
