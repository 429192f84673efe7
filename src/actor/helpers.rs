//! Threads for what takes long: loads, encodes of large states, large edits.
//!
//! They keep the arbiters, which documents and connections share, free for what is quick. A job's time grows with its
//! bytes and with nothing else, so jobs take turns.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;

/// How much the system prefers arbiters to helpers where they share a core (`nice`): edits go first, and a
/// helper still gets a tenth of the core.
const NICE: i32 = 10;

struct Work(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

/// The way to the helper threads.
#[derive(Debug)]
pub struct Helpers(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    waiting: Mutex<VecDeque<Work>>,
    work: Condvar,
}

impl Helpers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(count: usize) -> io::Result<Self> {
        let pool = Arc::<Pool>::default();
        for number in 0..count.max(1) {
            let pool = Arc::clone(&pool);
            thread::Builder::new()
                .name(format!("helper-{number}"))
                .spawn(move || pool.help())?;
        }
        Ok(Self(pool))
    }

    /// Runs `work` on a helper. The receiver fails only if `work` panicked.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let work = Work(Box::new(move || {
            // What nobody waits for any more is dropped here, which may panic, too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(sender.send(work()))));
        }));
        // The helpers live as long as the process, so somebody receives.
        self.0.lock().push_back(work);
        self.0.work.notify_one();
        receiver
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Work>> {
        // What it holds is whole after each statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A helper's life.
    fn help(&self) {
        step_back();
        loop {
            let mut waiting = self.lock();
            let work = loop {
                match waiting.pop_front() {
                    Some(work) => break work,
                    None => waiting = self.work.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(waiting);
            (work.0)();
        }
    }
}

/// This thread goes behind the others, where each has a priority of its own.
fn step_back() {
    #[cfg(target_os = "linux")]
    {
        let this = Some(rustix::thread::gettid());
        let nice = rustix::process::getpriority_process(this).unwrap_or_default();
        if let Err(error) = rustix::process::setpriority_process(this, nice + NICE) {
            log::debug!("a helper keeps its priority: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn l28_a_job_that_panics_costs_no_helper() {
        let helpers = Helpers::start(1).unwrap();

        assert!(helpers.run(|| panic!("a test's panic")).await.is_err());

        assert_eq!(helpers.run(|| 7).await, Ok(7));
    }
}
