//! Where what a session said is merged: on the thread of its socket, or where it delays no other document.
//!
//! Merging an edit takes microseconds, and a thread hop costs more than that. But yrs compares a struct with all
//! that conflict with it, so a large update, or a small one to a document made for it, can take anything from
//! milliseconds to hours. At worst it takes as many steps as the update has structs times those that the document
//! has; their bytes bound both.

use crate::room::Micros;

/// Structs have some 8 bytes, a step takes up to 0.1 µs: this is a tenth of a second at worst, and as a rule
/// a thousand times less.
const HERE_MAX: usize = 1 << 26;
/// CPU time of a document's calls within [`WINDOW`] from which on they would be better elsewhere, in microseconds.
const LONG: Micros = 25_000;
const WINDOW: Micros = 100_000;
/// So long after it they are.
const WARY: Micros = 60_000_000;

/// What is known of one document's calls.
#[derive(Debug, Default)]
pub(super) struct Effort {
    wary_until: Micros,
    window: Micros,
    spent: Micros,
}

impl Effort {
    /// Whether updates of `bytes` in all are to be merged into a document of `weight_bytes` where that delays no
    /// other. What it takes is told to [`Effort::took`].
    pub fn is_elsewhere(&self, bytes: usize, weight_bytes: usize, now: Micros) -> bool {
        let steps = bytes.saturating_mul(weight_bytes.saturating_add(bytes));
        bytes > 0 && (steps > HERE_MAX || now < self.wary_until)
    }

    /// A call took so much CPU time.
    pub fn took(&mut self, cpu: Micros, now: Micros) {
        if now >= self.window + WINDOW {
            (self.window, self.spent) = (now, 0);
        }
        self.spent += cpu;
        if self.spent > LONG {
            self.wary_until = now + WARY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KB: usize = 1_024;

    #[test]
    fn l32_letters_are_merged_here_and_large_updates_elsewhere() {
        let effort = Effort::default();

        assert!(!effort.is_elsewhere(30, KB * KB, 0));
        assert!(effort.is_elsewhere(30, 3 * KB * KB, 0));
        assert!(!effort.is_elsewhere(8 * KB, 0, 0));
        assert!(effort.is_elsewhere(9 * KB, 0, 0));
        assert!(effort.is_elsewhere(KB, 64 * KB, 0));
        assert!(effort.is_elsewhere(usize::MAX, usize::MAX, 0));
        assert!(!effort.is_elsewhere(0, usize::MAX, 0));
    }

    #[test]
    fn l32_a_document_whose_calls_take_long_is_elsewhere_for_a_minute() {
        let mut effort = Effort::default();
        for n in 0..10 {
            effort.took(LONG, WINDOW * n);
        }
        assert!(!effort.is_elsewhere(30, KB, WINDOW * 9));

        effort.took(1, WINDOW * 10 - 1);

        let since = WINDOW * 10 - 1;
        assert!(effort.is_elsewhere(30, KB, since));
        assert!(!effort.is_elsewhere(0, KB, since), "there is nothing to merge");
        assert!(!effort.is_elsewhere(30, KB, since + WARY));
    }
}
