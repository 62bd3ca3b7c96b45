//! What the allocator knows: options, roles, frameworks in the order in which they came, agents, filters.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_module_api::model::{
    AgentCapabilities, FrameworkCapabilities, MinAllocatable, Quantities, ResourceName, Resources,
    Role, Scalar,
};
use mezzo_module_api::types::offer_filters::ResourceQuantities;
use mezzo_module_api::types::{Attribute, DomainInfo};
use mezzo_module_api::v1::{FrameworkWishes, InitializeAllocatorRequest};
use mezzo_module_api::{Code, ModuleError};

/// Keys as the core gives them; a key is never given again, so the smaller one came first.
pub(crate) type FrameworkKey = u64;
pub(crate) type AgentKey = u64;
pub(crate) type RoleKey = u32;

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) options: Options,
    pub(crate) roles: BTreeMap<RoleKey, Role>,
    /// Sorted by key, and so by who came first.
    pub(crate) frameworks: BTreeMap<FrameworkKey, Framework>,
    pub(crate) agents: BTreeMap<AgentKey, Agent>,
    pub(crate) filters: Vec<Filter>,
    /// Hostnames that may be offered; `None`: all.
    pub(crate) whitelist: Option<BTreeSet<String>>,
    pub(crate) paused: bool,
}

/// What matters of the master's flags.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) interval_nanos: u64,
    pub(crate) least: MinAllocatable,
    pub(crate) filter_gpus: bool,
    pub(crate) region: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) active: bool,
    pub(crate) wishes: Wishes,
}

/// What a framework wants.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) capabilities: FrameworkCapabilities,
    pub(crate) roles: BTreeMap<RoleKey, Subscription>,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) suppressed: bool,
    /// Instead of the cluster's.
    pub(crate) least: Option<MinAllocatable>,
}

#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) active: bool,
    pub(crate) hostname: String,
    pub(crate) region: Option<String>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) capabilities: AgentCapabilities,
    pub(crate) total: Resources,
    pub(crate) used: BTreeMap<(FrameworkKey, RoleKey), Resources>,
}

/// A framework does not want this of an agent, or less of it, for a while.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) framework: FrameworkKey,
    pub(crate) role: RoleKey,
    pub(crate) agent: AgentKey,
    pub(crate) refused: Resources,
    pub(crate) until: u64,
}

impl Books {
    pub(crate) fn new(request: &InitializeAllocatorRequest) -> Result<Self, ModuleError> {
        // `drf` is what a master says when nobody chose; whoever chooses something else would not get it.
        for (option, sorter) in [
            ("role_sorter", request.role_sorter.as_deref()),
            ("framework_sorter", request.framework_sorter.as_deref()),
        ] {
            if let Some(sorter) = sorter.filter(|sorter| *sorter != "drf") {
                return Err(ModuleError::new(
                    Code::Unimplemented,
                    format!("{option} is `{sorter}`, but `example/fifo` sorts by who came first"),
                ));
            }
        }
        let options = Options {
            interval_nanos: request.allocation_interval_nanos(),
            least: least(&request.min_allocatable_resources)?,
            filter_gpus: request.filter_gpu_resources.unwrap_or(true),
            region: region(request.domain.as_ref()),
        };
        Ok(Self { options, ..Self::default() })
    }
}

impl Agent {
    /// What nobody holds. A shared volume is free however many hold it.
    pub(crate) fn free(&self) -> Resources {
        let mut free = self.total.clone();
        for used in self.used.values() {
            free.subtract(&used.non_shared());
        }
        free
    }

    pub(crate) fn take(&mut self, holder: (FrameworkKey, RoleKey), resources: &Resources) {
        *self.used.entry(holder).or_default() += resources;
    }

    /// False, and no change, when the holder has not got that much.
    #[must_use]
    pub(crate) fn give_back(
        &mut self,
        holder: (FrameworkKey, RoleKey),
        resources: &Resources,
    ) -> bool {
        let Some(used) = self.used.get_mut(&holder) else { return false };
        let held = used.try_subtract(resources);
        if used.is_empty() {
            self.used.remove(&holder);
        }
        held
    }
}

impl Wishes {
    pub(crate) fn new(
        wire: Option<&FrameworkWishes>,
        roles: &BTreeMap<RoleKey, Role>,
    ) -> Result<Self, ModuleError> {
        let wire = wire.ok_or_else(|| ModuleError::invalid("a framework without wishes"))?;
        let constrained = wire
            .offer_constraints
            .as_ref()
            .is_some_and(|constraints| !constraints.role_constraints.is_empty());
        if constrained {
            return Err(ModuleError::unimplemented("`offer_constraints`"));
        }
        let info = wire.framework_info.clone().unwrap_or_default();
        let mut subscriptions = BTreeMap::new();
        for key in &wire.roles {
            let role = roles.get(key).ok_or_else(|| unknown_role(*key))?;
            let own = info
                .offer_filters
                .get(role.as_str())
                .and_then(|filters| filters.min_allocatable_resources.as_ref());
            let subscription = Subscription {
                suppressed: wire.suppressed_roles.contains(key),
                least: own.map(|own| least(&own.quantities)).transpose()?,
            };
            subscriptions.insert(*key, subscription);
        }
        let capabilities = FrameworkCapabilities::from_proto(&info.capabilities);
        Ok(Self { capabilities, roles: subscriptions })
    }
}

pub(crate) fn unknown_role(key: RoleKey) -> ModuleError {
    ModuleError::invalid(format!("role {key} was never added"))
}

pub(crate) fn region(domain: Option<&DomainInfo>) -> Option<String> {
    domain?.fault_domain.as_ref().map(|domain| domain.region.name.clone())
}

fn least(wire: &[ResourceQuantities]) -> Result<MinAllocatable, ModuleError> {
    let mut alternatives = Vec::new();
    for one in wire {
        let mut quantities = Quantities::new();
        for (name, amount) in &one.quantities {
            let amount = Scalar::from_f64(amount.value).map_err(|error| {
                ModuleError::invalid(format!("min_allocatable_resources: {name}: {error}"))
            })?;
            quantities.add_one(&ResourceName::from(name.as_str()), amount);
        }
        alternatives.push(quantities);
    }
    Ok(alternatives.into_iter().collect())
}
