//! A framework that has, or had, something on this agent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mezzo_model::{ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::{ExecutorInfo, FrameworkInfo, TaskInfo, TaskState};

use crate::executor::{CompletedExecutor, Executor};

/// A framework with its executors.
#[derive(Clone, Debug)]
pub(crate) struct Framework {
    pub(crate) id: FrameworkId,
    pub(crate) info: FrameworkInfo,
    /// It has been shut down: nothing is started or told for it any more.
    pub(crate) terminating: bool,
    /// Launches that wait for the hooks, by token.
    pub(crate) launches: BTreeMap<u64, PendingLaunch>,
    pub(crate) executors: BTreeMap<ExecutorId, Executor>,
    /// The executor of every task that is queued, launched or terminated.
    pub(crate) tasks: BTreeMap<TaskId, ExecutorId>,
    pub(crate) completed_executors: VecDeque<CompletedExecutor>,
}

/// Tasks that have come in and wait.
#[derive(Clone, Debug)]
pub(crate) struct PendingLaunch {
    pub(crate) tasks: Vec<TaskInfo>,
    /// The executor of a group; single tasks carry theirs.
    pub(crate) group: Option<ExecutorInfo>,
    pub(crate) launch_executor: bool,
    pub(crate) arrived: Duration,
}

/// A framework that has nothing on this agent any more.
#[derive(Clone, Debug)]
pub(crate) struct CompletedFramework {
    pub(crate) id: FrameworkId,
    pub(crate) info: FrameworkInfo,
    pub(crate) executors: VecDeque<CompletedExecutor>,
}

impl Framework {
    pub(crate) fn new(id: FrameworkId, info: FrameworkInfo) -> Self {
        Self {
            id,
            info,
            terminating: false,
            launches: BTreeMap::new(),
            executors: BTreeMap::new(),
            tasks: BTreeMap::new(),
            completed_executors: VecDeque::new(),
        }
    }

    /// What a task is called that will never run, or that is gone: one state for frameworks that know partitions, one for
    /// those that do not.
    pub(crate) fn state_or_lost(&self, aware: TaskState) -> TaskState {
        if can(&self.info, Capability::PartitionAware) { aware } else { TaskState::TaskLost }
    }

    pub(crate) fn idle(&self) -> bool {
        self.executors.is_empty() && self.launches.is_empty()
    }

    /// The executor that has or had this task, as long as updates of it are not acknowledged.
    pub(crate) fn executor_of(&self, task: &TaskId) -> Option<&Executor> {
        self.executors.get(self.tasks.get(task)?)
    }

    pub(crate) fn executor_of_mut(&mut self, task: &TaskId) -> Option<&mut Executor> {
        self.executors.get_mut(self.tasks.get(task)?)
    }
}

pub(crate) fn can(info: &FrameworkInfo, capability: Capability) -> bool {
    info.capabilities.iter().any(|c| c.r#type() == capability)
}
