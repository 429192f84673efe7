//! The read side: what is in sled can be thrown away at any time and comes back from the journal.
//!
//! * `shelf`: how snapshots lie in sled and how each value is checked
//! * here: the threads that talk to sled, and what happens when sled does not
//!
//! What must stay true:
//!
//! * No thread of the server's calls sled. A reader thread and a feeder thread of our own do, and whoever
//!   waits for them waits for a bounded time: a panic or a hang in sled costs a thread, not the server.
//! * What sled says is an answer only when it is checked; otherwise the journal answers.
//! * sled is set aside when it does not open within its time, panics, makes no progress within its time,
//!   returns an error, or has a value that fails its check. Each try has a folder of its own
//!   (`sled-000001`, …), so a thread that hangs in an old one cannot reach the new one. Of those set aside the
//!   newest is kept for a person to look at.
//! * That sled is behind after an unclean stop is no reason to set it aside: the feeder compares each
//!   document's line with the journal after every start and puts what is missing.

pub mod shelf;

use std::{
    collections::BTreeSet,
    fs, io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::shelf::{Answer, Shelf};
use super::{
    Store, StoreError,
    journal::{Journal, Shelved, index::Base},
    record::Kind,
};
use crate::id::DocumentId;

/// What an operator may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SledOptions {
    /// Memory that sled may use to cache, in bytes. Default 64 MiB.
    pub cache_bytes: u64,
    /// How long a start waits for sled to open before it goes on without, in milliseconds. Default 1,000.
    pub wait_ms: u64,
    /// How long a load waits for sled before the journal answers, in milliseconds. Default 500.
    pub read_ms: u64,
    /// After so long without progress in a call (opening, reading, writing) sled is set aside, in
    /// milliseconds. Default 60,000.
    pub hang_ms: u64,
    /// Snapshots above this length stay in the journal alone, in bytes: one long read there is faster than
    /// thousands of short ones in sled. Default 8 MiB.
    pub snapshot_bytes_max: u64,
    /// How long the feeder rests after each MiB while it rebuilds, in milliseconds. Default 5.
    pub rest_ms: u64,
    /// How long to wait before sled is opened again after it was set aside, in milliseconds; doubles with
    /// each time, until one was good for ten minutes. Default 1,000.
    pub again_ms: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            wait_ms: 1_000,
            read_ms: 500,
            hang_ms: 60_000,
            snapshot_bytes_max: 8 * 1024 * 1024,
            rest_ms: 5,
            again_ms: 1_000,
        }
    }
}

/// sled holds snapshots of so many percent of what is live, and of this many bytes in any case; the journal
/// alone answers for the others, with one read for each. sled 0.34 takes 1.9 times what was put into it, and
/// up to 3.3 times when that is overwritten without a pause (it tidies a segment only when half of it is
/// dead); the journal takes 1.2 to 1.45 times what is live. Together they stay below three.
const HELD_PERCENT: u64 = 50;
const HELD_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// How much the system prefers others where they share a core (`nice`).
const NICE: i32 = 10;

/// sled is rebuilt when it and the journal together take more than so many percent of what is live and this
/// much more, in bytes: one that is overwritten without a pause grows until it is tidied.
const DISK_PERCENT: u64 = 275;
/// What the journal takes of that at most, in percent of what is live, when everything is overwritten without a
/// pause (R9); what it has beyond that is history.
const JOURNAL_PERCENT: u64 = 165;
const SIZE_BYTES: u64 = 16 * 1024 * 1024;

/// A sled that had everything for so long is no sign of trouble when it is set aside.
const STEADY: Duration = Duration::from_secs(600);

/// How many bytes are put before the size is looked at again.
const SIZE_EVERY_BYTES: u64 = 8 * 1024 * 1024;

/// The read side and its threads.
pub struct ReadSide {
    folder: PathBuf,
    options: SledOptions,
    journal: Arc<Journal>,
    state: Mutex<State>,
}

