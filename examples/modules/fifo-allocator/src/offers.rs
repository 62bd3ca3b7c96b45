//! What is offered: of each agent everything that is left, to the framework that came first and may have it.

use std::collections::BTreeSet;

use mezzo_module_api::model::{AgentCapability, Format, FrameworkCapability, Resources, Role};
use mezzo_module_api::v1::allocate_response::Proposal;
use mezzo_module_api::v1::{AllocateRequest, AllocateResponse};

use crate::books::{Agent, AgentKey, Books, Framework, FrameworkKey, RoleKey, Subscription};

/// An offer before it is made.
struct Offer {
    framework: FrameworkKey,
    role: RoleKey,
    resources: Resources,
}

impl Books {
    pub(crate) fn allocate(&mut self, request: &AllocateRequest) -> AllocateResponse {
        let now = request.now_nanos();
        let mut proposals = Vec::new();
        if !self.paused {
            let mut agents: BTreeSet<AgentKey> = request.agents.iter().copied().collect();
            if request.all_agents() {
                agents.extend(self.agents.keys());
            }
            // Where a filter has run out somebody may want what he refused.
            agents.extend(self.run_filters_out(now));
            for agent in agents {
                self.offer_agent(agent, &mut proposals);
            }
        }
        AllocateResponse {
            proposals,
            next_filter_expiry_nanos: self.filters.iter().map(|filter| filter.until).min(),
            inverse_proposals: Vec::new(),
        }
    }

    fn run_filters_out(&mut self, now: u64) -> Vec<AgentKey> {
        let (run_out, left) =
            std::mem::take(&mut self.filters).into_iter().partition(|filter| filter.until <= now);
        self.filters = left;
        let run_out: Vec<crate::books::Filter> = run_out;
        run_out.into_iter().map(|filter| filter.agent).collect()
    }

    /// Offers what is left of an agent, as long as somebody wants it.
    fn offer_agent(&mut self, key: AgentKey, proposals: &mut Vec<Proposal>) {
        let mut shared = Resources::new();
        while let Some(offer) = self.next_offer(key, &shared) {
            shared += offer.resources.shared();
            if let Some(agent) = self.agents.get_mut(&key) {
                agent.take((offer.framework, offer.role), &offer.resources);
            }
            proposals.push(Proposal {
                framework: Some(offer.framework),
                role: Some(offer.role),
                agent: Some(key),
                resources: offer.resources.to_proto(Format::PostRefinement),
            });
        }
    }

    /// The first framework, and of its roles the first, that gets something. `shared` has been offered in this run.
    fn next_offer(&self, key: AgentKey, shared: &Resources) -> Option<Offer> {
        let agent = self.agents.get(&key).filter(|agent| self.offers(agent))?;
        let mut free = agent.free();
        free.subtract(shared);
        for (framework_key, framework) in &self.frameworks {
            if free.is_empty() {
                return None;
            }
            if !framework.active || !self.suits(framework, agent) {
                continue;
            }
            for (role_key, subscription) in &framework.wishes.roles {
                let Some(role) = self.roles.get(role_key) else { continue };
                let resources = part(&free, framework, subscription, role, agent);
                let least = subscription.least.as_ref().unwrap_or(&self.options.least);
                if least.allows(&resources)
                    && !self.refused(*framework_key, *role_key, key, &resources)
                {
                    return Some(Offer { framework: *framework_key, role: *role_key, resources });
                }
            }
        }
        None
    }

    /// Whether anything of the agent is offered to anybody.
    fn offers(&self, agent: &Agent) -> bool {
        let listed = self.whitelist.as_ref().is_none_or(|listed| listed.contains(&agent.hostname));
        agent.active && listed
    }

    /// Whether anything of the agent is offered to the framework.
    fn suits(&self, framework: &Framework, agent: &Agent) -> bool {
        let capabilities = framework.wishes.capabilities;
        let gpus = self.options.filter_gpus && !agent.total.gpus().is_zero();
        let home = &self.options.region;
        let remote = agent.region.is_some() && home.is_some() && agent.region != *home;
        (!gpus || capabilities.has(FrameworkCapability::GpuResources))
            && (!remote || capabilities.has(FrameworkCapability::RegionAware))
            && (!capabilities.has(FrameworkCapability::MultiRole)
                || agent.capabilities.has(AgentCapability::MultiRole))
    }

    /// Whether the framework has said that it does not want this, or more.
    fn refused(
        &self,
        framework: FrameworkKey,
        role: RoleKey,
        agent: AgentKey,
        resources: &Resources,
    ) -> bool {
        self.filters.iter().any(|filter| {
            (filter.framework, filter.role, filter.agent) == (framework, role, agent)
                && filter.refused.contains(resources)
        })
    }
}

/// What of this the framework may have and understand under the role.
fn part(
    free: &Resources,
    framework: &Framework,
    subscription: &Subscription,
    role: &Role,
    agent: &Agent,
) -> Resources {
    if subscription.suppressed
        || role.is_nested() && !agent.capabilities.has(AgentCapability::HierarchicalRole)
    {
        return Resources::new();
    }
    free.usable_by(role).understood_by(framework.wishes.capabilities)
}
