//! The writer: a thread for each lane of the store, which makes durable what the lane's documents append.
//!
//! Everything that waits in a lane is committed together. While the disk refuses, the writer keeps
//! what it has, says so in [`StoreHealth`], and tries again; nobody is told "stored" meanwhile. Beside
//! that the first lane does the store's upkeep, a step at a time, also when it is never idle.
//!
//! What must stay true: records of one document reach the store in the order of their positions, and a release
//! behind all of them; [`Durable`] moves only after `commit` returned `Ok`, and not for what that refused.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustc_hash::FxBuildHasher;

use crate::{
    id::DocumentId,
    room::{Free, Micros},
    store::{Body, Holder, NodeId, Record, Refusals, Release, Seq, Store},
    telemetry::Metrics,
};

use super::{
    clock,
    durable::{Durable, News},
};

/// Pause between two tries while the disk refuses.
const RETRY: Duration = Duration::from_millis(250);
/// How long after upkeep had nothing to do it is asked again.
const UPKEEP: Duration = Duration::from_secs(1);
/// Most records in one commit: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 4_096;
/// Least time from one commit's beginning to the next one's, unless somebody asked for a small group: a commit costs
/// as much CPU as several edits. A disk that is slower gets no rest.
const PERIOD: Micros = 10_000;
/// Groups below this are small. Nobody sees "saved" come ten milliseconds later, but where there is little to do there
/// is no reason for it.
const GROUP_SMALL: usize = 8;

/// Of what may wait, each document may have one part in so many, until what waits is so much more, in percent: many documents
/// that leave each other half of what there is leave nothing in the end.
const EACH_PART: usize = 10_000;
const RESERVE: usize = 10;

/// Something to make durable.
#[derive(Debug)]
pub struct Append {
    /// Whose.
    pub document: DocumentId,
    /// Who has it.
    pub holder: Holder,
    /// Its position (of a snapshot: the last that it covers).
    pub seq: Seq,
    /// The subjects of its authors.
    pub authors: Arc<[Arc<str>]>,
    /// A Yjs v1 update.
    pub update: Bytes,
    /// Whether it is a snapshot.
    pub snapshot: bool,
    /// When the oldest edit in it came in.
    pub received: Micros,
    /// What is moved.
    pub durable: Arc<Durable>,
}

enum Job {
    Append(Append),
    Release(Release),
    Stop(mpsc::SyncSender<()>),
}

/// Whether the store takes writes, for `/readyz`: by lane, why it does not.
#[derive(Debug)]
pub struct StoreHealth(Mutex<Vec<Option<String>>>);

impl StoreHealth {
    /// Why the store takes no writes, if it does not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.lanes().iter().find_map(Clone::clone)
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the writer's threads.
#[derive(Debug, Clone)]
pub struct Writer {
    lanes: Arc<[mpsc::Sender<Job>]>,
    waiting: Arc<Backlog>,
    waiting_bytes_max: usize,
    health: Arc<StoreHealth>,
}

/// Bytes that are not durable yet.
#[derive(Debug, Default)]
struct Backlog {
    edits: AtomicUsize,
    snapshots: AtomicUsize,
}

impl Backlog {
    fn of(&self, snapshot: bool) -> &AtomicUsize {
        if snapshot { &self.snapshots } else { &self.edits }
    }
}

impl Writer {
    /// Starts the threads. More than `waiting_bytes_max` should not wait ([`Writer::free`]).
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(store: Arc<dyn Store>, metrics: Arc<Metrics>, waiting_bytes_max: usize) -> std::io::Result<Self> {
        let count = store.lanes().max(1);
        let (waiting, health) = (
            Arc::<Backlog>::default(),
            Arc::new(StoreHealth(Mutex::new(vec![None; count]))),
        );
        let start = |lane| {
            let (sender, receiver) = mpsc::channel();
            let thread = Thread {
                lane,
                store: store.clone(),
                metrics: metrics.clone(),
                waiting: Arc::clone(&waiting),
                health: Arc::clone(&health),
            };
            thread::Builder::new()
                .name("writer".to_owned())
                .spawn(move || thread.run(&receiver))?;
            Ok(sender)
        };
        let lanes = (0..count).map(start).collect::<std::io::Result<_>>()?;
        Ok(Self {
            lanes,
            waiting,
            waiting_bytes_max,
            health,
        })
    }

    /// The lane of a document: the same for as long as the process lives.
    fn lane(&self, document: &DocumentId) -> &mpsc::Sender<Job> {
        match &*self.lanes {
            [only] => only,
            lanes => {
                let hash = FxBuildHasher.hash_one(document.as_str());
                &lanes[(hash % lanes.len() as u64) as usize]
            }
        }
    }

