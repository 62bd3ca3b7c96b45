//! The whole state, as operators read it. Works on a snapshot, so it may take its time.

use mezzo_model::{Format, Resources, Role};
use mezzo_proto::v1;
use mezzo_proto::v1::master::response::{
    GetAgents, GetExecutors, GetFrameworks, GetRoles, GetState, GetTasks, get_agents,
    get_executors, get_frameworks,
};

use crate::state::{Agent, Books, Framework};

impl Books {
    /// `GetState`: everything in one answer.
    #[must_use]
    pub fn get_state(&self) -> GetState {
        GetState {
            get_tasks: Some(self.get_tasks()),
            get_executors: Some(self.get_executors()),
            get_frameworks: Some(self.get_frameworks()),
            get_agents: Some(self.get_agents()),
        }
    }

    /// `GetAgents`: those that are registered and those that are waited for.
    #[must_use]
    pub fn get_agents(&self) -> GetAgents {
        GetAgents {
            agents: self.agents.values().map(|a| self.agent_view(a)).collect(),
            recovered_agents: self.recovered_agents.values().map(|a| (**a).clone()).collect(),
        }
    }

    /// `GetFrameworks`: those that are known and those that are remembered.
    #[must_use]
    pub fn get_frameworks(&self) -> GetFrameworks {
        GetFrameworks {
            frameworks: self.frameworks.values().map(|f| self.framework_view(f)).collect(),
            completed_frameworks: self
                .completed_frameworks
                .iter()
                .map(|f| self.framework_view(f))
                .collect(),
            ..GetFrameworks::default()
        }
    }

    /// `GetTasks`: live, unreachable and completed ones.
    #[must_use]
    pub fn get_tasks(&self) -> GetTasks {
        let mut answer = GetTasks::default();
        for framework in self.frameworks.values().chain(self.completed_frameworks.iter()) {
            answer.tasks.extend(framework.tasks.values().map(|t| t.view.clone()));
            answer
                .unreachable_tasks
                .extend(framework.unreachable_tasks.values().map(|t| t.view.clone()));
            answer.completed_tasks.extend(framework.completed_tasks.iter().map(|t| t.view.clone()));
        }
        answer
    }

    /// `GetExecutors`: custom ones. Those of command tasks are their agents' own affair.
    #[must_use]
    pub fn get_executors(&self) -> GetExecutors {
        let of = |framework: &Framework| {
            framework
                .executors
                .iter()
                .map(|((agent, _), executor)| get_executors::Executor {
                    executor_info: executor.info.clone(),
                    agent_id: agent.into(),
                })
                .collect::<Vec<_>>()
        };
        GetExecutors {
            executors: self.frameworks.values().flat_map(|f| of(f)).collect(),
            ..GetExecutors::default()
        }
    }

    /// `GetRoles`: every role with a framework, and what it holds.
    #[must_use]
    pub fn get_roles(&self) -> GetRoles {
        let roles = self.roles.keys().filter_map(|name| {
            let members: Vec<_> =
                self.frameworks.values().filter(|f| f.roles.contains(name)).collect();
            if members.is_empty() {
                return None;
            }
            let mut held = Resources::default();
            for framework in &members {
                held += &self.held_under(framework, name);
            }
            Some(v1::Role {
                name: name.to_string(),
                weight: 1.0,
                frameworks: members.iter().map(|f| (&f.id).into()).collect(),
                resources: held.to_proto(Format::Endpoint),
            })
        });
        GetRoles { roles: roles.collect() }
    }

    /// What a framework uses or is offered under one role.
    fn held_under(&self, framework: &Framework, role: &Role) -> Resources {
        let mut held = Resources::default();
        for task in framework.tasks.values().filter(|t| !t.freed && t.role == *role) {
            held += &task.resources;
        }
        for executor in framework.executors.values().filter(|e| e.role == *role) {
            held += &executor.resources;
        }
        let offers = framework.offers.iter().filter_map(|id| self.offers.get(id));
        for offer in offers.filter(|o| o.role == *role) {
            held += &offer.resources;
        }
        held
    }

    /// One agent.
    #[must_use]
    pub fn agent_view(&self, agent: &Agent) -> get_agents::Agent {
        let mut offered = Resources::default();
        for offer in agent.offers.iter().filter_map(|id| self.offers.get(id)) {
            offered += &offer.resources;
        }
        get_agents::Agent {
            agent_info: (*agent.info).clone(),
            active: agent.connected(),
            deactivated: Some(false),
            version: agent.version.clone(),
            pid: Some(format!("slave(1)@{}", agent.address())),
            registered_time: Some(agent.registered),
            reregistered_time: agent.reregistered,
            total_resources: agent.total.to_proto(Format::Endpoint),
            allocated_resources: self.used_on(agent).to_proto(Format::Endpoint),
            offered_resources: offered.to_proto(Format::Endpoint),
            capabilities: agent.capabilities.clone(),
            ..get_agents::Agent::default()
        }
    }

    fn used_on(&self, agent: &Agent) -> Resources {
        let mut used = Resources::default();
        for (framework, task) in &agent.tasks {
            let task = self.frameworks.get(framework).and_then(|f| f.tasks.get(task));
            if let Some(task) = task.filter(|t| !t.freed) {
                used += &task.resources;
            }
        }
        for (framework, executor) in &agent.executors {
            let key = (agent.id.clone(), executor.clone());
            if let Some(e) = self.frameworks.get(framework).and_then(|f| f.executors.get(&key)) {
                used += &e.resources;
            }
        }
        used
    }

    /// One framework.
    #[must_use]
    pub fn framework_view(&self, framework: &Framework) -> get_frameworks::Framework {
        let offers: Vec<_> = framework.offers.iter().filter_map(|id| self.offers.get(id)).collect();
        let mut offered = Resources::default();
        for offer in &offers {
            offered += &offer.resources;
        }
        get_frameworks::Framework {
            framework_info: (*framework.info).clone(),
            active: framework.connected(),
            connected: framework.connected(),
            recovered: framework.recovered,
            registered_time: framework.registered,
            reregistered_time: framework.reregistered,
            unregistered_time: framework.unregistered,
            offers: offers.iter().map(|o| super::offer(self, o)).collect(),
            inverse_offers: Vec::new(),
            allocated_resources: framework.used().to_proto(Format::Endpoint),
            offered_resources: offered.to_proto(Format::Endpoint),
            offer_constraints: framework.offer_constraints.clone(),
        }
    }
}
