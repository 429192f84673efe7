//! How an answer leaves: a small one in a message, a large one as its line carries it.
//!
//! Of a line of which nothing is known a part of the answer is sent, with a ping behind it. When that is answered it is known how
//! long so much takes: either all of the rest may come in one message, or it is cut so that each message is there long
//! before a provider gives up, who hears of nothing but whole messages.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    document::Cut,
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::{
        frame,
        update::{CheckedUpdate, Clocks, apart},
    },
};

use super::{
    Micros,
    session::SessionId,
    sync_cache::{Answer, Tail},
};

const SECOND: Micros = 1_000_000;

/// What a line carries within this time is sent in one message: providers give up when no message came for 30 s.
const WHOLE: Micros = 8_000_000;
/// One of several messages takes about so long.
const PIECE: Micros = 4_000_000;
/// The answer to a ping is waited for so long: clients that answer none exist.
const PATIENCE: Micros = 10_000_000;
/// What a line was seen to carry holds for so long.
const HOLDS: Micros = 60_000_000;
/// Where pings are not answered, no message is smaller than this part of all.
const POURED_PIECES: usize = 32;

/// A ping whose answer says that what was sent before it has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Of which session.
    pub session: SessionId,
    /// Which of its probes.
    pub number: u32,
}

impl Probe {
    const BYTES: usize = 12;

    /// The ping.
    #[must_use]
    pub fn ping(&self) -> Bytes {
        let mut payload = [0; Self::BYTES];
        payload[..8].copy_from_slice(&self.session.0.to_be_bytes());
        payload[8..].copy_from_slice(&self.number.to_be_bytes());
        frame::ping_with(&payload)
    }

