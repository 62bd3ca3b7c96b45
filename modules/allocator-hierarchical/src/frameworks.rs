//! A framework as the allocator sees it: what it understands, and in which roles it wants offers.

use std::collections::BTreeMap;
use std::sync::Arc;

use mezzo_model::{FrameworkCapabilities, MinAllocatable};
use mezzo_module_api::ModuleError;
use mezzo_module_api::v1::FrameworkWishes;

use crate::options::min_allocatable;
use crate::roles::Roles;
use crate::state::{FrameworkKey, RoleKey};

#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) wishes: Wishes,
    pub(crate) active: bool,
    /// By role: filters of an earlier epoch are void.
    pub(crate) epochs: BTreeMap<RoleKey, u64>,
}

/// What a framework has said it wants, checked.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Decides between frameworks that are equal in all else.
    pub(crate) path: Arc<str>,
    pub(crate) capabilities: FrameworkCapabilities,
    pub(crate) roles: BTreeMap<RoleKey, Subscription>,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) suppressed: bool,
    /// Instead of the cluster's.
    pub(crate) min_allocatable: Option<MinAllocatable>,
}

impl Framework {
    /// Whether it gets offers in this role.
    pub(crate) fn wants_offers_in(&self, role: RoleKey) -> bool {
        self.active
            && self.wishes.roles.get(&role).is_some_and(|subscription| !subscription.suppressed)
    }
}

impl Wishes {
    pub(crate) fn new(
        key: FrameworkKey,
        wire: Option<&FrameworkWishes>,
        roles: &Roles,
    ) -> Result<Self, ModuleError> {
        let wire = wire.ok_or_else(|| {
            ModuleError::invalid(format!("framework {key} comes without its wishes"))
        })?;
        let info = wire.framework_info.clone().unwrap_or_default();
        if wire
            .offer_constraints
            .as_ref()
            .is_some_and(|constraints| !constraints.role_constraints.is_empty())
        {
            return Err(ModuleError::unimplemented("offer_constraints"));
        }
        let mut subscriptions = BTreeMap::new();
        for role in &wire.roles {
            let entry = roles.get(*role).ok_or_else(|| unknown_role(*role))?;
            let filters = info
                .offer_filters
                .get(entry.name.as_str())
                .and_then(|filters| filters.min_allocatable_resources.as_ref());
            let subscription = Subscription {
                suppressed: wire.suppressed_roles.contains(role),
                min_allocatable: filters
                    .map(|filters| min_allocatable(&filters.quantities))
                    .transpose()?,
            };
            subscriptions.insert(*role, subscription);
        }
        let path = info.id.map_or_else(|| key.to_string(), |id| id.value).into();
        Ok(Self {
            path,
            capabilities: FrameworkCapabilities::from_proto(&info.capabilities),
            roles: subscriptions,
        })
    }
}

pub(crate) fn unknown_role(role: RoleKey) -> ModuleError {
    ModuleError::invalid(format!("role key {role} was never added"))
}
