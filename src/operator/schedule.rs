//! Runs of a server that is serving (rules B33 and B34): one after the other, on a thread of their own.

use std::{
    io, panic,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Failure, Target,
    backup::{Done, Kept, add},
    verify::told,
};
use crate::{actor::clock::wall_ms, store::Store, telemetry::Metrics};

/// Shortest time between two runs.
pub const EVERY_MIN: Duration = Duration::from_secs(5);

/// So many damaged things are named in the log.
const MOST_LOGGED: usize = 5;

/// When and where to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the backup is.
    pub to: Target,
    /// From the beginning of a run to that of the next.
    pub every: Duration,
    /// Runs that were begun longer ago are removed; none keeps all.
    pub keep: Option<Duration>,
}

/// The thread that makes the runs.
#[derive(Debug)]
pub struct Schedule {
    stop: Sender<()>,
    ended: mpsc::Receiver<()>,
}

struct Work {
    plan: Plan,
    data: PathBuf,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    kept: Option<Kept>,
}

impl Schedule {
    /// Begins with a run at once.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(plan: Plan, data: PathBuf, store: Arc<dyn Store>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let mut work = Work {
            plan,
            data,
            store,
            metrics,
            kept: None,
        };
        thread::Builder::new().name("backup".to_owned()).spawn(move || {
            give_way();
            work.until(&stopped);
            let _ = end.send(());
        })?;
        Ok(Self { stop, ended })
    }

    /// Waits for the run that is under way and makes a last one, as far as the time allows. What is not done by then is cut
    /// off, and leaves no run.
    pub fn stop(self, patience: Duration) {
        drop(self.stop);
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(patience) {
            log::warn!("backup: the last run was not done before the time to stop ran out");
        }
    }
}

impl Work {
    fn until(&mut self, stopped: &mpsc::Receiver<()>) {
        loop {
            let began = Instant::now();
            self.run();
            let mut next = self.plan.every.saturating_sub(began.elapsed());
            if next.is_zero() {
                let late = began.elapsed().as_secs() / self.plan.every.as_secs().max(1);
                log::warn!(
                    "backup: a run took {} s, longer than --backup-every: {late} skipped",
                    began.elapsed().as_secs()
                );
                let into = began.elapsed().as_nanos() % self.plan.every.as_nanos().max(1);
                next = self.plan.every - Duration::from_nanos(u64::try_from(into).unwrap_or_default());
            }
            if stopped.recv_timeout(next) != Err(RecvTimeoutError::Timeout) {
                self.run();
                return;
            }
        }
    }

    fn run(&mut self) {
        let (began, began_ms) = (Instant::now(), wall_ms());
        // What a run cannot do must not end those after it.
        let done = panic::catch_unwind(panic::AssertUnwindSafe(|| self.add()));
        let done = done.unwrap_or_else(|_| Err(Failure("it panicked".to_owned())));
        let seconds = began.elapsed();
        match done {
            Ok(done) => {
                self.metrics.backup(began_ms, seconds, done.copied_bytes);
                let (to, ms) = (&self.plan.to, seconds.as_millis());
                if done.damaged.is_empty() {
                    log::info!("backup to {to}: {done}; {ms} ms");
                } else {
                    let lines = told(done.damaged.iter().cloned(), MOST_LOGGED);
                    let lines = lines.trim_end().replace('\n', "; ");
                    log::error!("backup to {to}: {done}; {ms} ms; damaged in the data folder: {lines}");
                }
            }
            Err(failure) => {
                self.metrics.backup_failed();
                // What is known of the target may be what is wrong.
                self.kept = None;
                log::error!("backup to {}: {failure}", self.plan.to);
            }
        }
    }

    fn add(&mut self) -> Result<Done, Failure> {
        let kept = match self.kept.take() {
            Some(kept) => kept,
            None => Kept::open(&self.plan.to)?,
        };
        let kept = self.kept.insert(kept);
        add(&self.data, kept, self.plan.keep, Some(self.store.status().documents))
    }
}

/// Edits go first.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}
