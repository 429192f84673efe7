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
    }

    /// How long it is not to be read from `now` on, in microseconds.
    pub fn waits(&mut self, limits: &Limits, cpu: Micros, now: Micros) -> Option<Micros> {
        let [messages, presence, bytes, spent] = &mut self.owed;
        let waits = [
            messages.charge(limits.messages, u64::from(self.messages), now),
            presence.charge(limits.presence, u64::from(self.presence), now),
            bytes.charge(limits.bytes, self.bytes as u64, now),
            spent.charge(limits.cpu, cpu.saturating_sub(self.cpu), now),
        ];
        (self.messages, self.presence, self.bytes, self.cpu) = (0, 0, 0, cpu);
        let wait = waits.into_iter().max().filter(|wait| *wait > 0);
        self.resumes = wait.map_or(0, |wait| now.saturating_add(wait));
        wait
    }
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
