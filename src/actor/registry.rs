//! At most one actor for each document.
//!
//! A document runs on its home ([`super::homes`]), whoever asks for it.
//!
//! Opening is single-flight by construction: the first who asks starts the actor and everybody else
//! finds it; the actor loads its document before it answers anybody. An actor takes itself out only
//! when all it was given is durable, so the next one finds everything in the store.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use actix::{Actor, Addr, Context};
use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;

use crate::{
    access::Patterns, budgets::Memory, document::Deleted, id::DocumentId, limits::SESSIONS_PER_DOCUMENT,
    protocol::close::CloseReason, room::Policy, store::Store, telemetry::Metrics,
};

use super::{document::DocumentActor, helpers::Helpers, homes::Homes, visit::copies_kb_max, writer::Writer};

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
        })
    }

    /// The actor of `document`, started on its home if there is none, or on the caller's arbiter while no thread has
    /// settled there.
    ///
    /// # Errors
    /// The server is stopping, or has no memory for a document that is not open.
    pub fn open(self: &Arc<Self>, document: &DocumentId) -> Result<Addr<DocumentActor>, CloseReason> {
        let mut actors = self.lock();
        if actors.closed {
            return Err(CloseReason::Restarting);
        }
        if let Some((_, addr)) = actors.open.get(document).filter(|(_, addr)| addr.connected()) {
            return Ok(addr.clone());
        }
        self.policies.memory.may_open()?;
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
