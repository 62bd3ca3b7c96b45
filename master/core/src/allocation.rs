//! What the allocator is told.

use mezzo_model::{AgentId, Format, FrameworkId, Resources, Role};
use mezzo_proto::module::v1 as module;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1;

use crate::command::Turn;
use crate::effect::Effect;
use crate::state::{Agent, Framework};

impl Turn<'_> {
    pub(crate) fn allocator(&mut self, event: Event) {
        self.effect(Effect::Allocator(Box::new(module::AllocatorEvent { event: Some(event) })));
    }

    /// The allocator's key of a role, given on first use.
    pub(crate) fn role_key(&mut self, role: &Role) -> u32 {
        if let Some(key) = self.cluster.books.roles.get(role) {
            return *key;
        }
        let key = u32::try_from(self.cluster.books.roles.len()).unwrap_or(u32::MAX);
        self.cluster.books.roles.insert(role.clone(), key);
        self.cluster.roles_by_key.insert(key, role.clone());
        self.allocator(Event::RoleAdded(module::RoleAdded {
            role: Some(key),
            name: Some(role.to_string()),
            weight: None,
        }));
        key
    }

    fn role_keys<'r>(&mut self, roles: impl IntoIterator<Item = &'r Role>) -> Vec<u32> {
        roles.into_iter().map(|role| self.role_key(role)).collect()
    }

    /// A framework's wishes; the roles in them have keys from here on.
    pub(crate) fn wishes(&mut self, framework: &Framework) -> module::FrameworkWishes {
        module::FrameworkWishes {
            roles: self.role_keys(&framework.roles),
            suppressed_roles: self.role_keys(&framework.suppressed_roles),
            framework_info: Some((*framework.info).clone()),
            offer_constraints: framework.offer_constraints.clone(),
        }
    }

    fn holding(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
    ) -> Option<module::Holding> {
        let framework = self.framework(framework)?.key;
        let agent = self.agent(agent)?.key;
        Some(module::Holding {
            framework: Some(framework),
            role: Some(self.role_key(role)),
            agent: Some(agent),
            resources: wire(resources),
        })
    }

    /// Resources are free again. Nothing is said of an agent or framework that is gone: the
    /// allocator has dropped what they held.
    pub(crate) fn recovered(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
        refuse_seconds: Option<f64>,
    ) {
        if resources.is_empty() {
            return;
        }
        if let Some(holding) = self.holding(framework, role, agent, resources) {
            self.allocator(Event::Recovered(module::Recovered {
                holding: Some(holding),
                refuse_seconds,
            }));
        }
    }

    /// Resources were taken without a proposal: the agent had tasks that the books lacked.
    pub(crate) fn allocated(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
    ) {
        if let Some(holding) = self.holding(framework, role, agent, resources) {
            self.allocator(Event::Allocated(module::Allocated { holding: Some(holding) }));
        }
    }

    /// Everything that is used on an agent, as the allocator wants to know it.
    pub(crate) fn holdings_on(&mut self, agent: &Agent) -> Vec<module::Holding> {
        let mut held: Vec<(FrameworkId, Role, Resources)> = Vec::new();
        for (framework, task) in &agent.tasks {
            let Some(task) = self.framework(framework).and_then(|f| f.tasks.get(task)) else {
                continue;
            };
            if !task.freed {
                held.push((framework.clone(), task.role.clone(), task.resources.clone()));
            }
        }
        for (framework, executor) in &agent.executors {
            let key = (agent.id.clone(), executor.clone());
            if let Some(e) = self.framework(framework).and_then(|f| f.executors.get(&key)) {
                held.push((framework.clone(), e.role.clone(), e.resources.clone()));
            }
        }
        held.into_iter()
            .filter_map(|(framework, role, resources)| {
                Some(module::Holding {
                    framework: Some(self.framework(&framework)?.key),
                    role: Some(self.role_key(&role)),
                    agent: Some(agent.key),
                    resources: wire(&resources),
                })
            })
            .collect()
    }
}

/// Resources as the allocator reads them: the role stands beside them.
fn wire(resources: &Resources) -> Vec<v1::Resource> {
    resources.unallocate().to_proto(Format::PostRefinement)
}
