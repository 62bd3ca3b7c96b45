//! One resource: a name, an amount, and the terms on which it may be used.

mod disk;
mod name;
mod reservation;
mod show;
mod terms;
mod wire;

use std::cmp::Ordering;

pub use disk::{Disk, DiskSource, DiskSourceKind, Persistence};
pub use name::ResourceName;
pub use reservation::{Reservation, ReservationKind};
pub use terms::Terms;
pub(crate) use terms::{SharedTerms, TermsCache};
pub use wire::Format;

use crate::{Ranges, Role, Scalar, Set, Value};

/// An amount of something, such as 2 cpus, on certain terms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    pub(crate) name: ResourceName,
    pub(crate) terms: SharedTerms,
    pub(crate) amount: Amount,
}

/// How much of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Amount {
    /// Can be added up and split.
    Scalar(Scalar),
    /// So many copies of something of this size that is never split. More than one only of a shared
    /// volume, or of disks that nothing tells apart.
    Whole { size: Scalar, copies: u32 },
    /// Whole numbers.
    Ranges(Ranges),
    /// Names.
    Set(Set),
}

impl Resource {
    /// An amount without terms: free for all, allocated to nobody.
    pub fn scalar(name: &str, amount: Scalar) -> Self {
        Self { name: name.into(), terms: SharedTerms::PLAIN, amount: Amount::Scalar(amount) }
    }

    /// Numbers without terms, such as ports.
    pub fn ranges(name: &str, ranges: Ranges) -> Self {
        Self { name: name.into(), terms: SharedTerms::PLAIN, amount: Amount::Ranges(ranges) }
    }

    /// Names without terms.
    pub fn set(name: &str, set: Set) -> Self {
        Self { name: name.into(), terms: SharedTerms::PLAIN, amount: Amount::Set(set) }
    }

    /// The same amount on other terms.
    #[must_use]
    pub fn with_terms(&self, terms: Terms) -> Self {
        self.on(SharedTerms::new(terms))
    }

    /// The same thing in another size; a volume stays one volume.
    pub(crate) fn with_size(&self, size: Scalar) -> Self {
        let amount = match self.amount {
            Amount::Whole { copies, .. } => Amount::Whole { size, copies },
            _ => Amount::Scalar(size),
        };
        Self { amount, ..self.clone() }
    }

    pub(crate) fn on(&self, terms: SharedTerms) -> Self {
        let whole = terms.get().is_indivisible();
        let amount = match &self.amount {
            Amount::Scalar(size) if whole => Amount::Whole { size: *size, copies: 1 },
            Amount::Whole { .. } if !whole => Amount::Scalar(self.quantity()),
            // A volume that is not shared any more is there once.
            Amount::Whole { size, .. } if self.is_shared() && !terms.get().shared => {
                Amount::Whole { size: *size, copies: 1 }
            }
            amount => amount.clone(),
        };
        Self { name: self.name.clone(), terms, amount }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Its name, comparable at no cost.
    pub fn resource_name(&self) -> &ResourceName {
        &self.name
    }

    /// Its terms.
    pub fn terms(&self) -> &Terms {
        self.terms.get()
    }

    /// Its value (of one copy, when there are several).
    pub fn value(&self) -> Value {
        match &self.amount {
            Amount::Scalar(size) | Amount::Whole { size, .. } => Value::Scalar(*size),
            Amount::Ranges(ranges) => Value::Ranges(ranges.clone()),
            Amount::Set(set) => Value::Set(set.clone()),
        }
    }

    /// The amount, if it is a number (of one copy, when there are several).
    pub fn as_scalar(&self) -> Option<Scalar> {
        match self.amount {
            Amount::Scalar(size) | Amount::Whole { size, .. } => Some(size),
            _ => None,
        }
    }

    /// The ranges, if it is some.
    pub fn as_ranges(&self) -> Option<&Ranges> {
        if let Amount::Ranges(ranges) = &self.amount { Some(ranges) } else { None }
    }

    /// The set, if it is one.
    pub fn as_set(&self) -> Option<&Set> {
        if let Amount::Set(set) = &self.amount { Some(set) } else { None }
    }

    /// How many copies there are: 1, unless it is a shared volume that is there more than once.
    pub fn copies(&self) -> u32 {
        if let Amount::Whole { copies, .. } = self.amount { copies } else { 1 }
    }

    /// How much it adds to the quantity of its name: shared volumes count once, sets and ranges by
    /// their elements.
    pub fn quantity(&self) -> Scalar {
        self.amount.quantity(self.terms().shared)
    }

    /// Whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        self.amount.is_empty()
    }