enum State {
    Running(Arc<Try>),
    /// sled was set aside; it is opened again at this time.
    Resting {
        until: Instant,
        reason: String,
        next: u32,
        attempt: u32,
    },
    Closed,
}

/// One folder, its threads, and what they know.
struct Try {
    folder: PathBuf,
    number: u32,
    snapshot_bytes_max: u64,
    began: Instant,
    /// Why the sled before this one was set aside.
    after: Option<String>,
    /// How many were set aside before it.
    attempt: u32,
    shelf: OnceLock<Shelf>,
    queue: Mutex<Queue>,
    wake: Condvar,
    reads: Mutex<Option<mpsc::Sender<Read>>>,
    failure: OnceLock<Failure>,
    stop: AtomicBool,
    caught_up: AtomicBool,
    /// Threads that have not ended.
    threads: AtomicU64,
    disk_bytes: AtomicU64,
    /// Bytes put since the size was looked at.
    put_bytes: AtomicU64,
    /// Most bytes of snapshots that it may hold.
    room_bytes: AtomicU64,
    reader: Watch,
    feeder: Watch,
}

/// Why a sled is given up.
#[derive(Debug, Clone)]
struct Failure {
    reason: String,
    /// False when there is nothing in it that a person could want to see.
    keep: bool,
}

#[derive(Default)]
struct Queue {
    /// Documents with a new base.
    changed: BTreeSet<DocumentId>,
    /// Whose turn it was last: each gets one, however often another changes.
    turn: Option<DocumentId>,
}

impl Queue {
    fn next(&mut self) -> Option<DocumentId> {
        let after = self.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.changed.range((after, Bound::Unbounded));
        self.turn = later.next().or_else(|| self.changed.first()).cloned();
        self.turn.clone()
    }
}

struct Read {
    document: DocumentId,
    base: Base,
    reply: mpsc::SyncSender<Answer>,
}

/// Since when a thread is in a call to sled, and how far it was when somebody last looked.
#[derive(Default)]
struct Watch {
    busy: AtomicBool,
    seen: Mutex<Option<(Instant, u64)>>,
}

