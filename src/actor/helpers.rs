//! Threads for what takes long: loads, encodes of large states, large or costly edits.
//!
//! They keep the arbiters, which documents and connections share, free for what is quick. Nothing here can be
//! stopped half-way, and a hostile document can make one job take an hour (yrs merges conflicts in time that
//! grows with their square). So when a job has waited for [`PATIENCE`], another thread takes the place of the
//! helper that has been longest at its own, and that one goes on with what the system has left over, then ends.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// How much the system prefers arbiters to helpers where they share a core (`nice`): edits go first, and a
/// helper still gets a quarter of the core.
const NICE: i32 = 5;
/// The same for a helper that is replaced: the least that there is.
const NICE_REPLACED: i32 = 19;
/// A job that waited so long has a helper replaced.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most helpers that were replaced and have not ended.
const REPLACED_MAX: usize = 32;

/// Bytes of address space for each stack: yrs deletes nested types recursively. Pages that are not
/// used cost nothing.
const STACK_BYTES: usize = 64 * 1024 * 1024;

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
    state: Mutex<State>,
    /// There is work.
    work: Condvar,
    /// There is work, and perhaps nobody to do it.
    foreman: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Instant, Work)>,
    busy: Vec<Busy>,
    started: usize,
    replaced: usize,
}

/// A helper at work.
#[derive(Debug)]
struct Busy {
    number: usize,
    thread: Thread,
    since: Instant,
}

impl Helpers {
    /// Starts `count` threads, and one that looks after them.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(count: usize) -> io::Result<Self> {
        let pool = Arc::<Pool>::default();
        for _ in 0..count.max(1) {
            pool.hire(&mut pool.lock())?;
        }
        let foreman = Arc::clone(&pool);
        thread::Builder::new()
            .name("foreman".to_owned())
            .spawn(move || foreman.look_after())?;
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
        self.0.lock().waiting.push_back((Instant::now(), work));
        self.0.work.notify_one();
        self.0.foreman.notify_one();
        receiver
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What it holds is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hire(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let pool = Arc::clone(self);
        state.started += 1;
        let number = state.started;
        thread::Builder::new()
            .name(format!("helper-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(move || pool.help(number))
            .map(drop)
    }

    /// A helper's life.
    fn help(&self, number: usize) {
        let thread = Thread::this();
        thread.step_back_to(thread.nice() + NICE);
        let mut state = self.lock();
        loop {
            let Some((_, work)) = state.waiting.pop_front() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.busy.push(Busy {
                number,
                thread,
                since: Instant::now(),
            });
            drop(state);
            (work.0)();
            state = self.lock();
            let Some(at) = state.busy.iter().position(|busy| busy.number == number) else {
                state.replaced -= 1;
                self.foreman.notify_one();
                return;
            };
            state.busy.swap_remove(at);
        }
    }

    /// The foreman's life.
    fn look_after(self: &Arc<Self>) {
        let mut state = self.lock();
        // One at a time: who was hired may be all that was missing.
        let mut last = None;
        loop {
            let oldest = state.waiting.front().map(|(since, _)| *since);
            let Some(oldest) = oldest.filter(|_| state.replaced < REPLACED_MAX) else {
                state = self.foreman.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let since = last.map_or(oldest, |last| oldest.max(last));
            let mut patience = PATIENCE.saturating_sub(since.elapsed());
            if patience.is_zero() {
                self.replace(&mut state);
                last = Some(Instant::now());
                patience = PATIENCE;
            }
            let waited = self.foreman.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Another thread takes the place of the helper that has been longest at its job.
    fn replace(self: &Arc<Self>, state: &mut State) {
        let longest = state.busy.iter().enumerate().min_by_key(|(_, busy)| busy.since);
        let Some((at, thread)) = longest.map(|(at, busy)| (at, busy.thread)) else {
            return;
        };
        match self.hire(state) {
            Ok(()) => {
                thread.step_back_to(NICE_REPLACED);
                state.busy.swap_remove(at);
                state.replaced += 1;
                let replaced = state.replaced;
                log::warn!(
                    "a job waited for a second: the helper that is longest at its own is replaced, {replaced} are so now"
                );
            }
            Err(error) => log::error!("no thread to replace a helper: {error}"),
        }
    }
}

/// A thread of this process. On Linux each has a priority of its own; elsewhere all keep that of the process.
#[derive(Debug, Clone, Copy)]
struct Thread {
    #[cfg(target_os = "linux")]
    id: rustix::process::Pid,
}

impl Thread {
    fn this() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            id: rustix::thread::gettid(),
        }
    }

    /// Its priority becomes `nice`, which may only be behind what it is.
    fn step_back_to(self, nice: i32) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(Some(self.id), nice) {
            log::debug!("a helper keeps its priority: {error}");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = nice;
    }

    fn nice(self) -> i32 {
        #[cfg(target_os = "linux")]
        let nice = rustix::process::getpriority_process(Some(self.id)).unwrap_or_default();
        #[cfg(not(target_os = "linux"))]
        let nice = 0;
        nice
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn l33_a_helper_that_is_stuck_is_replaced_when_others_wait() {
        let helpers = Helpers::start(1).unwrap();
        let (free, stuck) = mpsc::channel::<()>();
        let nice_when_free = helpers.run(move || {
            let _ = stuck.recv();
            Thread::this().nice()
        });

        let nice = helpers.run(|| Thread::this().nice()).await.unwrap();
        let again = helpers.run(|| ()).await;

        assert_eq!(again, Ok(()));
        free.send(()).unwrap();
        let nice_when_free = nice_when_free.await.unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(nice_when_free, NICE_REPLACED);
            assert!(nice < NICE_REPLACED, "{nice}");
        }
        while helpers.0.lock().replaced > 0 {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_job_that_panics_costs_no_helper() {
        let helpers = Helpers::start(1).unwrap();

        assert!(helpers.run(|| panic!("a test's panic")).await.is_err());

        assert_eq!(helpers.run(|| 7).await, Ok(7));
    }
}
