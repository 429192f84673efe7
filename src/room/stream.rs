//! How an answer leaves: a small one in a message, a large one as its line carries it.
//!
//! Either all may come in one message, or it is cut so that each message is there long before a provider gives up, who hears of
//! nothing but whole messages. What a reader keeps aside until it has the rest costs it as much again, so the first is for
//! all lines that carry it. A line of which nothing is known is sent 8 KiB that say nothing between two pings first: how far
//! their answers are apart says what it carries. What was seen with so many bytes is believed for so many times as many: before
//! more come at once, it is asked with more. Behind pieces a ping goes, too.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::{dialect::Dialect, frame, update::Id},
};

use super::{
    Micros,
    cut::Cut,
    given_up::Tried,
    had::Had,
    outbox::Line,
    session::SessionId,
    states::Update,
    sync_cache::{Answer, Tail},
};

const SECOND: Micros = 1_000_000;
/// The answer to a ping is waited for so long: clients that answer none exist.
const PATIENCE: Micros = 8 * SECOND;
/// Where pings are not answered, no message is smaller than this part of all.
const POURED_PIECES: usize = 32;
/// It is asked with so many bytes at first: a line of 2 kB/s carries them in 4 s.
const PROBE_BYTES: usize = 8 * 1024;
/// A line that carried so many bytes is believed to carry so many times as many as fast; half of that where it were few, which
/// whatever is between may let through at once.
const BELIEVED: usize = 32;
const FEW_BYTES: usize = 16 * 1024;
/// Where an answer did not come, what was seen is believed for so many times as many bytes, and the whole is not sent.
const BELIEVED_LESS: usize = 4;
/// Where it did not come so many times, nothing that is said of the line is believed.
const GIVES_UP_AFTER: u32 = 2;
/// It is asked with more than a thirty-second part up to here.
const PROBE_AGAIN_BYTES: usize = 64 * 1024;
/// What was seen with few bytes may be so many times too little.
const UNSURE: usize = 8;
/// What says nothing is not much more than this.
const FILLING_SLACK_BYTES: usize = 1_024;
/// Answers that come at one moment say no more than that the line carries so many times what the whole way there and back
/// does.
const BURST: u64 = 3;

/// How long messages may take.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// What a line carries within this time is sent in one message.
    whole: Micros,
    /// Between two pings there is what it carries within this time.
    pieces: Micros,
}

impl Times {
    fn of(dialect: &Dialect) -> Self {
        if dialect.must_answer() {
            // y-sweet's client comes back when no message came for five seconds.
            Self {
                whole: 3 * SECOND / 2,
                pieces: SECOND,
            }
        } else {
            // Providers give up when no message came for thirty.
            Self {
                whole: 8 * SECOND,
                pieces: 4 * SECOND,
            }
        }
    }
}

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

/// Pings that a session was sent, and whose answers are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// The last one's number; the one before it stands before the others.
    number: u32,
    since: Micros,
    /// Bytes that were sent before the last one.
    bytes: usize,
    /// When the one before them was answered.
    first: Option<Micros>,
    /// Other sessions of the line wait for this as well.
    pub is_for_line: bool,
}

impl Asking {
    /// A ping was answered: how many bytes a second the line carries, and with how many that was seen, if it was the last one.
    pub fn answered(&mut self, pong: u32, now: Micros) -> Option<(u64, usize)> {
        if self.number.wrapping_sub(1) == pong {
            self.first = Some(now);
        }
        if self.number != pong {
            return None;
        }
        let there_and_back = now - self.since;
        let apart = self
            .first
            .map_or(there_and_back, |first| (now - first).max(there_and_back / BURST));
        Some((self.bytes as u64 * SECOND / apart.max(1), self.bytes))
    }

    fn waits(&self, now: Micros) -> bool {
        now < self.since + PATIENCE
    }
}