    /// Which one a pong with this payload answers, if any.
    #[must_use]
    pub fn of(pong: &[u8]) -> Option<Self> {
        let (session, number) = pong.split_first_chunk()?;
        Some(Self {
            session: SessionId(u64::from_be_bytes(*session)),
            number: u32::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// What a line was seen to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carries {
    bytes_per_second: u64,
    seen: Micros,
}

impl Carries {
    /// Whether it still holds: who reads on a train does not have the same line for an hour.
    pub fn holds(&self, now: Micros) -> bool {
        now < self.seen + HOLDS
    }

    fn within(&self, time: Micros) -> usize {
        usize::try_from(self.bytes_per_second.saturating_mul(time) / SECOND).unwrap_or(usize::MAX)
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub(super) struct Stream {
    pub answer: Answer,
    /// What follows it.
    pub tail: Option<Tail>,
    /// What its reader had.
    pub had: Arc<Clocks>,
    /// How many of its parts were sent, or cut.
    taken: usize,
    /// What one of them was cut into, for a slow line.
    cut: VecDeque<Bytes>,
    pace: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nothing is known of the line.
    Begins,
    /// So many bytes are on their way since then, with a ping behind them.
    Waits { number: u32, since: Micros, bytes: usize },
    /// It carries all of it in one message.
    Whole,
    /// It carries messages of about so many bytes.
    Pours { piece_bytes: usize },
}

impl Stream {
    pub fn new(answer: Answer, tail: Option<Tail>, had: Arc<Clocks>) -> Self {
        Self {
            answer,
            tail,
            had,
            taken: 0,
            cut: VecDeque::new(),
            pace: Pace::Begins,
        }
    }

    /// Whether nothing is sent before it is known what the line carries.
    pub fn waits(&self, now: Micros) -> bool {
        matches!(self.pace, Pace::Waits { since, .. } if now < since + PATIENCE)
    }

    /// The next message; `None` when there are no more.
    pub fn next(&mut self, carries: Option<Carries>) -> Option<Bytes> {
        let Some(cut) = self.answer.cut.clone() else {
            return self.once(&self.answer.update.clone());
        };
        match (self.pace, carries, cut.probe()) {
            (Pace::Begins, Some(carries), _) => self.pace = Pace::of(carries, &cut),
            (Pace::Begins, None, Some(probe)) => return Some(probe.clone()),
            (Pace::Begins, None, None) | (Pace::Waits { .. }, ..) => self.pace = Pace::unknown(&cut),
            (Pace::Whole | Pace::Pours { .. }, ..) => {}
        }
        match self.pace {
            Pace::Pours { piece_bytes } => self.piece(&cut, piece_bytes),
            _ => self.once(cut.whole()?),
        }
    }

    fn once(&mut self, message: &Bytes) -> Option<Bytes> {
        self.taken += 1;
        (self.taken == 1).then(|| message.clone())
    }

    fn piece(&mut self, cut: &Cut, piece_bytes: usize) -> Option<Bytes> {
        if let Some(piece) = self.cut.pop_front() {
            return Some(piece);
        }
        let piece = cut.pieces().get(self.taken)?.clone();
        self.taken += 1;
        let is_last = self.taken == cut.pieces().len();
        if is_last || piece.len() <= piece_bytes {
            return Some(piece);
        }
        // What is cut here passes the check.
        let Ok(checked) = CheckedUpdate::check(piece.clone()) else {
            return Some(piece);
        };
        self.cut.extend(apart(&checked, piece_bytes));
        self.cut.pop_front()
    }

    /// There was no room for it.
    pub fn later(&mut self, piece: Bytes) {
        self.cut.push_front(piece);
    }

    /// What [`Stream::next`] gave was sent; so many bytes wait for the line. Returns the ping that is to follow.
    pub fn sent(&mut self, session: SessionId, number: u32, bytes: usize, now: Micros) -> Option<Bytes> {
        if self.pace != Pace::Begins || self.answer.cut.is_none() {
            return None;
        }
        self.pace = Pace::Waits {
            number,
            since: now,
            bytes,
        };
        Some(Probe { session, number }.ping())
    }

    /// A ping was answered: what the line carries, if it was the one that is waited for.
    pub fn answered(&mut self, pong: u32, now: Micros) -> Option<Carries> {
        let Pace::Waits { number, since, bytes } = self.pace else {
            return None;
        };
        let cut = self.answer.cut.as_ref().filter(|_| number == pong)?;
        let carries = Carries {
            bytes_per_second: bytes as u64 * SECOND / (now - since).max(1),
            seen: now,
        };
        self.pace = Pace::of(carries, cut);
        Some(carries)
    }
}

impl Pace {
    fn of(carries: Carries, cut: &Cut) -> Self {
        if cut.whole().is_some_and(|whole| whole.len() <= carries.within(WHOLE)) {
            return Self::Whole;
        }
        Self::Pours {
            piece_bytes: carries.within(PIECE).max(SYNC_FRAME_BYTES_MAX),
        }
    }

    fn unknown(cut: &Cut) -> Self {
        Self::Pours {
            piece_bytes: SYNC_FRAME_BYTES_MAX.max(cut.bytes() / POURED_PIECES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Answer {
        let mut update = vec![1, 1, 5, 0, 4, 1, 1, b't'];
        crate::protocol::lib0::write_var_bytes(&mut update, &vec![b'x'; bytes]);
        update.push(0);
        let update = Bytes::from(update);
        Answer {
            cut: (update.len() > SYNC_FRAME_BYTES_MAX).then(|| Arc::new(Cut::of(&update))),
            closed: false,
            version: 1,
            reached: None,
            share: None,
            update,
        }
    }

    /// The sizes of all messages on a line that carries so many bytes a second, or whose pings nobody answers.
    fn sizes(bytes: usize, rate: Option<u64>) -> Vec<usize> {
        let mut stream = Stream::new(answer(bytes), None, Arc::default());
        let (mut sizes, mut now) = (Vec::new(), 7);
        while let Some(message) = stream.next(None) {
            sizes.push(message.len());
            if stream.sent(SessionId(1), 3, message.len(), now).is_some() {
                assert!(stream.waits(now + PATIENCE - 1) && !stream.waits(now + PATIENCE));
                let Some(rate) = rate else { continue };
                now += message.len() as u64 * SECOND / rate;
                assert_eq!(stream.answered(2, now), None, "another one");
                let measured = stream.answered(3, now).unwrap().bytes_per_second;
                assert!(measured.abs_diff(rate) <= rate / 10, "{measured}");
                assert!(!stream.waits(now));
            }
        }
        sizes
    }

    #[test]
    fn f14_what_a_line_carries_in_some_seconds_comes_in_one_message() {
        assert_eq!(sizes(10_000, Some(1)).len(), 1, "a small one is not asked about");
        for (bytes, rate) in [(50_000, 10_000), (300_000, 50_000), (900_000, 1_000_000)] {
            let sizes = sizes(bytes, Some(rate));
            assert_eq!(sizes.len(), 2, "{sizes:?}");
            assert!(sizes[0] <= 17_000 && sizes[1] > bytes, "{sizes:?}");
        }
    }

    #[test]
    fn f14_a_slow_line_is_sent_messages_that_it_carries_in_time() {
        for bytes in [60_000, 300_000, 900_000, 3_000_000, 10_000_000] {
            for rate in [2_000, 15_000, 100_000] {
                let sizes = sizes(bytes, Some(rate));
                let most = *sizes.iter().max().unwrap() as u64;
                let sum: usize = sizes.iter().sum();
                assert!(most <= 28 * rate, "{most} at {rate}");
                assert!(sum < bytes + bytes / 100 + 24_000, "{sum} of {bytes}");
                let needed = sum as u64 / (4 * rate).max(SYNC_FRAME_BYTES_MAX as u64);
                assert!(sizes.len() as u64 <= 2 * needed + 5, "{} at {rate}", sizes.len());
            }
        }
    }

    #[test]
    fn f14_who_answers_no_pings_is_sent_what_most_lines_carry() {
        for bytes in [60_000, 900_000, 10_000_000] {
            let sizes = sizes(bytes, None);
            let most = *sizes.iter().max().unwrap();
            assert!(most <= SYNC_FRAME_BYTES_MAX.max(bytes / 32) + 100, "{most} of {bytes}");
        }
    }

    fn seen(bytes_per_second: u64) -> Carries {
        Carries {
            bytes_per_second,
            seen: 5,
        }
    }

    #[test]
    fn f14_a_line_that_is_known_is_not_asked() {
        let mut stream = Stream::new(answer(900_000), None, Arc::default());
        let whole = stream.next(Some(seen(1_000_000))).unwrap();
        assert!(whole.len() > 900_000);
        assert_eq!(stream.sent(SessionId(1), 0, whole.len(), 7), None);
        assert_eq!(stream.next(Some(seen(1))), None);
        assert!(seen(1).holds(HOLDS + 4) && !seen(1).holds(HOLDS + 5));
    }

    #[test]
    fn f14_what_found_no_room_is_sent_later() {
        let mut stream = Stream::new(answer(900_000), None, Arc::default());
        let first = stream.next(Some(seen(1_000))).unwrap();
        let second = stream.next(Some(seen(1_000))).unwrap();
        stream.later(second.clone());
        assert_eq!(stream.next(None), Some(second.clone()));
        assert!(first != second && stream.next(None).is_some());
    }

    #[test]
    fn f14_a_pong_says_which_ping_it_answers() {
        let probe = Probe {
            session: SessionId(u64::MAX - 5),
            number: 70_000,
        };
        let ping = probe.ping();
        assert_eq!(ping[..2], [0x89, 12]);
        assert_eq!(Probe::of(&ping[2..]), Some(probe));
        for other in [&b""[..], b"there?", &ping[2..13], &[0; 13], &[0; 125]] {
            assert_eq!(Probe::of(other), None);
        }
    }
}
