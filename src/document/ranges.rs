//! Which clocks of one client are deleted.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// Half-open ranges of clocks that neither overlap nor touch, by their first clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u32, u32>);

/// What ranges take in memory, and each of them, in bytes, about: nodes of a tree are filled to a half as a rule.
const RANGES_BYTES: usize = 48;
const RANGE_BYTES: usize = 20;

/// What of a range is new.
pub(super) type Gaps = SmallVec<[(u32, u32); 2]>;

impl Ranges {
    /// Adds `start..end`, which is not empty; returns the parts that were not in it, in order.
    pub fn insert(&mut self, start: u32, end: u32) -> Gaps {
        let mut gaps = Gaps::new();
        let (mut from, mut to, mut at) = (start, end, start);
        if let Some((&before, &reach)) = self.0.range(..start).next_back()
            && reach >= start
        {
            from = before;
            to = to.max(reach);
            at = reach;
        }
        while let Some((&next, &reach)) = self.0.range(start..).next() {
            if next > end {
                break;
            }
            if at < next {
                gaps.push((at, next));
            }
            at = at.max(reach);
            to = to.max(reach);
            self.0.remove(&next);
        }
        if at < end {
            gaps.push((at, end));
        }
        self.0.insert(from, to);
        gaps
    }

    /// The parts of `start..end` that are not in it, in order.
    pub fn gaps(&self, start: u32, end: u32) -> Gaps {
        let mut gaps = Gaps::new();
        let mut at = start;
        if let Some((_, &reach)) = self.0.range(..=start).next_back() {
            at = at.max(reach);
        }
        if at < end {
            for (&next, &reach) in self.0.range(at..end) {
                if at < next {
                    gaps.push((at, next));
                }
                at = reach;
            }
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }

    /// Whether one of them has all of `start..end`.
    pub fn has(&self, start: u32, end: u32) -> bool {
        let last = self.0.range(..=start).next_back();
        last.is_some_and(|(_, reach)| end <= *reach)
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of memory that it takes, about.
    pub fn held_bytes(&self) -> usize {
        RANGES_BYTES + self.0.len() * RANGE_BYTES
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(start, end)| (*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn k4_what_is_new_of_a_range_is_what_no_earlier_one_had(
            all in prop::collection::vec((0u32..60, 1u32..12), 1..24),
        ) {
            let mut ranges = Ranges::default();
            let mut model = [false; 80];
            for (start, len) in all {
                let end = start + len;
                let expected: Vec<u32> = (start..end).filter(|clock| !model[*clock as usize]).collect();
                let before = ranges.gaps(start, end);

                let gaps = ranges.insert(start, end);

                let new: Vec<u32> = gaps.iter().flat_map(|(from, to)| *from..*to).collect();
                prop_assert_eq!(&new, &expected);
                prop_assert_eq!(&before, &gaps);
                (start..end).for_each(|clock| model[clock as usize] = true);
                let kept: Vec<(u32, u32)> = ranges.iter().collect();
                prop_assert!(kept.windows(2).all(|pair| pair[0].1 < pair[1].0));
                for clock in 0..80u32 {
                    prop_assert_eq!(kept.iter().any(|(from, to)| (*from..*to).contains(&clock)), model[clock as usize]);
                }
            }
        }
    }
}
