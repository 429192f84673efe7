//! How fast one connection is read.
//!
//! Who sends more than its share is not closed: it is read later, and its own network makes it wait. What it sent counts
//! afterwards, so that counting a message is two additions.

use crate::room::Micros;

use super::{Bucket, Rate};

/// So much is counted before the buckets are looked at.
const LOOK_MESSAGES: u32 = 64;
const LOOK_BYTES: usize = 64 * 1024;
const LOOK_CPU: Micros = 1_000;

/// More than this is no person who types, with a cursor and many documents: who sends more takes turns with others who do.
const PERSON: Limits = Limits {
    messages: Rate::per_second(200, 400),
    presence: Rate::per_second(200, 400),
    bytes: Rate::per_second(64 * 1024, 256 * 1024),
    cpu: Rate::per_second(5_000, 20_000),
};
/// Who has sent much is a person again after so long.
const BULK_MAX: Micros = 2_000_000;

/// What one connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages, whatever is in them.
    pub messages: Rate,
    /// Messages that are presence.
    pub presence: Rate,
    /// Bytes of messages.
    pub bytes: Rate,
    /// Time that threads spend on its messages, in microseconds.
    pub cpu: Rate,
}

/// What one connection has sent.
#[derive(Debug, Default)]
pub struct Pace {
    messages: u32,
    presence: u32,
    bytes: usize,
    /// How much of the connection's CPU time is charged.
    cpu: Micros,
    owed: [Bucket; 4],
    /// The same, of what a person sends.
    beyond: [Bucket; 4],
    /// It sends more than a person does.
    is_bulk: bool,
    /// It is not read before this.
    resumes: Micros,
}

impl Pace {
    /// It sent a message.
    #[inline]
    pub fn hears(&mut self) {
        self.messages += 1;
    }

    /// It sent so many bytes.
    #[inline]
    pub fn hears_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// So many of its messages were presence.
    #[inline]
    pub fn hears_presence(&mut self, messages: u32) {
        self.presence += messages;
    }

    /// Whether [`Pace::waits`] has to be asked before it is read; `cpu` is all the time that was spent on it.
    #[inline]
    #[must_use]
    pub fn is_due(&self, cpu: Micros) -> bool {
        self.messages >= LOOK_MESSAGES
            || self.presence >= LOOK_MESSAGES
            || self.bytes >= LOOK_BYTES
            || cpu >= self.cpu + LOOK_CPU
            || self.resumes > 0
            || self.is_bulk
    }

    /// Whether it sent more than a person does, when that was last looked at.
    #[inline]
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        self.is_bulk
    }

    /// How long it is not to be read from `now` on, in microseconds.
    pub fn waits(&mut self, limits: &Limits, cpu: Micros, now: Micros) -> Option<Micros> {
        let sent = [
            u64::from(self.messages),
            u64::from(self.presence),
            self.bytes as u64,
            cpu.saturating_sub(self.cpu),
        ];
        (self.messages, self.presence, self.bytes, self.cpu) = (0, 0, 0, cpu);
        self.is_bulk = charge(&mut self.beyond, &PERSON, sent, BULK_MAX, now) > 0;
        let wait = Some(charge(&mut self.owed, limits, sent, Micros::MAX, now)).filter(|wait| *wait > 0);
        self.resumes = wait.map_or(0, |wait| now.saturating_add(wait));
        wait
    }
}

