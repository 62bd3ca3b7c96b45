//! The books of the testkit: what each agent has, who holds what of it, who wants offers, what has been refused. Kept in the
//! plainest way there is, by adding and subtracting, so that it is obvious that they are right. Every proposal is judged by
//! them and then booked.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_model::{
    AgentCapabilities, AgentCapability, FrameworkCapabilities, FrameworkCapability, MinAllocatable,
    Resources, Role,
};
use mezzo_module_api::v1::allocate_response::Proposal;
use mezzo_module_api::v1::{AllocateRequest, AllocateResponse};

/// A proposal that was found right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Offer {
    pub(super) framework: u64,
    pub(super) role: u32,
    pub(super) agent: u64,
    pub(super) resources: Resources,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Agent {
    pub(super) total: Resources,
    pub(super) used: BTreeMap<(u64, u32), Resources>,
    pub(super) active: bool,
    pub(super) hostname: String,
    pub(super) region: Option<String>,
    pub(super) capabilities: AgentCapabilities,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Framework {
    pub(super) roles: BTreeSet<u32>,
    pub(super) suppressed: BTreeSet<u32>,
    pub(super) active: bool,
    pub(super) capabilities: FrameworkCapabilities,
    /// Instead of the cluster's, by role.
    pub(super) least: BTreeMap<u32, MinAllocatable>,
}

/// "Not this, or less of it, before then."
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) framework: u64,
    pub(super) role: u32,
    pub(super) agent: u64,
    pub(super) refused: Resources,
    pub(super) until: u64,
    /// Ended before its time. It hides nothing, but an allocator may still look at its agent when the time comes.
    pub(super) void: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) now: u64,
    pub(super) interval: u64,
    pub(super) least: MinAllocatable,
    pub(super) region: Option<String>,
    pub(super) roles: BTreeMap<u32, Role>,
    pub(super) agents: BTreeMap<u64, Agent>,
    pub(super) frameworks: BTreeMap<u64, Framework>,
    pub(super) filters: Vec<Filter>,
    pub(super) whitelist: Option<Vec<String>>,
    pub(super) paused: bool,
    /// Agents with a filter that has run out since the last run.
    pub(super) run_out: BTreeSet<u64>,
}

impl Agent {
    /// What nobody holds. Shared volumes always; nothing of what shrank away.
    pub(super) fn free(&self) -> Resources {
        let mut free = self.total.clone();
        for used in self.used.values() {
            free.subtract(&used.non_shared());
        }
        free
    }

    pub(super) fn take(&mut self, holder: (u64, u32), resources: &Resources) {
        *self.used.entry(holder).or_default() += resources;
    }

    pub(super) fn give_back(&mut self, holder: (u64, u32), resources: &Resources) {
        if let Some(used) = self.used.get_mut(&holder) {
            used.subtract(resources);
            if used.is_empty() {
                self.used.remove(&holder);
            }
        }
    }
}

impl Books {
    /// Judges the answer to a request, and books it. The first thing that is wrong is the answer.
    pub(super) fn judge(
        &mut self,
        request: &AllocateRequest,
        response: &AllocateResponse,
    ) -> Result<Vec<Offer>, String> {
        self.run_filters_out();
        if self.paused && !response.proposals.is_empty() {
            return Err(format!("{} proposals while paused", response.proposals.len()));
        }
        let mut offers: Vec<Offer> = Vec::new();
        for proposal in &response.proposals {
            let offer = self.read(proposal)?;
            if !request.all_agents()
                && !request.agents.contains(&offer.agent)
                && !self.run_out.contains(&offer.agent)
            {
                return Err(format!("{offer}: the run was not over this agent"));
            }
            // Pieces for the same holder are one offer.
            let same = |other: &&mut Offer| {
                (other.framework, other.role, other.agent)
                    == (offer.framework, offer.role, offer.agent)
            };
            match offers.iter_mut().find(same) {
                Some(other) => other.resources += &offer.resources,
                None => offers.push(offer),
            }
        }
        let mut shared: BTreeMap<u64, Resources> = BTreeMap::new();
        for offer in &offers {
            self.suits(offer)?;
            let shared = shared.entry(offer.agent).or_default();
            *shared += offer.resources.shared();
            if shared.with_shared_once() != *shared {
                return Err(format!("{offer}: a shared volume twice in one run"));
            }
            let Some(agent) = self.agents.get_mut(&offer.agent) else { continue };
            let free = agent.free();
            if !free.contains(&offer.resources) {
                return Err(format!("{offer}: only `{free}` is free there"));
            }
            agent.take((offer.framework, offer.role), &offer.resources);
        }
        if !self.paused {
            self.run_out.clear();
        }
        self.expiry_told(response)?;
        Ok(offers)
    }

    fn read(&self, proposal: &Proposal) -> Result<Offer, String> {
        let (Some(framework), Some(role), Some(agent)) =
            (proposal.framework, proposal.role, proposal.agent)
        else {
            return Err(format!("a proposal without framework, role or agent: {proposal:?}"));
        };
        let resources = Resources::from_proto(&proposal.resources).map_err(|error| {
            format!("a proposal for agent {agent} whose resources do not parse: {error}")
        })?;
        if resources.is_empty() {
            return Err(format!("an empty proposal for agent {agent}"));
        }
        if resources.allocation_role().is_some() {
            return Err(format!("`{resources}` says its role twice: `allocation_info` is set"));
        }
        Ok(Offer { framework, role, agent, resources })
    }

