//! Sets of whole numbers kept as inclusive ranges, such as the ports of an agent.
//!
//! **Invariant:** the ranges are sorted, none is inverted, and between two of them at least one
//! number is missing. So equal sets are equal values, and every operation is one walk along both
//! lists: thousands of ranges stay cheap. One range, the usual case, needs no allocation.

use std::fmt;
use std::iter::Peekable;

use smallvec::SmallVec;

/// The numbers from `begin` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first number.
    pub begin: u64,
    /// The last number.
    pub end: u64,
}

/// A set of whole numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges(SmallVec<[Range; 1]>);

/// Ranges that do not describe a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangesError {
    /// The first number comes after the last.
    #[error("range {begin}-{end} begins after its end", begin = .0.begin, end = .0.end)]
    Inverted(Range),
    /// Two ranges share a number.
    #[error("ranges {first} and {second} overlap")]
    Overlapping {
        /// The one that begins first.
        first: Range,
        /// The other one.
        second: Range,
    },
}

impl Ranges {
    /// No numbers.
    pub const fn new() -> Self {
        Self(SmallVec::new_const())
    }

    /// The numbers from `begin` to `end`; none if `begin` is after `end`.
    pub fn single(begin: u64, end: u64) -> Self {
        if begin > end { Self::new() } else { Self(SmallVec::from_buf([Range { begin, end }])) }
    }

    /// Takes ranges in any order; refuses inverted and overlapping ones. Neighbours are joined.
    pub fn from_disjoint(ranges: impl IntoIterator<Item = Range>) -> Result<Self, RangesError> {
        let mut sorted: SmallVec<[Range; 1]> = ranges.into_iter().collect();
        if let Some(bad) = sorted.iter().find(|range| range.begin > range.end) {
            return Err(RangesError::Inverted(*bad));
        }
        sorted.sort_unstable();
        for (first, second) in sorted.iter().zip(sorted.iter().skip(1)) {
            if first.end >= second.begin {
                return Err(RangesError::Overlapping { first: *first, second: *second });
            }
        }
        Ok(Self::coalesce(sorted.into_iter()))
    }

    /// The ranges, sorted and apart.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range> + '_ {
        self.0.iter().copied()
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers there are (one too few for all 2^64 of them).
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum: u64, r| sum.saturating_add((r.end - r.begin).saturating_add(1)))
    }

    /// Each number, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flat_map(|range| range.begin..=range.end)
    }

    /// Whether the number is among them.
    pub fn contains_number(&self, number: u64) -> bool {
        let at = self.0.partition_point(|range| range.end < number);
        self.0.get(at).is_some_and(|range| range.begin <= number)
    }

    /// Whether all numbers of `other` are among them.
    pub fn contains(&self, other: &Ranges) -> bool {
        // A few needles: look each one up. Many: walk along both lists.
        if other.0.len().saturating_mul(8) < self.0.len() {
            return other.iter().all(|needle| {
                let at = self.0.partition_point(|range| range.end < needle.begin);
                self.0.get(at).is_some_and(|r| r.begin <= needle.begin && needle.end <= r.end)
            });
        }
        let mut mine = self.iter().peekable();
        other.iter().all(|needle| {
            skip_before(&mut mine, needle.begin);
            mine.peek().is_some_and(|r| r.begin <= needle.begin && needle.end <= r.end)
        })
    }

    /// Whether they have a number in common.
    pub fn intersects(&self, other: &Ranges) -> bool {
        let mut mine = self.iter().peekable();
        other.iter().any(|theirs| {
            skip_before(&mut mine, theirs.begin);
            mine.peek().is_some_and(|r| r.begin <= theirs.end)
        })
    }

    /// The numbers of either.
    #[must_use]
    pub fn union(&self, other: &Ranges) -> Ranges {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        Self::coalesce(std::iter::from_fn(move || match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if y < x => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        }))
    }

    /// The numbers of both.
    #[must_use]
    pub fn intersection(&self, other: &Ranges) -> Ranges {
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        let mut both = SmallVec::new();
        while let (Some(x), Some(y)) = (a.peek().copied(), b.peek().copied()) {
            let (begin, end) = (x.begin.max(y.begin), x.end.min(y.end));
            if begin <= end {
                both.push(Range { begin, end });
            }
            if x.end <= y.end {
                a.next();
            } else {
                b.next();
            }
        }
        Self(both)
    }

    /// The numbers of this set that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Ranges) -> Ranges {
        let mut holes = other.iter().peekable();
        let mut rest = SmallVec::new();
        for mut range in self.iter() {
            skip_before(&mut holes, range.begin);
            let mut open = true;
            while let Some(hole) = holes.peek().copied().filter(|hole| hole.begin <= range.end) {
                if hole.begin > range.begin {
                    rest.push(Range { begin: range.begin, end: hole.begin - 1 });
                }
                if hole.end >= range.end {
                    open = false;
                    break;
                }
                // Below range.end, so the next number exists.
                range.begin = hole.end + 1;
                holes.next();
            }
            if open {
                rest.push(range);
            }
        }
        Self(rest)
    }

    /// Adds the numbers of `other`.
    pub(crate) fn insert(&mut self, other: &Ranges) {
        if !other.is_empty() {
            *self = self.union(other);
        }
    }

    /// Takes the numbers of `other` away.
    pub(crate) fn remove(&mut self, other: &Ranges) {
        if self == other {
            self.0.clear();
        } else if !other.is_empty() {
            *self = self.difference(other);
        }
    }

    /// Joins sorted ranges that touch or overlap.
    fn coalesce(sorted: impl Iterator<Item = Range>) -> Self {
        let mut joined: SmallVec<[Range; 1]> = SmallVec::new();
        for range in sorted {
            match joined.last_mut() {
                // `end + 1` would overflow at the last number; then everything after touches.
                Some(last) if last.end.checked_add(1).is_none_or(|next| range.begin <= next) => {
                    last.end = last.end.max(range.end);
                }
                _ => joined.push(range),
            }
        }
        Self(joined)
    }
}

