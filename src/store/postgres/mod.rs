//! Documents in Postgres, which several servers may share: the database takes records of one holder of a document at most.
//!
//! * `link`: the way to the database
//! * `schema`: its tables
//! * `plan`: what a batch does to each document
//! * `commit`, `read`: the statements
//! * `nodes`: who else lives, and what they have
//! * `orders`: what all nodes are told
//! * `census`: all nodes, for people
//!
//! What must stay true:
//!
//! * A commit is one statement, and so one transaction: it moves the row of each document from the position that this
//!   node believes to be the last, if its holder is still the same, and writes records of those that moved alone. Who
//!   is missing in its answer was not written.
//! * So a batch whose outcome is unknown is simply committed again. Where the first try won, nothing moves; then this node
//!   looks, in a statement of its own, what is stored (a look in the same statement would see the time before it waited
//!   for the first try), leaves that out, and tries again with the rest. A first try that comes late moves nothing.
//! * A take updates the same row: it waits for a commit under way, and a commit that waited for it finds another holder.

pub mod census;
mod commit;
pub mod link;
mod nodes;
mod orders;
mod plan;
mod read;
mod schema;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use uuid::Uuid;

use self::{
    link::{DatabaseUrl, Engine, LIMIT, Links, Trouble},
    plan::Open,
};
use super::{DocumentEntry, Holder, NodeId, Record, Refusals, Release, Store, StoreError, StoreStatus, StoredDocument};
use crate::id::DocumentId;

/// Commits that may be under way at once: while one waits for the disk, the next is put together.
const LANES: usize = 2;
/// Connections for everything else: loads, lists, upkeep, the beat.
const OTHERS: usize = 5;
/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// What an operator may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long superseded records are kept; a minute at least.
    pub keep_history: Duration,
    /// How often the database is asked for sizes and counts, which costs it a look at each document.
    pub status_every: Duration,
    /// How long anything may take before its connection is given up.
    pub limit: Duration,
    /// After so many nodes that crashed soon after they had opened a document it rests; 0 is never.
    pub rest_after: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_history: Duration::ZERO,
            status_every: Duration::from_secs(10),
            limit: LIMIT,
            rest_after: 0,
        }
    }
}

/// A database as this node sees it.
pub struct PostgresStore {
    node: Arc<Node>,
    engine: Engine,
}

/// What the work on the engine shares.
struct Node {
    id: Uuid,
    links: Links,
    options: Options,
    closed: AtomicBool,
    /// Held by whoever says that this node lives, or leaves.
    beating: tokio::sync::Mutex<()>,
    /// What it tells and is told with each beat, if there may be others.
    stands: Mutex<Option<nodes::Stands>>,
    /// What this node has taken.
    open: Mutex<FxHashMap<DocumentId, Open>>,
    /// Documents that the next step of upkeep trims.
    trim_step: AtomicI64,
    /// What the store says about itself, and when that was asked for: whoever wants to know cannot wait for a database.
    status: Mutex<(Option<Instant>, StoreStatus)>,
}

impl Node {
    fn open(&self) -> MutexGuard<'_, FxHashMap<DocumentId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(StoreError::Unusable("the store is closed".into()));
        }
        Ok(())
    }

    fn status(&self) -> MutexGuard<'_, (Option<Instant>, StoreStatus)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of all documents, and forgets the nodes that have died long ago.
    async fn leave(&self) -> Result<(), Trouble> {
        let _beating = self.beating.lock().await;
        self.closed.store(true, Ordering::SeqCst);
        let link = self.links.other().await?;
        let tried = self
            .links
            .limited(async {
                let forget = "delete from cowrite_node
                          where id = $1 or seen < statement_timestamp() - interval '1 day'";
                link.execute(forget, &[&self.id]).await
            })
            .await;
        self.links.settle(link, tried).map(drop)
    }
}

impl PostgresStore {
    /// Connects, and refuses a database that was not made for it, or that would not keep the promise.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] says what to do, [`StoreError::Io`] that the database was not reached.
    pub fn open(url: &DatabaseUrl, options: Options) -> Result<Self, StoreError> {
        let engine = engine()?;
        let node = Arc::new(Node {
            id: Uuid::new_v4(),
            links: Links::new(url, LANES, OTHERS, options.limit)?,
            options,
            closed: AtomicBool::new(false),
            beating: tokio::sync::Mutex::default(),
            stands: Mutex::default(),
            open: Mutex::default(),
            trim_step: AtomicI64::new(read::TRIM_STEP_MAX),
            status: Mutex::default(),
        });
        engine.run({
            let node = node.clone();
            async move {
                fit(&node.links).await?;
                node.beat()
                    .await
                    .map_err(|trouble| node.links.error("reach", trouble))?;
                if let Err(error) = node.renew_status().await {
                    log::warn!("sizes and counts are not known: {error}");
                }
                Ok(())
            }
        })?;
        engine.spawn({
            let node = node.clone();
            async move {
                while !node.closed.load(Ordering::SeqCst) {
                    tokio::time::sleep(BEAT).await;
                    if let Err(Trouble::Lost(why)) = node.beat().await {
                        log::debug!("this node could not say that it lives: {why}");
                    }
                }
            }
        });
        Ok(Self { node, engine })
    }

    /// Runs `work` with what it needs.
    fn run<T, W>(&self, work: impl FnOnce(Arc<Node>) -> W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.node.usable()?;
        self.engine.run(work(self.node.clone()))
    }
}

fn engine() -> Result<Engine, StoreError> {
    Engine::start().map_err(|error| StoreError::Unusable(format!("the system gives no thread: {error}")))
}