/// How long it takes until nothing is owed, `most` at most, in microseconds.
fn charge(owed: &mut [Bucket; 4], limits: &Limits, sent: [u64; 4], most: Micros, now: Micros) -> Micros {
    let rates = [limits.messages, limits.presence, limits.bytes, limits.cpu];
    let waits = owed.iter_mut().zip(rates).zip(sent);
    let waits = waits.map(|((owed, rate), sent)| owed.charge_up_to(rate, sent, most, now));
    waits.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;
    const LIMITS: Limits = Limits {
        messages: Rate::per_second(1_000, 5_000),
        presence: Rate::per_second(100, 500),
        bytes: Rate::per_second(1_000_000, 10_000_000),
        cpu: Rate::per_second(250_000, 1_000_000),
    };

    /// How many of the messages that `says` puts into it are heard in a minute.
    fn heard_in_a_minute(mut says: impl FnMut(&mut Pace) -> Micros) -> u64 {
        let (mut pace, mut now, mut heard, mut cpu) = (Pace::default(), SECOND, 0, 0);
        while now < 61 * SECOND {
            if pace.is_due(cpu)
                && let Some(wait) = pace.waits(&LIMITS, cpu, now)
            {
                now += wait;
                continue;
            }
            cpu += says(&mut pace);
            heard += 1;
            now += 10;
        }
        heard
    }

    fn is_about(found: u64, expected: u64) -> bool {
        found.abs_diff(expected) <= expected / 20
    }

    #[test]
    fn h12_who_sends_more_than_a_person_does_is_told_from_a_person_and_becomes_one_again() {
        let is_bulk_after = |messages: u32, bytes: usize, cpu: Micros, seconds: u64| {
            let mut pace = Pace::default();
            let mut spent = 0;
            for tick in 0..seconds * 10 {
                (0..messages).for_each(|_| pace.hears());
                pace.hears_bytes(bytes);
                spent += cpu;
                if pace.is_due(spent) {
                    pace.waits(&LIMITS, spent, tick * SECOND / 10);
                }
            }
            (pace, spent)
        };
        // In a tenth of a second.
        assert!(!is_bulk_after(15, 5_000, 400, 60).0.is_bulk(), "a bridge of ten people");
        assert!(is_bulk_after(40, 100, 0, 10).0.is_bulk());
        assert!(is_bulk_after(1, 20_000, 0, 10).0.is_bulk());
        let (mut pace, spent) = is_bulk_after(1, 100, 2_000, 10);
        assert!(pace.is_bulk());

        assert!(pace.is_due(spent), "it is looked at with each message");
        assert_eq!(pace.waits(&LIMITS, spent, 12 * SECOND), None);

        assert!(!pace.is_bulk());
    }

    #[test]
    fn h5_who_sends_without_end_is_heard_at_the_rate() {
        let heard = heard_in_a_minute(|pace| {
            pace.hears();
            pace.hears_bytes(10);
            0
        });
        assert!(is_about(heard, 5_000 + 60 * 1_000), "{heard}");
    }

    #[test]
    fn h6_large_messages_are_heard_at_the_rate_of_bytes() {
        let heard = heard_in_a_minute(|pace| {
            pace.hears();
            pace.hears_bytes(100_000);
            0
        });
        assert!(is_about(heard, 100 + 60 * 10), "{heard}");
    }

    #[test]
    fn h7_presence_has_a_rate_of_its_own() {
        let heard = heard_in_a_minute(|pace| {
            pace.hears();
            pace.hears_bytes(10);
            pace.hears_presence(1);
            0
        });
        assert!(is_about(heard, 500 + 60 * 100), "{heard}");
    }

    #[test]
    fn h8_messages_that_cost_are_heard_at_the_rate_of_cpu() {
        let heard = heard_in_a_minute(|pace| {
            pace.hears();
            pace.hears_bytes(10);
            10_000
        });
        assert!(is_about(heard, 100 + 60 * 25), "{heard}");
    }

    #[test]
    fn h5_people_never_wait() {
        let (mut pace, mut cpu) = (Pace::default(), 0);
        // A first sync of 8 MB, then typing and a moving mouse for an hour.
        pace.hears();
        pace.hears_bytes(8_000_000);
        cpu += 400_000;
        for tick in 0..3_600 * 60_u64 {
            let now = SECOND + tick * SECOND / 60;
            pace.hears();
            pace.hears_bytes(60);
            pace.hears_presence(1);
            if tick.is_multiple_of(3) {
                pace.hears();
                pace.hears_bytes(40);
            }
            cpu += 50;
            assert!(!pace.is_due(cpu) || pace.waits(&LIMITS, cpu, now).is_none(), "{tick}");
        }
    }

    #[test]
    fn h5_who_waits_goes_on_waiting_whoever_asks() {
        let mut pace = Pace::default();
        pace.hears();
        pace.hears_bytes(30_000_000);
        let wait = pace.waits(&LIMITS, 0, SECOND).expect("too much");
        assert!(pace.is_due(0));
        assert_eq!(pace.waits(&LIMITS, 0, SECOND + wait / 2), Some(wait - wait / 2));
        assert_eq!(pace.waits(&LIMITS, 0, SECOND + wait), None);
        assert!(!pace.is_due(0));
    }
}