/// The pings that a session was sent.
#[derive(Debug, Default)]
pub(super) struct Pinged {
    /// The next one's number.
    next: u32,
    /// Those whose answers are waited for.
    pub asking: Option<Asking>,
    /// With how many bytes it was last seen what its line carries.
    pub seen_with: usize,
}

impl Pinged {
    /// One was answered: how many bytes a second the line carries, if that is known now.
    pub fn answers(&mut self, pong: u32, line: &Line, now: Micros) -> Option<u64> {
        if self.asking.is_none() && line.is_deaf() {
            // It only came late. It is asked again before the next answer.
            line.seen_to_carry(None);
        }
        let (rate, seen_with) = self.asking.as_mut()?.answered(pong, now)?;
        if self.asking.take().is_some_and(|asking| asking.is_for_line) {
            line.asks(false);
        }
        self.seen_with = seen_with;
        line.seen_to_carry(Some(rate));
        Some(rate)
    }

    fn number(&mut self) -> u32 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing, until more is known of the line.
    Waits,
    /// So many bytes that say nothing, between two pings.
    Asks(usize),
    /// Messages, when it has its pieces.
    Cuts(Arc<Cut>),
    /// Messages.
    Sends,
}

/// An answer that is on its way.
#[derive(Debug)]
pub(super) struct Stream {
    pub answer: Answer,
    /// What follows it.
    pub tail: Option<Tail>,
    /// What its reader had.
    pub had: Had,
    times: Times,
    /// It follows another one that has just been sent: it has to get to its end before the document goes on again.
    follows: bool,
    /// Its reader takes messages of so many bytes.
    message_bytes_max: usize,
    /// How often it did not come.
    failed: u32,
    /// Something that is in it.
    lacked: Option<Id>,
    /// How many of its pieces were taken.
    taken: usize,
    /// What of one of them was not sent yet.
    waiting: VecDeque<Bytes>,
    /// So many bytes go between two pings, if that was measured, and were sent since the last.
    piece_bytes: Option<usize>,
    sent_bytes: usize,
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    /// Nothing is known of the line. Since when another session's pings are waited for.
    Begins(Option<Micros>),
    /// It carries so much that it is asked with more before that is believed.
    Doubts(usize),
    /// It carries all of it in one message, which was not sent yet.
    Whole(Option<Bytes>),
    /// It comes in pieces.
    Pieces,
}

impl Stream {
    pub fn new(
        answer: Answer,
        tail: Option<Tail>,
        had: Had,
        dialect: &Dialect,
        follows: bool,
        message_bytes_max: usize,
    ) -> Self {
        let reached = answer.reached.iter().flat_map(|reached| reached.iter());
        let lacked = reached
            .filter(|(client, clock)| had.clocks.next(*client) < *clock)
            .map(|(client, clock)| Id {
                client,
                clock: clock - 1,
            })
            .next();
        Self {
            answer,
            tail,
            had,
            times: Times::of(dialect),
            follows,
            message_bytes_max,
            failed: 0,
            lacked,
            taken: 0,
            waiting: VecDeque::new(),
            piece_bytes: None,
            sent_bytes: 0,
            pace: Pace::Begins(None),
        }
    }

    /// What it is once it was sent.
    pub fn tried(&self) -> Option<Tried> {
        let lacked = self.lacked?;
        let times = self.failed + 1;
        Some(Tried { lacked, times })
    }

    /// It was on its way to its reader so many times, and did not come (F15).
    pub fn has_failed(&mut self, times: u32) {
        self.failed = times;
        if times >= GIVES_UP_AFTER {
            self.message_bytes_max = SYNC_FRAME_BYTES_MAX;
        }
    }