    /// Whether this may be offered at all, apart from being free.
    fn suits(&self, offer: &Offer) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{offer}: {what}"));
        let Some(agent) = self.agents.get(&offer.agent) else {
            return wrong("there is no such agent (any more)");
        };
        let Some(framework) = self.frameworks.get(&offer.framework) else {
            return wrong("there is no such framework (any more)");
        };
        let Some(role) = self.roles.get(&offer.role) else {
            return wrong("there is no such role");
        };
        if !agent.active {
            return wrong("the agent is deactivated");
        }
        if self.whitelist.as_ref().is_some_and(|listed| !listed.contains(&agent.hostname)) {
            return wrong("the agent is not on the whitelist");
        }
        if !framework.active {
            return wrong("the framework is not active");
        }
        if !framework.roles.contains(&offer.role) {
            return wrong("the framework is not subscribed to the role");
        }
        if framework.suppressed.contains(&offer.role) {
            return wrong("the framework has suppressed the role");
        }
        if offer.resources.usable_by(role) != offer.resources {
            return wrong("a part of it is reserved to others");
        }
        self.understood(offer, agent, framework, role)?;
        let least = framework.least.get(&offer.role).unwrap_or(&self.least);
        if !least.allows(&offer.resources) {
            return Err(format!("{offer}: smaller than what is worth offering, `{least}`"));
        }
        let hidden = self.filters.iter().find(|filter| {
            !filter.void
                && (filter.framework, filter.role, filter.agent)
                    == (offer.framework, offer.role, offer.agent)
                && filter.refused.contains(&offer.resources)
        });
        match hidden {
            Some(filter) => Err(format!(
                "{offer}: the framework has refused `{}` for another {:.1} s",
                filter.refused,
                (filter.until.saturating_sub(self.now)) as f64 / 1e9
            )),
            None => Ok(()),
        }
    }

    fn understood(
        &self,
        offer: &Offer,
        agent: &Agent,
        framework: &Framework,
        role: &Role,
    ) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{offer}: {what}"));
        let has = |capability| framework.capabilities.has(capability);
        if offer.resources.understood_by(framework.capabilities) != offer.resources {
            return wrong("a part of it needs a capability that the framework has not got");
        }
        if !agent.total.gpus().is_zero() && !has(FrameworkCapability::GpuResources) {
            return wrong("an agent with GPUs, to a framework without GPU_RESOURCES");
        }
        if agent.region.is_some()
            && self.region.is_some()
            && agent.region != self.region
            && !has(FrameworkCapability::RegionAware)
        {
            return wrong("an agent of another region, to a framework without REGION_AWARE");
        }
        if role.is_nested() && !agent.capabilities.has(AgentCapability::HierarchicalRole) {
            return wrong("a nested role, on an agent without HIERARCHICAL_ROLE");
        }
        if has(FrameworkCapability::MultiRole)
            && !agent.capabilities.has(AgentCapability::MultiRole)
        {
            return wrong("a MULTI_ROLE framework, on an agent without MULTI_ROLE");
        }
        Ok(())
    }

    fn expiry_told(&self, response: &AllocateResponse) -> Result<(), String> {
        let live = self.filters.iter().filter(|filter| !filter.void);
        let Some(first) = live.map(|filter| filter.until).min() else {
            return Ok(());
        };
        match response.next_filter_expiry_nanos {
            Some(told) if told <= first => Ok(()),
            told => Err(format!(
                "`next_filter_expiry_nanos` is {told:?} while a filter runs out at {first}"
            )),
        }
    }

    /// Adds a filter as a `Recovered` with `refuse_seconds` does.
    pub(super) fn refuse(&mut self, offer: &Offer, refused: &Resources, seconds: f64) {
        if seconds <= 0.0 {
            return;
        }
        let life = ((seconds * 1e9) as u64).max(self.interval);
        let until = self.now.saturating_add(life);
        // One that hides no more and goes no later has no effect of its own.
        let (framework, role, agent) = (offer.framework, offer.role, offer.agent);
        self.end_filters(|old| {
            (old.framework, old.role, old.agent) == (framework, role, agent)
                && old.until <= until
                && refused.contains(&old.refused)
        });
        let refused = refused.clone();
        self.filters.push(Filter { framework, role, agent, refused, until, void: false });
    }

    /// Filters that end before their time.
    pub(super) fn end_filters(&mut self, which: impl Fn(&Filter) -> bool) {
        self.filters
            .iter_mut()
            .filter(|filter| which(filter))
            .for_each(|filter| filter.void = true);
    }

    fn run_filters_out(&mut self) {
        let now = self.now;
        self.run_out.extend(
            self.filters.iter().filter(|filter| filter.until <= now).map(|filter| filter.agent),
        );
        self.filters.retain(|filter| filter.until > now);
    }
}

impl std::fmt::Display for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` of agent {} to framework {} under role {}",
            self.resources, self.agent, self.framework, self.role
        )
    }
}
