//! What waits to be written to one session, bounded in bytes.
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
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::{
    budgets::{Bucket, Network, Rate, Tally},
    protocol::{
        close::CloseReason,
        frame::{self, Frame},
    },
    store::NodeId,
};

use super::Micros;

/// What all sessions of one socket share.
#[derive(Debug)]
pub struct Line {
    /// When the peer was last heard of, in milliseconds of the room's clock; written by the socket.
    heard_ms: AtomicU64,
    /// Time that threads spent on what its peer said, in microseconds.
    spent: AtomicU64,
    /// Bytes that wait for all its sessions together.
    waiting: AtomicUsize,
    /// The same as `bytes_max` bounds it: no piece counts for more than half of that.
    weight: AtomicUsize,
    /// Bytes that its socket has taken and could not write yet.
    unwritten: AtomicUsize,
    /// More than this never waits, whatever it is: a peer that asks and does not read is closed.
    bytes_max: usize,
    /// What waits on all lines.
    all: Option<Arc<Tally>>,
    given_up: AtomicBool,
    takes_large: AtomicBool,
    /// What it was last seen to carry, in KiB a second; 0 when that is not known.
    carries: AtomicU32,
    /// A session has asked that; none of its pings was answered.
    is_asked: AtomicBool,
    is_deaf: AtomicBool,
    seldom: Mutex<Seldom>,
}

/// What is not needed for each frame.
#[derive(Debug, Default)]
struct Seldom {
    asked: [Bucket; 2],
    sides: [Option<Waker>; 2],
    /// Where it comes from, where that is counted, and what all lines from there have asked.
    network: Option<(Network, Arc<Mutex<Bucket>>)>,
    /// The server that its peer is connected to, where there are several.
    node: Option<NodeId>,
}

/// Whoever has to hear that a line is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever reads what comes.
    Reads,
    /// Whoever writes what waits.
    Writes,
}

/// What the document is asked for, where the answer is for nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// By a session that was not answered before.
    First,
    /// By one that was.
    Again,
}

/// What of documents is looked through for all lines of one address together, in pieces: 256 MiB a second, a small part of
/// what a thread can, and ten times that at once, so that a school comes back after a restart.
const LOOKED_THROUGH: Rate = Rate::per_second(4_096, LOOKED_THROUGH_AT_ONCE);
const LOOKED_THROUGH_AT_ONCE: u64 = 40_960;
/// A piece, in bytes: what the smallest document counts for.
const PIECE_BYTES: usize = 64 * 1024;