    /// What comes next on `line`.
    pub fn step(&mut self, pinged: &mut Pinged, line: &Line, now: Micros) -> Step {
        let Update::Large(cut) = &self.answer.update else {
            return Step::Sends;
        };
        let cut = cut.clone();
        if let Some(asked) = pinged.asking {
            if asked.waits(now) {
                return Step::Waits;
            }
            pinged.asking = None;
            line.answers_no_pings();
            self.piece_bytes = self.piece_bytes.map(|_| SYNC_FRAME_BYTES_MAX);
            if !matches!(self.pace, Pace::Whole(_)) {
                self.pace = Pace::Pieces;
            }
        }
        if let Pace::Begins(waits) = &mut self.pace {
            if let Some(rate) = line.carries() {
                self.goes_at(rate, pinged.seen_with.max(PROBE_BYTES), &cut);
            } else if line.is_deaf() {
                self.pace = Pace::Pieces;
            } else if line.is_asked() {
                if now < *waits.get_or_insert(now) + PATIENCE {
                    return Step::Waits;
                }
                line.answers_no_pings();
                self.pace = Pace::Pieces;
            } else {
                return Step::Asks(PROBE_BYTES);
            }
        }
        match self.pace {
            Pace::Doubts(bytes) => Step::Asks(bytes),
            Pace::Pieces => Step::Cuts(cut),
            Pace::Begins(_) | Pace::Whole(_) => Step::Sends,
        }
    }

    /// The next message; `None` when there are no more.
    pub fn next(&mut self) -> Option<Bytes> {
        match (&self.answer.update, &mut self.pace) {
            (Update::Small(update), _) => {
                self.taken += 1;
                (self.taken == 1).then(|| update.clone())
            }
            (Update::Large(_), Pace::Whole(whole)) => whole.take(),
            (Update::Large(cut), _) => {
                let cut = cut.clone();
                self.piece(&cut)
            }
        }
    }

    fn piece(&mut self, cut: &Cut) -> Option<Bytes> {
        if let Some(piece) = self.waiting.pop_front() {
            return Some(piece);
        }
        let unknown = || SYNC_FRAME_BYTES_MAX.max(cut.bytes() / POURED_PIECES);
        let most = self.piece_bytes.unwrap_or_else(unknown).min(self.message_bytes_max);
        let piece = cut.pieces().get(self.taken)?;
        self.taken += 1;
        let is_last = self.taken == cut.pieces().len();
        if is_last || piece.len() <= most {
            return Some(piece.bytes());
        }
        self.waiting.extend(piece.small().iter().cloned());
        self.waiting.pop_front()
    }

    /// There was no room for it.
    pub fn later(&mut self, piece: Bytes) {
        self.waiting.push_front(piece);
    }

    /// `filling`, frames that say nothing, between two pings.
    pub fn asks(session: SessionId, filling: &[u8], pinged: &mut Pinged, now: Micros) -> Bytes {
        let (first, last) = (pinged.number(), pinged.number());
        let [before, behind] = [first, last].map(|number| Probe { session, number }.ping());
        pinged.asking = Some(Asking {
            number: last,
            since: now,
            bytes: filling.len() + behind.len(),
            first: None,
            is_for_line: true,
        });
        [&before[..], filling, &behind].concat().into()
    }

    /// A message of so many bytes was sent. Returns the ping that is to follow, if one is; so many bytes wait for its session.
    pub fn sent(
        &mut self,
        message_bytes: usize,
        session: SessionId,
        pinged: &mut Pinged,
        waiting_bytes: usize,
        now: Micros,
    ) -> Option<Bytes> {
        let (Update::Large(cut), Pace::Pieces, Some(piece_bytes)) = (&self.answer.update, &self.pace, self.piece_bytes)
        else {
            return None;
        };
        self.sent_bytes += message_bytes;
        let is_over = self.waiting.is_empty() && self.taken >= cut.pieces().len();
        if is_over || self.follows || self.sent_bytes + SYNC_FRAME_BYTES_MAX <= piece_bytes {
            return None;
        }
        self.sent_bytes = 0;
        let number = pinged.number();
        pinged.asking = Some(Asking {
            number,
            since: now,
            bytes: waiting_bytes.max(message_bytes),
            first: None,
            is_for_line: false,
        });
        Some(Probe { session, number }.ping())
    }

