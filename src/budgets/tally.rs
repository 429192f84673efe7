//! A sum that all threads add to and take from, without waiting for each other.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Threads share parts when there are more of them.
const PARTS: usize = 16;

/// How much there is of something. Each thread counts in a part of its own.
#[derive(Debug, Default)]
pub struct Tally([Part; PARTS]);

/// In a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(AtomicUsize);

thread_local! {
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

impl Tally {
    /// So much more.
    pub fn add(&self, count: usize) {
        self.own().fetch_add(count, Relaxed);
    }

    /// So much less; another thread may have added it.
    pub fn take(&self, count: usize) {
        self.own().fetch_sub(count, Relaxed);
    }

    /// What it comes to, about: others may be adding and taking.
    #[must_use]
    pub fn sum(&self) -> usize {
        let parts = self.0.iter().map(|part| part.0.load(Relaxed));
        // One part alone may be below zero.
        let sum = parts.fold(0, usize::wrapping_add);
        usize::try_from(sum.cast_signed()).unwrap_or_default()
    }

    fn own(&self) -> &AtomicUsize {
        let own = OWN.get().unwrap_or_else(|| {
            let own = THREADS.fetch_add(1, Relaxed) % PARTS;
            OWN.set(Some(own));
            own
        });
        &self.0[own].0
    }
}

/// One of those that a [`Tally`] counts, until this is dropped.
#[derive(Debug, Default)]
pub struct Counted {
    all: Option<Arc<Tally>>,
    count: usize,
}

impl Counted {
    /// Nothing yet.
    #[must_use]
    pub fn of(all: Arc<Tally>) -> Self {
        Self {
            all: Some(all),
            count: 0,
        }
    }

    /// How much it is.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// It is so much now.
    pub fn is(&mut self, count: usize) {
        if count == self.count {
            return;
        }
        if let Some(all) = &self.all {
            all.add(count);
            all.take(self.count);
        }
        self.count = count;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.is(0);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn l57_what_one_thread_adds_another_one_may_take() {
        let tally = Tally::default();
        let all = || {
            (0..1_000).for_each(|count| tally.add(count));
        };
        thread::scope(|scope| (0..2 * PARTS).for_each(|_| drop(scope.spawn(all))));
        let sum = tally.sum();
        assert_eq!(sum, 2 * PARTS * 499_500);

        thread::scope(|scope| drop(scope.spawn(|| tally.take(sum - 7))));

        assert_eq!(tally.sum(), 7);
    }
}
