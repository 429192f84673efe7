//! A token bucket in one number: when it will be full again.

use crate::room::Micros;

const NANOS_PER_MINUTE: u128 = 60_000_000_000;

/// So many a minute for as long as anybody likes, and so many at once after a while of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_minute: u64,
    burst: u64,
}

impl Rate {
    /// `count` come back each second; there are `burst` at most.
    #[must_use]
    pub const fn per_second(count: u64, burst: u64) -> Self {
        Self::per_minute(count.saturating_mul(60), burst)
    }

    /// The same for each minute.
    #[must_use]
    pub const fn per_minute(count: u64, burst: u64) -> Self {
        Self {
            per_minute: if count == 0 { 1 } else { count },
            burst,
        }
    }

    /// How long it takes until so many have come back, in nanoseconds.
    fn nanos(self, count: u64) -> u64 {
        let nanos = u128::from(count) * NANOS_PER_MINUTE / u128::from(self.per_minute);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// What is left of a [`Rate`]. A new one is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// In nanoseconds of the caller's clock.
    full_at: u64,
}

impl Bucket {
    /// Takes `count` if there are so many.
    ///
    /// # Errors
    /// Nothing is taken, and there are not so many before this time has passed, in microseconds.
    pub fn take(&mut self, rate: Rate, count: u64, now: Micros) -> Result<(), Micros> {
        let taken = Self {
            full_at: self.after(rate, count, now),
        };
        match taken.owes(rate, now) {
            0 => {
                *self = taken;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes `count`, whether there are so many or not. Returns how long it takes until nothing is owed, in microseconds.
    pub fn charge(&mut self, rate: Rate, count: u64, now: Micros) -> Micros {
        self.full_at = self.after(rate, count, now);
        self.owes(rate, now)
    }

    /// The same; nothing is owed for longer than `most` microseconds.
    pub fn charge_up_to(&mut self, rate: Rate, count: u64, most: Micros, now: Micros) -> Micros {
        let longest = now.saturating_add(most).saturating_mul(1_000);
        self.full_at = self
            .after(rate, count, now)
            .min(longest.saturating_add(rate.nanos(rate.burst)));
        self.owes(rate, now)
    }

    /// How long it takes until nothing is owed, in microseconds.
    #[must_use]
    pub fn owes(&self, rate: Rate, now: Micros) -> Micros {
        let lacks = self.full_at.saturating_sub(now.saturating_mul(1_000));
        lacks.saturating_sub(rate.nanos(rate.burst)).div_ceil(1_000)
    }

    /// When it is full again, in nanoseconds: the later, the more was taken.
    #[must_use]
    pub fn full_at(&self) -> u64 {
        self.full_at
    }

    fn after(&self, rate: Rate, count: u64, now: Micros) -> u64 {
        let from = self.full_at.max(now.saturating_mul(1_000));
        from.saturating_add(rate.nanos(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;
    const RATE: Rate = Rate::per_second(10, 50);

    #[test]
    fn l50_a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let now = 7 * SECOND;
        let at_once = (0..1_000).filter(|_| bucket.take(RATE, 1, now).is_ok()).count();
        assert_eq!(at_once, 50);
        assert_eq!(bucket.take(RATE, 1, now), Err(SECOND / 10));
        assert_eq!(bucket.take(RATE, 3, now), Err(3 * SECOND / 10));

        let later = now + 2 * SECOND;
        assert_eq!((0..1_000).filter(|_| bucket.take(RATE, 1, later).is_ok()).count(), 20);
        let much_later = now + 1_000 * SECOND;
        assert_eq!(
            (0..1_000).filter(|_| bucket.take(RATE, 1, much_later).is_ok()).count(),
            50
        );
    }

    #[test]
    fn l50_what_is_charged_is_owed_until_it_has_come_back() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.charge(RATE, 50, SECOND), 0);
        assert_eq!(bucket.charge(RATE, 20, SECOND), 2 * SECOND);
        assert_eq!(bucket.owes(RATE, 2 * SECOND), SECOND);
        assert_eq!(bucket.owes(RATE, 3 * SECOND), 0);
        assert!(bucket.take(RATE, 1, 3 * SECOND).is_err());
    }

    #[test]
    fn l50_no_number_is_too_large() {
        let rate = Rate::per_second(u64::MAX, u64::MAX);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.charge(rate, u64::MAX, u64::MAX), 0);
        let none = Rate::per_second(0, 0);
        assert_eq!(bucket.charge(none, u64::MAX, 0), u64::MAX / 1_000 + 1);
    }
}
