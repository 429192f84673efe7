//! Threads for what takes long: loads, and encodes of large states.
//!
//! They keep the arbiters, which documents and connections share, free for what is quick.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use tokio::sync::oneshot;

/// How much the system prefers arbiters to helpers where they share a core (`nice`): edits go first, and a
/// helper still gets a quarter of the core.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Bytes of address space for each stack: yrs deletes nested types recursively. Pages that are not
/// used cost nothing.
const STACK_BYTES: usize = 64 * 1024 * 1024;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the helper threads.
#[derive(Debug)]
pub struct Helpers(Mutex<mpsc::Sender<Work>>);

impl Helpers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(count: usize) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Work>();
        let receiver = Arc::new(Mutex::new(receiver));
        for n in 0..count.max(1) {
            let receiver = receiver.clone();
            let work = move || {
                step_back();
                loop {
                    let work = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(work) = work else { return };
                    work();
                }
            };
            thread::Builder::new()
                .name(format!("helper-{n}"))
                .stack_size(STACK_BYTES)
                .spawn(work)?;
        }
        Ok(Self(Mutex::new(sender)))
    }

    /// Runs `work` on a helper. The receiver fails only if `work` panicked.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move || {
            if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
                let _ = sender.send(done);
            }
        });
        // The helpers live as long as the process, so somebody receives.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(work);
        receiver
    }
}

/// On Linux a thread has a priority of its own; elsewhere all threads keep that of the process.
fn step_back() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let thread = Some(rustix::thread::gettid());
        if let Err(error) = getpriority_process(thread).and_then(|nice| setpriority_process(thread, nice + NICE)) {
            log::debug!("helpers keep the priority of the process: {error}");
        }
    }
}
