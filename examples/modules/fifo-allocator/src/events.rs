//! How the books change. An event is checked before it changes anything, so it is applied whole or not at all; events about
//! agents and frameworks that are gone are ignored.

use mezzo_module_api::model::{AgentCapabilities, Resources, Role};
use mezzo_module_api::types::{AgentInfo, Resource};
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::observe_response::Refused;
use mezzo_module_api::v1::{
    AgentAdded, AgentUpdated, Converted, FrameworkAdded, FrameworkUpdated, Holding, ObserveRequest,
    ObserveResponse, Recovered,
};
use mezzo_module_api::{Code, ModuleError};

use crate::books::{
    Agent, AgentKey, Books, Filter, Framework, FrameworkKey, RoleKey, Wishes, region, unknown_role,
};

type Applied = Result<(), ModuleError>;

impl Books {
    pub(crate) fn observe(&mut self, request: ObserveRequest) -> ObserveResponse {
        let now = request.now_nanos();
        let mut refused = Vec::new();
        for (position, event) in (0..).zip(request.events) {
            // An event with none of its fields set is one that this build does not know.
            let applied = match event.event {
                Some(event) => self.apply(event, now),
                None => Err(ModuleError::unimplemented("this event")),
            };
            if let Err(error) = applied {
                refused.push(Refused {
                    event: Some(position),
                    code: Some(error.code.number()),
                    message: Some(error.message),
                });
            }
        }
        ObserveResponse { refused }
    }

    fn apply(&mut self, event: Event, now: u64) -> Applied {
        match event {
            Event::RoleAdded(added) => {
                let role = Role::parse(added.name()).map_err(invalid)?;
                self.roles.insert(added.role(), role);
                Ok(())
            }
            Event::FrameworkAdded(added) => self.framework_added(&added),
            Event::FrameworkUpdated(updated) => self.framework_updated(&updated),
            Event::FrameworkActivated(event) => self.framework_active(event.framework(), true),
            Event::FrameworkDeactivated(event) => self.framework_active(event.framework(), false),
            Event::FrameworkRemoved(event) => self.framework_removed(event.framework()),
            Event::AgentAdded(added) => self.agent_added(&added),
            Event::AgentUpdated(updated) => self.agent_updated(&updated),
            Event::AgentActivated(event) => self.agent_active(event.agent(), true),
            Event::AgentDeactivated(event) => self.agent_active(event.agent(), false),
            Event::AgentRemoved(event) => {
                self.agents.remove(&event.agent());
                self.filters.retain(|filter| filter.agent != event.agent());
                Ok(())
            }
            Event::Allocated(event) => self.hold_all(event.holding.as_slice(), None, None),
            Event::Recovered(recovered) => self.recovered(&recovered, now),
            Event::Converted(converted) => self.converted(&converted),
            Event::Suppressed(event) => self.suppressed(event.framework(), &event.roles, true),
            Event::Revived(event) => {
                self.suppressed(event.framework(), &event.roles, false)?;
                self.filters.retain(|filter| {
                    filter.framework != event.framework() || !event.roles.contains(&filter.role)
                });
                Ok(())
            }
            Event::WhitelistUpdated(event) => {
                let enabled = event.enabled();
                self.whitelist = enabled.then(|| event.hostnames.into_iter().collect());
                Ok(())
            }
            Event::HoldOff(event) => {
                self.paused = event.paused();
                Ok(())
            }
            Event::QuotaUpdated(event) => {
                let quota = event.quota.unwrap_or_default();
                if quota.guarantees.is_empty() && quota.limits.is_empty() {
                    return Ok(());
                }
                Err(ModuleError::unimplemented("quota"))
            }
            Event::InverseAnswered(_) => Err(ModuleError::unimplemented("`inverse_answered`")),
            // Nobody's share is looked at, who will be away is offered all the same, and wishes change nothing.
            Event::WeightUpdated(_)
            | Event::UnavailabilityUpdated(_)
            | Event::ResourcesRequested(_) => Ok(()),
        }
    }

