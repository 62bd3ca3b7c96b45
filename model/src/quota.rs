//! Limits and quota: how much a task, or a role with all below it, may have at most and at least.

use std::collections::BTreeMap;
use std::fmt;

use mezzo_proto::v1::quota::QuotaConfig;
use mezzo_proto::v1::value;

use crate::resource::ResourceName;
use crate::value::{scalar_from_proto, scalar_to_proto};
use crate::{InvalidField, Quantities, Role, Scalar};

/// The most that there may be of each name. A name that is not there is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits(BTreeMap<ResourceName, Limit>);

/// The most that there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// No more than this.
    AtMost(Scalar),
    /// As much as there is, said on purpose.
    Infinite,
}

impl Limits {
    /// No limits.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Reads a map from names to numbers, of which any may be infinite. An error names the place as
    /// `limits[cpus].value`.
    pub fn from_proto(wire: &BTreeMap<String, value::Scalar>) -> Result<Self, InvalidField> {
        let mut limits = BTreeMap::new();
        for (name, scalar) in wire {
            check_name("limits", name)?;
            let limit = if scalar.value == f64::INFINITY {
                Limit::Infinite
            } else {
                Limit::AtMost(scalar_from_proto(&format!("limits[{name}]"), scalar)?)
            };
            limits.insert(ResourceName::from(name.as_str()), limit);
        }
        Ok(Self(limits))
    }

    /// Writes the map.
    pub fn to_proto(&self) -> BTreeMap<String, value::Scalar> {
        let one = |(name, limit): (&ResourceName, &Limit)| {
            let value = match limit {
                Limit::AtMost(most) => most.to_f64(),
                Limit::Infinite => f64::INFINITY,
            };
            (name.as_str().to_owned(), value::Scalar { value })
        };
        self.0.iter().map(one).collect()
    }

    /// What is said about the name.
    pub fn get(&self, name: &str) -> Option<Limit> {
        self.0.get(&ResourceName::from(name)).copied()
    }

    /// Sets what is said about the name.
    pub fn set(&mut self, name: &str, limit: Limit) {
        self.0.insert(ResourceName::from(name), limit);
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is said about each name, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ResourceName, Limit)> {
        self.0.iter().map(|(name, limit)| (name, *limit))
    }

    /// Whether the quantities keep to all limits.
    pub fn allow(&self, quantities: &Quantities) -> bool {
        self.0.iter().all(|(name, limit)| match limit {
            Limit::AtMost(most) => quantities.get(name) <= *most,
            Limit::Infinite => true,
        })
    }
}

/// `cpus:2;mem:infinite`
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, limit)) in self.iter().enumerate() {
            write!(f, "{}{name}:", if n == 0 { "" } else { ";" })?;
            match limit {
                Limit::AtMost(most) => write!(f, "{most}")?,
                Limit::Infinite => f.write_str("infinite")?,
            }
        }
        Ok(())
    }
}

/// What a role, with all below it, is sure to get and cannot exceed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// So much is held back for it.
    pub guarantees: Quantities,
    /// More than this it does not get.
    pub limits: Limits,
}

impl Quota {
    /// Whether nothing is guaranteed and nothing limited: what every role starts with.
    pub fn is_default(&self) -> bool {
        self.guarantees.is_empty() && self.limits.is_empty()
    }

    /// Reads a configuration: a role of any depth, and guarantees that lie within the limits.
    pub fn from_proto(wire: &QuotaConfig) -> Result<(Role, Self), InvalidField> {
        let role =
            Role::parse(&wire.role).map_err(|error| InvalidField::new("role", error, "a role"))?;
        let mut guarantees = Quantities::new();
        for (name, scalar) in &wire.guarantees {
            check_name("guarantees", name)?;
            let amount = scalar_from_proto(&format!("guarantees[{name}]"), scalar)?;
            guarantees.add_one(&ResourceName::from(name.as_str()), amount);
        }
        let limits = Limits::from_proto(&wire.limits)?;
        if !limits.allow(&guarantees) {
            let expected = format!("no more than the limits, {limits}");
            return Err(InvalidField::new("guarantees", guarantees, expected));
        }
        Ok((role, Self { guarantees, limits }))
    }

    /// Writes the configuration of a role.
    pub fn to_proto(&self, role: &Role) -> QuotaConfig {
        let one = |(name, amount): (&ResourceName, Scalar)| {
            (name.as_str().to_owned(), scalar_to_proto(amount))
        };
        QuotaConfig {
            role: role.as_str().to_owned(),
            guarantees: self.guarantees.iter().map(one).collect(),
            limits: self.limits.to_proto(),
        }
    }
}

fn check_name(field: &str, name: &str) -> Result<(), InvalidField> {
    if name.is_empty() {
        return Err(InvalidField::new(field, "a key \"\"", "names of resources as keys"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn config(role: &str, guarantee: f64, limit: f64) -> QuotaConfig {
        QuotaConfig {
            role: role.to_owned(),
            guarantees: [("cpus".to_owned(), value::Scalar { value: guarantee })].into(),
            limits: [("cpus".to_owned(), value::Scalar { value: limit })].into(),
        }
    }

    #[test]
    fn quota_goes_to_the_wire_and_back() {
        let (role, quota) = Quota::from_proto(&config("eng", 2.0, 4.0)).unwrap();
        assert_eq!(quota.to_proto(&role), config("eng", 2.0, 4.0));
        assert!(Quota::default().is_default() && !quota.is_default());
    }

    #[test]
    fn infinite_limits_are_kept_and_infinite_guarantees_refused() {
        let (_, quota) = Quota::from_proto(&config("eng", 2.0, f64::INFINITY)).unwrap();
        assert_eq!(quota.limits.get("cpus"), Some(Limit::Infinite));
        let error = Quota::from_proto(&config("eng", f64::INFINITY, 1.0)).unwrap_err();
        assert_eq!(error.path, "guarantees[cpus].value");
    }

    #[test]
    fn guarantees_above_limits_and_roles_that_are_none_are_refused() {
        let error = Quota::from_proto(&config("eng", 5.0, 4.0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "guarantees: expected no more than the limits, cpus:4, found cpus:5"
        );
        assert_eq!(Quota::from_proto(&config("eng//x", 1.0, 4.0)).unwrap_err().path, "role");
        assert!(Quota::from_proto(&config("eng/x", 1.0, 4.0)).is_ok(), "any role may have quota");
    }
}
