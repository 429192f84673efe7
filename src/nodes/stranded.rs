//! When a node is stranded: the store does not answer it, and answers others, so that whoever is connected to it is better off there.
//!
//! A store that takes a moment to answer all nodes again (a standby takes over, say) answers one of them first, and a node that was frozen
//! takes itself for cut off until its first beat. So what others say has to last before anything follows from it.

/// So many times in a row another node has to say that the store answers it.
const SURE: u32 = 3;
/// So many times in a row nobody has to say so before that is not believed any more.
const FORGOTTEN: u32 = 5;

/// What a node has heard while the store did not answer it.
#[derive(Debug, Default)]
pub struct Stranding {
    /// Looks in a row at which another node was answered.
    answered: u32,
    /// Looks in a row at which none was.
    unanswered: u32,
    is_stranded: bool,
}

impl Stranding {
    /// One look, some time after the last one: whether this node is cut off from the store, and whether the store answers another node.
    /// Returns whether it is stranded.
    pub fn look(&mut self, is_cut_off: bool, another_is_answered: bool) -> bool {
        if !is_cut_off {
            *self = Self::default();
        } else if another_is_answered {
            self.answered += 1;
            self.unanswered = 0;
            self.is_stranded |= self.answered >= SURE;
        } else {
            self.answered = 0;
            self.unanswered += 1;
            self.is_stranded &= self.unanswered < FORGOTTEN;
        }
        self.is_stranded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows from each look: `Y` another node is answered, `n` none is, `.` this one is.
    fn looks(stranding: &mut Stranding, looks: &str) -> String {
        let look = |look| stranding.look(look != '.', look == 'Y');
        looks.chars().map(look).map(|is| if is { 'S' } else { '-' }).collect()
    }

    #[test]
    fn n69_a_node_is_stranded_when_others_are_answered_three_times_in_a_row_and_it_is_not() {
        for (seen, follows) in [
            ("......", "------"),
            ("nnnnnnnn", "--------"),
            ("YYYY", "--SS"),
            ("YYnYYnYYY", "--------S"),
            ("YY.YY.YYY", "--------S"),
        ] {
            assert_eq!(looks(&mut Stranding::default(), seen), follows, "{seen}");
        }
    }

    #[test]
    fn n69_it_is_so_until_it_is_answered_or_nobody_has_been_for_a_while() {
        let mut stranding = Stranding::default();
        assert_eq!(looks(&mut stranding, "YYYnnnnYnnnnnn"), "--SSSSSSSSSS--");
        assert_eq!(looks(&mut stranding, "YYYY.YYY"), "--SS---S");
    }
}
