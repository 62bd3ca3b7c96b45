//! Shares, and orders by share that change while they are walked.

use std::collections::{BTreeSet, btree_set};
use std::ops::Bound;
use std::sync::Arc;

use mezzo_model::{Quantities, ResourceName};

/// What the whole cluster has, which every share is a part of.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    amounts: Quantities,
    excluded: BTreeSet<ResourceName>,
    /// Shares have to be computed again.
    changed: bool,
}

impl Totals {
    pub(crate) fn new(excluded: BTreeSet<ResourceName>) -> Self {
        Self { excluded, ..Self::default() }
    }

    pub(crate) fn replace(&mut self, before: &Quantities, after: &Quantities) {
        if before != after {
            self.amounts.subtract(before);
            self.amounts.add(after);
            self.changed = true;
        }
    }

    /// True once after a change.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The dominant share: the largest part of anything.
    fn share(&self, allocated: &Quantities) -> f64 {
        let mut share: f64 = 0.0;
        for (name, amount) in allocated.iter().filter(|(name, _)| !self.excluded.contains(name)) {
            let total = self.amounts.get(name);
            if total.is_positive() {
                share = share.max(amount.to_f64() / total.to_f64());
            }
        }
        share
    }
}

/// What somebody has, and how often he got something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) allocated: Quantities,
    /// Never goes down: of two with equal shares the one that got something less often comes first.
    pub(crate) count: u64,
}

impl Load {
    pub(crate) fn add(&mut self, amount: &Quantities) {
        self.allocated.add(amount);
        self.count += 1;
    }

    pub(crate) fn subtract(&mut self, amount: &Quantities) {
        self.allocated.subtract(amount);
    }

    pub(crate) fn rank(&self, totals: &Totals, weight: f64, path: &Arc<str>, id: u64) -> Rank {
        let share = totals.share(&self.allocated) / weight;
        Rank { share: share.to_bits(), count: self.count, path: Arc::clone(path), id }
    }
}

/// A place in an order: by share, then by how often something was got, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The bits of a number that is not negative, which sort as the number does.
    share: u64,
    count: u64,
    path: Arc<str>,
    pub(crate) id: u64,
}

pub(crate) type Order = BTreeSet<Rank>;

/// A walk over an order as it was at the start. What is visited may sink meanwhile, and is not visited again; what is
/// not visited stays where it is.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    current: Option<Rank>,
    sunk: Vec<u64>,
}

impl Walk {
    pub(crate) fn next(&mut self, order: &Order) -> Option<u64> {
        let next = match self.current.take() {
            None => order.first(),
            Some(current) => {
                if !order.contains(&current) {
                    self.sunk.push(current.id);
                }
                let mut rest: btree_set::Range<'_, Rank> =
                    order.range((Bound::Excluded(current), Bound::Unbounded));
                rest.find(|rank| !self.sunk.contains(&rank.id))
            }
        };
        self.current = next.cloned();
        next.map(|rank| rank.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(share: f64, count: u64, path: &str, id: u64) -> Rank {
        Rank { share: share.to_bits(), count, path: path.into(), id }
    }

    #[test]
    fn order_is_by_share_then_count_then_path() {
        let order: Order = [
            rank(0.5, 0, "a", 1),
            rank(0.25, 9, "a", 2),
            rank(0.25, 1, "z", 3),
            rank(0.25, 1, "b", 4),
        ]
        .into();
        assert_eq!(order.iter().map(|rank| rank.id).collect::<Vec<_>>(), [4, 3, 2, 1]);
    }

    #[test]
    fn a_walk_sees_the_order_as_it_was_when_it_began() {
        let mut order: Order =
            (0..4_u32).map(|id| rank(f64::from(id), 0, "x", id.into())).collect();
        let mut walk = Walk::default();
        let mut seen = Vec::new();
        while let Some(id) = walk.next(&order) {
            seen.push(id);
            // Whoever is visited sinks to the middle or to the end.
            order.retain(|rank| rank.id != id);
            order.insert(rank(2.5 + f64::from(u32::try_from(id).unwrap_or(0)) * 0.3, 1, "x", id));
        }
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn excluded_and_unknown_names_have_no_share() {
        let amounts = |text| Quantities::parse(text).unwrap_or_default();
        let mut totals = Totals::new([ResourceName::from("gpus")].into());
        totals.replace(&Quantities::new(), &amounts("cpus:10;mem:100;gpus:2"));
        assert!(totals.take_changed() && !totals.take_changed());
        assert!((totals.share(&amounts("cpus:2;mem:50")) - 0.5).abs() < 1e-12);
        assert!(totals.share(&amounts("gpus:2;licences:7")).abs() < 1e-12);
    }
}
