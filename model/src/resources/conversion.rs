//! Operations on resources: something is consumed, and the same thing on other terms comes out.

use super::Resources;
use crate::{InvalidField, Resource, Scalar};

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

    /// GROW_VOLUME: a persistent volume takes in more of the disk it lies on.
    ///
    /// # Errors
    /// When `volume` cannot change its size, or `addition` is of another kind of disk than it.
    pub fn grow(volume: &Resource, addition: &Resource) -> Result<Self, InvalidField> {
        let (size, space) = resizable(volume)?;
        let more = positive("addition", addition.as_scalar())?;
        if space.with_size(more) != *addition {
            let expected = format!("the kind of disk that the volume lies on, {space}");
            return Err(InvalidField::new("addition", addition, expected));
        }
        let converted = volume.with_size(size + more).into();
        let consumed = [volume.clone(), addition.clone()].into_iter().collect();
        Ok(Self { consumed, converted })
    }

    /// SHRINK_VOLUME: a persistent volume gives up a part of its disk.
    ///
    /// # Errors
    /// When `volume` cannot change its size, or nothing would be left of it.
    pub fn shrink(volume: &Resource, by: Scalar) -> Result<Self, InvalidField> {
        let (size, space) = resizable(volume)?;
        let less = positive("subtract", Some(by))?;
        if less >= size {
            let expected = format!("less than the volume has, {size}");
            return Err(InvalidField::new("subtract", less, expected));
        }
        let converted = [volume.with_size(size - less), space.with_size(less)];
        Ok(Self { consumed: volume.clone().into(), converted: converted.into_iter().collect() })
    }
}

/// The size of a volume, and the disk it lies on; only a volume on a disk that can be shared out has another size to go to,
/// and one that several tasks use at once must not change under them.
fn resizable(volume: &Resource) -> Result<(Scalar, Resource), InvalidField> {
    let space = Resources::from(volume.clone()).without_volumes();
    match (volume.as_scalar(), space.iter().next()) {
        (Some(size), Some(space))
            if volume.is_persistent_volume()
                && !volume.is_shared()
                && !space.terms().is_indivisible() =>
        {
            Ok((size, space.clone()))
        }
        _ => {
            let expected = "a persistent volume that is neither shared nor a whole disk";
            Err(InvalidField::new("volume", volume, expected))
        }
    }
}

fn positive(field: &str, amount: Option<Scalar>) -> Result<Scalar, InvalidField> {
    amount.filter(|amount| amount.is_positive()).ok_or_else(|| {
        let found = amount.map_or_else(|| "no scalar".to_owned(), |amount| amount.to_string());
        InvalidField::new(field, found, "a size above 0")
    })
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