    /// Hands something over.
    pub fn append(&self, append: Append) {
        self.waiting
            .of(append.snapshot)
            .fetch_add(append.update.len(), Ordering::Relaxed);
        // The thread lives until `stop`, after which no document is open.
        let _ = self.lane(&append.document).send(Job::Append(append));
    }

    /// Lets go of a document, behind all that was handed over for it, so that `next` can take it, or anybody.
    pub fn release(&self, document: DocumentId, holder: Holder, next: Option<NodeId>) {
        let _ = self
            .lane(&document)
            .send(Job::Release(Release { document, holder, next }));
    }

    /// Bytes handed over that are not durable yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.edits.load(Ordering::Relaxed) + self.waiting.snapshots.load(Ordering::Relaxed)
    }

    /// How many more bytes may wait for the disk. Snapshots, which can wait, leave the room of edits alone.
    #[must_use]
    pub fn free(&self) -> Free {
        Free {
            edits: self.left_by(self.waiting.edits.load(Ordering::Relaxed)),
            each: self.spared(),
            snapshots: self.left_by(self.waiting_bytes()),
        }
    }

    /// What each document may have beside that.
    fn spared(&self) -> usize {
        let each = self.waiting_bytes_max / EACH_PART;
        let most = self
            .waiting_bytes_max
            .saturating_add(self.waiting_bytes_max / 100 * RESERVE);
        let waiting = self.waiting.edits.load(Ordering::Relaxed);
        if waiting.saturating_add(each) <= most { each } else { 0 }
    }

    /// While little waits, any number.
    fn left_by(&self, waiting: usize) -> usize {
        if waiting == 0 || waiting < self.waiting_bytes_max / 4 {
            return usize::MAX;
        }
        self.waiting_bytes_max.saturating_sub(waiting)
    }

    /// Whether the store takes writes.
    #[must_use]
    pub fn health(&self) -> &Arc<StoreHealth> {
        &self.health
    }

    /// Ends the threads once all is committed, or gives up after `patience`; says whether they ended.
    #[must_use]
    pub fn stop(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let stopped = self.lanes.iter().map(|lane| {
            let (sender, receiver) = mpsc::sync_channel(1);
            lane.send(Job::Stop(sender)).is_ok().then_some(receiver)
        });
        let stopped: Vec<_> = stopped.collect();
        stopped.into_iter().flatten().all(|receiver| {
            let patience = deadline.saturating_duration_since(Instant::now());
            receiver.recv_timeout(patience).is_ok()
        })
    }
}

/// When the next step of upkeep is due.
///
/// While more is waiting, a step follows after as long as the last one took: commits have at least half of
/// the thread, and upkeep keeps up with any of them.
#[derive(Debug, PartialEq, Eq)]
struct Upkeep {
    due: Micros,
}

impl Upkeep {
    fn due_at(due: Micros) -> Self {
        Self { due }
    }

    fn wait(&self, now: Micros) -> Duration {
        Duration::from_micros(self.due.saturating_sub(now))
    }

    fn done(&mut self, started: Micros, ended: Micros, more: bool) {
        self.due = ended
            + if more {
                ended - started
            } else {
                UPKEEP.as_micros() as Micros
            };
    }
}

/// When the commit after one of `size` records that began at `started` may begin; `asked` is whether somebody had asked
/// for one of them.
fn next_at(started: Micros, size: usize, asked: bool) -> Micros {
    let is_urgent = asked && size < GROUP_SMALL;
    // So many: more are waiting already.
    let is_full = size >= GROUP_MAX;
    if is_urgent || is_full {
        started
    } else {
        started + PERIOD
    }
}

/// What follows a commit.
enum Committed {
    /// The next group begins then at the earliest.
    Next(Micros),
    /// The thread ends, and this is to be told.
    Stop(mpsc::SyncSender<()>),
}

/// What is told of a record.
struct Told {
    seq: Seq,
    snapshot: bool,
    received: Micros,
    durable: Arc<Durable>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        if thread::panicking() {
            log::error!("the writer has panicked: nothing more is saved, restart the server");
            self.set_trouble(Some("the writer has ended, the server must be restarted".to_owned()));
        }
    }
}

struct Thread {
    lane: usize,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    waiting: Arc<Backlog>,
    health: Arc<StoreHealth>,
}