    /// Its line carries so many bytes a second, as was seen with so many.
    pub fn carries(&mut self, rate: u64, seen_with: usize) {
        if let Update::Large(cut) = &self.answer.update {
            let cut = cut.clone();
            self.goes_at(rate, seen_with, &cut);
        }
    }

    fn goes_at(&mut self, rate: u64, seen_with: usize, cut: &Arc<Cut>) {
        let within = |time| usize::try_from(rate.saturating_mul(time) / SECOND).unwrap_or(usize::MAX);
        let times = match (self.failed, seen_with < FEW_BYTES) {
            (0, false) => BELIEVED,
            (0, true) => BELIEVED / 2,
            _ => BELIEVED_LESS,
        };
        let believed = seen_with.saturating_mul(times);
        self.piece_bytes = Some(within(self.times.pieces).min(believed).max(SYNC_FRAME_BYTES_MAX));
        if matches!(self.pace, Pace::Whole(_)) {
            return;
        }
        let carried = within(self.times.whole);
        let may_be_whole = |whole: &Bytes| self.failed == 0 && whole.len() <= self.message_bytes_max;
        self.pace = match cut.whole().filter(may_be_whole) {
            Some(whole) if whole.len() > believed && whole.len() / UNSURE <= carried && !self.follows => {
                let more = (whole.len() / 8).clamp(FEW_BYTES, PROBE_AGAIN_BYTES);
                Pace::Doubts(more.max(whole.len() / BELIEVED + FILLING_SLACK_BYTES))
            }
            Some(whole) if whole.len() <= carried => {
                self.waiting.clear();
                Pace::Whole(Some(whole))
            }
            _ => Pace::Pieces,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        budgets::{Asker, Memory, OfDocument},
        limits::SYNC_WHOLE_BYTES_MAX,
    };

    fn nobody(document: &Arc<OfDocument>) -> Asker<'_> {
        Asker {
            network: None,
            document,
        }
    }

    fn update(bytes: usize) -> Bytes {
        let mut update = vec![1, 1, 5, 0, 4, 1, 1, b't'];
        crate::protocol::lib0::write_var_bytes(&mut update, &vec![b'x'; bytes]);
        update.push(0);
        update.into()
    }

    fn of(update: Update) -> Answer {
        Answer {
            update,
            closed: false,
            version: 1,
            reached: None,
        }
    }

    fn answer(bytes: usize) -> Answer {
        let update = update(bytes);
        of(if update.len() > SYNC_FRAME_BYTES_MAX {
            Update::Large(Cut::of(update, None))
        } else {
            Update::Small(update)
        })
    }

    fn to(answer: Answer, message_bytes_max: usize) -> Stream {
        Stream::new(
            answer,
            None,
            Had::default(),
            &Dialect::YWebsocket,
            false,
            message_bytes_max,
        )
    }

    /// What came to a client.
    #[derive(Debug, Default)]
    struct Came {
        /// The bytes of each message.
        sizes: Vec<usize>,
        /// How often it was asked, with how many bytes.
        asked: Vec<usize>,
        /// The longest time in which no message came, but for those with which it is asked.
        gap: Micros,
        took: Micros,
    }

