//! Events: how the books change.
//!
//! An event is checked before it changes anything, so it is applied whole or not at all. Events about what is gone are
//! ignored.

use mezzo_model::{AgentCapabilities, Quantities, Resources, Role};
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::observe_response::Refused;
use mezzo_module_api::v1::{
    AgentAdded, AgentUpdated, AllocatorEvent, Converted, FrameworkAdded, FrameworkUpdated, Holding,
    ObserveRequest, ObserveResponse, Recovered, RoleAdded, WhitelistUpdated,
};
use mezzo_module_api::{Code, ModuleError};
use mezzo_proto::v1::Resource;

use crate::agents::Agent;
use crate::filters::Expiry;
use crate::frameworks::{Framework, Wishes, unknown_role};
use crate::state::{AgentKey, FrameworkKey, Owner, RoleKey, State};

type Applied = Result<(), ModuleError>;

impl State {
    pub(crate) fn observe(&mut self, request: ObserveRequest) -> ObserveResponse {
        let now = request.now_nanos();
        let mut refused = Vec::new();
        for (index, event) in request.events.into_iter().enumerate() {
            if let Err(error) = self.apply(event, now) {
                refused.push(Refused {
                    event: u32::try_from(index).ok(),
                    code: Some(error.code.number()),
                    message: Some(error.message),
                });
            }
        }
        ObserveResponse { refused }
    }

    fn apply(&mut self, event: AllocatorEvent, now: u64) -> Applied {
        let event = event.event.ok_or_else(|| ModuleError::unimplemented("this kind of event"))?;
        match event {
            Event::RoleAdded(added) => self.role_added(&added),
            Event::FrameworkAdded(added) => self.framework_added(&added),
            Event::FrameworkUpdated(updated) => self.framework_updated(&updated),
            Event::FrameworkActivated(event) => self.framework_active(event.framework(), true),
            Event::FrameworkDeactivated(event) => self.framework_active(event.framework(), false),
            Event::FrameworkRemoved(event) => self.framework_removed(event.framework()),
            Event::AgentAdded(added) => self.agent_added(&added),
            Event::AgentUpdated(updated) => self.agent_updated(&updated),
            Event::AgentActivated(event) => self.agent_active(event.agent(), true),
            Event::AgentDeactivated(event) => self.agent_active(event.agent(), false),
            Event::AgentRemoved(event) => self.agent_removed(event.agent()),
            Event::Allocated(event) => self.hold_all(event.holding.as_slice(), None, None),
            Event::Recovered(recovered) => self.recovered(&recovered, now),
            Event::Converted(converted) => self.converted(&converted),
            Event::Suppressed(event) => self.suppressed(event.framework(), &event.roles, true),
            Event::Revived(event) => self.suppressed(event.framework(), &event.roles, false),
            Event::WeightUpdated(event) => self.weight_updated(event.role(), event.weight()),
            Event::WhitelistUpdated(event) => self.whitelist_updated(event),
            Event::UnavailabilityUpdated(event) => {
                // An agent that will be away is offered all the same; the core tells the framework when.
                self.agents
                    .get_mut(&event.agent())
                    .into_iter()
                    .for_each(|agent| agent.looked_at = None);
                Ok(())
            }
            // Nothing is asked back, so nothing can be answered.
            Event::InverseAnswered(_) => Err(ModuleError::unimplemented("inverse offers")),
            // Everybody is offered what is free; a wish changes nothing.
            Event::ResourcesRequested(_) => Ok(()),
            Event::HoldOff(event) => {
                self.paused = event.paused();
                Ok(())
            }
            Event::QuotaUpdated(event) => match &event.quota {
                Some(quota) if !quota.guarantees.is_empty() || !quota.limits.is_empty() => {
                    Err(ModuleError::unimplemented("quota"))
                }
                // "No quota" is what everybody has.
                _ => Ok(()),
            },
        }
    }