impl ReadSide {
    /// Starts on the sled in `folder`, or on a new one. Waits [`SledOptions::wait_ms`] for it to open.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be read.
    pub fn open(folder: &Path, journal: Arc<Journal>, options: SledOptions) -> Result<Self, StoreError> {
        let number = number_to_open(folder).map_err(|source| StoreError::Io {
            doing: "list",
            path: folder.display().to_string(),
            source,
        })?;
        let begun = Try::begin(folder, number, Arc::clone(&journal), &options, None, 0);
        let waits = Instant::now() + Duration::from_millis(options.wait_ms);
        while begun.shelf.get().is_none() && begun.failure.get().is_none() && Instant::now() < waits {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            options,
            journal,
            state: Mutex::new(State::Running(begun)),
        })
    }

    /// The snapshot that `base` says, if sled has it and it passes all checks.
    #[must_use]
    pub fn find(&self, document: &DocumentId, base: &Base) -> Shelved {
        let Some(current) = self.current().filter(|current| current.holds(base)) else {
            return Shelved::Not;
        };
        if current.failure.get().is_some() {
            return Shelved::Not;
        }
        if current.shelf.get().is_none() {
            return Shelved::Late;
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let read = Read {
            document: document.clone(),
            base: *base,
            reply,
        };
        let sent = lock(&current.reads)
            .as_ref()
            .is_some_and(|reads| reads.send(read).is_ok());
        if !sent {
            return Shelved::Not;
        }
        match answer.recv_timeout(Duration::from_millis(self.options.read_ms)) {
            Ok(Answer::Found(body)) => Shelved::Found(body),
            Ok(Answer::Behind) => {
                current.changed([document.clone()]);
                Shelved::Not
            }
            Ok(Answer::Doubtful(reason)) => {
                current.fail(reason);
                Shelved::Not
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Shelved::Late,
            Err(mpsc::RecvTimeoutError::Disconnected) => Shelved::Not,
        }
    }

    /// Tells that these documents have new bases.
    pub fn changed(&self, documents: impl IntoIterator<Item = DocumentId>) {
        if let Some(current) = self.current() {
            current.changed(documents);
        }
    }

    /// Looks after sled: sets it aside when it failed or hangs, opens it again when its rest is over.
    pub fn look_after(&self) {
        let mut state = lock(&self.state);
        match &*state {
            State::Closed => {}
            State::Resting { until, .. } if Instant::now() < *until => {}
            State::Resting {
                reason, next, attempt, ..
            } => {
                let begun = Try::begin(
                    &self.folder,
                    *next,
                    Arc::clone(&self.journal),
                    &self.options,
                    Some(reason.clone()),
                    *attempt,
                );
                *state = State::Running(begun);
            }
            State::Running(current) => {
                current.watch(Duration::from_millis(self.options.hang_ms));
                if let Some(failure) = current.failure.get().cloned() {
                    let current = Arc::clone(current);
                    current.end();
                    let level = if failure.keep {
                        log::Level::Error
                    } else {
                        log::Level::Info
                    };
                    log::log!(
                        level,
                        "sled is set aside and rebuilt from the journal: {}",
                        failure.reason
                    );
                    if let Err(error) = set_aside(&self.folder, current.number, failure.keep) {
                        log::error!("cannot set sled aside: {error}");
                    }
                    let attempt = current.attempt() + 1;
                    let rest = self.options.again_ms << attempt.min(10);
                    let until = Instant::now() + Duration::from_millis(rest);
                    *state = State::Resting {
                        until,
                        reason: failure.reason,
                        next: current.number + 1,
                        attempt,
                    };
                }
            }
        }
    }

    /// Why sled is being rebuilt, if it is.
    #[must_use]
    pub fn rebuilding(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Running(current) if current.caught_up.load(SeqCst) => None,
            State::Running(current) => current.after.clone(),
            State::Resting { reason, .. } => Some(reason.clone()),
            State::Closed => None,
        }
    }

    /// Bytes on disk, those set aside included.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let running = self.current().map_or(0, |current| current.disk_bytes.load(Relaxed));
        running
            + asides(&self.folder)
                .iter()
                .map(|folder| folder_bytes(folder))
                .sum::<u64>()
    }

    /// True when sled is open and has all that it should have.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.current()
            .is_some_and(|current| current.caught_up.load(SeqCst) && lock(&current.queue).changed.is_empty())
    }

    /// Ends the threads and waits for them, for as long as a call may take.
    pub fn close(&self) {
        let state = std::mem::replace(&mut *lock(&self.state), State::Closed);
        let State::Running(current) = state else { return };
        current.end();
        let waits = Instant::now() + Duration::from_millis(self.options.hang_ms.min(10_000));
        while current.threads.load(SeqCst) > 0 && Instant::now() < waits {
            thread::sleep(Duration::from_millis(1));
        }
        if current.threads.load(SeqCst) > 0 {
            log::error!("sled does not close: what is in it is checked at the next start");
        }
    }

    fn current(&self) -> Option<Arc<Try>> {
        match &*lock(&self.state) {
            State::Running(current) => Some(Arc::clone(current)),
            _ => None,
        }
    }
}

impl Drop for ReadSide {
    fn drop(&mut self) {
        self.close();
    }
}

