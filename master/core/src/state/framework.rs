//! A framework as the master knows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use mezzo_model::{AgentId, ExecutorId, FrameworkId, OfferId, Resources, Role, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::capability::Type as Capability;

use super::Task;
use crate::effect::SessionId;

/// A framework that subscribed, or that agents told of.
#[derive(Debug, Clone)]
pub struct Framework {
    /// `<master id>-NNNN`, or what the framework brought along.
    pub id: FrameworkId,
    /// The allocator's name for it.
    pub key: u64,
    /// As it described itself last.
    pub info: Arc<v1::FrameworkInfo>,
    /// The roles it is subscribed to.
    pub roles: BTreeSet<Role>,
    /// Those of them that want no offers.
    pub suppressed_roles: BTreeSet<Role>,
    /// What its offers are constrained to.
    pub offer_constraints: Option<v1::scheduler::OfferConstraints>,
    /// Its connection, if it has one.
    pub session: Option<SessionId>,
    /// Known from agents only: it has not subscribed with this master.
    pub recovered: bool,
    /// Counts its absences, so that an old failover timer is known for what it is.
    pub(crate) absence: u64,
    /// When it subscribed first.
    pub registered: Option<v1::TimeInfo>,
    /// When it subscribed again.
    pub reregistered: Option<v1::TimeInfo>,
    /// When it was removed.
    pub unregistered: Option<v1::TimeInfo>,
    /// Tasks that are live, or whose end is not acknowledged yet.
    pub tasks: OrdMap<TaskId, Arc<Task>>,
    /// Tasks of agents that are unreachable.
    pub unreachable_tasks: OrdMap<TaskId, Arc<Task>>,
    /// Tasks that ended, oldest first.
    pub completed_tasks: Vector<Arc<Task>>,
    /// Custom executors that are believed to run.
    pub executors: OrdMap<(AgentId, ExecutorId), Arc<Executor>>,
    /// Offers it holds.
    pub offers: OrdSet<OfferId>,
}

/// A custom executor. Those of command tasks are their agent's own affair.
#[derive(Debug, Clone)]
pub struct Executor {
    /// As its first task described it.
    pub info: v1::ExecutorInfo,
    /// Whose fair share it counts for.
    pub role: Role,
    /// What it uses beside its tasks.
    pub resources: Resources,
}

impl Framework {
    /// A framework of which only its id and description are known.
    pub(crate) fn unknown(id: FrameworkId, key: u64, info: v1::FrameworkInfo) -> Self {
        Self {
            id,
            key,
            info: Arc::new(info),
            roles: BTreeSet::new(),
            suppressed_roles: BTreeSet::new(),
            offer_constraints: None,
            session: None,
            recovered: true,
            absence: 0,
            registered: None,
            reregistered: None,
            unregistered: None,
            tasks: OrdMap::new(),
            unreachable_tasks: OrdMap::new(),
            completed_tasks: Vector::new(),
            executors: OrdMap::new(),
            offers: OrdSet::new(),
        }
    }

    /// The agents that run something for it.
    pub(crate) fn agents(&self) -> BTreeSet<AgentId> {
        let of_tasks = self.tasks.values().map(|t| t.agent.clone());
        of_tasks.chain(self.executors.keys().map(|(agent, _)| agent.clone())).collect()
    }

    /// Whether it declared a capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.info.capabilities.iter().any(|c| c.r#type() == capability)
    }

    /// Whether it hears events now.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.session.is_some()
    }

    /// What its tasks and executors use.
    #[must_use]
    pub fn used(&self) -> Resources {
        let mut used = Resources::default();
        for task in self.tasks.values().filter(|t| !t.freed) {
            used += &task.resources;
        }
        for executor in self.executors.values() {
            used += &executor.resources;
        }
        used
    }

    /// The state that says "will never run, or not any more" to this framework.
    #[must_use]
    pub fn state_for(&self, aware: v1::TaskState) -> v1::TaskState {
        if self.can(Capability::PartitionAware) { aware } else { v1::TaskState::TaskLost }
    }
}
