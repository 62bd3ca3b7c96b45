//! A run: which agents are looked at, and who is offered what of each.

use mezzo_model::{AgentCapability, Format, FrameworkCapabilities, FrameworkCapability, Resources};
use mezzo_module_api::v1::allocate_response::Proposal;
use mezzo_module_api::v1::{AllocateRequest, AllocateResponse};

use crate::agents::Agent;
use crate::frameworks::Framework;
use crate::roles::RoleWalk;
use crate::share::Walk;
use crate::state::{AgentKey, FrameworkKey, RoleKey, State};

impl State {
    pub(crate) fn allocate(&mut self, request: &AllocateRequest) -> AllocateResponse {
        let expired = self.expire(request.now_nanos());
        let mut proposals = Vec::new();
        if !self.paused {
            if self.totals.take_changed() {
                self.roles.rank_all(&self.totals);
            }
            let mut agents: Vec<AgentKey> = if request.all_agents() {
                self.agents.keys().copied().collect()
            } else {
                request.agents.iter().copied().chain(expired).collect()
            };
            agents.sort_unstable();
            agents.dedup();
            agents.retain(|agent| self.worth_a_look(*agent));
            self.random.shuffle(&mut agents);
            for agent in agents {
                self.offer_agent(agent, &mut proposals);
            }
        }
        AllocateResponse {
            proposals,
            next_filter_expiry_nanos: self.next_expiry(),
            inverse_proposals: Vec::new(),
        }
    }

    /// Drops filters that have run out; the agents they were on.
    fn expire(&mut self, now: u64) -> Vec<AgentKey> {
        let mut expired = Vec::new();
        while let Some(expiry) = self.expiries.pop_due(now) {
            if let Some(agent) = self.agents.get_mut(&expiry.agent)
                && agent.filters.expire((expiry.framework, expiry.role), now)
            {
                agent.looked_at = None;
                expired.push(expiry.agent);
            }
        }
        expired
    }

    fn next_expiry(&mut self) -> Option<u64> {
        let (agents, frameworks) = (&self.agents, &self.frameworks);
        self.expiries.next(|expiry| {
            let epoch = frameworks
                .get(&expiry.framework)
                .and_then(|framework| framework.epochs.get(&expiry.role));
            epoch == Some(&expiry.epoch) && agents.contains_key(&expiry.agent)
        })
    }

    fn worth_a_look(&self, key: AgentKey) -> bool {
        let Some(agent) = self.agents.get(&key) else { return false };
        let listed = self.whitelist.as_ref().is_none_or(|listed| listed.contains(&agent.hostname));
        agent.active
            && listed
            && agent.looked_at != Some(self.generation)
            && !agent.free().is_empty()
    }

    /// Offers what is left of one agent.
    fn offer_agent(&mut self, key: AgentKey, proposals: &mut Vec<Proposal>) {
        let mut offered_shared = Resources::new();
        let mut roles = RoleWalk::new();
        while let Some(role) = self.roles.next(&mut roles) {
            let Some(agent) = self.agents.get(&key) else { return };
            if agent.free().is_empty() {
                break;
            }
            self.offer_role(key, role, &mut offered_shared, proposals);
        }
        // Whoever passed now will pass again: only a change on the agent or a new generation makes it worth another look.
        let generation = self.generation;
        self.agents.get_mut(&key).into_iter().for_each(|agent| agent.looked_at = Some(generation));
    }

    /// Offers what a role may use of an agent to the frameworks of the role.
    fn offer_role(
        &mut self,
        key: AgentKey,
        role: RoleKey,
        offered_shared: &mut Resources,
        proposals: &mut Vec<Proposal>,
    ) {
        let mut walk = Walk::default();
        let mut usable = None;
        while let Some(framework) = self.roles.get(role).and_then(|entry| walk.next(&entry.order)) {
            let usable: &mut Usable = match &mut usable {
                Some(usable) => usable,
                None => match self.usable(key, role, offered_shared) {
                    Some(found) => usable.insert(found),
                    None => return,
                },
            };
            let Some(offer) = self.offer_for(key, role, framework, usable) else { continue };
            *offered_shared += offer.shared();
            self.hold(key, (framework, role), &offer);
            usable.take(&offer);
            proposals.push(Proposal {
                framework: Some(framework),
                role: Some(role),
                agent: Some(key),
                resources: offer.to_proto(Format::PostRefinement),
            });
            if usable.all.is_empty() {
                return;
            }
        }
    }

    /// What the role may use of what is free; `None` when that is nothing.
    fn usable(&self, key: AgentKey, role: RoleKey, offered_shared: &Resources) -> Option<Usable> {
        let (agent, entry) = (self.agents.get(&key)?, self.roles.get(role)?);
        if entry.name.is_nested() && !agent.capabilities.has(AgentCapability::HierarchicalRole) {
            return None;
        }
        let mut all = agent.free().usable_by(&entry.name);
        all.subtract(offered_shared);
        let region = self.options.region.as_ref();
        let usable = Usable {
            worth: self.options.min_allocatable.allows(&all),
            all,
            has_gpus: self.options.filter_gpus && !agent.total().gpus().is_zero(),
            is_remote: agent.region.is_some()
                && region.is_some()
                && agent.region.as_ref() != region,
            understood: None,
        };
        (!usable.all.is_empty()).then_some(usable)
    }

    /// What a framework would get, if it is to get anything.
    fn offer_for(
        &self,
        key: AgentKey,
        role: RoleKey,
        framework_key: FrameworkKey,
        usable: &mut Usable,
    ) -> Option<Resources> {
        let framework = self.frameworks.get(&framework_key)?;
        let agent = self.agents.get(&key)?;
        let min = framework.wishes.roles.get(&role)?.min_allocatable.as_ref();
        if !min.map_or(usable.worth, |min| min.allows(&usable.all))
            || !usable.suits(framework, agent)
        {
            return None;
        }
        let min = min.unwrap_or(&self.options.min_allocatable);
        let offer = usable.understood_by(framework.wishes.capabilities);
        let epoch = framework.epochs.get(&role).copied().unwrap_or_default();
        if !min.allows(offer) || agent.filters.hide((framework_key, role), epoch, offer) {
            return None;
        }
        Some(offer.clone())
    }
}

/// What is left of an agent for a role, with what is asked of it again for every framework.
struct Usable {
    all: Resources,
    /// It is enough by the cluster's own measure.
    worth: bool,
    has_gpus: bool,
    is_remote: bool,
    /// The part that the last framework asked understands.
    understood: Option<(FrameworkCapabilities, Resources)>,
}

impl Usable {
    /// Whether the framework may be offered anything of this agent at all.
    fn suits(&self, framework: &Framework, agent: &Agent) -> bool {
        let capabilities = framework.wishes.capabilities;
        (!self.has_gpus || capabilities.has(FrameworkCapability::GpuResources))
            && (!self.is_remote || capabilities.has(FrameworkCapability::RegionAware))
            && (!capabilities.has(FrameworkCapability::MultiRole)
                || agent.capabilities.has(AgentCapability::MultiRole))
    }

    fn understood_by(&mut self, capabilities: FrameworkCapabilities) -> &Resources {
        match &mut self.understood {
            Some((last, _)) if *last == capabilities => {}
            understood => *understood = Some((capabilities, self.all.understood_by(capabilities))),
        }
        self.understood.as_ref().map_or(&self.all, |(_, understood)| understood)
    }

    fn take(&mut self, offer: &Resources) {
        self.all.subtract(offer);
        self.understood = None;
        // `worth` stays: it only spares work, and the offer itself is measured again.
    }
}
