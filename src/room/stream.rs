//! How an answer leaves: a small one in a message, a large one as its line carries it.
//!
//! Either all may come in one message, or it is cut so that each message is there long before a provider gives up, who hears of
//! nothing but whole messages. What a reader keeps aside until it has the rest costs it as much again, so the first is for
//! all lines that carry it. A line of which nothing is known is sent some pings first, with 8 KiB in them: how far their
//! answers are apart says what it carries. Later a ping follows each message.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::{
        frame,
        update::{CheckedUpdate, Clocks, apart},
    },
};

use super::{
    Micros,
    cut::Cut,
    session::SessionId,
    states::Update,
    sync_cache::{Answer, Tail},
};

const SECOND: Micros = 1_000_000;
/// What a line carries within this time is sent in one message: providers give up when no message came for 30 s.
const WHOLE: Micros = 8 * SECOND;
/// One of several messages takes about so long.
const PIECE: Micros = 4 * SECOND;
/// The answer to a ping is waited for so long: clients that answer none exist.
const PATIENCE: Micros = 10 * SECOND;
/// Where pings are not answered, no message is smaller than this part of all.
const POURED_PIECES: usize = 32;

/// So many pings, each as long as it may be, are sent between two that are measured: a line of 2 kB/s carries them in 4 s.
const FILLING_PINGS: usize = 64;
const PING_BYTES: usize = 125;
/// Answers that come at one moment say no more than that the line carries so many times what the whole way there and back
/// does.
const BURST: u64 = 8;

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

/// What is sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An update.
    Update(Bytes),
    /// [`Stream::asks`].
    Pings,
    /// Nothing more.
    End,
}

/// An answer that is on its way.
#[derive(Debug)]
pub(super) struct Stream {
    pub answer: Answer,
    /// What follows it.
    pub tail: Option<Tail>,
    /// What its reader had.
    pub had: Arc<Clocks>,
    /// Its reader takes messages of so many bytes.
    message_bytes_max: usize,
    /// How many of its parts were sent, or cut.
    taken: usize,
    /// What one of them was cut into, for a slow line.
    cut: VecDeque<Bytes>,
    /// A message has at most about so many bytes, if that was measured.
    piece_bytes: Option<usize>,
    pace: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nothing is known of the line.
    Begins,
    /// So many bytes are on their way since then, with a ping behind them; when the one before them was answered.
    Waits {
        number: u32,
        since: Micros,
        bytes: usize,
        first: Option<Micros>,
    },
    /// It carries all of it in one message.
    Whole,
    /// It comes in pieces.
    Pieces,
}

impl Stream {
    pub fn new(answer: Answer, tail: Option<Tail>, had: Arc<Clocks>, message_bytes_max: usize) -> Self {
        Self {
            answer,
            tail,
            had,
            message_bytes_max,
            taken: 0,
            cut: VecDeque::new(),
            piece_bytes: None,
            pace: Pace::Begins,
        }
    }

    /// Whether nothing is sent before it is known what the line carries.
    pub fn waits(&self, now: Micros) -> bool {
        matches!(self.pace, Pace::Waits { since, .. } if now < since + PATIENCE)
    }

    /// What is to be cut before the next message; the line carries so many bytes a second, if that is known.
    pub fn cuts(&mut self, carries: Option<u64>) -> Option<Arc<Cut>> {
        let Update::Large(cut) = &self.answer.update else {
            return None;
        };
        let cut = cut.clone();
        match (self.pace, carries) {
            (Pace::Begins, Some(rate)) => self.goes_at(rate, &cut),
            (Pace::Waits { .. }, _) => self.pace = Pace::Pieces,
            // A slower reader of the same was faster.
            (Pace::Whole, _) if self.taken == 0 && cut.whole().is_none() => self.pace = Pace::Pieces,
            _ => {}
        }
        (self.pace == Pace::Pieces).then_some(cut)
    }

    /// The next message.
    pub fn next(&mut self) -> Next {
        let message = match (&self.answer.update, self.pace) {
            (Update::Small(update), _) => self.once(update.clone()),
            (Update::Large(_), Pace::Begins | Pace::Waits { .. }) => return Next::Pings,
            (Update::Large(cut), Pace::Whole) => {
                let whole = cut.whole();
                whole.and_then(|whole| self.once(whole))
            }
            (Update::Large(cut), Pace::Pieces) => self.piece(&cut.clone()),
        };
        message.map_or(Next::End, Next::Update)
    }

    fn once(&mut self, message: Bytes) -> Option<Bytes> {
        self.taken += 1;
        (self.taken == 1).then_some(message)
    }

