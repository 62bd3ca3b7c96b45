//! Resources: what an agent has, an offer holds, a task uses. The algebra of the cluster.
//!
//! A list of [`Resource`]s, with addition, subtraction and containment that respect the terms of
//! each: reserved memory is no free memory, and half a persistent volume is none.
//!
//! **Invariants:** the list is sorted by kind (name, terms, and size of what is indivisible), each
//! kind is there once, and nothing in it is empty. So equal resources are equal values, and every
//! operation is one walk along two short lists. Adding or subtracting amounts of kinds that are
//! there already, as happens with cpus, mem and disk all day, allocates nothing.

mod check;
mod conversion;
mod reserve;
mod select;
mod show;
#[cfg(test)]
mod tests;
mod text;
mod wire;

use std::cmp::Ordering;
use std::ops::{Add, AddAssign};

pub use check::MixedResources;
pub use conversion::{Conversion, ConversionError};
pub(crate) use show::number;
pub use text::{ParseResourcesError, ParsedResources};

use crate::resource::Resource;

/// What an agent has, an offer holds or a task uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resources(Vec<Resource>);

/// So many are looked at one by one before halving: what is sought in order is near, as a rule.
const FEW: usize = 8;

impl Resources {
    /// Nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many kinds there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each kind with its amount, sorted by name and terms.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.0.iter()
    }

    /// Whether all of `other` is part of this, term for term.
    pub fn contains(&self, other: &Resources) -> bool {
        let mut at = 0;
        other.0.iter().all(|theirs| {
            self.seek(&mut at, self.0.len(), theirs)
                && self.0.get(at).is_some_and(|mine| mine.amount.contains(&theirs.amount))
        })
    }

    /// Whether the resource is part of this.
    pub fn contains_resource(&self, resource: &Resource) -> bool {
        let mut at = 0;
        resource.is_empty()
            || self.seek(&mut at, self.0.len(), resource)
                && self.0.get(at).is_some_and(|mine| mine.amount.contains(&resource.amount))
    }

    /// Adds one resource.
    pub fn insert(&mut self, resource: Resource) {
        if resource.is_empty() {
            return;
        }
        let mut at = 0;
        if !self.seek(&mut at, self.0.len(), &resource) {
            self.0.insert(at, resource);
        } else if let Some(mine) = self.0.get_mut(at) {
            mine.amount.add(&resource.amount);
        }
    }

    /// What is left when `other` is taken away, if all of it is there.
    #[must_use]
    pub fn checked_sub(&self, other: &Resources) -> Option<Resources> {
        if !self.contains(other) {
            return None;
        }
        let mut rest = self.clone();
        rest.subtract(other);
        Some(rest)
    }

    /// Takes `other` away if all of it is there, and says whether it was. Otherwise changes nothing.
    #[must_use = "nothing is taken away unless all of it is there"]
    pub fn try_subtract(&mut self, other: &Resources) -> bool {
        let whole = self.contains(other);
        if whole {
            self.subtract(other);
        }
        whole
    }

    /// Takes away what is there of `other`. For books that may be behind the facts; where the whole
    /// must be there, use [`Self::checked_sub`].
    pub fn subtract(&mut self, other: &Resources) {
        let mut at = 0;
        let mut emptied = false;
        for theirs in &other.0 {
            if self.seek(&mut at, self.0.len(), theirs)
                && let Some(mine) = self.0.get_mut(at)
            {
                mine.amount.sub(&theirs.amount);
                emptied |= mine.is_empty();
            }
        }
        if emptied {
            self.0.retain(|resource| !resource.is_empty());
        }
    }

    /// Moves `at` forward, not beyond `end`, to the first resource that is not before `wanted`, and
    /// says whether that is of its kind.
    fn seek(&self, at: &mut usize, end: usize, wanted: &Resource) -> bool {
        let rest = self.0.get(*at..end).unwrap_or_default();
        for mine in rest.iter().take(FEW) {
            match mine.cmp_kind(wanted) {
                Ordering::Less => *at += 1,
                Ordering::Equal => return true,
                Ordering::Greater => return false,
            }
        }
        let rest = rest.get(FEW..).unwrap_or_default();
        let before = rest.partition_point(|mine| mine.cmp_kind(wanted).is_lt());
        *at += before;
        rest.get(before).is_some_and(|mine| mine.cmp_kind(wanted).is_eq())
    }

    /// Restores the invariants of a list that may hold anything in any order.
    fn from_any(mut list: Vec<Resource>) -> Self {
        list.retain(|resource| !resource.is_empty());
        if !list.is_sorted_by(|a, b| a.cmp_kind(b).is_lt()) {
            list.sort_by(Resource::cmp_kind);
            list.dedup_by(|later, kept| {
                let same = kept.cmp_kind(later).is_eq();
                if same {
                    kept.amount.add(&later.amount);
                }
                same
            });
        }
        Self(list)
    }
}

impl AddAssign<&Resources> for Resources {
    fn add_assign(&mut self, other: &Resources) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let end = self.0.len();
        let mut at = 0;
        for theirs in &other.0 {
            if !self.seek(&mut at, end, theirs) {
                self.0.push(theirs.clone());
            } else if let Some(mine) = self.0.get_mut(at) {
                mine.amount.add(&theirs.amount);
            }
        }
        if self.0.len() > end {
            // Two sorted runs: a merge.
            self.0.sort_by(Resource::cmp_kind);
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Resources) {
        if self.0.is_empty() {
            *self = other;
        } else {
            *self += &other;
        }
    }
}

impl Add<&Resources> for &Resources {
    type Output = Resources;

    fn add(self, other: &Resources) -> Resources {
        let mut sum = self.clone();
        sum += other;
        sum
    }
}

impl Add<&Resources> for Resources {
    type Output = Resources;

    fn add(mut self, other: &Resources) -> Resources {
        self += other;
        self
    }
}

impl Add for Resources {
    type Output = Resources;

    fn add(mut self, other: Resources) -> Resources {
        self += other;
        self
    }
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::new(), Add::add)
    }
}

impl<'a> std::iter::Sum<&'a Resources> for Resources {
    fn sum<I: Iterator<Item = &'a Self>>(parts: I) -> Self {
        parts.fold(Self::new(), Add::add)
    }
}

impl From<Resource> for Resources {
    fn from(resource: Resource) -> Self {
        Self::from_any(vec![resource])
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        Self::from_any(resources.into_iter().collect())
    }
}

impl Extend<Resource> for Resources {
    fn extend<I: IntoIterator<Item = Resource>>(&mut self, resources: I) {
        *self += resources.into_iter().collect::<Resources>();
    }
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Resources {
    type Item = Resource;
    type IntoIter = std::vec::IntoIter<Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
