//! A task on this agent.

use std::time::Duration;

use mezzo_model::{ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1::{self, TaskInfo, TaskState, TaskStatus};

use crate::stream::Stream;

/// Whether a task in this state is over.
pub fn is_terminal(state: TaskState) -> bool {
    use TaskState::{
        TaskDropped, TaskError, TaskFailed, TaskFinished, TaskGone, TaskGoneByOperator, TaskKilled,
        TaskLost,
    };
    matches!(
        state,
        TaskFinished
            | TaskFailed
            | TaskKilled
            | TaskError
            | TaskLost
            | TaskDropped
            | TaskGone
            | TaskGoneByOperator
    )
}

/// Where a task is between its arrival and the acknowledgement of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its executor has not heard of it.
    Queued,
    /// Its executor has it.
    Launched,
    /// It is over; its updates are not all acknowledged.
    Terminated,
}

/// A task with its executor.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) info: TaskInfo,
    pub(crate) place: Place,
    /// The newest state, which may be ahead of what the master has heard.
    pub(crate) state: TaskState,
    /// The updates so far, without their data; of equal states only the newest.
    pub(crate) statuses: Vec<TaskStatus>,
    /// When it came to this agent; none if that was an earlier life.
    pub(crate) arrived: Option<Duration>,
}

impl Task {
    pub(crate) fn new(info: TaskInfo, arrived: Option<Duration>) -> Self {
        Self {
            info,
            place: Place::Queued,
            state: TaskState::TaskStaging,
            statuses: Vec::new(),
            arrived,
        }
    }

    pub(crate) fn id(&self) -> TaskId {
        TaskId::new(&self.info.task_id.value)
    }

    /// Takes note of an update.
    pub(crate) fn record(&mut self, status: &TaskStatus) {
        self.state = status.state();
        if self.statuses.last().is_some_and(|last| last.state == status.state) {
            self.statuses.pop();
        }
        let mut status = status.clone();
        status.data = None;
        self.statuses.push(status);
    }

    /// As the master and operators see it.
    pub(crate) fn view(
        &self,
        framework: &FrameworkId,
        executor: Option<&ExecutorId>,
        user: Option<&str>,
        stream: Option<&Stream>,
    ) -> v1::Task {
        let head = stream.and_then(Stream::head).or(self.statuses.last());
        v1::Task {
            name: self.info.name.clone(),
            task_id: self.info.task_id.clone(),
            framework_id: v1::FrameworkId { value: framework.as_str().to_owned() },
            executor_id: executor.map(|e| v1::ExecutorId { value: e.as_str().to_owned() }),
            agent_id: self.info.agent_id.clone(),
            state: self.state.into(),
            resources: self.info.resources.clone(),
            statuses: self.statuses.clone(),
            status_update_state: head.map(|s| s.state),
            status_update_uuid: head.and_then(|s| s.uuid.clone()),
            labels: self.info.labels.clone(),
            discovery: self.info.discovery.clone(),
            container: self.info.container.clone(),
            health_check: self.info.health_check.clone(),
            kill_policy: self.info.kill_policy,
            user: user.map(str::to_owned),
            limits: self.info.limits.clone(),
        }
    }
}
