//! How often a busy thread looks at its sockets.
//!
//! A thread that waits for events is woken for each of them, and with some ten thousand edits per second being
//! woken costs more than the edits do. So a busy thread sleeps for a millisecond between two looks, and what
//! arrives meanwhile shares a wake-up, the writes to a reader, and a commit: 600 documents of three editors with
//! 18,000 edits per second take half a core instead of three quarters, and half a millisecond longer. A thread
//! with little to do is woken at once. One with very much to do has long batches, of which the pause is a small
//! part.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Pause between two looks: nobody feels a millisecond.
const PAUSE: Duration = Duration::from_millis(1);
/// Turns of the thread's queue in which a batch is through.
const TURNS: usize = 8;
/// How long a thread is watched before it is called busy.
const WATCH: Duration = Duration::from_millis(20);
/// The same while it does nothing, in steps: watching fifty times a second is most of what an idle thread does.
const WATCH_IDLE: Duration = Duration::from_millis(160);
/// Idle is less than this share of the time, in percent.
const IDLE_MAX: u32 = 5;
/// Busy is more than this share of the time, in percent, while it is woken for each event.
const BUSY_MIN: u32 = 25;
/// A batch shorter than this is so little work that waking for each event is affordable: below `BUSY_MIN` by far,
/// since in batches the same work takes a fraction of the time.
const BATCH_MIN: Duration = Duration::from_micros(30);
/// So many short batches in a row end the pauses.
const SHORT_MAX: u32 = 20;

/// Decides whether a thread pauses. Durations in, decisions out.
#[derive(Debug)]
struct Pace {
    pausing: bool,
    short: u32,
    /// How long the thread is watched next.
    watch: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pausing: false,
            short: 0,
            watch: WATCH,
        }
    }
}

impl Pace {
    /// The thread was at work for `busy` of the time `watched`.
    fn watched(&mut self, busy: Duration, watched: Duration) {
        self.short = 0;
        self.pausing = busy * 100 > watched * BUSY_MIN;
        self.watch = if busy * 100 < watched * IDLE_MAX {
            (2 * self.watch).min(WATCH_IDLE)
        } else {
            WATCH
        };
    }

    /// What had gathered in a pause took so long.
    fn batch(&mut self, took: Duration) {
        self.short = if took < BATCH_MIN { self.short + 1 } else { 0 };
        self.pausing = self.short < SHORT_MAX;
    }
}

/// Paces the thread that it runs on, for ever. One task for each thread that has sockets.
pub async fn keep() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let mut pace = Pace::default();
    loop {
        let (started, busy) = (Instant::now(), metrics.worker_total_busy_duration(0));
        actix_rt::time::sleep(pace.watch).await;
        pace.watched(
            metrics.worker_total_busy_duration(0).saturating_sub(busy),
            started.elapsed(),
        );
        while pace.pausing {
            // The one place that blocks an arbiter on purpose.
            thread::sleep(PAUSE);
            let started = Instant::now();
            // Behind all that has come, and what follows from it: reading, the documents, writing.
            for _ in 0..TURNS {
                actix_rt::task::yield_now().await;
            }
            pace.batch(started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const US: Duration = Duration::from_micros(1);

    #[test]
    fn l31_a_thread_with_little_to_do_is_woken_at_once() {
        let mut pace = Pace::default();

        pace.watched(5 * MS, 20 * MS);

        assert!(!pace.pausing);
    }

    #[test]
    fn l66_a_thread_that_does_nothing_is_watched_less_often() {
        let mut pace = Pace::default();

        for millis in [40, 80, 160, 160] {
            pace.watched(500 * US, 20 * MS);
            assert_eq!(pace.watch, millis * MS);
        }
        pace.watched(10 * MS, 160 * MS);
        assert_eq!(pace.watch, WATCH);
    }

    #[test]
    fn l31_a_busy_thread_pauses_until_there_is_little_to_do_for_a_while() {
        let mut pace = Pace::default();

        pace.watched(6 * MS, 20 * MS);
        assert!(pace.pausing);
        for _ in 0..SHORT_MAX - 1 {
            pace.batch(10 * US);
        }
        pace.batch(200 * US);
        assert!(pace.pausing);
        for _ in 0..SHORT_MAX - 1 {
            pace.batch(10 * US);
        }
        assert!(pace.pausing);
        pace.batch(10 * US);

        assert!(!pace.pausing);
    }
}
