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
/// Up to here calls are not watched, which takes a microsecond: 2 ms at worst, and a document that gets many grows
/// out of it.
const UNWATCHED_MAX: usize = 1 << 20;
/// CPU time of a document's calls within [`WINDOW`] from which on they would be better elsewhere, in microseconds.
const LONG: Micros = 25_000;
const WINDOW: Micros = 100_000;
/// So long after it they are.
const WARY: Micros = 60_000_000;

/// Where to make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    Here,
    /// Here; what it takes is to be told to [`Effort::took`].
    Watched,
    /// Where it delays no other document.
    Elsewhere,
}

/// What is known of one document's calls.
#[derive(Debug, Default)]
pub(super) struct Effort {
    wary_until: Micros,
    window: Micros,
    spent: Micros,
}

impl Effort {
    /// Where updates of `bytes` in all are to be merged into a document of `weight_bytes`.
    pub fn place(&self, bytes: usize, weight_bytes: usize, now: Micros) -> Place {
        let steps = bytes.saturating_mul(weight_bytes.saturating_add(bytes));
        if bytes == 0 {
            Place::Here
        } else if steps > HERE_MAX || now < self.wary_until {
            Place::Elsewhere
        } else if steps > UNWATCHED_MAX {
            Place::Watched
        } else {
            Place::Here
        }
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

        assert_eq!(effort.place(30, 30 * KB, 0), Place::Here);
        assert_eq!(effort.place(30, KB * KB, 0), Place::Watched);
        assert_eq!(effort.place(30, 3 * KB * KB, 0), Place::Elsewhere);
        assert_eq!(effort.place(8 * KB, 0, 0), Place::Watched);
        assert_eq!(effort.place(9 * KB, 0, 0), Place::Elsewhere);
        assert_eq!(effort.place(KB, 64 * KB, 0), Place::Elsewhere);
        assert_eq!(effort.place(usize::MAX, usize::MAX, 0), Place::Elsewhere);
        assert_eq!(effort.place(0, usize::MAX, 0), Place::Here);
    }

    #[test]
    fn l32_a_document_whose_calls_take_long_is_elsewhere_for_a_minute() {
        let mut effort = Effort::default();
        for n in 0..10 {
            effort.took(LONG, WINDOW * n);
        }
        assert_eq!(effort.place(30, KB, WINDOW * 9), Place::Here);

        effort.took(1, WINDOW * 10 - 1);

        let since = WINDOW * 10 - 1;
        assert_eq!(effort.place(30, KB, since), Place::Elsewhere);
        assert_eq!(effort.place(0, KB, since), Place::Here, "there is nothing to merge");
        assert_eq!(effort.place(30, KB, since + WARY), Place::Here);
    }
}