impl Try {
    fn begin(
        folder: &Path,
        number: u32,
        journal: Arc<Journal>,
        options: &SledOptions,
        after: Option<String>,
        attempt: u32,
    ) -> Arc<Self> {
        let (reads, requests) = mpsc::channel();
        let begun = Arc::new(Self {
            folder: folder.join(name_of(number)),
            number,
            snapshot_bytes_max: options.snapshot_bytes_max,
            began: Instant::now(),
            after,
            attempt,
            shelf: OnceLock::new(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            reads: Mutex::new(Some(reads)),
            failure: OnceLock::new(),
            stop: AtomicBool::new(false),
            caught_up: AtomicBool::new(false),
            threads: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            room_bytes: AtomicU64::new(HELD_BYTES_MIN),
            reader: Watch::default(),
            feeder: Watch::default(),
        });
        let cache_bytes = options.cache_bytes;
        let rest = Duration::from_millis(options.rest_ms);
        begun.spawn("sled-feeder", move |this| {
            // It, and the threads that sled starts from it, are in no hurry: after a start people open documents.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            this.feeder.call(|| this.open(cache_bytes))?;
            this.spawn("sled-reader", move |this| this.answer(&requests));
            this.feed(&journal, rest)
        });
        begun
    }

    fn spawn(self: &Arc<Self>, name: &str, work: impl FnOnce(&Arc<Self>) -> sled::Result<()> + Send + 'static) {
        let this = Arc::clone(self);
        self.threads.fetch_add(1, SeqCst);
        let spawned = thread::Builder::new().name(name.into()).spawn(move || {
            match catch_unwind(AssertUnwindSafe(|| work(&this))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => this.fail(format!("sled returned an error: {error}")),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    this.fail(format!("sled panicked: {}", text.unwrap_or_default()));
                }
            }
            this.threads.fetch_sub(1, SeqCst);
        });
        if let Err(error) = spawned {
            self.threads.fetch_sub(1, SeqCst);
            self.fail(format!("no thread for sled: {error}"));
        }
    }