/// What so many bytes count for; the largest document can be asked for, too.
fn pieces(bytes: usize) -> u64 {
    (1 + bytes / PIECE_BYTES).min(LOOKED_THROUGH_AT_ONCE as usize) as u64
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    /// A line that is open. `bytes_max` bounds even what rooms push without asking.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self::open(bytes_max, None))
    }

    /// The same; what waits is counted among `all`.
    #[must_use]
    pub fn counted(bytes_max: usize, all: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self::open(bytes_max, Some(all)))
    }

    fn open(bytes_max: usize, all: Option<Arc<Tally>>) -> Self {
        Self {
            heard_ms: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            weight: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
            bytes_max,
            all,
            given_up: AtomicBool::new(false),
            takes_large: AtomicBool::new(false),
            carries: AtomicU32::new(0),
            is_asked: AtomicBool::new(false),
            is_deaf: AtomicBool::new(false),
            seldom: Mutex::default(),
        }
    }

    /// Its peer is there; `asked` is shared by all lines that come from there.
    pub fn comes_from(&self, network: Network, asked: Arc<Mutex<Bucket>>) {
        self.seldom().network = Some((network, asked));
    }

    /// Where it comes from; `None` when that is not counted (this machine, a proxy that speaks for everybody).
    #[must_use]
    pub fn network(&self) -> Option<Network> {
        self.seldom().network.as_ref().map(|(network, _)| *network)
    }

    /// Its peer is connected to this server.
    pub fn comes_through(&self, node: NodeId) {
        self.seldom().node = Some(node);
    }

    /// The server that its peer is connected to; `None` where there is one.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.seldom().node
    }

    /// How many bytes a second it was last seen to carry, if that is known.
    #[must_use]
    pub fn carries(&self) -> Option<u64> {
        let kib = self.carries.load(Relaxed);
        (kib > 0).then(|| u64::from(kib) * 1024)
    }

    /// It was seen to carry so many bytes a second; `None`: what was seen holds no more.
    pub fn seen_to_carry(&self, bytes: Option<u64>) {
        let kib = bytes.map_or(0, |bytes| (bytes / 1024).max(1));
        self.carries.store(u32::try_from(kib).unwrap_or(u32::MAX), Relaxed);
        self.is_deaf.store(false, Relaxed);
    }

    /// Whether one of its sessions is finding out what it carries.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Relaxed)
    }

    /// One of its sessions begins to find that out, or has ended.
    pub fn asks(&self, begins: bool) {
        self.is_asked.store(begins, Relaxed);
    }

    /// Whether pings were not answered.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.is_deaf.load(Relaxed)
    }

    /// Pings were not answered in time.
    pub fn answers_no_pings(&self) {
        self.is_deaf.store(true, Relaxed);
        self.asks(false);
    }

    /// Its peer takes messages of any size, as browsers do.
    pub fn is_to_a_browser(&self) {
        self.takes_large.store(true, Relaxed);
    }

    /// Whether its peer takes messages of any size.
    #[must_use]
    pub fn takes_large(&self) -> bool {
        self.takes_large.load(Relaxed)
    }

    /// The socket heard of its peer at `now_ms` of the room's clock.
    pub fn heard(&self, now_ms: u64) {
        self.heard_ms.store(now_ms, Relaxed);
    }

    /// When the peer was last heard of.
    #[must_use]
    pub fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Relaxed)
    }

    /// A thread spent so many microseconds on what its peer said.
    pub fn spends(&self, micros: u64) {
        self.spent.fetch_add(micros, Relaxed);
    }

    /// Time that was spent on what its peer said, in microseconds.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.load(Relaxed)
    }

    /// Bytes that wait for all its sessions together.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Bytes of memory that its peer makes the server hold by not reading.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        // What is very large is shared with others.
        self.weight.load(Relaxed) + self.unwritten.load(Relaxed).min(self.bytes_max)
    }

    /// The socket holds so many bytes that it could not write yet.
    pub fn holds_unwritten(&self, bytes: usize) {
        let before = self.unwritten.swap(bytes, Relaxed);
        if let Some(all) = &self.all {
            all.add(bytes);
            all.take(before);
        }
    }

    /// Whether a session may be answered something at `now` that is for nobody else, and for which `bytes` are looked
    /// through. All sessions of the line share `rate`, and all lines of one address [`LOOKED_THROUGH`].
    #[must_use]
    pub fn may_ask(&self, asks: Asks, rate: Rate, bytes: usize, now: Micros) -> bool {
        let seldom = self.seldom();
        let mut asked = seldom.asked[asks as usize];
        let from_there = seldom.network.as_ref().map(|(_, asked)| *lock(asked));
        let has_room = |mut asked: Bucket| asked.take(LOOKED_THROUGH, pieces(bytes), now).is_ok();
        asked.take(rate, 1, now).is_ok() && from_there.is_none_or(has_room)
    }

    /// A session is answered so.
    pub fn asked(&self, asks: Asks, rate: Rate, bytes: usize, now: Micros) {
        let mut seldom = self.seldom();
        seldom.asked[asks as usize].charge(rate, 1, now);
        if let Some((_, asked)) = &seldom.network {
            lock(asked).charge(LOOKED_THROUGH, pieces(bytes), now);
        }
    }

    /// Whether its peer may make the document remember so many things more, of which each counts for a piece of what is looked
    /// through. They count from then on.
    #[must_use]
    pub fn may_add(&self, things: usize, now: Micros) -> bool {
        let seldom = self.seldom();
        let from_there = seldom.network.as_ref().map(|(_, asked)| lock(asked));
        from_there.is_none_or(|mut asked| asked.take(LOOKED_THROUGH, things as u64, now).is_ok())
    }

    /// Whether it is given up: nobody need read or write any more. If not, `waker` is woken when it is.
    #[must_use]
    pub fn is_given_up(&self, side: Side, waker: &Waker) -> bool {
        let mut seldom = self.seldom();
        let watches = &mut seldom.sides[side as usize];
        if !watches.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *watches = Some(waker.clone());
        }
        self.given_up.load(Relaxed)
    }

    /// Ends when it is given up.
    pub async fn given_up(&self, side: Side) {
        let look = |cx: &mut Context<'_>| {
            if self.is_given_up(side, cx.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        };
        std::future::poll_fn(look).await;
    }

    fn give_up(&self) {
        let sides = {
            let mut seldom = self.seldom();
            self.given_up.store(true, Relaxed);
            std::mem::take(&mut seldom.sides)
        };
        sides.into_iter().flatten().for_each(Waker::wake);
    }

    fn seldom(&self) -> MutexGuard<'_, Seldom> {
        self.seldom.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a piece that costs so much counts for.
    fn weight_of(&self, cost: usize) -> usize {
        cost.min(self.bytes_max / 2)
    }

    fn grows(&self, cost: usize, weight: usize) {
        self.waiting.fetch_add(cost, Relaxed);
        self.weight.fetch_add(weight, Relaxed);
        if let Some(all) = &self.all {
            all.add(cost);
        }
    }

    fn shrinks(&self, cost: usize, weight: usize) {
        self.waiting.fetch_sub(cost, Relaxed);
        self.weight.fetch_sub(weight, Relaxed);
        if let Some(all) = &self.all {
            all.take(cost);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.holds_unwritten(0);
    }
}