    fn framework_added(&mut self, added: &FrameworkAdded) -> Applied {
        let key = added.framework();
        if self.frameworks.contains_key(&key) {
            return Err(exists("framework", key));
        }
        let wishes = Wishes::new(added.wishes.as_ref(), &self.roles)?;
        self.hold_all(&added.used, Some(key), None)?;
        self.frameworks.insert(key, Framework { active: added.active(), wishes });
        Ok(())
    }

    fn framework_updated(&mut self, updated: &FrameworkUpdated) -> Applied {
        let key = updated.framework();
        let wishes = Wishes::new(updated.wishes.as_ref(), &self.roles)?;
        let Some(framework) = self.frameworks.get_mut(&key) else { return Ok(()) };
        let former = std::mem::replace(&mut framework.wishes, wishes);
        // Filters go with the role, and when the role is not suppressed any more.
        let kept = |role: &RoleKey| {
            let was = former.roles.get(role).is_some_and(|role| role.suppressed);
            framework.wishes.roles.get(role).is_some_and(|role| role.suppressed || !was)
        };
        self.filters.retain(|filter| filter.framework != key || kept(&filter.role));
        Ok(())
    }

    fn framework_active(&mut self, key: FrameworkKey, active: bool) -> Applied {
        if let Some(framework) = self.frameworks.get_mut(&key) {
            framework.active = active;
        }
        if !active {
            self.filters.retain(|filter| filter.framework != key);
        }
        Ok(())
    }

    fn framework_removed(&mut self, key: FrameworkKey) -> Applied {
        self.frameworks.remove(&key);
        self.filters.retain(|filter| filter.framework != key);
        for agent in self.agents.values_mut() {
            agent.used.retain(|(framework, _), _| *framework != key);
        }
        Ok(())
    }

    fn suppressed(&mut self, key: FrameworkKey, roles: &[RoleKey], suppressed: bool) -> Applied {
        let Some(framework) = self.frameworks.get_mut(&key) else { return Ok(()) };
        let subscribed = &mut framework.wishes.roles;
        if let Some(role) = roles.iter().find(|role| !subscribed.contains_key(role)) {
            return Err(ModuleError::invalid(format!(
                "framework {key} is not subscribed to role {role}"
            )));
        }
        for (_, role) in subscribed.iter_mut().filter(|(role, _)| roles.contains(role)) {
            role.suppressed = suppressed;
        }
        Ok(())
    }

    fn agent_added(&mut self, added: &AgentAdded) -> Applied {
        let key = added.agent();
        if self.agents.contains_key(&key) {
            return Err(exists("agent", key));
        }
        let mut agent = Agent {
            active: true,
            capabilities: AgentCapabilities::from_proto(&added.capabilities),
            total: read(&added.total)?,
            ..Agent::default()
        };
        agent.describe(added.agent_info.as_ref());
        self.agents.insert(key, agent);
        let held = self.hold_all(&added.used, None, Some(key));
        if held.is_err() {
            self.agents.remove(&key);
        }
        held
    }

    fn agent_updated(&mut self, updated: &AgentUpdated) -> Applied {
        let total = updated.total.as_ref().map(|total| read(&total.resources)).transpose()?;
        let key = updated.agent();
        let Some(agent) = self.agents.get_mut(&key) else { return Ok(()) };
        agent.total = total.unwrap_or(std::mem::take(&mut agent.total));
        if let Some(capabilities) = &updated.capabilities {
            agent.capabilities = AgentCapabilities::from_proto(&capabilities.capabilities);
        }
        if agent.describe(updated.agent_info.as_ref()) {
            // Whoever refused it refused another agent.
            self.filters.retain(|filter| filter.agent != key);
        }
        Ok(())
    }

    fn agent_active(&mut self, key: AgentKey, active: bool) -> Applied {
        if let Some(agent) = self.agents.get_mut(&key) {
            agent.active = active;
        }
        Ok(())
    }

