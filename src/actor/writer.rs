//! The writer: one thread that makes durable what all documents append.
//!
//! Everything that waits is committed with one `fdatasync`. While the disk refuses, the writer keeps
//! what it has, says so in [`StoreHealth`], and tries again; nobody is told "stored" meanwhile. Beside
//! that it does the store's upkeep, a step at a time, also when it is never idle.
//!
//! What must stay true: records of one document reach the store in the order of their positions;
//! [`Durable`] moves only after `commit` returned `Ok`.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    id::DocumentId,
    room::Micros,
    store::{Body, Record, Seq, Store, StoreError},
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
/// Least time from one commit's beginning to the next one's, unless somebody waits for a small group: a commit costs
/// as much CPU as several edits. A disk that is slower gets no rest.
const PERIOD: Micros = 10_000;
/// Groups below this are small. Nobody sees "saved" come ten milliseconds later, but where there is little to do there
/// is no reason for it.
const GROUP_SMALL: usize = 8;

/// Something to make durable.
#[derive(Debug)]
pub struct Append {
    /// Whose.
    pub document: DocumentId,
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
    Stop(mpsc::SyncSender<()>),
}

/// Whether the store takes writes, for `/readyz`.
#[derive(Debug, Default)]
pub struct StoreHealth(Mutex<Option<String>>);

impl StoreHealth {
    /// Why the store takes no writes, if it does not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// The way to the writer thread.
#[derive(Debug, Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    waiting_bytes_max: usize,
    health: Arc<StoreHealth>,
}

impl Writer {
    /// Starts the thread. From `waiting_bytes_max` on [`Writer::is_full`].
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(store: Arc<dyn Store>, metrics: Arc<Metrics>, waiting_bytes_max: usize) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let writer = Self {
            jobs: sender,
            waiting: Arc::default(),
            waiting_bytes_max,
            health: Arc::default(),
        };
        let thread = Thread {
            store,
            metrics,
            waiting: writer.waiting.clone(),
            health: writer.health.clone(),
        };
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || thread.run(&receiver))?;
        Ok(writer)
    }

    /// Hands something over.
    pub fn append(&self, append: Append) {
        self.waiting.fetch_add(append.update.len(), Ordering::Relaxed);
        // The thread lives until `stop`, after which no document is open.
        let _ = self.jobs.send(Job::Append(append));
    }

    /// Bytes handed over that are not durable yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether so much waits for the disk that documents should take no more edits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting_bytes() >= self.waiting_bytes_max
    }

    /// Whether the store takes writes.
    #[must_use]
    pub fn health(&self) -> &Arc<StoreHealth> {
        &self.health
    }

    /// Ends the thread once all is committed, or gives up after `patience`; says whether it ended.
    #[must_use]
    pub fn stop(&self, patience: Duration) -> bool {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.jobs.send(Job::Stop(sender)).is_err() || receiver.recv_timeout(patience).is_ok()
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

/// When the commit after one of `size` records that began at `started` may begin; `wanted` is whether somebody waited
/// for one of them.
fn next_at(started: Micros, size: usize, wanted: bool) -> Micros {
    let is_urgent = wanted && size < GROUP_SMALL;
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
            self.health
                .set(Some("the writer has ended, the server must be restarted".to_owned()));
        }
    }
}

struct Thread {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    waiting: Arc<AtomicUsize>,
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
                let more = self.maintain();
                upkeep.done(started, clock::now(), more);
            }
        }
    }

    /// Commits all that waits.
    fn commit_all(&self, first: Job, jobs: &mpsc::Receiver<Job>) -> Committed {
        let mut group = Vec::new();
        let mut stop = None;
        for job in std::iter::once(first).chain(jobs.try_iter()) {
            match job {
                Job::Append(append) => group.push(append),
                Job::Stop(done) => stop = Some(done),
            }
            if group.len() >= GROUP_MAX || stop.is_some() {
                break;
            }
        }
        let next = self.commit(group);
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
        let mut bytes = 0;
        let mut records = Vec::with_capacity(group.len());
        let mut told = Vec::with_capacity(group.len());
        for Append {
            document,
            seq,
            authors,
            update,
            snapshot,
            received,
            durable,
        } in group
        {
            bytes += update.len();
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
            });
            told.push(Told {
                seq,
                snapshot,
                received,
                durable,
            });
        }
        let size = records.len();
        self.commit_until_done(&mut records, &mut told);
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        let now = clock::now();
        let (mut news, mut wanted) = (News::default(), false);
        for Told {
            seq,
            snapshot,
            received,
            durable,
        } in told
        {
            if !snapshot {
                self.metrics.durable(now.saturating_sub(received));
            }
            wanted |= durable.advance(seq, u64::from(snapshot), &mut news);
        }
        news.spread();
        next_at(started, size, wanted)
    }

    fn commit_until_done(&self, records: &mut Vec<Record>, told: &mut Vec<Told>) {
        loop {
            let started = clock::now();
            match self.store.commit(records) {
                Err(StoreError::Refused { document, reason }) => {
                    log::error!("document {document} is loaded anew, the store refuses its records: {reason}");
                    let mut news = News::default();
                    for refused in told
                        .iter()
                        .zip(&*records)
                        .filter(|(_, record)| record.document == document)
                    {
                        refused.0.durable.refuse(&mut news);
                    }
                    news.spread();
                    let mut kept = records
                        .iter()
                        .map(|record| record.document != document)
                        .collect::<Vec<_>>()
                        .into_iter();
                    told.retain(|_| kept.next().unwrap_or_default());
                    records.retain(|record| record.document != document);
                    if records.is_empty() {
                        return;
                    }
                }
                Ok(()) => {
                    if self.health.trouble().is_some() {
                        log::info!("the store takes writes again");
                        self.health.set(None);
                    }
                    self.metrics.commit(records.len(), clock::now() - started);
                    return;
                }
                Err(error) => {
                    let error = error.to_string();
                    if self.health.trouble().as_ref() != Some(&error) {
                        log::error!("nothing can be saved, edits are kept in memory: {error}");
                        self.health.set(Some(error));
                    }
                    self.metrics.commit_failed();
                    thread::sleep(RETRY);
                }
            }
        }
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
        let append = |document: &DocumentId, seq, durable: &Arc<Durable>| {
            durable.want();
            writer.append(Append {
                document: document.clone(),
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
    fn l35_commits_begin_a_period_apart_unless_somebody_waits_for_few_or_many_are_there() {
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
