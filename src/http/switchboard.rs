//! The writing side of a socket with several sessions: their outboxes, drained in turn.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};
use rustc_hash::FxHashMap;

use crate::{
    budgets::Tally,
    protocol::close::CloseReason,
    room::outbox::{Line, Next, Outbox},
};

use super::{line::Open, lines::Ends};

/// The sessions of one socket. The first outbox is the socket's own: when it ends, all do.
#[derive(Debug)]
pub struct Switchboard {
    line: Arc<Line>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plugged: FxHashMap<u64, Plug>,
    next: u64,
    /// Those that may have something to write, in turn.
    ready: VecDeque<u64>,
    is_closed: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Clone)]
struct Plug {
    outbox: Arc<Outbox>,
    bell: Arc<Bell>,
}

/// Wakes the socket for one of its sessions.
#[derive(Debug)]
struct Bell {
    board: std::sync::Weak<Switchboard>,
    place: u64,
    has_rung: AtomicBool,
}

/// The place of a socket's own outbox.
const OWN: u64 = 0;

impl Switchboard {
    /// A switchboard with the socket's own outbox, on which never more than `bytes_max` wait, counted among `all`.
    #[must_use]
    pub fn new(bytes_max: usize, all: Arc<Tally>) -> (Arc<Self>, Arc<Outbox>) {
        let line = Line::counted(bytes_max, all);
        let board = Arc::new(Self {
            line,
            state: Mutex::default(),
        });
        let own = board.plug_in();
        (board, own)
    }

