//! All connections, for whoever has to find the greediest of them.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::{
    protocol::close::CloseReason,
    room::outbox::{Line, Outbox},
};

/// A connection that can be ended.
pub trait Ends: Debug + Send + Sync {
    /// Its line.
    fn line(&self) -> &Line;
    /// Ends it for `reason`: what waits for it is let go at once.
    fn give_up(&self, reason: &CloseReason);
}

impl Ends for Outbox {
    fn line(&self) -> &Line {
        self.line()
    }

    fn give_up(&self, reason: &CloseReason) {
        self.give_up(reason);
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
pub struct Lines(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    open: Vec<Weak<dyn Ends>>,
    /// When there are more, those that have gone are forgotten.
    tidy_at: usize,
}

/// As few are not worth tidying.
const TIDY_MIN: usize = 64;

impl Lines {
    /// One more.
    pub fn add<E: Ends + 'static>(&self, one: &Arc<E>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.open.len() >= known.tidy_at.max(TIDY_MIN) {
            known.open.retain(|one| one.strong_count() > 0);
            known.open.shrink_to(2 * TIDY_MIN);
            known.tidy_at = 2 * known.open.len();
        }
        let one = Arc::downgrade(one);
        known.open.push(one);
    }

    /// Those that make the server hold more than `bytes_min` by not reading, and how much; most first.
    #[must_use]
    pub fn by_waiting(&self, bytes_min: usize) -> Vec<(usize, Arc<dyn Ends>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = known.open.iter().filter_map(Weak::upgrade);
        let waiting = open.map(|one| (one.line().held_bytes(), one));
        let mut waiting: Vec<_> = waiting.filter(|(bytes, _)| *bytes > bytes_min).collect();
        waiting.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        protocol::close::{CloseReason, Exceeded},
        room::outbox::{Kind, Line},
    };

    #[test]
    fn l54_the_greediest_are_found_and_give_back_what_waits() {
        let lines = Lines::default();
        for _ in 0..10_000 {
            lines.add(&Arc::new(Outbox::new(Line::new(1 << 20))));
        }
        assert!(lines.0.lock().expect("not poisoned").open.len() <= TIDY_MIN);
        let open: Vec<_> = (0..10).map(|_| Arc::new(Outbox::new(Line::new(1 << 20)))).collect();
        for (number, outbox) in open.iter().enumerate() {
            lines.add(outbox);
            outbox.push(vec![0; 1_000 * number].into(), Kind::Other);
        }

        let found = lines.by_waiting(7_500);

        assert_eq!(found.len(), 2);
        assert!(std::ptr::eq(found[0].1.line(), open[9].line()));
        let reason = CloseReason::Exceeded(Exceeded::new("memory", "too much", 1));
        found[0].1.give_up(&reason);
        assert_eq!(open[9].line().waiting_bytes(), 0);
        assert_eq!(open[9].take_frame(), Some(crate::protocol::frame::close(&reason)));
        assert_eq!(open[9].take_frame(), None::<Bytes>);
    }
}