    /// Sends all on a line that carries so many bytes a second at first, then what `rate` says. `None`: it answers no pings.
    fn sends(mut stream: Stream, way: Micros, mut rate: impl FnMut(usize) -> Option<u64>) -> Came {
        let line = Line::new(usize::MAX);
        let (mut came, mut now, mut pinged) = (Came::default(), 7, Pinged::default());
        let (mut sent, mut waiting, mut last) = (0, 0, 7);
        loop {
            match stream.step(&mut pinged, &line, now) {
                Step::Waits => now += PATIENCE / 100,
                Step::Asks(bytes) => {
                    let pings = Stream::asks(SessionId(1), &vec![0; bytes], &mut pinged, now);
                    came.asked.push(bytes);
                    line.asks(true);
                    let Some(rate) = rate(sent) else { continue };
                    let first = now + way;
                    now = first + pings.len() as u64 * SECOND / rate;
                    (came.gap, last) = (came.gap.max(now - last), now);
                    let number = pinged.next;
                    let others = [(number + 5, now), (number - 2, first)];
                    assert!(
                        others
                            .iter()
                            .all(|(pong, at)| pinged.answers(*pong, &line, *at).is_none())
                    );
                    let rate = pinged.answers(number - 1, &line, now).unwrap();
                    stream.carries(rate, pinged.seen_with);
                }
                Step::Cuts(_) | Step::Sends => {
                    let Some(message) = stream.next() else {
                        came.took = now;
                        return came;
                    };
                    came.sizes.push(message.len());
                    sent += message.len();
                    let rate = rate(sent);
                    now += message.len() as u64 * SECOND / rate.unwrap_or(1_000_000);
                    (came.gap, last) = (came.gap.max(now - last), now);
                    waiting += message.len();
                    stream.sent(message.len(), SessionId(1), &mut pinged, waiting, now);
                    if pinged.asking.is_some() {
                        let seen = std::mem::take(&mut waiting);
                        let Some(rate) = rate else { continue };
                        now += way;
                        pinged.asking = None;
                        stream.carries(rate, seen);
                    }
                }
            }
        }
    }

    fn at(rate: u64) -> impl FnMut(usize) -> Option<u64> {
        move |_| Some(rate)
    }

    #[test]
    fn f14_what_a_line_carries_in_some_seconds_comes_in_one_message() {
        let small = sends(to(answer(10_000), usize::MAX), 0, at(1_000));
        assert!(small.sizes.len() == 1 && small.asked.is_empty(), "{small:?}");
        for (bytes, rate) in [
            (50_000, 10_000),
            (250_000, 50_000),
            (900_000, 1_000_000),
            (30_000_000, 5_000_000),
        ] {
            let came = sends(to(answer(bytes), usize::MAX), 50_000, at(rate));
            assert!(matches!(came.sizes[..], [whole] if whole > bytes), "{came:?}");
            let asked: usize = came.asked.iter().sum();
            assert!(
                asked <= PROBE_BYTES + FEW_BYTES.max(bytes / 7).min(PROBE_AGAIN_BYTES.max(bytes / 30)),
                "{came:?}"
            );
        }
    }

    #[test]
    fn f14_a_line_is_believed_to_carry_no_more_than_so_many_times_what_was_seen() {
        // What a shaper lets through at once says nothing.
        for bytes in [200_000, 2_000_000, 20_000_000] {
            let came = sends(to(answer(bytes), usize::MAX), 5_000, |sent| {
                Some(if sent == 0 { 1_000_000 } else { 30_000 })
            });
            assert!(came.asked.len() == 1 + usize::from(bytes > 131_072), "{:?}", came.asked);
        }
        let mut stream = to(answer(2_000_000), usize::MAX);
        stream.carries(1_000_000_000, PROBE_BYTES);
        let line = Line::new(usize::MAX);
        let Step::Asks(more) = stream.step(&mut Pinged::default(), &line, 1) else {
            panic!()
        };
        assert!((62_000..66_000).contains(&more), "{more}");
    }

    #[test]
    fn f14_who_takes_no_large_messages_is_sent_none() {
        for bytes in [10_000_000, 50_000_000] {
            let came = sends(to(answer(bytes), SYNC_WHOLE_BYTES_MAX), 0, at(100_000_000));
            let most = *came.sizes.iter().max().unwrap();
            assert!(came.sizes.len() > 10 && most < 1_048_576, "{most} of {bytes}");
        }
    }