    /// An outbox for one more session; it is forgotten when it has ended.
    #[must_use]
    pub fn plug_in(self: &Arc<Self>) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(self.line.clone()));
        let mut state = self.lock();
        let place = state.next;
        state.next += 1;
        let bell = Arc::new(Bell {
            board: Arc::downgrade(self),
            place,
            has_rung: AtomicBool::new(false),
        });
        let plug = Plug {
            outbox: outbox.clone(),
            bell: bell.clone(),
        };
        state.plugged.insert(place, plug);
        drop(state);
        bell.wake();
        outbox
    }

    /// Whether the last bytes were given to the socket.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The next bytes for the socket; `Ready(None)` when it is to end.
    fn poll_next(&self, waker: &Waker) -> Poll<Option<Bytes>> {
        loop {
            let Some((place, plug)) = self.next_ready(waker) else {
                return if self.lock().is_closed {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                };
            };
            // Before the look: what comes after it rings again.
            plug.bell.has_rung.store(false, SeqCst);
            let Poll::Ready((next, more)) = plug.outbox.poll_next(&Waker::from(plug.bell.clone())) else {
                continue;
            };
            match next {
                Next::Bytes(bytes) => {
                    if more {
                        self.stands_in_line(place, &plug, false);
                    }
                    return Poll::Ready(Some(bytes));
                }
                Next::Head(head) => {
                    self.stands_in_line(place, &plug, true);
                    return Poll::Ready(Some(head));
                }
                Next::Close(close) => {
                    self.close();
                    return Poll::Ready(Some(close));
                }
                Next::End if place == OWN => self.close(),
                Next::End => drop(self.lock().plugged.remove(&place)),
            }
        }
    }

    fn next_ready(&self, waker: &Waker) -> Option<(u64, Plug)> {
        let mut state = self.lock();
        while let Some(place) = state.ready.pop_front() {
            if let Some(plug) = state.plugged.get(&place) {
                return Some((place, plug.clone()));
            }
        }
        state.waker = Some(waker.clone());
        None
    }

    fn stands_in_line(&self, place: u64, plug: &Plug, first: bool) {
        plug.bell.has_rung.store(true, SeqCst);
        let mut state = self.lock();
        if first {
            state.ready.push_front(place);
        } else {
            state.ready.push_back(place);
        }
    }

    /// Nothing is written any more.
    fn close(&self) {
        let plugged = {
            let mut state = self.lock();
            state.is_closed = true;
            state.ready.clear();
            std::mem::take(&mut state.plugged)
        };
        plugged.values().for_each(|plug| plug.outbox.abandon());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its sessions may lie ready behind a socket that takes nothing, and nobody else looks at them.
impl Ends for Switchboard {
    fn line(&self) -> &Line {
        &self.line
    }

    fn give_up(&self, reason: &CloseReason) {
        let plugged = self.lock().plugged.clone();
        for (place, plug) in plugged {
            if place == OWN {
                plug.outbox.give_up(reason);
            } else {
                plug.outbox.let_go();
            }
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if self.has_rung.swap(true, SeqCst) {
            return;
        }
        let Some(board) = self.board.upgrade() else { return };
        let mut state = board.lock();
        state.ready.push_back(self.place);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The response body of such a socket.
pub struct SwitchboardBody {
    board: Arc<Switchboard>,
    open: Open,
}

impl SwitchboardBody {
    /// Writes what the sessions of `board` have to say.
    #[must_use]
    pub fn new(board: Arc<Switchboard>, open: Open) -> Self {
        Self { board, open }
    }
}

impl MessageBody for SwitchboardBody {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.board
            .poll_next(cx.waker())
            .map(|bytes| bytes.map(|bytes| Ok(self.open.sent(bytes))))
    }
}

impl Drop for SwitchboardBody {
    fn drop(&mut self) {
        self.board.close();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, thread, time::Duration};

    use bytes::BytesMut;

    use super::*;
    use crate::{
        protocol::{
            close::CloseReason,
            frame::{self, Frame},
        },
        room::outbox::Kind,
    };

    /// A frame of a session: all its bytes are the session's, and so is its length.
    fn of(session: u8, number: usize) -> Frame {
        let payload = vec![session; 1 + (number * 37 + usize::from(session) * 11) % 300];
        if number.is_multiple_of(2) {
            return Frame {
                head: frame::binary_head(&[session; 3], payload.len()),
                body: payload.into(),
            };
        }
        frame::binary(&[&payload]).into()
    }

    /// Rooms on several threads push, drop, overload and end, while the socket takes.
    #[test]
    fn frames_of_many_sessions_are_never_mixed_and_nothing_is_left_waiting() {
        for round in 0..200_u64 {
            let (board, own) = Switchboard::new(64 * 1024, Arc::default());
            let pushed = Arc::new(AtomicUsize::new(0));
            let rooms: Vec<_> = (1..=4_u8)
                .map(|room| {
                    let (board, pushed) = (board.clone(), pushed.clone());
                    thread::spawn(move || {
                        for generation in 0..8 {
                            let outbox = board.plug_in();
                            for number in 0..60_usize {
                                let kind = if number.is_multiple_of(3) {
                                    Kind::Sync(number as u64)
                                } else {
                                    Kind::Other
                                };
                                if outbox.push_within(of(room * 16 + generation, number), kind, 16 * 1024) {
                                    pushed.fetch_add(1, SeqCst);
                                }
                                if number.is_multiple_of(7) {
                                    outbox.drop_sync();
                                }
                                if (number as u64 + round).is_multiple_of(11) {
                                    thread::yield_now();
                                }
                            }
                            if generation % 2 == 0 {
                                outbox.end(None)
                            } else {
                                outbox.hang_up()
                            }
                        }
                    })
                })
                .collect();
            let ends = {
                let own = own.clone();
                thread::spawn(move || {
                    for room in rooms {
                        room.join().expect("no panic");
                    }
                    // Everything that was pushed before is written before this.
                    thread::sleep(Duration::from_millis(round % 3));
                    own.close(&CloseReason::Restarting);
                })
            };
            let mut written = BytesMut::new();
            futures_util_block(&board, &mut written);
            ends.join().expect("no panic");

            let mut rest = &written[..];
            let mut last = 0;
            while !rest.is_empty() {
                let (head, length) = match rest[1] {
                    126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                    short => (2, usize::from(short)),
                };
                let payload = &rest[head..head + length];
                last = rest[0];
                if last == 0x82 {
                    assert!(payload.iter().all(|byte| *byte == payload[0]), "round {round}: mixed");
                }
                rest = &rest[head + length..];
            }
            assert_eq!(last, 0x88, "round {round}");
            assert_eq!(own.line().waiting_bytes(), 0, "round {round}");
            assert!(board.lock().plugged.is_empty());
            assert_eq!(Arc::weak_count(&board), 0, "no bell is left");
        }
    }

    #[test]
    fn l55_a_socket_that_takes_nothing_lets_go_of_all_that_waits_when_it_is_given_up() {
        let all = Arc::new(Tally::default());
        let (board, own) = Switchboard::new(1 << 20, all.clone());
        let sessions: Vec<_> = (0..10).map(|_| board.plug_in()).collect();
        for outbox in &sessions {
            assert!(outbox.push_within(of(1, 0), Kind::Sync(1), 1 << 20));
            outbox.push(vec![0; 10_000].into(), Kind::Other);
        }
        // The socket has the head of a frame; what follows is its end.
        assert!(matches!(board.poll_next(Waker::noop()), Poll::Ready(Some(_))));
        assert!(own.line().waiting_bytes() > 100_000 && all.sum() == own.line().waiting_bytes());

        board.give_up(&CloseReason::Restarting);

        assert!(own.line().waiting_bytes() < 500, "{}", own.line().waiting_bytes());
        assert_eq!(all.sum(), own.line().waiting_bytes());
        let mut written = BytesMut::new();
        futures_util_block(&board, &mut written);
        assert_eq!(
            written[..],
            [of(1, 0).body, frame::close(&CloseReason::Restarting)].concat()
        );
        drop((board, own, sessions));
        assert_eq!(all.sum(), 0);
    }

    /// Takes all; a wake-up that is lost is a test that does not end.
    fn futures_util_block(board: &Arc<Switchboard>, written: &mut BytesMut) {
        struct Unpark(thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match board.poll_next(&waker) {
                Poll::Ready(Some(bytes)) => written.extend_from_slice(&bytes),
                Poll::Ready(None) => return,
                Poll::Pending => {
                    let before = std::time::Instant::now();
                    thread::park_timeout(Duration::from_secs(20));
                    assert!(before.elapsed() < Duration::from_secs(20), "a wake-up was lost");
                }
            }
        }
    }
}