    fn piece(&mut self, cut: &Cut) -> Option<Bytes> {
        if let Some(piece) = self.cut.pop_front() {
            return Some(piece);
        }
        let unknown = || SYNC_FRAME_BYTES_MAX.max(cut.bytes() / POURED_PIECES);
        let piece_bytes = self.piece_bytes.unwrap_or_else(unknown);
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

    /// Pings, of which those with this number and the next are waited for.
    pub fn asks(&mut self, session: SessionId, number: u32, now: Micros) -> Bytes {
        let [first, last] = [number, number.wrapping_add(1)].map(|number| Probe { session, number }.ping());
        let filling = frame::ping_with(&[0; PING_BYTES]).repeat(FILLING_PINGS);
        self.waits_for(number.wrapping_add(1), filling.len() + last.len(), now);
        [&first[..], &filling, &last].concat().into()
    }

    fn waits_for(&mut self, number: u32, bytes: usize, now: Micros) {
        self.pace = Pace::Waits {
            number,
            since: now,
            bytes,
            first: None,
        };
    }

    /// A message was sent; so many bytes wait for the line. Returns the ping that is to follow, whose answer is waited for.
    pub fn sent(&mut self, session: SessionId, number: u32, bytes: usize, now: Micros) -> Option<Bytes> {
        let Update::Large(cut) = &self.answer.update else {
            return None;
        };
        let has_more = || !self.cut.is_empty() || self.taken < cut.pieces().len();
        if self.pace != Pace::Pieces || self.piece_bytes.is_none() || !has_more() {
            return None;
        }
        self.waits_for(number, bytes, now);
        Some(Probe { session, number }.ping())
    }

    /// A ping was answered: how many bytes a second the line carries, if it was the one that is waited for.
    pub fn answered(&mut self, pong: u32, now: Micros) -> Option<u64> {
        let Pace::Waits {
            number,
            since,
            bytes,
            first,
        } = &mut self.pace
        else {
            return None;
        };
        let Update::Large(cut) = &self.answer.update else {
            return None;
        };
        if number.wrapping_sub(1) == pong {
            *first = Some(now);
        }
        if *number != pong {
            return None;
        }
        let there_and_back = now - *since;
        let takes = first.map_or(there_and_back, |first| (now - first).max(there_and_back / BURST));
        let rate = *bytes as u64 * SECOND / takes.max(1);
        self.goes_at(rate, &cut.clone());
        Some(rate)
    }

    fn goes_at(&mut self, rate: u64, cut: &Arc<Cut>) {
        let within = |time| usize::try_from(rate.saturating_mul(time) / SECOND).unwrap_or(usize::MAX);
        self.piece_bytes = Some(within(PIECE).max(SYNC_FRAME_BYTES_MAX));
        let is_carried = cut.bytes() <= self.message_bytes_max.min(within(WHOLE));
        self.pace = if is_carried && cut.whole().is_some() {
            self.taken = 0;
            self.cut.clear();
            Pace::Whole
        } else {
            Pace::Pieces
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SYNC_WHOLE_BYTES_MAX;

    fn answer(bytes: usize) -> Answer {
        let mut update = vec![1, 1, 5, 0, 4, 1, 1, b't'];
        crate::protocol::lib0::write_var_bytes(&mut update, &vec![b'x'; bytes]);
        update.push(0);
        Answer {
            update: if update.len() > SYNC_FRAME_BYTES_MAX {
                Update::Large(Cut::of(update.into(), None))
            } else {
                Update::Small(update.into())
            },
            closed: false,
            version: 1,
            reached: None,
        }
    }

    /// The sizes of all messages on a line that carries so many bytes a second, or whose pings nobody answers, for a client that
    /// takes messages of `most` bytes.
    fn sizes_of(bytes: usize, rate: Option<u64>, most: usize) -> Vec<usize> {
        let mut stream = Stream::new(answer(bytes), None, Arc::default(), most);
        let (mut sizes, mut now, mut is_new) = (Vec::new(), 7, true);
        loop {
            let _ = stream.cuts(None);
            let (length, waits) = match stream.next() {
                Next::End => return sizes,
                Next::Pings => {
                    assert!(std::mem::take(&mut is_new), "once");
                    (stream.asks(SessionId(1), 2, now).len(), true)
                }
                Next::Update(message) => {
                    sizes.push(message.len());
                    let ping = stream.sent(SessionId(1), 3, message.len(), now);
                    (message.len(), ping.is_some())
                }
            };
            if !waits {
                continue;
            }
            assert!(stream.waits(now + PATIENCE - 1) && !stream.waits(now + PATIENCE));
            let Some(rate) = rate else { continue };
            now += length as u64 * SECOND / rate;
            assert_eq!(stream.answered(5, now), None, "another one");
            let measured = stream.answered(3, now).unwrap();
            assert!(measured.abs_diff(rate) <= rate / 10, "{measured}");
            assert!(!stream.waits(now));
        }
    }

    fn sizes(bytes: usize, rate: Option<u64>) -> Vec<usize> {
        sizes_of(bytes, rate, SYNC_WHOLE_BYTES_MAX)
    }

    #[test]
    fn f14_what_a_line_carries_in_some_seconds_comes_in_one_message() {
        assert_eq!(sizes(10_000, Some(1)).len(), 1, "a small one is not asked about");
        for (bytes, rate) in [(50_000, 10_000), (300_000, 50_000), (900_000, 1_000_000)] {
            let sizes = sizes(bytes, Some(rate));
            assert!(matches!(sizes[..], [whole] if whole > bytes), "{sizes:?}");
        }
        let large = sizes_of(30_000_000, Some(5_000_000), usize::MAX);
        assert!(matches!(large[..], [whole] if whole > 30_000_000), "{large:?}");
    }

    #[test]
    fn f14_a_long_way_is_not_taken_for_a_slow_line() {
        // Half a second there and back, then 100 kB/s; and half a second in which all comes at once.
        for (apart, expected) in [(84_000, 100_000), (0, 134_000)] {
            let mut stream = Stream::new(answer(900_000), None, Arc::default(), usize::MAX);
            let pings = stream.asks(SessionId(1), u32::MAX, 7);
            assert!((8_000..9_000).contains(&pings.len()));
            assert_eq!(stream.answered(u32::MAX, 500_007 - apart), None, "the last one counts");
            let measured = stream.answered(0, 500_007).unwrap();
            assert!(measured.abs_diff(expected) < expected / 20, "{measured}");
        }
    }

    #[test]
    fn f14_who_takes_no_large_messages_is_sent_none() {
        let sizes = sizes(10_000_000, Some(100_000_000));
        let most = *sizes.iter().max().unwrap();
        assert!((11..=12).contains(&sizes.len()) && most < 1_048_576, "{sizes:?}");
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

    #[test]
    fn f14_a_line_that_is_known_is_not_asked() {
        let mut stream = Stream::new(answer(900_000), None, Arc::default(), usize::MAX);
        assert!(stream.cuts(Some(1_000_000)).is_none(), "it is not cut");
        assert!(matches!(stream.next(), Next::Update(whole) if whole.len() > 900_000));
        assert_eq!(stream.sent(SessionId(1), 0, 900_000, 7), None);
        assert_eq!(stream.next(), Next::End);
    }

    #[test]
    fn f14_a_line_that_becomes_slow_or_fast_is_sent_what_it_carries_then() {
        let mut stream = Stream::new(answer(900_000), None, Arc::default(), usize::MAX);
        assert!(stream.cuts(Some(20_000)).is_some());
        let Next::Update(first) = stream.next() else { panic!() };
        assert!((60_000..=80_000).contains(&first.len()), "{}", first.len());
        assert!(stream.sent(SessionId(1), 9, first.len(), 1_000).is_some());
        // No pong comes: it goes on as before.
        assert!(!stream.waits(1_000 + PATIENCE) && stream.cuts(None).is_some());
        let Next::Update(second) = stream.next() else { panic!() };
        assert!((60_000..=80_000).contains(&second.len()), "{}", second.len());
        assert!(stream.sent(SessionId(1), 10, second.len(), 11 * SECOND).is_some());

        assert!(stream.answered(10, 11 * SECOND + 1_000).is_some());

        assert!(stream.cuts(None).is_none());
        assert!(matches!(stream.next(), Next::Update(whole) if whole.len() > 900_000));
        assert_eq!(stream.next(), Next::End);
    }

    #[test]
    fn f14_what_is_in_pieces_before_it_is_sent_whole_is_sent_in_pieces() {
        let memory = crate::budgets::Memory::new(usize::MAX, usize::MAX);
        let Update::Large(small) = answer(3_000_000).update else {
            panic!()
        };
        let cut = Cut::of(small.whole().unwrap(), memory.answer(3_000_000, false));
        let answer = Answer {
            update: Update::Large(cut.clone()),
            ..answer(1)
        };
        let mut stream = Stream::new(answer, None, Arc::default(), usize::MAX);
        assert!(stream.cuts(Some(1_000_000)).is_none());
        assert!(cut.pieces().len() > 3);

        assert!(stream.cuts(None).is_some());

        let sent = std::iter::from_fn(|| match stream.next() {
            Next::Update(piece) => Some(piece.len()),
            _ => None,
        });
        assert!(sent.sum::<usize>() > 3_000_000);
    }

    #[test]
    fn f14_what_found_no_room_is_sent_later() {
        let mut stream = Stream::new(answer(900_000), None, Arc::default(), usize::MAX);
        assert!(stream.cuts(Some(1_000)).is_some());
        let Next::Update(first) = stream.next() else { panic!() };
        stream.later(first.clone());
        assert_eq!(stream.next(), Next::Update(first));
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
