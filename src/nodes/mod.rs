//! Several servers on one store: which of them has a document, and who lives.
//!
//! * `secret`: what the nodes of one cluster know
//! * `greeting`: how two of them begin to talk
//! * `stranded`: when one of them gives its sessions to others
//!
//! Where a document lives is asked of the store ([`Directory`]), and an answer that it lives elsewhere is believed for
//! [`KEPT`]. Nothing that was promised rests on such an answer: the store takes records of one holder at most, whoever
//! believes to be the owner. A wrong answer costs a detour.

mod greeting;
mod secret;
mod stranded;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::{Semaphore, watch};

pub use self::{
    greeting::{Greeted, Said, Stranger, receive, send},
    secret::ClusterSecret,
    stranded::Stranding,
};
pub use crate::store::directory::{Directory, News, Peer, Place, Standing};
use crate::{id::DocumentId, store::NodeId};

/// How long it is believed that a document lives elsewhere.
pub const KEPT: Duration = Duration::from_secs(2);
/// With more answers than this the old ones are forgotten.
const TIDY_AT: usize = 10_000;
/// Questions to the store at once: others use its connections, too.
const QUESTIONS: usize = 3;
/// A node that has heard nothing of the others for so long can take no documents: five beats.
const CUT_OFF: Duration = Duration::from_secs(5);
/// A node that has heard of them within this is answered by the store: three beats.
const ANSWERED: Duration = Duration::from_secs(3);
/// How long an answer of the store is waited for; who has no answer serves what can be served.
const PATIENCE: Duration = Duration::from_secs(3);

/// So much of what is carried for others ends at once, then a pause follows; after so long all of it has ended.
const END_BATCH: usize = 500;
const END_PAUSE: Duration = Duration::from_millis(50);
const ENDS_IN: Duration = Duration::from_millis(1_500);

/// This node among the others.
pub struct Nodes {
    directory: Arc<dyn Directory>,
    secret: ClusterSecret,
    machine: Option<String>,
    /// Documents that live elsewhere, and since when that is known.
    known: Mutex<FxHashMap<DocumentId, (Instant, Peer)>>,
    questions: Semaphore,
    living: Mutex<Vec<Peer>>,
    /// When the store told of them.
    heard: Mutex<Option<Instant>>,
    /// Those that lived and do so no more.
    gone: watch::Sender<FxHashSet<NodeId>>,
    /// Whether what it carries for others ends.
    ends: watch::Sender<Ends>,
    /// How much of that has ended.
    ended: AtomicUsize,
    draining: AtomicBool,
    next_heir: AtomicUsize,
}

/// Why what a node carries for others ends.
#[derive(Debug, Default, Clone, Copy)]
struct Ends {
    /// It stops, and has let go of all documents.
    is_over: bool,
    /// The store answers others, and not this node.
    is_stranded: bool,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nodes")
    }
}