impl Thread {
    fn run(self, jobs: &mpsc::Receiver<Job>) {
        let mut upkeep = Upkeep::due_at(clock::now());
        let mut next: Micros = 0;
        loop {
            let rest = next.saturating_sub(clock::now());
            if rest > 0 {
                thread::sleep(Duration::from_micros(rest));
            }
            next = match jobs.recv_timeout(upkeep.wait(clock::now())) {
                Ok(first) => match self.commit_all(first, jobs) {
                    Committed::Next(at) => at,
                    Committed::Stop(done) => {
                        let _ = done.send(());
                        return;
                    }
                },
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => 0,
            };
            let started = clock::now();
            if upkeep.wait(started).is_zero() {
                let more = self.lane == 0 && self.maintain();
                upkeep.done(started, clock::now(), more);
            }
        }
    }

    /// Commits all that waits.
    fn commit_all(&self, first: Job, jobs: &mpsc::Receiver<Job>) -> Committed {
        let (mut group, mut releases) = (Vec::new(), Vec::new());
        let mut stop = None;
        for job in std::iter::once(first).chain(jobs.try_iter()) {
            match job {
                Job::Append(append) => group.push(append),
                Job::Release(release) => releases.push(release),
                Job::Stop(done) => stop = Some(done),
            }
            if group.len() >= GROUP_MAX || stop.is_some() {
                break;
            }
        }
        let next = self.commit(group);
        if !releases.is_empty()
            && let Err(error) = self.store.release_all(&releases)
        {
            let (count, first) = (releases.len(), &releases[0].document);
            log::warn!("{count} documents ({first} first) could not be released for other servers: {error}");
        }
        stop.map_or(Committed::Next(next), Committed::Stop)
    }

    /// One step of upkeep; true when more is waiting.
    fn maintain(&self) -> bool {
        self.store.maintain(clock::wall_ms()).unwrap_or_else(|error| {
            log::warn!("the store's upkeep failed and will be tried again: {error}");
            false
        })
    }

    /// Commits, however long it takes; says when the next group begins at the earliest.
    fn commit(&self, group: Vec<Append>) -> Micros {
        if group.is_empty() {
            return 0;
        }
        let started = clock::now();
        let at_ms = clock::wall_ms();
        let mut bytes = [0; 2];
        let mut records = Vec::with_capacity(group.len());
        let mut told = Vec::with_capacity(group.len());
        for Append {
            document,
            holder,
            seq,
            authors,
            update,
            snapshot,
            received,
            durable,
        } in group
        {
            bytes[usize::from(snapshot)] += update.len();
            let body = if snapshot {
                Body::Snapshot(update)
            } else {
                Body::Update(update)
            };
            records.push(Record {
                document,
                seq,
                at_ms,
                authors,
                body,
                holder: Some(holder),
            });
            told.push(Told {
                seq,
                snapshot,
                received,
                durable,
            });
        }
        let size = records.len();
        let refused = self.commit_until_done(&records);
        for (snapshot, bytes) in [false, true].into_iter().zip(bytes) {
            self.waiting.of(snapshot).fetch_sub(bytes, Ordering::Relaxed);
        }
        let now = clock::now();
        let (mut news, mut asked) = (News::default(), false);
        for refusal in refused.iter() {
            let (document, reason) = (&refusal.document, &refusal.reason);
            log::error!("document {document} is loaded anew, the store refuses its records: {reason}");
            self.metrics.documents_refused.inc();
        }
        for (told, record) in told.into_iter().zip(&records) {
            let Told {
                seq,
                snapshot,
                received,
                durable,
            } = told;
            if refused.cover(record) {
                durable.refuse(&mut news);
                continue;
            }
            if !snapshot {
                let took = now.saturating_sub(received);
                self.metrics.durable(took);
                durable.takes(took);
            }
            asked |= durable.advance(seq, u64::from(snapshot), &mut news);
        }
        news.spread();
        next_at(started, size, asked)
    }

    fn commit_until_done(&self, records: &[Record]) -> Refusals {
        loop {
            let started = clock::now();
            match self.store.commit(records) {
                Ok(refused) => {
                    if self.trouble().is_some() {
                        log::info!("the store takes writes again");
                        self.set_trouble(None);
                    }
                    self.metrics.commit(records.len(), clock::now() - started);
                    return refused;
                }
                Err(error) => {
                    let error = error.to_string();
                    if self.trouble().as_ref() != Some(&error) {
                        log::error!("nothing can be saved, edits are kept in memory: {error}");
                        self.set_trouble(Some(error));
                    }
                    self.metrics.commit_failed();
                    thread::sleep(RETRY);
                }
            }
        }
    }

