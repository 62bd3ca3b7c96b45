//! What frameworks have refused: the same again, or less, is not offered to them for a while.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use mezzo_model::Resources;

use crate::state::{AgentKey, FrameworkKey, RoleKey};

/// Filters on one agent.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    by_owner: HashMap<(FrameworkKey, RoleKey), Vec<Filter>>,
}

#[derive(Debug)]
struct Filter {
    refused: Resources,
    until: u64,
    /// Of the framework in the role when it refused; a filter of an earlier epoch is void.
    epoch: u64,
}

impl Filters {
    pub(crate) fn add(
        &mut self,
        owner: (FrameworkKey, RoleKey),
        refused: Resources,
        until: u64,
        epoch: u64,
    ) {
        let filters = self.by_owner.entry(owner).or_default();
        // One that hides no more and goes no later is of no use beside the new one.
        filters.retain(|old| {
            old.epoch == epoch && !(old.until <= until && refused.contains(&old.refused))
        });
        filters.push(Filter { refused, until, epoch });
    }

    /// Whether a framework has refused this, or more.
    pub(crate) fn hide(
        &self,
        owner: (FrameworkKey, RoleKey),
        epoch: u64,
        offered: &Resources,
    ) -> bool {
        let filters = self.by_owner.get(&owner).map(Vec::as_slice).unwrap_or_default();
        filters.iter().any(|filter| filter.epoch == epoch && filter.refused.contains(offered))
    }

    /// Drops what has run out; true when something has.
    pub(crate) fn expire(&mut self, owner: (FrameworkKey, RoleKey), now: u64) -> bool {
        let Some(filters) = self.by_owner.get_mut(&owner) else { return false };
        let before = filters.len();
        filters.retain(|filter| filter.until > now);
        let expired = filters.len() < before;
        if filters.is_empty() {
            self.by_owner.remove(&owner);
        }
        expired
    }

    pub(crate) fn clear(&mut self) {
        self.by_owner.clear();
    }
}

/// When filters run out, on all agents.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    heap: BinaryHeap<Reverse<Expiry>>,
    /// How many entries counted when they were last gone through.
    counted: usize,
}

/// So few entries are never gone through.
const FEW: usize = 1024;

/// A filter that runs out; it may have been dropped before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry {
    pub(crate) until: u64,
    pub(crate) agent: AgentKey,
    pub(crate) framework: FrameworkKey,
    pub(crate) role: RoleKey,
    pub(crate) epoch: u64,
}

impl Expiries {
    pub(crate) fn add(&mut self, expiry: Expiry) {
        self.heap.push(Reverse(expiry));
    }

    /// The next one that has run out.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Expiry> {
        self.heap.peek().filter(|Reverse(first)| first.until <= now)?;
        self.heap.pop().map(|Reverse(first)| first)
    }

    /// When the next one runs out, of those that still count.
    pub(crate) fn next(&mut self, counts: impl Fn(&Expiry) -> bool) -> Option<u64> {
        // Who refuses for a year and revives at once leaves an entry behind every time.
        if self.heap.len() > FEW.max(self.counted * 2) {
            self.heap.retain(|Reverse(expiry)| counts(expiry));
            self.counted = self.heap.len();
        }
        while let Some(Reverse(first)) = self.heap.peek() {
            if counts(first) {
                return Some(first.until);
            }
            self.heap.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_model::Role;

    use super::*;

    fn resources(text: &str) -> Resources {
        Resources::parse(text, &Role::star()).unwrap()
    }

    #[test]
    fn the_same_and_less_are_hidden_and_more_is_not() {
        let mut filters = Filters::default();
        filters.add((1, 1), resources("cpus:2;mem:64"), 10, 0);
        assert!(filters.hide((1, 1), 0, &resources("cpus:2;mem:64")));
        assert!(filters.hide((1, 1), 0, &resources("cpus:1")));
        assert!(!filters.hide((1, 1), 0, &resources("cpus:2.001")));
        assert!(!filters.hide((1, 1), 0, &resources("cpus:1;disk:1")));
        assert!(!filters.hide((2, 1), 0, &resources("cpus:1")));
        assert!(!filters.hide((1, 1), 1, &resources("cpus:1")), "a new epoch voids it");
    }

    #[test]
    fn filters_run_out_one_by_one() {
        let mut filters = Filters::default();
        filters.add((1, 1), resources("cpus:1"), 10, 0);
        filters.add((1, 1), resources("mem:64"), 20, 0);
        assert!(!filters.expire((1, 1), 9));
        assert!(filters.expire((1, 1), 10));
        assert!(!filters.hide((1, 1), 0, &resources("cpus:1")));
        assert!(filters.hide((1, 1), 0, &resources("mem:1")));
    }

    #[test]
    fn a_shorter_filter_does_not_end_a_longer_one() {
        let mut filters = Filters::default();
        filters.add((1, 1), resources("cpus:1"), 100, 0);
        filters.add((1, 1), resources("cpus:1"), 10, 0);
        filters.expire((1, 1), 10);
        assert!(filters.hide((1, 1), 0, &resources("cpus:1")));
    }

    #[test]
    fn entries_that_no_longer_count_do_not_pile_up() {
        let mut expiries = Expiries::default();
        let entry =
            |epoch| Expiry { until: 1_000_000 - epoch, agent: 1, framework: 1, role: 1, epoch };
        // The one that counts is the first to run out, so the others are never at the top.
        for epoch in 0..100_000 {
            expiries.add(Expiry { until: 5, ..entry(epoch) });
            expiries.add(entry(epoch));
            assert_eq!(expiries.next(|expiry| expiry.epoch == epoch), Some(5));
        }
        assert!(expiries.heap.len() <= FEW + 2, "{}", expiries.heap.len());
    }
}