    /// Whether it is free for all roles.
    pub fn is_unreserved(&self) -> bool {
        self.terms().reservations.is_empty()
    }

    /// Who has it, if it is reserved.
    pub fn reservation_role(&self) -> Option<&Role> {
        self.terms().reservation_role()
    }

    /// Whether it may be taken back at any time.
    pub fn is_revocable(&self) -> bool {
        self.terms().revocable
    }

    /// Whether several tasks may use it at once.
    pub fn is_shared(&self) -> bool {
        self.terms().shared
    }

    /// Whether it is a persistent volume.
    pub fn is_persistent_volume(&self) -> bool {
        self.terms().disk.as_ref().is_some_and(|disk| disk.persistence.is_some())
    }

    /// At most `most` of it: the part that fits, or nothing if none does or it cannot be split.
    /// Only numbers can be cut.
    pub fn cut_to(&self, most: Scalar) -> Option<Self> {
        match &self.amount {
            _ if self.is_empty() || !most.is_positive() => None,
            Amount::Scalar(size) => {
                Some(Self { amount: Amount::Scalar((*size).min(most)), ..self.clone() })
            }
            Amount::Whole { .. } => (self.quantity() <= most).then(|| self.clone()),
            Amount::Ranges(_) | Amount::Set(_) => None,
        }
    }

    /// Order by everything but how much there is: equal resources can be added up.
    #[inline]
    pub(crate) fn cmp_kind(&self, other: &Self) -> Ordering {
        self.name
            .cmp_fast(&other.name)
            .then_with(|| self.terms.cmp(&other.terms))
            .then_with(|| self.amount.cmp_kind(&other.amount))
    }
}

impl Amount {
    /// Amounts of different types, or whole things of different sizes, are different things.
    fn cmp_kind(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Whole { size: a, .. }, Self::Whole { size: b, .. }) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Scalar(_) => 0,
            Self::Whole { .. } => 1,
            Self::Ranges(_) => 2,
            Self::Set(_) => 3,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(size) => !size.is_positive(),
            Self::Whole { size, copies } => !size.is_positive() || *copies == 0,
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Set(set) => set.is_empty(),
        }
    }

    fn quantity(&self, shared: bool) -> Scalar {
        match self {
            Self::Scalar(size) => *size,
            Self::Whole { size, copies } => size.times(if shared { 1 } else { *copies }),
            Self::Ranges(ranges) => {
                Scalar::from_int(i64::try_from(ranges.count()).unwrap_or(i64::MAX))
            }
            Self::Set(set) => Scalar::from_int(i64::try_from(set.len()).unwrap_or(i64::MAX)),
        }
    }

    /// Whether the other amount, of the same kind, is part of this one.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => a >= b,
            (Self::Whole { copies: a, .. }, Self::Whole { copies: b, .. }) => a >= b,
            (Self::Ranges(a), Self::Ranges(b)) => a.contains(b),
            (Self::Set(a), Self::Set(b)) => a.contains(b),
            _ => false,
        }
    }

    /// Adds an amount of the same kind.
    pub(crate) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => *a += *b,
            (Self::Whole { copies: a, .. }, Self::Whole { copies: b, .. }) => {
                *a = a.saturating_add(*b)
            }
            (Self::Ranges(a), Self::Ranges(b)) => a.insert(b),
            (Self::Set(a), Self::Set(b)) => a.insert(b),
            _ => {}
        }
    }

    /// Takes an amount of the same kind away, down to nothing.
    pub(crate) fn sub(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => *a = a.saturating_sub(*b),
            (Self::Whole { copies: a, .. }, Self::Whole { copies: b, .. }) => {
                *a = a.saturating_sub(*b)
            }
            (Self::Ranges(a), Self::Ranges(b)) => a.remove(b),
            (Self::Set(a), Self::Set(b)) => a.remove(b),
            _ => {}
        }
    }
}
