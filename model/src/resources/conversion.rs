//! Operations on resources: something is consumed, and the same thing on other terms comes out.

use super::Resources;

/// What an operation does to resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// What goes in.
    pub consumed: Resources,
    /// What comes out.
    pub converted: Resources,
}

/// An operation whose input is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{available} does not contain {consumed}")]
pub struct ConversionError {
    /// What is there.
    pub available: Resources,
    /// What would be consumed.
    pub consumed: Resources,
}

impl Conversion {
    /// RESERVE, which names what comes out: the same with one reservation more.
    pub fn reserve(reserved: Resources) -> Self {
        Self { consumed: reserved.pop_reservation(), converted: reserved }
    }

    /// UNRESERVE, which names what goes in.
    pub fn unreserve(reserved: Resources) -> Self {
        Self { converted: reserved.pop_reservation(), consumed: reserved }
    }

    /// CREATE, which names the volumes that come out.
    pub fn create(volumes: Resources) -> Self {
        Self { consumed: volumes.without_volumes(), converted: volumes }
    }

    /// DESTROY, which names the volumes that go in.
    pub fn destroy(volumes: Resources) -> Self {
        Self { converted: volumes.without_volumes(), consumed: volumes }
    }
}

impl Resources {
    /// What is there after the operation.
    pub fn apply(&self, conversion: &Conversion) -> Result<Resources, ConversionError> {
        let Some(mut rest) = self.checked_sub(&conversion.consumed) else {
            return Err(ConversionError {
                available: self.clone(),
                consumed: conversion.consumed.clone(),
            });
        };
        rest += &conversion.converted;
        Ok(rest)
    }
}