    fn role_added(&mut self, added: &RoleAdded) -> Applied {
        let name =
            Role::parse(added.name()).map_err(|error| ModuleError::invalid(error.to_string()))?;
        let weight = checked_weight(added.weight.unwrap_or(1.0))?;
        if self.roles.get(added.role()).is_some() {
            return Err(exists("role", added.role()));
        }
        self.roles.add(added.role(), name);
        self.roles.set_weight(added.role(), weight, &self.totals);
        Ok(())
    }

    fn weight_updated(&mut self, role: RoleKey, weight: f64) -> Applied {
        let weight = checked_weight(weight)?;
        self.roles.get(role).ok_or_else(|| unknown_role(role))?;
        self.roles.set_weight(role, weight, &self.totals);
        Ok(())
    }

    fn whitelist_updated(&mut self, event: WhitelistUpdated) -> Applied {
        self.whitelist = event.enabled().then_some(event.hostnames);
        self.generation += 1;
        Ok(())
    }

    fn framework_added(&mut self, added: &FrameworkAdded) -> Applied {
        let key = added.framework();
        if self.frameworks.contains_key(&key) {
            return Err(exists("framework", key));
        }
        let wishes = Wishes::new(key, added.wishes.as_ref(), &self.roles)?;
        self.hold_all(&added.used, Some(key), None)?;
        self.generation += 1;
        let framework = Framework { wishes, active: added.active(), epochs: Default::default() };
        self.subscribe(key, framework);
        Ok(())
    }

    fn framework_updated(&mut self, updated: &FrameworkUpdated) -> Applied {
        let key = updated.framework();
        let wishes = Wishes::new(key, updated.wishes.as_ref(), &self.roles)?;
        let Some(mut framework) = self.frameworks.remove(&key) else { return Ok(()) };
        for role in framework.wishes.roles.keys().filter(|role| !wishes.roles.contains_key(role)) {
            self.roles.unsubscribe(*role, key, &self.totals);
        }
        // Leaving a role, and leaving the suppressed ones, forgets what was refused.
        let former = std::mem::replace(&mut framework.wishes, wishes);
        framework.epochs.retain(|role, _| {
            let was_suppressed =
                former.roles.get(role).is_some_and(|subscription| subscription.suppressed);
            framework
                .wishes
                .roles
                .get(role)
                .is_some_and(|subscription| subscription.suppressed || !was_suppressed)
        });
        self.generation += 1;
        self.subscribe(key, framework);
        Ok(())
    }

    /// Puts a framework into its roles and keeps it.
    fn subscribe(&mut self, key: FrameworkKey, mut framework: Framework) {
        let roles: Vec<_> = framework.wishes.roles.keys().copied().collect();
        for role in roles {
            let epoch = self.new_epoch();
            framework.epochs.entry(role).or_insert(epoch);
            self.roles.subscribe(
                role,
                key,
                &framework.wishes.path,
                framework.wants_offers_in(role),
                &self.totals,
            );
        }
        self.frameworks.insert(key, framework);
    }

    fn framework_active(&mut self, key: FrameworkKey, active: bool) -> Applied {
        let Some(mut framework) = self.frameworks.remove(&key) else { return Ok(()) };
        framework.active = active;
        if !active {
            framework.epochs.clear();
        }
        self.generation += 1;
        self.subscribe(key, framework);
        Ok(())
    }

    fn framework_removed(&mut self, key: FrameworkKey) -> Applied {
        let Some(framework) = self.frameworks.remove(&key) else { return Ok(()) };
        // Everything should have been recovered; what was not goes now.
        let mut left: Vec<(AgentKey, Owner)> = Vec::new();
        for (agent, found) in &self.agents {
            left.extend(found.owners().filter(|owner| owner.0 == key).map(|owner| (*agent, owner)));
        }
        for (agent, owner) in left {
            if let Some(freed) =
                self.agents.get_mut(&agent).and_then(|agent| agent.give_back_all(owner))
            {
                self.roles.subtract_load(owner.1, key, &freed, &self.totals);
            }
        }
        for role in framework.wishes.roles.keys() {
            self.roles.unsubscribe(*role, key, &self.totals);
        }
        Ok(())
    }

