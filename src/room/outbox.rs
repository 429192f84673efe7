//! What waits to be written to one connection, bounded in bytes.
//!
//! The room pushes, the socket takes; nothing else touches it. Frames are shared by reference with
//! all other outboxes that hold them. The bound is the room's to enforce: when
//! [`Outbox::push_within`] refuses an update, it calls [`Outbox::drop_sync`] and resynchronises the
//! reader later from the version that [`Outbox::taken_version`] names.
//!
//! What must stay true: a frame that was taken is written before any frame that was pushed later,
//! and frames that were dropped have versions greater than `taken_version`.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError, atomic},
    task::{Poll, Waker},
};

use bytes::Bytes;

use crate::protocol::{close::CloseReason, frame};

/// Shared by one session of a room and its socket.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// More than this never waits, whatever it is: a peer that asks and does not read is closed.
    bytes_max: usize,
    /// When the peer was last heard of, in milliseconds of the room's clock; written by the socket.
    heard_ms: atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Entry>,
    bytes: usize,
    taken_version: u64,
    ending: Ending,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    kind: Kind,
}

/// What a frame is to the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Brings the reader to this version of the document.
    Sync(u64),
    /// Presence, acknowledgements, keep-alives.
    Other,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Open,
    /// The close frame is queued; nothing may follow it.
    Closing,
    /// Nothing can be written any more. What the peer had sent before still counts.
    Gone,
}

impl Outbox {
    /// An empty outbox of a connection that is open. `bytes_max` bounds even what the room pushes
    /// without asking.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            bytes_max,
            heard_ms: atomic::AtomicU64::new(0),
        }
    }

    /// Appends a frame unless the connection is ending.
    pub fn push(&self, bytes: Bytes, kind: Kind) {
        let mut queue = self.lock();
        if queue.ending == Ending::Open && queue.bytes > 0 && queue.bytes + bytes.len() > self.bytes_max {
            queue.frames.clear();
            queue.bytes = 0;
            let reason = CloseReason::Overloaded("too much waits to be read by this connection".to_owned());
            queue.end(frame::close(&reason));
        }
        queue.push(bytes, kind);
        wake(queue);
    }

    /// The same, if what waits stays within `bytes_max`; an empty outbox has room for anything.
    #[must_use]
    pub fn push_within(&self, bytes: &Bytes, kind: Kind, bytes_max: usize) -> bool {
        let mut queue = self.lock();
        if queue.bytes > 0 && queue.bytes + bytes.len() > bytes_max {
            return false;
        }
        queue.push(bytes.clone(), kind);
        wake(queue);
        true
    }

    /// Drops what waits and can be made anew: updates (not acknowledgements).
    pub fn drop_sync(&self) {
        let mut queue = self.lock();
        queue.frames.retain(|entry| entry.kind == Kind::Other);
        queue.bytes = queue.frames.iter().map(|entry| entry.bytes.len()).sum();
    }

    /// Whether something waits that [`Outbox::drop_sync`] would drop.
    #[must_use]
    pub fn holds_sync(&self) -> bool {
        self.lock().frames.iter().any(|entry| entry.kind != Kind::Other)
    }

    /// The version of the document that the frames taken so far bring a reader to.
    #[must_use]
    pub fn taken_version(&self) -> u64 {
        self.lock().taken_version
    }

    /// Bytes that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Queues the close frame behind all that waits; later pushes are ignored.
    pub fn close(&self, reason: &CloseReason) {
        let mut queue = self.lock();
        queue.end(frame::close(reason));
        wake(queue);
    }

    /// The peer has closed: answers with its code.
    pub fn echo_close(&self, code: Option<u16>) {
        let mut queue = self.lock();
        queue.end(frame::echo_close(code));
        wake(queue);
    }

    /// The peer is gone without a word: nothing more is for it, and the connection ends. Without this a
    /// connection that the peer closed between two frames would stay open, with its buffers, for ever: nobody
    /// writes to it any more, so nobody learns that it is gone.
    pub fn hang_up(&self) {
        let mut queue = self.lock();
        if queue.ending == Ending::Open {
            queue.ending = Ending::Closing;
            queue.frames = VecDeque::new();
            queue.bytes = 0;
        }
        wake(queue);
    }

    /// The next frame for the wire; `Ready(None)` when the connection is to end.
    pub fn poll_take(&self, waker: &Waker) -> Poll<Option<Bytes>> {
        let mut queue = self.lock();
        if let Some(entry) = queue.frames.pop_front() {
            queue.bytes -= entry.bytes.len();
            if let Kind::Sync(version) = entry.kind {
                queue.taken_version = version;
            }
            return Poll::Ready(Some(entry.bytes));
        }
        if queue.ending != Ending::Open {
            return Poll::Ready(None);
        }
        if !queue.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            queue.waker = Some(waker.clone());
        }
        Poll::Pending
    }

    /// The socket is gone: forgets everything.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        if queue.ending == Ending::Open {
            queue.ending = Ending::Gone;
        }
        queue.frames = VecDeque::new();
        queue.bytes = 0;
        queue.waker = None;
    }

    /// Whether this side has said, or is about to say, that it ends the connection: what the peer sends from
    /// then on may be thrown away by whoever waits for it to close.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.lock().ending == Ending::Closing
    }

    /// The socket heard of its peer at `now_ms` of the room's clock.
    pub fn heard(&self, now_ms: u64) {
        self.heard_ms.store(now_ms, atomic::Ordering::Relaxed);
    }

    /// When the peer was last heard of.
    #[must_use]
    pub fn heard_ms(&self) -> u64 {
        self.heard_ms.load(atomic::Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs under this lock, so a poisoned one is still consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, bytes: Bytes, kind: Kind) {
        if self.ending == Ending::Open {
            self.bytes += bytes.len();
            self.frames.push_back(Entry { bytes, kind });
        }
    }

    fn end(&mut self, close: Bytes) {
        self.push(close, Kind::Other);
        if self.ending == Ending::Open {
            self.ending = Ending::Closing;
        }
    }
}

/// Wakes the socket after the lock is released: it will want it at once.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}