    fn trouble(&self) -> Option<String> {
        self.health.lanes()[self.lane].clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        self.health.lanes()[self.lane] = trouble;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{actor::durable::Stored, store::memory::MemoryStore};

    struct Ear(tokio::sync::mpsc::UnboundedSender<()>);

    impl actix::Actor for Ear {
        type Context = actix::Context<Self>;
    }

    impl actix::Handler<Stored> for Ear {
        type Result = ();

        fn handle(&mut self, _: Stored, _: &mut Self::Context) {
            let _ = self.0.send(());
        }
    }

    #[actix_web::test]
    async fn l25_a_document_whose_record_the_store_refuses_holds_up_no_other() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let writer = Writer::start(store.clone(), Metrics::new(), 1 << 20).expect("a thread");
        let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let ear = actix::Actor::start(Ear(sender)).recipient();
        let [gap, good] = ["gap", "good"].map(|name| DocumentId::parse(name).expect("a name"));
        let holder = Holder::drawn(2);
        for document in [&gap, &good] {
            store.take(document, holder).expect("nobody has it");
        }
        let append = |document: &DocumentId, seq, durable: &Arc<Durable>| {
            durable.want(true);
            writer.append(Append {
                document: document.clone(),
                holder,
                seq,
                authors: Arc::default(),
                update: Bytes::from_static(&[0, 0]),
                snapshot: false,
                received: 0,
                durable: durable.clone(),
            });
        };
        let [lost, kept] = [(), ()].map(|()| Arc::new(Durable::of(ear.clone())));

        append(&gap, 5, &lost);
        append(&good, 1, &kept);
        for _ in 0..2 {
            let told = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await;
            assert_eq!(told, Ok(Some(())), "both documents hear of it within a minute");
        }

        assert!(lost.is_refused());
        assert_eq!(lost.reached(), (0, 0));
        assert_eq!((kept.is_refused(), kept.reached()), (false, (1, 0)));
        assert_eq!(store.load(&good).expect("stored").last_seq(), 1);
    }

    #[test]
    fn s8_snapshots_leave_the_room_of_edits_alone_and_each_document_has_a_little() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let writer = Writer::start(store, Metrics::new(), 1_000_000).expect("a thread");
        let free = |edits: usize, snapshots: usize| {
            writer.waiting.edits.store(edits, Ordering::Relaxed);
            writer.waiting.snapshots.store(snapshots, Ordering::Relaxed);
            let Free { edits, each, snapshots } = writer.free();
            (edits, each, snapshots)
        };

        let any = usize::MAX;
        assert_eq!(free(0, 0), (any, 100, any));
        assert_eq!(free(249_999, 0), (any, 100, any));
        assert_eq!(free(250_000, 0), (750_000, 100, 750_000));
        assert_eq!(free(249_999, 50_001), (any, 100, 700_000));
        assert_eq!(free(0, 2_000_000), (any, 100, 0));
        assert_eq!(free(1_099_900, 0), (0, 100, 0));
        assert_eq!(free(1_099_901, 0), (0, 0, 0));
    }

    #[actix_web::test]
    async fn l35_a_commit_is_asked_for_when_one_of_those_who_wait_for_it_has_asked() {
        let ear = actix::Actor::start(Ear(tokio::sync::mpsc::unbounded_channel().0));
        let (durable, mut news) = (Durable::of(ear.recipient()), News::default());

        assert!(!durable.advance(1, 0, &mut news), "nobody waits");
        durable.want(false);
        assert!(!durable.advance(2, 0, &mut news), "nobody has asked");
        durable.want(true);
        durable.want(false);
        assert!(durable.advance(3, 0, &mut news));
        durable.want(false);
        assert!(!durable.advance(4, 0, &mut news), "that was before");
    }

    #[test]
    fn l35_commits_begin_a_period_apart_unless_somebody_asked_for_few_or_many_are_there() {
        let later = 1_000 + PERIOD;

        assert_eq!(next_at(1_000, 1, true), 1_000);
        assert_eq!(next_at(1_000, GROUP_SMALL - 1, true), 1_000);
        assert_eq!(next_at(1_000, GROUP_SMALL, true), later);
        assert_eq!(next_at(1_000, 1, false), later);
        assert_eq!(next_at(1_000, GROUP_MAX - 1, true), later);
        assert_eq!(next_at(1_000, GROUP_MAX, false), 1_000);
    }

    #[test]
    fn upkeep_is_due_by_the_clock_however_busy_the_writer_is() {
        let mut upkeep = Upkeep::due_at(5_000_000);

        assert_eq!(upkeep.wait(4_999_999), Duration::from_micros(1));
        assert_eq!(upkeep.wait(5_000_000), Duration::ZERO);

        upkeep.done(5_000_000, 5_000_010, false);
        assert_eq!(upkeep, Upkeep::due_at(6_000_010));
    }

    #[test]
    fn upkeep_takes_half_of_the_writer_at_most() {
        let mut upkeep = Upkeep::due_at(0);

        upkeep.done(7_000, 9_000, true);

        assert_eq!(upkeep, Upkeep::due_at(11_000));
    }
}