/// Shared by one session of a room and its socket.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    line: OnLine,
}

/// The line of an outbox. One that is its own lies beside it in memory, where each frame needs both.
#[derive(Debug)]
enum OnLine {
    Own(Line),
    Shared(Arc<Line>),
}

impl Deref for OnLine {
    type Target = Line;

    fn deref(&self) -> &Line {
        match self {
            Self::Own(line) => line,
            Self::Shared(line) => line,
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// The body of a frame whose head was taken: nothing may come between.
    rest: Option<Bytes>,
    /// The answer to the last ping. A peer that pings without reading is answered once (RFC 6455, 5.5.3).
    pong: Option<Bytes>,
    frames: Frames,
    /// What they and `rest` cost, in bytes of memory, and what that counts for.
    bytes: usize,
    weight: usize,
    taken_version: u64,
    ending: Ending,
    waker: Option<Waker>,
}

/// Frames in order. The first has its place in the outbox itself: as a rule it is the only one, and a ring of its own
/// would be memory that no cache holds when the next one comes.
#[derive(Debug, Default)]
struct Frames {
    first: Option<Entry>,
    more: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    kind: Kind,
}

/// What the socket is to write next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame, or the end of one.
    Bytes(Bytes),
    /// The beginning of a frame, which the next call goes on with.
    Head(Bytes),
    /// The last frame of the whole line.
    Close(Bytes),
    /// The session has ended: its line goes on without it, if it has others.
    End,
}

/// What a frame costs beside its bytes: its place in the queue, and the two allocations of a small one.
const FRAME_COST: usize = 128;

impl Entry {
    fn cost(&self) -> usize {
        self.frame.len() + FRAME_COST
    }
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
    /// Nothing may follow what is queued but this close frame, if there is one.
    Closing(Option<Bytes>),
    /// Nothing can be written any more. What the peer had sent before still counts.
    Gone,
}

impl Outbox {
    /// An empty outbox of a session of `line`.
    #[must_use]
    pub fn new(line: Arc<Line>) -> Self {
        Self {
            queue: Mutex::default(),
            line: OnLine::Shared(line),
        }
    }

    /// The outbox of the only session of a line. `bytes_max` is that of [`Line::new`].
    #[must_use]
    pub fn alone(bytes_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            line: OnLine::Own(Line::open(bytes_max, None)),
        }
    }

    /// The same; what waits is counted among `all`.
    #[must_use]
    pub fn alone_counted(bytes_max: usize, all: Arc<Tally>) -> Self {
        Self {
            queue: Mutex::default(),
            line: OnLine::Own(Line::open(bytes_max, Some(all))),
        }
    }

    /// The socket's line.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Appends a frame unless the session is ending. A piece that is larger than all that may wait is no reason to close:
    /// whoever comes back would be sent it again.
    pub fn push(&self, bytes: Bytes, kind: Kind) {
        let mut queue = self.lock();
        let waiting = self.line.weight.load(Relaxed);
        let weight = self.line.weight_of(bytes.len() + FRAME_COST);
        if queue.ending == Ending::Open && waiting > 0 && waiting + weight > self.line.bytes_max {
            self.forget(&mut queue, |_| false);
            let reason = CloseReason::Overloaded("too much waits to be read by this connection".to_owned());
            queue.end(Some(frame::close(&reason)));
        }
        self.append(&mut queue, bytes.into(), kind);
        wake(queue);
    }

