//! A task as the master knows it.

use mezzo_model::{AgentId, Resources, Role, TaskId, TaskState};
use mezzo_proto::v1;

/// A task that an agent has, or had.
#[derive(Debug, Clone)]
pub struct Task {
    /// Unique among the live tasks of its framework.
    pub id: TaskId,
    /// Where it runs.
    pub agent: AgentId,
    /// Whose fair share it counts for.
    pub role: Role,
    /// What it uses until it is terminal.
    pub resources: Resources,
    /// The task as it is shown: state, statuses, the update at the head of its stream.
    pub view: v1::Task,
    /// Whether its resources have been given back.
    pub freed: bool,
}

/// Whether nothing can follow a state.
pub(crate) fn is_terminal(state: v1::TaskState) -> bool {
    TaskState::from(state).is_terminal()
}

impl Task {
    /// Its newest state.
    #[must_use]
    pub fn state(&self) -> v1::TaskState {
        self.view.state()
    }
}
