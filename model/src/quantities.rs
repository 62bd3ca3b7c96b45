//! Quantities: how much of each name, with every term forgotten. What quota, fair shares and
//! thresholds are about.

use std::fmt;

use crate::resource::ResourceName;
use crate::{Resources, Scalar};

/// An amount for each name.
///
/// **Invariant:** sorted by name, and every amount is above 0: a name that is not there has 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Quantities(Vec<(ResourceName, Scalar)>);

/// Text that does not describe quantities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not a list of quantities such as cpus:0.01;mem:32: {problem}")]
pub struct ParseQuantitiesError {
    /// The text, quoted and shortened.
    pub found: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Quantities {
    /// Nothing of anything.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads `cpus:0.01;mem:32`. A name that comes twice has the sum.
    pub fn parse(text: &str) -> Result<Self, ParseQuantitiesError> {
        let wrong =
            |problem: String| ParseQuantitiesError { found: crate::invalid::quote(text), problem };
        let mut quantities = Self::new();
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            let Some((name, amount)) = item.split_once(':') else {
                return Err(wrong("expected a ':' in each item".to_owned()));
            };
            if name.trim().is_empty() {
                return Err(wrong("expected a name in front of each ':'".to_owned()));
            }
            let amount = Scalar::parse(amount.trim()).map_err(|error| wrong(error.to_string()))?;
            quantities.add_one(&ResourceName::from(name.trim()), amount);
        }
        Ok(quantities)
    }

    /// Whether there is nothing of anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with its amount, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ResourceName, Scalar)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
    }

    /// The amount of a name; 0 if it is not there.
    pub fn get(&self, name: &ResourceName) -> Scalar {
        self.iter().find(|(n, _)| *n == name).map(|(_, amount)| amount).unwrap_or_default()
    }

    /// The amount of a name; 0 if it is not there.
    pub fn amount(&self, name: &str) -> Scalar {
        self.get(&ResourceName::from(name))
    }

    /// Whether there is at least as much of everything as in `other`.
    pub fn contains(&self, other: &Quantities) -> bool {
        other.iter().all(|(name, amount)| self.get(name) >= amount)
    }

    /// Adds to one name.
    pub fn add_one(&mut self, name: &ResourceName, amount: Scalar) {
        if !amount.is_positive() {
            return;
        }
        match self.0.binary_search_by(|(n, _)| n.cmp_fast(name)) {
            Ok(at) => {
                if let Some((_, mine)) = self.0.get_mut(at) {
                    *mine += amount;
                }
            }
            Err(at) => self.0.insert(at, (name.clone(), amount)),
        }
    }

    /// Takes from one name, down to 0.
    pub fn subtract_one(&mut self, name: &ResourceName, amount: Scalar) {
        if let Ok(at) = self.0.binary_search_by(|(n, _)| n.cmp_fast(name))
            && let Some((_, mine)) = self.0.get_mut(at)
        {
            *mine = mine.saturating_sub(amount);
            if mine.is_zero() {
                self.0.remove(at);
            }
        }
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Quantities) {
        for (name, amount) in other.iter() {
            self.add_one(name, amount);
        }
    }

    /// Takes all of `other` away, each name down to 0.
    pub fn subtract(&mut self, other: &Quantities) {
        for (name, amount) in other.iter() {
            self.subtract_one(name, amount);
        }
    }

    /// What is left when `other` is taken away, each name down to 0.
    #[must_use]
    pub fn minus(&self, other: &Quantities) -> Quantities {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Quantities) -> Quantities {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }
}

impl FromIterator<(ResourceName, Scalar)> for Quantities {
    fn from_iter<I: IntoIterator<Item = (ResourceName, Scalar)>>(amounts: I) -> Self {
        let mut quantities = Self::new();
        for (name, amount) in amounts {
            quantities.add_one(&name, amount);
        }
        quantities
    }
}

/// `cpus:2;mem:1024`
impl fmt::Display for Quantities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, amount)) in self.iter().enumerate() {
            write!(f, "{}{name}:{amount}", if n == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

/// The least that is worth offering: one of these quantities, in full. None at all: anything is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MinAllocatable(Vec<Quantities>);

impl MinAllocatable {
    /// Reads `cpus:0.01|mem:32`: one of the parts between the bars is enough.
    pub fn parse(text: &str) -> Result<Self, ParseQuantitiesError> {
        text.split('|')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Quantities::parse)
            .collect()
    }

    /// Whether the resources are worth offering. Ranges and sets count by their elements.
    pub fn allows(&self, resources: &Resources) -> bool {
        if resources.is_empty() {
            return false;
        }
        let amount = |name: &ResourceName| -> Scalar {
            resources.iter().filter(|r| r.resource_name() == name).map(|r| r.quantity()).sum()
        };
        self.0.is_empty()
            || self.0.iter().any(|least| least.iter().all(|(name, least)| amount(name) >= least))
    }

    /// The quantities of which one is enough.
    pub fn alternatives(&self) -> &[Quantities] {
        &self.0
    }
}

impl FromIterator<Quantities> for MinAllocatable {
    fn from_iter<I: IntoIterator<Item = Quantities>>(alternatives: I) -> Self {
        Self(alternatives.into_iter().collect())
    }
}

/// `cpus:0.01|mem:32`
impl fmt::Display for MinAllocatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, quantities) in self.0.iter().enumerate() {
            write!(f, "{}{quantities}", if n == 0 { "" } else { "|" })?;
        }
        Ok(())
    }
}