    /// The same, if what waits for the line stays within `bytes_max`; where nothing waits there is room for anything.
    #[must_use]
    pub fn push_within(&self, frame: Frame, kind: Kind, bytes_max: usize) -> bool {
        let mut queue = self.lock();
        let waiting = self.line.waiting_bytes();
        if waiting > 0 && waiting + frame.len() + FRAME_COST > bytes_max {
            return false;
        }
        self.append(&mut queue, frame, kind);
        wake(queue);
        true
    }

    /// Answers a ping, in the place of an answer that still waits.
    pub fn pong(&self, payload: &[u8]) {
        let mut queue = self.lock();
        if queue.ending == Ending::Open {
            queue.pong = Some(frame::pong(payload));
        }
        wake(queue);
    }

    /// Drops what waits and can be made anew: updates (not acknowledgements).
    pub fn drop_sync(&self) {
        self.forget(&mut self.lock(), |entry| entry.kind == Kind::Other);
    }

    /// Its reader may have less than it was sent: nothing of that was taken.
    pub fn begins_anew(&self) {
        self.lock().taken_version = 0;
    }

    /// Whether something waits that [`Outbox::drop_sync`] would drop.
    #[must_use]
    pub fn holds_sync(&self) -> bool {
        self.lock().frames.any(|entry| entry.kind != Kind::Other)
    }

    /// Bytes that wait for this session alone.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The version of the document that the frames taken so far bring a reader to.
    #[must_use]
    pub fn taken_version(&self) -> u64 {
        self.lock().taken_version
    }

    /// Ends the line for `reason`, behind all that waits for this session; later pushes are ignored.
    pub fn close(&self, reason: &CloseReason) {
        self.end(Some(frame::close(reason)));
    }

    /// Ends the line for `reason` at once: what waits for this session is forgotten, and whoever reads and writes hears of it.
    pub fn give_up(&self, reason: &CloseReason) {
        let mut queue = self.lock();
        self.forget(&mut queue, |_| false);
        queue.end(Some(frame::close(reason)));
        wake(queue);
        self.line.give_up();
    }

    /// The peer has closed: answers with its code.
    pub fn echo_close(&self, code: Option<u16>) {
        self.end(Some(frame::echo_close(code)));
    }

    /// Ends the session behind all that waits for it, and with `close`, a frame, the whole line.
    pub fn end(&self, close: Option<Bytes>) {
        let mut queue = self.lock();
        queue.end(close);
        wake(queue);
    }

    /// The peer is gone without a word: nothing more is for it, and the connection ends. Without this a
    /// connection that the peer closed between two frames would stay open, with its buffers, for ever: nobody
    /// writes to it any more, so nobody learns that it is gone.
    pub fn hang_up(&self) {
        let mut queue = self.lock();
        if queue.ending == Ending::Open {
            queue.ending = Ending::Closing(None);
            self.forget(&mut queue, |_| false);
        }
        wake(queue);
    }

    /// Its line is given up: nothing more is for this session. A frame that was begun is ended.
    pub fn let_go(&self) {
        let mut queue = self.lock();
        self.forget(&mut queue, |_| false);
        queue.end(None);
        wake(queue);
    }