    #[test]
    fn f12_f14_a_slow_line_is_sent_messages_that_come_in_time() {
        for bytes in [60_000, 300_000, 900_000, 3_000_000, 10_000_000] {
            for rate in [2_000, 15_000, 100_000] {
                let came = sends(to(answer(bytes), usize::MAX), 100_000, at(rate));
                let sum: usize = came.sizes.iter().sum();
                assert!(came.gap < 28 * SECOND, "{} at {rate}", came.gap);
                assert!(sum < bytes + bytes / 100 + 24_000, "{sum} of {bytes}");
                let needed = sum as u64 * SECOND / rate;
                assert!(came.took < needed * 6 / 5 + 12 * SECOND, "{} of {needed}", came.took);
            }
        }
    }

    #[test]
    fn f14_who_answers_no_pings_is_sent_what_most_lines_carry() {
        for bytes in [60_000, 900_000, 10_000_000] {
            let came = sends(to(answer(bytes), usize::MAX), 0, |_| None);
            let most = *came.sizes.iter().max().unwrap();
            assert!(most <= SYNC_FRAME_BYTES_MAX.max(bytes / 32) + 100, "{most} of {bytes}");
            assert!(
                came.asked == [PROBE_BYTES] && came.took < PATIENCE * 2 + bytes as u64,
                "{came:?}"
            );
        }
    }

    #[test]
    fn f14_y_sweet_s_client_comes_back_after_five_seconds_without_a_message() {
        for bytes in [300_000, 3_000_000] {
            for rate in [100_000, 500_000, 5_000_000] {
                let stream = Stream::new(answer(bytes), None, Had::default(), &Dialect::YSweet, false, usize::MAX);
                let came = sends(stream, 50_000, at(rate));
                assert!(came.gap < 4 * SECOND, "{} of {bytes} at {rate}", came.gap);
            }
        }
    }

    #[test]
    fn f14_a_long_way_is_not_taken_for_a_slow_line() {
        // Half a second there and back, then 100 kB/s; and half a second in which all comes at once.
        for (apart, expected) in [(84_000, 50_000), (250_000, 33_000), (0, 50_000)] {
            let line = Line::new(usize::MAX);
            let mut pinged = Pinged {
                next: u32::MAX,
                ..Pinged::default()
            };
            let pings = Stream::asks(SessionId(1), &[0; PROBE_BYTES], &mut pinged, 7);
            assert!((8_000..9_000).contains(&pings.len()));
            assert!(
                pinged.answers(u32::MAX, &line, 500_007 - apart).is_none(),
                "the last one counts"
            );
            let measured = pinged.answers(0, &line, 500_007).unwrap();
            assert!(measured.abs_diff(expected) < expected / 20, "{measured}");
            assert!(pinged.seen_with.abs_diff(PROBE_BYTES) < 300);
        }
    }

    #[test]
    fn f14_one_session_of_a_line_asks_for_all() {
        let line = Line::new(usize::MAX);
        let (mut first, mut second) = (to(answer(100_000), usize::MAX), to(answer(100_000), usize::MAX));
        assert!(matches!(first.step(&mut Pinged::default(), &line, 1), Step::Asks(_)));
        line.asks(true);
        assert!(matches!(second.step(&mut Pinged::default(), &line, 2), Step::Waits));
        line.seen_to_carry(Some(1_000_000));
        assert!(matches!(second.step(&mut Pinged::default(), &line, 3), Step::Sends));
        assert!(second.next().unwrap().len() > 100_000);

        let mut third = to(answer(100_000), usize::MAX);
        line.seen_to_carry(None);
        assert!(matches!(third.step(&mut Pinged::default(), &line, 4), Step::Waits));
        assert!(matches!(
            third.step(&mut Pinged::default(), &line, 4 + PATIENCE),
            Step::Cuts(_)
        ));
        assert!(!line.is_asked() && line.is_deaf(), "it is not waited for again");
    }

