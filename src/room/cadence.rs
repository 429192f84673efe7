//! When what was gathered leaves: the first after a quiet moment at once, the rest together.
//!
//! Writes per second are what a fan-out costs, not bytes, so the pause between two departures grows
//! with the number of receivers. Nothing here knows what is gathered.

use super::Micros;

/// The rhythm of one kind of traffic in one room.
#[derive(Debug, Default)]
pub struct Cadence {
    /// When something last left.
    left: Option<Micros>,
    /// When what is gathered is to leave.
    due: Option<Micros>,
}

impl Cadence {
    /// Something was gathered: it is to leave at once, or a `pause` after the last departure.
    pub fn gather(&mut self, now: Micros, pause: Micros) {
        if self.due.is_none() {
            self.due = Some(self.left.map_or(now, |left| (left + pause).max(now)));
        }
    }

    /// When to look again.
    #[must_use]
    pub fn due(&self) -> Option<Micros> {
        self.due
    }

    /// Whether what is gathered leaves now; if so, counts it as gone.
    pub fn leaves(&mut self, now: Micros) -> bool {
        let leaves = self.due.is_some_and(|due| due <= now);
        if leaves {
            self.left = Some(now);
            self.due = None;
        }
        leaves
    }

    /// Everything gathered left early.
    pub fn left_at(&mut self, now: Micros) {
        self.left = Some(now);
        self.due = None;
    }
}

/// Pause between two departures of edits to `receivers` sessions: nothing for a small group, whose
/// members would feel it; 50 µs for each of a large one, 50 ms at most.
#[must_use]
pub fn edit_pause(receivers: usize) -> Micros {
    if receivers <= 16 {
        0
    } else {
        (receivers as Micros * 50).clamp(2_000, 50_000)
    }
}

/// Pause between two departures of presence: nobody feels 10 ms in somebody else's cursor.
#[must_use]
pub fn presence_pause(receivers: usize) -> Micros {
    if receivers <= 4 {
        5_000
    } else {
        (receivers as Micros * 100).clamp(10_000, 50_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_leaves_at_once_and_the_next_after_the_pause() {
        let mut cadence = Cadence::default();

        cadence.gather(100, 10);
        assert_eq!(cadence.due(), Some(100));
        assert!(cadence.leaves(100));

        cadence.gather(103, 10);
        cadence.gather(105, 10);
        assert_eq!(cadence.due(), Some(110));
        assert!(!cadence.leaves(109));
        assert!(cadence.leaves(110));
        assert!(!cadence.leaves(111));

        cadence.gather(500, 10);
        assert!(cadence.leaves(500));
    }
}