    fn open(&self, cache_bytes: u64) -> sled::Result<()> {
        let config = sled::Config::new()
            .path(&self.folder)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None);
        let shelf = Shelf::new(config.open()?)?;
        self.disk_bytes.store(shelf.disk_bytes()?, Relaxed);
        if self.shelf.set(shelf).is_err() {
            log::error!("sled was opened twice");
        }
        Ok(())
    }

    /// The reader thread.
    fn answer(&self, requests: &mpsc::Receiver<Read>) -> sled::Result<()> {
        let Some(shelf) = self.shelf.get() else { return Ok(()) };
        while let Ok(read) = requests.recv() {
            if self.stop.load(SeqCst) {
                break;
            }
            let answer = self.reader.call(|| shelf.find(&read.document, &read.base))?;
            // Whoever asked may have given up waiting.
            let _ = read.reply.try_send(answer);
        }
        Ok(())
    }

    /// The feeder thread: first compares everything, then puts what changes.
    fn feed(&self, journal: &Journal, rest: Duration) -> sled::Result<()> {
        let Some(shelf) = self.shelf.get() else { return Ok(()) };
        self.feeder.call(|| shelf.weigh())?;
        self.make_room(journal.status().live_bytes);
        let mut after = None;
        let mut unrested = 0;
        loop {
            let bases = journal.bases(after.as_ref(), 64);
            let Some((last, _)) = bases.last() else { break };
            after = Some(last.clone());
            for (document, base) in bases {
                self.feed_changed(shelf, journal, 1)?;
                unrested += self.feed_one(shelf, journal, &document, base)?;
                if self.is_over() {
                    return Ok(());
                }
                if unrested >= 1024 * 1024 {
                    unrested = 0;
                    thread::sleep(rest);
                }
            }
        }
        let mut after = None;
        loop {
            let names = self.feeder.call(|| shelf.names(after.as_ref(), 64))?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for document in names {
                if !journal.base(&document).is_some_and(|base| self.holds(&base)) {
                    self.feeder.call(|| shelf.remove(&document))?;
                }
            }
        }
        self.flush(shelf, journal)?;
        self.caught_up.store(true, SeqCst);
        if let Some(reason) = &self.after {
            log::info!("sled is rebuilt from the journal after: {reason}");
        }
        while !self.is_over() {
            if self.feed_changed(shelf, journal, usize::MAX)? {
                self.flush(shelf, journal)?;
            }
            let queue = lock(&self.queue);
            if queue.changed.is_empty() && !self.is_over() {
                let waited = self.wake.wait_timeout(queue, Duration::from_millis(500));
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
        self.flush(shelf, journal)
    }

    /// How many were set aside before it, one soon after the other.
    fn attempt(&self) -> u32 {
        let is_steady = self.caught_up.load(SeqCst) && self.began.elapsed() > STEADY;
        if is_steady { 0 } else { self.attempt }
    }

    /// Whether nothing more should be put into it.
    fn is_over(&self) -> bool {
        self.stop.load(SeqCst) || self.failure.get().is_some()
    }

    /// Whether sled has, or should have, what `base` says.
    fn holds(&self, base: &Base) -> bool {
        base.kind == Kind::Snapshot && u64::from(base.position.bytes) <= self.snapshot_bytes_max
    }

    fn make_room(&self, live_bytes: u64) {
        let room = live_bytes / 100 * HELD_PERCENT;
        self.room_bytes.store(room.max(HELD_BYTES_MIN), Relaxed);
    }

    /// Gives the system what was put, and looks whether sled is too large. It does not give back all the
    /// room it took: then a new one is made.
    fn flush(&self, shelf: &Shelf, journal: &Journal) -> sled::Result<()> {
        self.feeder.call(|| shelf.flush())?;
        self.put_bytes.store(0, Relaxed);
        let size = shelf.disk_bytes()?;
        self.disk_bytes.store(size, Relaxed);
        let journal = journal.status();
        let live = journal.live_bytes;
        self.make_room(live);
        // History that is kept in the journal is not for sled to make up for.
        let journal = journal.disk_bytes.min(live / 100 * JOURNAL_PERCENT);
        let left = (live / 100 * DISK_PERCENT).saturating_sub(journal);
        if size > left + SIZE_BYTES {
            let reason = format!("sled takes {size} bytes for {live}");
            let _ = self.failure.set(Failure { reason, keep: false });
        }
        Ok(())
    }

    /// Puts up to `most` documents of the queue, and not more than are in it at first: under steady writing
    /// this would never end. False when there were none.
    fn feed_changed(&self, shelf: &Shelf, journal: &Journal, most: usize) -> sled::Result<bool> {
        let mut any = false;
        let waiting = lock(&self.queue).changed.len().min(most);
        for _ in 0..waiting {
            // It stays in the queue while it is worked on: an empty queue means that sled has everything.
            let Some(document) = lock(&self.queue).next() else {
                return Ok(any);
            };
            let base = journal.base(&document);
            self.feed_one(shelf, journal, &document, base)?;
            any = true;
            let mut queue = lock(&self.queue);
            if journal.base(&document).map(|base| base.lsn) == base.map(|base| base.lsn) {
                queue.changed.remove(&document);
            }
            if self.is_over() {
                return Ok(any);
            }
        }
        Ok(any)
    }

    /// Makes the shelf say of one document what the journal says; returns how many bytes that took.
    fn feed_one(
        &self,
        shelf: &Shelf,
        journal: &Journal,
        document: &DocumentId,
        base: Option<Base>,
    ) -> sled::Result<usize> {
        let Some(base) = base.filter(|base| self.holds(base)) else {
            self.feeder.call(|| shelf.remove(document))?;
            return Ok(0);
        };
        match self.feeder.call(|| shelf.has(document, &base))? {
            Answer::Found(_) => return Ok(0),
            Answer::Behind => {}
            Answer::Doubtful(reason) => {
                self.fail(reason);
                return Ok(0);
            }
        }
        let replaced = self.feeder.call(|| shelf.held_of(document))?;
        let others = shelf.held_bytes().saturating_sub(replaced);
        let taken = shelf::taken_bytes(document, u64::from(base.position.bytes));
        if others + taken > self.room_bytes.load(Relaxed) {
            if replaced > 0 {
                self.feeder.call(|| shelf.remove(document))?;
            }
            return Ok(0);
        }
        match journal.read_base(document, &base) {
            Ok(body) => {
                self.feeder.call(|| shelf.put(document, &base, &body))?;
                if self.put_bytes.fetch_add(body.len() as u64, Relaxed) > SIZE_EVERY_BYTES {
                    self.flush(shelf, journal)?;
                }
                Ok(body.len())
            }
            // Compaction moved it, or it is damaged: the journal answers until the next try.
            Err(error) => {
                log::debug!("not put into sled: {error}");
                Ok(0)
            }
        }
    }

    fn changed(&self, documents: impl IntoIterator<Item = DocumentId>) {
        lock(&self.queue).changed.extend(documents);
        self.wake.notify_one();
    }

    fn fail(&self, reason: String) {
        // The first reason is the one to tell.
        let _ = self.failure.set(Failure { reason, keep: true });
    }

    /// Tells the threads to end; does not wait.
    fn end(&self) {
        self.stop.store(true, SeqCst);
        lock(&self.reads).take();
        self.wake.notify_one();
    }

    fn watch(&self, hang: Duration) {
        let ticks = self.shelf.get().map_or(0, |shelf| shelf.ticks.load(Relaxed));
        if self.reader.hangs(ticks, hang) || self.feeder.hangs(ticks, hang) {
            self.fail(format!("sled made no progress for {} s", hang.as_secs()));
        }
        if self.shelf.get().is_none() && self.began.elapsed() > hang {
            self.fail(format!("sled did not open within {} s", hang.as_secs()));
        }
    }
}

impl Watch {
    fn call<T>(&self, work: impl FnOnce() -> T) -> T {
        self.busy.store(true, SeqCst);
        let answer = work();
        *lock(&self.seen) = None;
        self.busy.store(false, SeqCst);
        answer
    }

    /// True when the thread has been in a call since a look `hang` ago, and nothing has moved since.
    fn hangs(&self, ticks: u64, hang: Duration) -> bool {
        if !self.busy.load(SeqCst) {
            return false;
        }
        let mut seen = lock(&self.seen);
        match *seen {
            Some((since, then)) if then == ticks => since.elapsed() > hang,
            _ => {
                *seen = Some((Instant::now(), ticks));
                false
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(number: u32) -> String {
    format!("sled-{number:06}")
}

/// The newest sled that is in use; a number that none set aside has, when there is none.
fn number_to_open(folder: &Path) -> io::Result<u32> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("sled-")?.parse::<u32>().ok());
        newest = newest.max(number);
    }
    let aside = asides(folder).iter().filter_map(|folder| aside_number(folder)).max();
    Ok(newest.unwrap_or_else(|| aside.unwrap_or(0) + 1))
}

fn aside_number(folder: &Path) -> Option<u32> {
    folder
        .file_name()?
        .to_str()?
        .strip_prefix("aside-sled-")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

/// The sleds that were set aside, oldest first.
fn asides(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut asides: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| aside_number(path).is_some())
        .collect();
    asides.sort_by_key(|path| aside_number(path));
    asides
}

/// Gives a sled another name, and removes those that were set aside before.
fn set_aside(folder: &Path, number: u32, keep: bool) -> io::Result<()> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let aside = folder.join(format!("aside-{}-{}", name_of(number), date(now)));
    match fs::rename(folder.join(name_of(number)), &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for older in asides(folder).into_iter().filter(|path| (*path != aside) == keep) {
        fs::remove_dir_all(older)?;
    }
    Ok(())
}

/// Seconds since the Unix epoch as `20261120T195000Z`.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil from days, after Howard Hinnant: years begin in March, so leap days end them.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 {
        (month + 3, year)
    } else {
        (month - 9, year + 1)
    };
    let (hours, minutes, seconds) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!(
        "{:04}{month:02}{day:02}T{hours:02}{minutes:02}{seconds:02}Z",
        era * 400 + year
    )
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => folder_bytes(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests;
