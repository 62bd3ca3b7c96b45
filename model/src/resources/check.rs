//! Whether resources can be used together by one task and its executor.

use std::collections::BTreeSet;

use super::Resources;
use crate::ResourceProviderId;
use crate::resource::Resource;

/// Resources that cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixedResources {
    /// Two volumes of one id.
    #[error("persistent volume {0:?} is there twice; expected it once")]
    SameVolumeTwice(String),
    /// On two accounts.
    #[error("{first} and {second} are allocated to different roles; expected one role for all")]
    Roles {
        /// One resource.
        first: Box<Resource>,
        /// Another one.
        second: Box<Resource>,
    },
    /// From two resource providers.
    #[error("{first} and {second} come from different resource providers; expected one for all")]
    Providers {
        /// One resource.
        first: Box<Resource>,
        /// Another one.
        second: Box<Resource>,
    },
    /// Some of a name revocable, some not.
    #[error("{0} is partly revocable; expected all or none of it to be")]
    PartlyRevocable(String),
    /// A volume that no place is given for, or that hides a directory of the host.
    #[error(
        "{0} is a persistent volume without a place; expected volume.container_path, and no host_path"
    )]
    VolumeWithoutPlace(Box<Resource>),
}

impl Resources {
    /// Checks what one task, with its executor, may hold at a time: each volume once and with a
    /// place in the container, everything on the account of one role, and of no name some revocable
    /// and some not.
    pub fn check_usable_together(&self) -> Result<(), MixedResources> {
        let mut volumes = BTreeSet::new();
        let first_role = self.iter().find_map(|resource| {
            resource.terms().allocation_role.as_ref().map(|role| (resource, role))
        });
        for resource in self {
            let terms = resource.terms();
            if let Some((first, role)) = &first_role
                && terms.allocation_role.as_ref() != Some(role)
            {
                let (first, second) = (Box::new((*first).clone()), Box::new(resource.clone()));
                return Err(MixedResources::Roles { first, second });
            }
            let partly = |other: &Resource| other.name == resource.name && !other.is_revocable();
            if terms.revocable && self.iter().any(partly) {
                return Err(MixedResources::PartlyRevocable(resource.name().to_owned()));
            }
            let Some(disk) = &terms.disk else { continue };
            let Some(persistence) = &disk.persistence else { continue };
            // Copies of a shared volume are one resource, so this is another volume of that id.
            let again = !volumes.insert((terms.reservation_role(), &persistence.id));
            if again || (!terms.shared && resource.copies() > 1) {
                return Err(MixedResources::SameVolumeTwice(persistence.id.to_string()));
            }
            if disk.mount.as_ref().is_none_or(|mount| mount.host_path.is_some()) {
                return Err(MixedResources::VolumeWithoutPlace(Box::new(resource.clone())));
            }
        }
        Ok(())
    }

    /// Checks that everything comes from one resource provider, or everything from the agent.
    pub fn check_one_provider(&self) -> Result<Option<&ResourceProviderId>, MixedResources> {
        let Some(first) = self.0.first() else { return Ok(None) };
        let provider = first.terms().provider.as_ref();
        match self.iter().find(|resource| resource.terms().provider.as_ref() != provider) {
            None => Ok(provider),
            Some(second) => Err(MixedResources::Providers {
                first: Box::new(first.clone()),
                second: Box::new(second.clone()),
            }),
        }
    }
}
