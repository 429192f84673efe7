//! Where what a session said is merged: on the thread of its socket, or where it delays no other document.
//!
//! Merging an edit takes microseconds, and a thread hop costs more than that. But yrs compares a struct with all
//! that conflict with it, so a large update, or a small one to a document made for it, can take anything from
//! milliseconds to hours. At worst it takes as many steps as the update has structs times those that the document
//! has; their bytes tell both to within a factor of ten.

use crate::room::Micros;

/// Structs have some 8 bytes, a step takes some 5 ns: this is a millisecond.
const SURELY_QUICK: usize = 1 << 24;
/// And this is some 20 ms: rarely true, and then only once.
const PROBABLY_QUICK: usize = 1 << 28;
/// What one session says within a moment, in bytes.
const A_FEW_LETTERS: usize = 256;
/// A call that took so much CPU time would have been better elsewhere, in microseconds.
const LONG: Micros = 10_000;
/// So long after it the document's calls are elsewhere.
const WARY: Micros = 60_000_000;

/// Where to make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    Here,
    /// Here; what it took is to be told to [`Effort::took`].
    Watched,
    /// On a thread of its own, told likewise.
    Elsewhere,
}

/// What is known of one document's calls.
#[derive(Debug, Default)]
pub(super) struct Effort {
    wary_until: Micros,
}

impl Effort {
    /// Where updates of `bytes` in all are merged into a document of `weight_bytes`.
    pub fn place(&self, bytes: usize, weight_bytes: usize, now: Micros) -> Place {
        let steps = bytes.saturating_mul(weight_bytes.saturating_add(bytes));
        if bytes == 0 {
            Place::Here
        } else if now < self.wary_until {
            Place::Elsewhere
        } else if steps <= SURELY_QUICK {
            Place::Here
        } else if steps <= PROBABLY_QUICK || bytes <= A_FEW_LETTERS {
            Place::Watched
        } else {
            Place::Elsewhere
        }
    }

    /// A call took so much CPU time.
    pub fn took(&mut self, cpu: Micros, now: Micros) {
        if cpu > LONG {
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

        assert_eq!(effort.place(30, 100 * KB, 0), Place::Here);
        assert_eq!(effort.place(30, 100 * KB * KB, 0), Place::Watched);
        assert_eq!(effort.place(2 * KB, 0, 0), Place::Here);
        assert_eq!(effort.place(2 * KB, 100 * KB, 0), Place::Watched);
        assert_eq!(effort.place(2 * KB, KB * KB, 0), Place::Elsewhere);
        assert_eq!(effort.place(64 * KB, 0, 0), Place::Elsewhere);
        assert_eq!(effort.place(usize::MAX, usize::MAX, 0), Place::Elsewhere);
    }

    #[test]
    fn l32_a_document_whose_call_took_long_is_elsewhere_for_a_minute() {
        let mut effort = Effort::default();
        effort.took(LONG, 5);
        assert_eq!(effort.place(30, KB, 5), Place::Here);

        effort.took(LONG + 1, 5);

        assert_eq!(effort.place(30, KB, 6), Place::Elsewhere);
        assert_eq!(effort.place(0, KB, 6), Place::Here);
        assert_eq!(effort.place(30, KB, 5 + WARY), Place::Here);
    }
}