impl Nodes {
    /// Knows of no other node yet. `machine` is this one's name at fly.io.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, secret: ClusterSecret, machine: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            directory,
            secret,
            machine,
            known: Mutex::default(),
            questions: Semaphore::new(QUESTIONS),
            living: Mutex::default(),
            heard: Mutex::default(),
            gone: watch::Sender::default(),
            ends: watch::Sender::default(),
            ended: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            next_heir: AtomicUsize::new(0),
        })
    }

    /// Which node this is.
    #[must_use]
    pub fn own(&self) -> NodeId {
        self.directory.node()
    }

    /// What nodes prove to each other.
    #[must_use]
    pub fn secret(&self) -> &ClusterSecret {
        &self.secret
    }

    /// This machine's name at fly.io, if its proxy is to be asked.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        self.machine.as_deref()
    }

    /// What the nodes know of each other.
    #[must_use]
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }

    /// Where a document lives, as far as it is known without asking.
    #[must_use]
    pub fn known(&self, document: &DocumentId) -> Option<Peer> {
        let known = lock(&self.known);
        let (since, peer) = known.get(document)?;
        (since.elapsed() < KEPT).then(|| peer.clone())
    }

    /// Where a document lives. Who cannot find out takes it, or learns from the store that it cannot.
    pub async fn place(&self, document: &DocumentId) -> Place {
        match self.known(document) {
            Some(peer) => Place::There(peer),
            None => self.ask(document).await,
        }
    }

    /// The same, asked anew.
    pub async fn ask(&self, document: &DocumentId) -> Place {
        let (directory, name) = (self.directory.clone(), document.clone());
        let asks = async {
            let _one_of_few = self.questions.acquire().await;
            tokio::task::spawn_blocking(move || directory.place(&name)).await
        };
        let place = match tokio::time::timeout(PATIENCE, asks).await {
            Ok(Ok(Ok(place))) => place,
            Ok(Ok(Err(error))) => {
                log::debug!("where document {document} lives is not known: {error}");
                Place::Here
            }
            Ok(Err(_)) | Err(_) => Place::Here,
        };
        match &place {
            Place::There(peer) => {
                let mut known = lock(&self.known);
                if known.len() >= TIDY_AT {
                    known.retain(|_, (since, _)| since.elapsed() < KEPT);
                }
                known.insert(document.clone(), (Instant::now(), peer.clone()));
            }
            Place::Here => self.forget(document),
        }
        match (place, self.is_draining()) {
            // Nobody has it, and this node takes nothing any more.
            (Place::Here, true) => self.heir_peer().map_or(Place::Here, Place::There),
            (place, _) => place,
        }
    }

    /// What was known of a document was wrong.
    pub fn forget(&self, document: &DocumentId) {
        lock(&self.known).remove(document);
    }

    /// A node's address refuses connections, or another node is there: it is dead, and others may have its documents at once.
    pub async fn is_dead(&self, peer: &Peer) {
        log::info!(
            "node {} at {} is gone: its documents are taken over",
            peer.id,
            peer.address
        );
        lock(&self.known).retain(|_, (_, known)| known.id != peer.id);
        let (directory, id) = (self.directory.clone(), peer.id);
        let tells = tokio::task::spawn_blocking(move || directory.is_dead(id));
        if let Ok(Ok(Err(error))) = tokio::time::timeout(PATIENCE, tells).await {
            log::debug!("that node {id} is gone could not be told: {error}");
        }
        self.gone.send_if_modified(|gone| gone.insert(id));
    }

    /// Who lives beside this node.
    pub fn hears_who_lives(&self, living: Vec<Peer>) {
        *lock(&self.heard) = Some(Instant::now());
        self.strands(false);
        let before = std::mem::replace(&mut *lock(&self.living), living.clone());
        let is_living = |id: NodeId| living.iter().any(|peer| peer.id == id);
        let left: Vec<&Peer> = before.iter().filter(|peer| !is_living(peer.id)).collect();
        for peer in &left {
            log::info!("node {} at {} is gone", peer.id, peer.address);
        }
        for peer in &living {
            if !before.iter().any(|known| known.id == peer.id) {
                log::info!("node {} at {} is there", peer.id, peer.address);
            }
        }
        if !left.is_empty() {
            lock(&self.known).retain(|_, (_, peer)| is_living(peer.id));
        }
        self.gone.send_if_modified(|gone| {
            let (count, returned) = (gone.len(), gone.iter().any(|id| is_living(*id)));
            gone.retain(|id| !is_living(*id));
            gone.extend(left.iter().map(|peer| peer.id));
            returned || gone.len() != count
        });
    }

    /// Who lives beside this node, as far as it has heard.
    #[must_use]
    pub fn living(&self) -> Vec<Peer> {
        lock(&self.living).clone()
    }

    /// For how long the store has told nothing of the others, when that is too long to take documents.
    #[must_use]
    pub fn cut_off(&self) -> Option<Duration> {
        let since = lock(&self.heard).map(|heard| heard.elapsed());
        since.filter(|since| *since > CUT_OFF)
    }

    /// Done when a node is known to be gone.
    pub async fn is_gone(&self, node: NodeId) {
        let _ = self.gone.subscribe().wait_for(|gone| gone.contains(&node)).await;
    }

    /// Whether the store answers this node, which it asks each second.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        lock(&self.heard).is_some_and(|heard| heard.elapsed() < ANSWERED)
    }

    /// This node is stranded from now on, or is so no more: what it carries for others ends, and nobody is let in. Returns whether that is
    /// news. It is not stranded when the store has answered it meanwhile, nor when it stops, which ends everything.
    pub fn strands(&self, is_stranded: bool) -> bool {
        self.ends.send_if_modified(|ends| {
            // Within: what the store says at the same time comes before this or behind it.
            let is_stranded = is_stranded && self.cut_off().is_some() && !self.is_draining();
            if ends.is_stranded == is_stranded {
                return false;
            }
            ends.is_stranded = is_stranded;
            if is_stranded {
                self.ended.store(0, Ordering::Relaxed);
                log::warn!("the database answers other nodes and not this one: sessions are told to go to these");
            } else {
                log::info!("sessions are let in again");
            }
            true
        })
    }

    /// Whether whoever is connected here is better off at another node.
    #[must_use]
    pub fn is_stranded(&self) -> bool {
        self.ends.borrow().is_stranded
    }

    /// Done when this node lets go of what it carries for others, which it does of a few at a time.
    pub async fn ends(&self) {
        self.ends_when(|ends| ends.is_over || ends.is_stranded).await;
    }

    async fn ends_when(&self, ends: impl Fn(&Ends) -> bool) {
        if self.ends.subscribe().wait_for(ends).await.is_ok() {
            let turn = self.ended.fetch_add(1, Ordering::Relaxed) / END_BATCH;
            let turn = u32::try_from(turn).unwrap_or(u32::MAX);
            tokio::time::sleep(END_PAUSE.saturating_mul(turn).min(ENDS_IN)).await;
        }
    }

    /// Done when either is.
    pub async fn ends_with(&self, node: NodeId) {
        tokio::select! {
            () = self.is_gone(node) => {}
            () = self.ends() => {}
        }
    }

    /// Done when a node is known to be gone, or this one stops: then no answer is waited for. One that is stranded asks others all the more.
    pub async fn is_over_with(&self, node: NodeId) {
        tokio::select! {
            () = self.is_gone(node) => {}
            () = self.ends_when(|ends| ends.is_over) => {}
        }
    }

    /// This node takes nothing any more.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.strands(false);
    }

    /// Whether this node takes nothing any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Ends what this node carries for others.
    pub fn end(&self) {
        self.ended.store(0, Ordering::Relaxed);
        self.ends.send_modify(|ends| ends.is_over = true);
    }

    /// Who gets the next document that this node lets go of: each of the others in turn.
    #[must_use]
    pub fn heir(&self) -> Option<NodeId> {
        self.heir_peer().map(|peer| peer.id)
    }

    fn heir_peer(&self) -> Option<Peer> {
        let living = lock(&self.living);
        let stay: Vec<&Peer> = living.iter().filter(|peer| !peer.draining).collect();
        let turn = self.next_heir.fetch_add(1, Ordering::Relaxed);
        (!stay.is_empty()).then(|| stay[turn % stay.len()].clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