/// What a database is expected to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// None.
    Missing,
    /// Those of this version, or of an older one.
    There,
    /// One or the other.
    Either,
}

/// Makes the tables, or brings them up to date; says which version they had and have.
///
/// # Errors
/// As [`PostgresStore::open`]; also when what is there is not `expected`.
pub fn prepare(url: &DatabaseUrl, expected: Tables) -> Result<(Option<i32>, i32), StoreError> {
    let links = Links::new(url, 1, 1, LIMIT)?;
    engine()?.run(async move {
        let error = |trouble| links.error("prepare", trouble);
        let mut link = links.other().await.map_err(error)?;
        let found = links.limited(schema::version(&link)).await;
        let found = match found {
            Ok(Ok(found)) => found,
            tried => {
                return Err(error(match links.settle(link, tried) {
                    Err(trouble) => trouble,
                    Ok(_) => Trouble::Lost(String::new()),
                }));
            }
        };
        let label = links.label();
        match found {
            None if expected == Tables::There => Err(StoreError::Unusable(format!(
                "{label} holds no tables: run `cowrite db init`"
            ))),
            Some(_) if expected == Tables::Missing => {
                let reason = format!("{label} holds tables already: `cowrite db upgrade` brings them up to date");
                Err(StoreError::Unusable(reason))
            }
            Some(version) if version > newest() => Err(too_new(label, version)),
            _ => {
                // As long as it takes: tables may be large.
                let done = schema::upgrade(link.client(), schema::STEPS).await;
                links.settle(link, Ok(done)).map_err(error)
            }
        }
    })
}

fn newest() -> i32 {
    i32::try_from(schema::STEPS.len()).unwrap_or(i32::MAX)
}

fn too_new(label: &str, version: i32) -> StoreError {
    StoreError::Unusable(format!(
        "{label} has tables of version {version}, this server knows version {}: start a newer server",
        newest()
    ))
}

/// Refuses a database that is not as it must be.
async fn fit(links: &Links) -> Result<(), StoreError> {
    let link = links.other().await.map_err(|trouble| links.error("reach", trouble))?;
    let tried = links
        .limited(async {
            let version = schema::version(&link).await?;
            let settings = "select current_setting('fsync'), current_setting('server_encoding')";
            let settings = link.query_one(settings, &[]).await?;
            Ok((version, settings.get::<_, String>(0), settings.get::<_, String>(1)))
        })
        .await;
    let (version, fsync, encoding) = links
        .settle(link, tried)
        .map_err(|trouble| links.error("reach", trouble))?;
    let label = links.label();
    let unusable = |why: String| Err(StoreError::Unusable(why));
    match version {
        None => return unusable(format!("{label} holds no tables: run `cowrite db init` once")),
        Some(version) if version > newest() => return Err(too_new(label, version)),
        Some(version) if version < newest() => {
            return unusable(format!(
                "{label} has tables of version {version}, this server needs {}: run `cowrite db upgrade`, which the \
                 server before this one bears",
                newest()
            ));
        }
        Some(_) => {}
    }
    if fsync != "on" {
        return unusable(format!(
            "{label} runs with fsync = {fsync}: it would lose what was saved; turn it on"
        ));
    }
    if encoding != "UTF8" {
        return unusable(format!(
            "{label} is encoded as {encoding}: make a database with encoding UTF8"
        ));
    }
    Ok(())
}

impl Store for PostgresStore {
    fn lanes(&self) -> usize {
        LANES
    }

    fn node(&self) -> NodeId {
        NodeId(self.node.id.as_u128())
    }

    fn take(&self, document: &DocumentId, holder: Holder) -> Result<StoredDocument, StoreError> {
        let document = document.clone();
        self.run(|node| async move { node.take(&document, holder).await })
    }

    fn release(&self, document: &DocumentId, holder: Holder, next: Option<NodeId>) -> Result<(), StoreError> {
        let document = document.clone();
        self.release_all(&[Release { document, holder, next }])
    }

    fn release_all(&self, releases: &[Release]) -> Result<(), StoreError> {
        let releases = releases.to_vec();
        self.run(|node| async move { node.release(&releases).await })
    }

    fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError> {
        // The bodies are shared.
        let records = records.to_vec();
        self.run(|node| async move { node.commit(&records).await })
    }

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        let document = document.clone();
        self.run(|node| async move { node.load(&document).await })
    }

    fn history(&self, document: &DocumentId) -> Result<Vec<Record>, StoreError> {
        let document = document.clone();
        self.run(|node| async move { node.history(&document).await })
    }

    fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        let after = after.cloned();
        self.run(|node| async move { node.list(after.as_ref(), most).await })
    }

    /// The time is the database's own.
    fn maintain(&self, _: u64) -> Result<bool, StoreError> {
        self.run(|node| async move {
            // Looking at all documents may take too long in a large database, and nothing waits for it.
            let more = node.trim().await?;
            if let Err(error) = node.renew_status().await {
                log::warn!("sizes and counts are not known: {error}");
            }
            Ok(more)
        })
    }

    fn status(&self) -> StoreStatus {
        self.node.status().1.clone()
    }

    fn close(&self) -> Result<(), StoreError> {
        let left = self.run(|node| async move {
            let left = node.leave().await;
            left.map_err(|trouble| node.links.error("leave", trouble))
        });
        // Who heard holds this store.
        *self.node.stands() = None;
        self.node.links.close();
        left
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // Others may have its documents at once.
        let _ = self.close();
    }
}