    fn suppressed(&mut self, key: FrameworkKey, roles: &[RoleKey], suppressed: bool) -> Applied {
        let epoch = self.new_epoch();
        let Some(framework) = self.frameworks.get_mut(&key) else { return Ok(()) };
        if let Some(role) = roles.iter().find(|role| !framework.wishes.roles.contains_key(role)) {
            return Err(ModuleError::invalid(format!(
                "framework {key} is not subscribed to role key {role}"
            )));
        }
        for role in roles {
            if let Some(subscription) = framework.wishes.roles.get_mut(role) {
                subscription.suppressed = suppressed;
            }
            if !suppressed {
                framework.epochs.insert(*role, epoch);
            }
            self.roles.set_active(*role, key, framework.wants_offers_in(*role), &self.totals);
        }
        if !suppressed {
            self.generation += 1;
        }
        Ok(())
    }

    fn agent_added(&mut self, added: &AgentAdded) -> Applied {
        let key = added.agent();
        if self.agents.contains_key(&key) {
            return Err(exists("agent", key));
        }
        let total = read(&added.total)?;
        let mut agent = Agent::default();
        agent.active = true;
        agent.capabilities = AgentCapabilities::from_proto(&added.capabilities);
        added.agent_info.iter().for_each(|info| agent.set_info(info));
        let quantities = total.quantities();
        agent.set_total(total);
        self.agents.insert(key, agent);
        if let Err(error) = self.hold_all(&added.used, None, Some(key)) {
            self.agents.remove(&key);
            return Err(error);
        }
        self.totals.replace(&Quantities::new(), &quantities);
        Ok(())
    }

    fn agent_updated(&mut self, updated: &AgentUpdated) -> Applied {
        let total = updated.total.as_ref().map(|total| read(&total.resources)).transpose()?;
        let Some(agent) = self.agents.get_mut(&updated.agent()) else { return Ok(()) };
        updated.agent_info.iter().for_each(|info| agent.set_info(info));
        if let Some(capabilities) = &updated.capabilities {
            agent.capabilities = AgentCapabilities::from_proto(&capabilities.capabilities);
            agent.looked_at = None;
        }
        if let Some(total) = total {
            let before = agent.total().quantities();
            agent.set_total(total);
            self.totals.replace(&before, &agent.total().quantities());
        }
        Ok(())
    }

    fn agent_active(&mut self, key: AgentKey, active: bool) -> Applied {
        if let Some(agent) = self.agents.get_mut(&key) {
            agent.active = active;
            agent.looked_at = None;
        }
        Ok(())
    }

    fn agent_removed(&mut self, key: AgentKey) -> Applied {
        let Some(mut agent) = self.agents.remove(&key) else { return Ok(()) };
        let owners: Vec<Owner> = agent.owners().collect();
        for owner in owners {
            if let Some(freed) = agent.give_back_all(owner) {
                self.roles.subtract_load(owner.1, owner.0, &freed, &self.totals);
            }
        }
        self.totals.replace(&agent.total().quantities(), &Quantities::new());
        Ok(())
    }

    fn recovered(&mut self, recovered: &Recovered, now: u64) -> Applied {
        let Some(holding) = &recovered.holding else {
            return Err(ModuleError::invalid("`recovered` has no holding"));
        };
        let (owner, resources) = self.holding(holding, None)?;
        let key = holding.agent();
        let Some(agent) = self.agents.get_mut(&key) else { return Ok(()) };
        let Some(freed) = agent.give_back(owner, &resources) else {
            return Err(not_held(agent, key, owner, &resources));
        };
        self.roles.subtract_load(owner.1, owner.0, &freed, &self.totals);
        let refused_for = nanos(recovered.refuse_seconds());
        if refused_for > 0
            && let Some(epoch) = self.epoch(owner)
            && let Some(agent) = self.agents.get_mut(&key)
        {
            let until = now.saturating_add(refused_for.max(self.options.interval_nanos));
            agent.filters.add(owner, resources, until, epoch);
            let (framework, role) = owner;
            self.expiries.add(Expiry { until, agent: key, framework, role, epoch });
        }
        Ok(())
    }