    #[test]
    fn f14_who_asks_again_while_pings_are_on_their_way_waits_for_the_same_ones() {
        let line = Line::new(usize::MAX);
        let mut pinged = Pinged::default();
        let _ = Stream::asks(SessionId(1), &[0; PROBE_BYTES], &mut pinged, 10);
        line.asks(true);
        for now in [11, 5 * SECOND, PATIENCE + 9] {
            let mut again = to(answer(100_000), usize::MAX);
            assert!(matches!(again.step(&mut pinged, &line, now), Step::Waits));
        }
        for _ in 0..2 {
            let mut again = to(answer(100_000), usize::MAX);
            let step = again.step(&mut pinged, &line, PATIENCE + 10);
            assert!(matches!(step, Step::Cuts(_)), "it answers none");
        }
    }

    #[test]
    fn f14_a_line_that_becomes_fast_is_sent_the_rest_at_once() {
        let came = sends(to(answer(900_000), usize::MAX), 1_000, |sent| {
            Some(if sent < 200_000 { 20_000 } else { 10_000_000 })
        });
        assert!(
            came.sizes.len() < 10 && *came.sizes.last().unwrap() > 900_000,
            "{came:?}"
        );
    }

    #[test]
    fn f14_what_is_in_pieces_when_it_is_to_be_sent_whole_is_sent_in_pieces() {
        let memory = Memory::new(usize::MAX, usize::MAX);
        let whole = update(3_000_000);
        let cut = Cut::of(
            whole.clone(),
            memory.answer(whole.len(), false, &nobody(&Arc::default())),
        );
        let mut stream = to(of(Update::Large(cut.clone())), usize::MAX);
        assert!(cut.pieces().len() > 3);

        stream.carries(100_000_000, 1_000_000);

        let pieces: Vec<Bytes> = std::iter::from_fn(|| stream.next()).collect();
        assert!(pieces.len() > 3 && pieces.iter().map(Bytes::len).sum::<usize>() >= whole.len());
    }

    #[test]
    fn f14_what_found_no_room_is_sent_later() {
        let mut stream = to(answer(900_000), usize::MAX);
        stream.carries(1_000, PROBE_BYTES);
        let first = stream.next().unwrap();
        stream.later(first.clone());
        assert_eq!(stream.next(), Some(first));
    }

    #[test]
    fn f15_what_did_not_come_is_sent_in_pieces_that_grow_as_they_come_and_then_in_small_ones() {
        let sizes = |failed: u32| {
            let mut stream = to(answer(9_000_000), usize::MAX);
            stream.has_failed(failed);
            sends(stream, 5_000, at(10_000_000)).sizes
        };
        assert_eq!(sizes(0).len(), 1);
        let growing = sizes(1);
        assert!(growing[0] <= SYNC_FRAME_BYTES_MAX + 100, "{growing:?}");
        assert!((20..60).contains(&growing.len()), "{growing:?}");
        let small = sizes(2);
        let last = small.len() - 1;
        assert!(
            small[..last].iter().all(|size| *size <= SYNC_FRAME_BYTES_MAX + 100),
            "{small:?}"
        );
    }

    #[test]
    fn f14_who_answers_pings_late_is_asked_again() {
        let (line, mut pinged) = (Line::new(usize::MAX), Pinged::default());
        let _ = Stream::asks(SessionId(1), &[0; PROBE_BYTES], &mut pinged, 1);
        line.asks(true);
        let mut stream = to(answer(100_000), usize::MAX);
        assert!(matches!(stream.step(&mut pinged, &line, 1 + PATIENCE), Step::Cuts(_)));
        assert!(line.is_deaf());

        assert_eq!(pinged.answers(1, &line, 2 + PATIENCE), None);

        let mut next = to(answer(100_000), usize::MAX);
        assert!(matches!(next.step(&mut pinged, &line, 3 + PATIENCE), Step::Asks(_)));
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
