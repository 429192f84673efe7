//! All connections, for whoever has to find the greediest of them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::room::outbox::Outbox;

/// The connections that are open, each by the outbox that ends it.
#[derive(Debug, Default)]
pub struct Lines(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    outboxes: Vec<Weak<Outbox>>,
    /// When there are more, those that have gone are forgotten.
    tidy_at: usize,
}

/// As few are not worth tidying.
const TIDY_MIN: usize = 64;

impl Lines {
    /// One more.
    pub fn add(&self, outbox: &Arc<Outbox>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.outboxes.len() >= known.tidy_at.max(TIDY_MIN) {
            known.outboxes.retain(|outbox| outbox.strong_count() > 0);
            known.outboxes.shrink_to(2 * TIDY_MIN);
            known.tidy_at = 2 * known.outboxes.len();
        }
        known.outboxes.push(Arc::downgrade(outbox));
    }

    /// Those for which more than `bytes_min` waits, and how much; most first.
    #[must_use]
    pub fn by_waiting(&self, bytes_min: usize) -> Vec<(usize, Arc<Outbox>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = known.outboxes.iter().filter_map(Weak::upgrade);
        let waiting = open.map(|outbox| (outbox.line().waiting_bytes(), outbox));
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
        assert!(lines.0.lock().expect("not poisoned").outboxes.len() <= TIDY_MIN);
        let open: Vec<_> = (0..10).map(|_| Arc::new(Outbox::new(Line::new(1 << 20)))).collect();
        for (number, outbox) in open.iter().enumerate() {
            lines.add(outbox);
            outbox.push(vec![0; 1_000 * number].into(), Kind::Other);
        }

        let found = lines.by_waiting(7_500);

        assert_eq!(found.len(), 2);
        assert!(Arc::ptr_eq(&found[0].1, &open[9]));
        let reason = CloseReason::Exceeded(Exceeded::new("memory", "too much", 1));
        found[0].1.give_up(&reason);
        assert_eq!(open[9].line().waiting_bytes(), 0);
        assert_eq!(open[9].take_frame(), Some(crate::protocol::frame::close(&reason)));
        assert_eq!(open[9].take_frame(), None::<Bytes>);
    }
}