    /// What is to be written next, and whether more waits. `waker` is woken for what comes when nothing does.
    pub fn poll_next(&self, waker: &Waker) -> Poll<(Next, bool)> {
        let mut queue = self.lock();
        let next = self.next(&mut queue);
        let more = queue.has_more();
        if !more && !queue.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            queue.waker = Some(waker.clone());
        }
        next.map_or(Poll::Pending, |next| Poll::Ready((next, more)))
    }

    fn next(&self, queue: &mut Queue) -> Option<Next> {
        if let Some(rest) = queue.rest.take() {
            self.took(queue, rest.len(), self.line.weight_of(rest.len()));
            return Some(Next::Bytes(rest));
        }
        if let Some(pong) = queue.pong.take() {
            return Some(Next::Bytes(pong));
        }
        if let Some(entry) = queue.frames.pop_front() {
            let cost = entry.cost();
            let weight = self.line.weight_of(cost);
            if let Kind::Sync(version) = entry.kind {
                queue.taken_version = version;
            }
            let Frame { head, body } = entry.frame;
            if head.is_empty() {
                self.took(queue, cost, weight);
                return Some(Next::Bytes(body));
            }
            self.took(queue, cost - body.len(), weight - self.line.weight_of(body.len()));
            queue.rest = Some(body);
            return Some(Next::Head(head));
        }
        match &mut queue.ending {
            Ending::Open => None,
            Ending::Closing(close) => Some(close.take().map_or(Next::End, Next::Close)),
            Ending::Gone => Some(Next::End),
        }
    }

    /// The same on a line with one session: `Ready(None)` when the line is to end.
    pub fn poll_take(&self, waker: &Waker) -> Poll<Option<Bytes>> {
        self.poll_next(waker).map(|(next, _)| match next {
            Next::Bytes(bytes) | Next::Head(bytes) | Next::Close(bytes) => Some(bytes),
            Next::End => None,
        })
    }

    /// The next frame as a whole, the close frame included; `None` when nothing waits.
    #[must_use]
    pub fn take_frame(&self) -> Option<Bytes> {
        match self.poll_next(Waker::noop()) {
            Poll::Ready((Next::Bytes(bytes) | Next::Close(bytes), _)) => Some(bytes),
            Poll::Ready((Next::Head(head), _)) => Some([head, self.take_frame()?].concat().into()),
            Poll::Ready((Next::End, _)) | Poll::Pending => None,
        }
    }

    /// The socket is gone: forgets everything.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        if queue.ending == Ending::Open {
            queue.ending = Ending::Gone;
        }
        if let Some(rest) = queue.rest.take() {
            self.took(&mut queue, rest.len(), self.line.weight_of(rest.len()));
        }
        self.forget(&mut queue, |_| false);
        queue.frames = Frames::default();
        (queue.pong, queue.waker) = (None, None);
    }

    /// Whether this side has said, or is about to say, that it ends the session: what the peer sends from
    /// then on may be thrown away by whoever waits for it to close.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        matches!(self.lock().ending, Ending::Closing(_))
    }

    fn append(&self, queue: &mut Queue, frame: Frame, kind: Kind) {
        // Nothing is no frame: a socket could not write it.
        if queue.ending == Ending::Open && !frame.is_empty() {
            let entry = Entry { frame, kind };
            let (cost, weight) = (entry.cost(), self.line.weight_of(entry.cost()));
            queue.bytes += cost;
            queue.weight += weight;
            self.line.grows(cost, weight);
            queue.frames.push_back(entry);
        }
    }

    fn took(&self, queue: &mut Queue, bytes: usize, weight: usize) {
        queue.bytes -= bytes;
        queue.weight -= weight;
        self.line.shrinks(bytes, weight);
    }

    /// Drops what `keeps` does not want.
    fn forget(&self, queue: &mut Queue, keeps: impl Fn(&Entry) -> bool) {
        let (mut dropped, mut weight) = (0, 0);
        queue.frames.retain(|entry| {
            let kept = keeps(entry);
            if !kept {
                dropped += entry.cost();
                weight += self.line.weight_of(entry.cost());
            }
            kept
        });
        self.took(queue, dropped, weight);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs under this lock, so a poisoned one is still consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames {
    fn push_back(&mut self, entry: Entry) {
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.more.push_back(entry);
        }
    }

    fn pop_front(&mut self) -> Option<Entry> {
        let first = self.first.take();
        self.first = self.more.pop_front();
        first
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn any(&self, is: impl Fn(&Entry) -> bool) -> bool {
        self.first.iter().chain(&self.more).any(is)
    }

    fn retain(&mut self, mut keeps: impl FnMut(&Entry) -> bool) {
        self.first.take_if(|entry| !keeps(entry));
        self.more.retain(keeps);
        if self.first.is_none() {
            self.first = self.more.pop_front();
        }
    }
}

impl Queue {
    /// Whether the next look finds something.
    fn has_more(&self) -> bool {
        self.rest.is_some() || self.pong.is_some() || !self.frames.is_empty() || self.ending != Ending::Open
    }

    fn end(&mut self, close: Option<Bytes>) {
        if self.ending == Ending::Open {
            self.ending = Ending::Closing(close);
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let (waiting, weight) = {
            let queue = self.lock();
            (queue.bytes, queue.weight)
        };
        self.line.shrinks(waiting, weight);
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