/// Drops the ranges that end before `number`.
fn skip_before(ranges: &mut Peekable<impl Iterator<Item = Range>>, number: u64) {
    while ranges.next_if(|range| range.end < number).is_some() {}
}

/// Takes any ranges: sorts, joins, and forgets inverted ones.
impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut sorted: Vec<Range> = ranges.into_iter().filter(|r| r.begin <= r.end).collect();
        sorted.sort_unstable();
        Self::coalesce(sorted.into_iter())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.begin, self.end)
    }
}

/// `[31000-31005,31010-32000]`
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, range) in self.iter().enumerate() {
            write!(f, "{}{range}", if n == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(pairs: &[(u64, u64)]) -> Ranges {
        pairs.iter().map(|&(begin, end)| Range { begin, end }).collect()
    }

    #[test]
    fn neighbours_are_joined_and_order_does_not_matter() {
        assert_eq!(ranges(&[(5, 9), (1, 4)]), Ranges::single(1, 9));
        assert_eq!(ranges(&[(1, 2), (4, 5)]).to_string(), "[1-2,4-5]");
    }

    #[test]
    fn the_last_number_does_not_overflow() {
        let all = Ranges::single(0, u64::MAX);
        assert_eq!(all.count(), u64::MAX);
        assert_eq!(all.union(&Ranges::single(u64::MAX, u64::MAX)), all);
        let most = all.difference(&Ranges::single(u64::MAX, u64::MAX));
        assert_eq!(most, Ranges::single(0, u64::MAX - 1));
        assert_eq!(all.difference(&most), Ranges::single(u64::MAX, u64::MAX));
        assert!(all.difference(&all).is_empty());
    }

    #[test]
    fn inverted_and_overlapping_ranges_are_refused_by_name() {
        let pair = |a, b, c, d| {
            Ranges::from_disjoint([Range { begin: a, end: b }, Range { begin: c, end: d }])
        };
        assert_eq!(pair(1, 2, 9, 3).unwrap_err().to_string(), "range 9-3 begins after its end");
        assert_eq!(pair(4, 9, 1, 4).unwrap_err().to_string(), "ranges 1-4 and 4-9 overlap");
        assert_eq!(pair(4, 9, 1, 3).unwrap(), Ranges::single(1, 9));
    }

    #[test]
    fn ten_thousand_ranges_are_added_taken_away_and_compared() {
        let even: Ranges = (0..10_000).map(|n| Range { begin: n * 2, end: n * 2 }).collect();
        let odd: Ranges = (0..10_000).map(|n| Range { begin: n * 2 + 1, end: n * 2 + 1 }).collect();
        let all = even.union(&odd);
        assert_eq!(all, Ranges::single(0, 19_999));
        assert_eq!(all.difference(&odd), even);
        assert!(all.contains(&even) && !even.contains(&odd) && !even.intersects(&odd));
        assert!(even.contains(&ranges(&[(4000, 4000), (2, 2)])));
        assert!(!even.contains(&ranges(&[(4001, 4001)])));
    }

    prop_compose! {
        fn small()(pairs in prop::collection::vec((0u64..60, 0u64..6), 0..12)) -> Vec<(u64, u64)> {
            pairs.into_iter().map(|(begin, length)| (begin, begin + length)).collect()
        }
    }

    fn naive(pairs: &[(u64, u64)]) -> BTreeSet<u64> {
        pairs.iter().flat_map(|&(begin, end)| begin..=end).collect()
    }

    proptest! {
        #[test]
        fn ranges_behave_like_sets_of_numbers(a in small(), b in small()) {
            let (x, y) = (ranges(&a), ranges(&b));
            let (m, n) = (naive(&a), naive(&b));
            let same = |ranges: Ranges, set: BTreeSet<u64>| {
                ranges.numbers().eq(set.iter().copied())
                    && ranges.0.windows(2).all(|w| w[0].end + 1 < w[1].begin)
            };
            prop_assert!(same(x.union(&y), &m | &n));
            prop_assert!(same(x.difference(&y), &m - &n));
            prop_assert!(same(x.intersection(&y), &m & &n));
            prop_assert_eq!(x.contains(&y), m.is_superset(&n));
            prop_assert_eq!(x.intersects(&y), !m.is_disjoint(&n));
            prop_assert_eq!(x.count(), m.len() as u64);
            for number in 0..70 {
                prop_assert_eq!(x.contains_number(number), m.contains(&number));
            }
        }

        #[test]
        fn a_sum_minus_a_disjoint_part_is_the_rest(a in small(), b in small()) {
            let y = ranges(&b);
            let x = ranges(&a).difference(&y);
            prop_assert_eq!(x.union(&y).difference(&y), x);
        }
    }
}