    fn recovered(&mut self, recovered: &Recovered, now: u64) -> Applied {
        let (holder, resources) = self.holding(recovered.holding.as_ref(), None)?;
        let key = recovered.holding.as_ref().map(Holding::agent).unwrap_or_default();
        let Some(agent) = self.agents.get_mut(&key) else { return Ok(()) };
        if !agent.give_back(holder, &resources) {
            return Err(not_held(holder, key, &resources));
        }
        let refused_for = nanos(recovered.refuse_seconds());
        let (framework, role) = holder;
        if refused_for > 0 && self.frameworks.contains_key(&framework) {
            // At least one interval, so that the next periodic run finds it.
            let until = now.saturating_add(refused_for.max(self.options.interval_nanos));
            self.filters.push(Filter { framework, role, agent: key, refused: resources, until });
        }
        Ok(())
    }

    fn converted(&mut self, converted: &Converted) -> Applied {
        let (holder, before) = self.holding(converted.holding.as_ref(), None)?;
        let after = read(&converted.converted)?;
        let key = converted.holding.as_ref().map(Holding::agent).unwrap_or_default();
        let Some(agent) = self.agents.get_mut(&key) else { return Ok(()) };
        let Some(total) = agent.total.checked_sub(&before) else {
            return Err(ModuleError::invalid(format!("agent {key} has not got `{before}`")));
        };
        if !agent.give_back(holder, &before) {
            return Err(not_held(holder, key, &before));
        }
        agent.total = &total + &after;
        agent.take(holder, &after);
        Ok(())
    }

    /// Books holdings, all or none. `framework` and `agent` stand in where a holding names none.
    fn hold_all(
        &mut self,
        holdings: &[Holding],
        framework: Option<FrameworkKey>,
        agent: Option<AgentKey>,
    ) -> Applied {
        let mut read = Vec::new();
        for holding in holdings {
            let key = holding.agent.or(agent).unwrap_or_default();
            read.push((key, self.holding(Some(holding), framework)?));
        }
        for (key, (holder, resources)) in read {
            if let Some(agent) = self.agents.get_mut(&key) {
                agent.take(holder, &resources);
            }
        }
        Ok(())
    }

    fn holding(
        &self,
        holding: Option<&Holding>,
        framework: Option<FrameworkKey>,
    ) -> Result<((FrameworkKey, RoleKey), Resources), ModuleError> {
        let holding = holding.ok_or_else(|| ModuleError::invalid("an event without a holding"))?;
        if !self.roles.contains_key(&holding.role()) {
            return Err(unknown_role(holding.role()));
        }
        let framework = holding.framework.or(framework).unwrap_or_default();
        Ok(((framework, holding.role()), read(&holding.resources)?))
    }
}

impl Agent {
    /// Takes over what an `AgentInfo` says; true when the attributes differ.
    fn describe(&mut self, info: Option<&AgentInfo>) -> bool {
        let Some(info) = info else { return false };
        self.hostname.clone_from(&info.hostname);
        self.region = region(info.domain.as_ref());
        let differ = self.attributes != info.attributes;
        self.attributes.clone_from(&info.attributes);
        differ
    }
}

fn read(wire: &[Resource]) -> Result<Resources, ModuleError> {
    Resources::from_proto(wire).map_err(invalid)
}

fn invalid(error: impl std::fmt::Display) -> ModuleError {
    ModuleError::invalid(error.to_string())
}

fn exists(what: &str, key: u64) -> ModuleError {
    ModuleError::new(Code::AlreadyExists, format!("{what} {key} was added before"))
}

fn not_held(
    (framework, role): (FrameworkKey, RoleKey),
    agent: AgentKey,
    resources: &Resources,
) -> ModuleError {
    ModuleError::invalid(format!(
        "framework {framework} does not hold `{resources}` of agent {agent} under role {role}"
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