    fn converted(&mut self, converted: &Converted) -> Applied {
        let Some(holding) = &converted.holding else {
            return Err(ModuleError::invalid("`converted` has no holding"));
        };
        let (owner, before) = self.holding(holding, None)?;
        let after = read(&converted.converted)?;
        let key = holding.agent();
        let Some(agent) = self.agents.get_mut(&key) else { return Ok(()) };
        let Some(mut total) = agent.total().checked_sub(&before) else {
            return Err(ModuleError::invalid(format!(
                "agent {key} has not got `{before}`, it has `{}`",
                agent.total()
            )));
        };
        let Some(freed) = agent.give_back(owner, &before) else {
            return Err(not_held(agent, key, owner, &before));
        };
        total += &after;
        let (old_total, new_total) = (agent.total().quantities(), total.quantities());
        agent.set_total(total);
        let taken = agent.take(owner, &after);
        self.totals.replace(&old_total, &new_total);
        // Only what has changed in amount, so that a reservation does not count as one more allocation.
        self.roles.subtract_load(owner.1, owner.0, &freed.minus(&taken), &self.totals);
        let more = taken.minus(&freed);
        if !more.is_empty() {
            self.roles.add_load(owner.1, owner.0, &more, &self.totals);
        }
        Ok(())
    }

    /// Books holdings, all or none. `framework` and `agent` stand in where a holding leaves its own out; holdings on agents
    /// that are gone are ignored.
    fn hold_all(
        &mut self,
        holdings: &[Holding],
        framework: Option<FrameworkKey>,
        agent: Option<AgentKey>,
    ) -> Applied {
        let mut checked = Vec::with_capacity(holdings.len());
        for holding in holdings {
            checked.push((
                holding.agent.or(agent).unwrap_or_default(),
                self.holding(holding, framework)?,
            ));
        }
        for (agent, (owner, resources)) in checked {
            self.hold(agent, owner, &resources);
        }
        Ok(())
    }

    /// Books one holding.
    pub(crate) fn hold(&mut self, agent: AgentKey, owner: Owner, resources: &Resources) {
        if let Some(agent) = self.agents.get_mut(&agent) {
            let taken = agent.take(owner, resources);
            self.roles.add_load(owner.1, owner.0, &taken, &self.totals);
        }
    }

    fn holding(
        &self,
        holding: &Holding,
        framework: Option<FrameworkKey>,
    ) -> Result<(Owner, Resources), ModuleError> {
        self.roles.get(holding.role()).ok_or_else(|| unknown_role(holding.role()))?;
        let framework = holding.framework.or(framework).unwrap_or_default();
        Ok(((framework, holding.role()), read(&holding.resources)?))
    }
}

/// Resources of the wire; the role they are allocated to stands beside them, not in them.
fn read(wire: &[Resource]) -> Result<Resources, ModuleError> {
    let resources =
        Resources::from_proto(wire).map_err(|error| ModuleError::invalid(error.to_string()))?;
    Ok(resources.unallocate())
}

fn checked_weight(weight: f64) -> Result<f64, ModuleError> {
    if weight.is_finite() && weight > 0.0 {
        return Ok(weight);
    }
    Err(ModuleError::invalid(format!("weight is {weight}, expected a number above 0")))
}

fn exists(what: &str, key: impl std::fmt::Display) -> ModuleError {
    ModuleError::new(Code::AlreadyExists, format!("{what} {key} has been added before"))
}

fn not_held(
    agent: &Agent,
    key: AgentKey,
    (framework, role): Owner,
    resources: &Resources,
) -> ModuleError {
    let held =
        agent.held((framework, role)).map_or_else(|| "nothing".to_owned(), ToString::to_string);
    ModuleError::invalid(format!(
        "framework {framework} gives back `{resources}` of agent {key} under role key {role}, but holds {held}"
    ))
}

/// Seconds as nanoseconds; what is no time at all is 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-int cast saturates and takes NaN for 0"
)]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
