//! Threads for what takes long: loads, encodes of large states, large edits.
//!
//! They keep the arbiters, which documents and connections share, free for what is quick. A job's time grows with its
//! bytes and with nothing else, so jobs take turns; and so do those whose jobs they are, however many each has.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;

use crate::budgets::Network;

use super::registry::Generation;

/// How much the system prefers arbiters to helpers where they share a core (`nice`): edits go first, and a
/// helper still gets a tenth of the core.
const NICE: i32 = 10;

struct Work(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// That of nobody who is counted.
    Anybody,
    /// That of all who come from there.
    Network(Network),
    /// That of a document.
    Document(Generation),
}

impl From<Option<Network>> for Turn {
    fn from(network: Option<Network>) -> Self {
        network.map_or(Self::Anybody, Self::Network)
    }
}

/// What waits. Who has much of it has one turn, like everybody.
#[derive(Debug, Default)]
struct Turns {
    /// Whose turn is next; each is here once.
    order: VecDeque<Turn>,
    /// What each has, the oldest first; never nothing.
    waiting: BTreeMap<Turn, VecDeque<Work>>,
}

impl Turns {
    fn add(&mut self, turn: Turn, work: Work) {
        let own = self.waiting.entry(turn).or_default();
        if own.is_empty() {
            self.order.push_back(turn);
        }
        own.push_back(work);
    }

    fn next(&mut self) -> Option<Work> {
        let turn = self.order.pop_front()?;
        let own = self.waiting.get_mut(&turn)?;
        let work = own.pop_front();
        if own.is_empty() {
            self.waiting.remove(&turn);
        } else {
            self.order.push_back(turn);
        }
        work
    }
}

/// The way to the helper threads.
#[derive(Debug)]
pub struct Helpers(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    waiting: Mutex<Turns>,
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
        self.run_for(Turn::Anybody, work)
    }

    /// The same when it is the turn of whoever it is for.
    pub(super) fn run_for<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let work = Work(Box::new(move || {
            // What nobody waits for any more is dropped here, which may panic, too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(sender.send(work()))));
        }));
        // The helpers live as long as the process, so somebody receives.
        self.0.lock().add(turn, work);
        self.0.work.notify_one();
        receiver
    }
}

#[cfg(test)]
impl Helpers {
    /// Keeps a thread busy until the sender is dropped.
    pub(super) fn occupied(&self) -> std::sync::mpsc::Sender<()> {
        let (free, busy) = std::sync::mpsc::channel();
        drop(self.run(move || busy.recv()));
        free
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().waiting.values().map(VecDeque::len).sum()
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Turns> {
        // What it holds is whole after each statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A helper's life.
    fn help(&self) {
        step_back();
        loop {
            let mut waiting = self.lock();
            let work = loop {
                match waiting.next() {
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
    async fn l32_who_has_much_to_do_has_one_turn_like_everybody() {
        let helpers = Helpers::start(1).unwrap();
        let free = helpers.occupied();
        let done = Arc::<Mutex<Vec<_>>>::default();
        let of = |address: [u8; 4]| Turn::Network(Network::of(std::net::IpAddr::from(address)));
        let (greedy, other) = (of([203, 0, 113, 7]), of([203, 0, 113, 8]));
        let works = (0..100)
            .map(|_| greedy)
            .chain([other, Turn::Document(1), other, Turn::Anybody]);
        let works: Vec<_> = works
            .enumerate()
            .map(|(number, turn)| {
                let done = done.clone();
                helpers.run_for(turn, move || done.lock().unwrap().push(number))
            })
            .collect();

        drop(free);
        for work in works {
            work.await.unwrap();
        }

        let done = done.lock().unwrap();
        assert_eq!(done[..7], [0, 100, 101, 103, 1, 102, 2]);
        assert!(done[7..].is_sorted(), "the others are all of one: {done:?}");
        assert!(helpers.0.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn l28_a_job_that_panics_costs_no_helper() {
        let helpers = Helpers::start(1).unwrap();

        assert!(helpers.run(|| panic!("a test's panic")).await.is_err());

        assert_eq!(helpers.run(|| 7).await, Ok(7));
    }
}
