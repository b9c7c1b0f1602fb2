//! Sets of record numbers, as runs of them.

use std::ops::Range;

/// Record numbers, as runs in order that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

/// Runs that are kept at the most; beyond it the oldest go. A directory that fails now and then for a month has more, and
/// nobody lays hands on records that are that old: their segments are closed.
const MOST: usize = 65_536;

impl Ranges {
    /// Adds a run.
    pub(super) fn add(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        // Those that it touches or overlaps become one with it.
        let from = self.0.partition_point(|known| known.end < run.start);
        let to = self.0.partition_point(|known| known.start <= run.end);
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched
            .first()
            .map_or(run.start, |known| known.start.min(run.start));
        let end = touched
            .last()
            .map_or(run.end, |known| known.end.max(run.end));
        self.0.splice(from..to, std::iter::once(start..end));
        if self.0.len() > MOST {
            self.0.drain(..MOST / 2);
        }
    }

    /// What is in `whole` and not in here.
    pub(super) fn lacks(&self, whole: Range<u64>) -> Self {
        let mut lacks = Self::default();
        let mut from = whole.start;
        for known in &self.0 {
            lacks.add(from..known.start.min(whole.end));
            from = from.max(known.end);
        }
        lacks.add(from..whole.end);
        lacks
    }

    /// What is in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = Self::default();
        let mut others = other.0.iter().peekable();
        for run in &self.0 {
            while let Some(other) = others.peek() {
                both.add(run.start.max(other.start)..run.end.min(other.end));
                if other.end > run.end {
                    break;
                }
                others.next();
            }
        }
        both
    }

    /// What is in here and not in the other.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for run in &self.0 {
            for rest in other.lacks(run.clone()).0 {
                left.add(rest);
            }
        }
        left
    }

    /// The runs, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// True if this number is in here.
    pub(super) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|known| known.end <= number);
        self.0.get(at).is_some_and(|run| run.start <= number)
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|run| run.end - run.start).sum()
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(runs: I) -> Self {
        let mut ranges = Self::default();
        for run in runs {
            ranges.add(run);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(runs: &[Range<u64>]) -> BTreeSet<u64> {
        runs.iter().cloned().flatten().collect()
    }

    fn set(ranges: &Ranges) -> BTreeSet<u64> {
        let runs: Vec<_> = ranges.runs().collect();
        for pair in runs.windows(2) {
            assert!(pair[0].end < pair[1].start, "{runs:?} touch");
        }
        numbers(&runs)
    }

    proptest! {
        #[test]
        fn they_are_the_sets_that_they_stand_for(
            a in prop::collection::vec((0_u64..40, 0_u64..8), 0..12),
            b in prop::collection::vec((0_u64..40, 0_u64..8), 0..12),
            from in 0_u64..40,
            length in 0_u64..20,
        ) {
            let runs = |of: &[(u64, u64)]| of.iter().map(|(at, length)| *at..at + length).collect::<Vec<_>>();
            let (a, b) = (runs(&a), runs(&b));
            let (of_a, of_b) = (numbers(&a), numbers(&b));
            let a: Ranges = a.into_iter().collect();
            let b: Ranges = b.into_iter().collect();
            prop_assert_eq!(set(&a), of_a.clone());
            prop_assert_eq!(a.count(), u64::try_from(of_a.len()).unwrap());
            prop_assert_eq!(set(&a.and(&b)), &of_a & &of_b);
            prop_assert_eq!(set(&a.without(&b)), &of_a - &of_b);
            for number in 0..60 {
                prop_assert_eq!(a.contains(number), of_a.contains(&number));
            }
            let whole: BTreeSet<u64> = (from..from + length).collect();
            prop_assert_eq!(set(&a.lacks(from..from + length)), &whole - &of_a);
        }
    }
}
