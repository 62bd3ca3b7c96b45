//! What the agent has not acknowledged yet: sent again, all of it, whenever the executor subscribes.

use mezzo_proto::v1::executor::call::{Subscribe, Update};
use mezzo_proto::v1::{AgentId, ExecutorId, TaskInfo, TaskState, TaskStatus, task_status};
use uuid::Uuid;

use crate::core::Report;

/// Tasks and updates without an acknowledgement.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    tasks: Vec<TaskInfo>,
    updates: Vec<TaskStatus>,
}

impl Updates {
    /// A task has come in; it counts as unacknowledged until one of its updates is acknowledged.
    pub(crate) fn add_task(&mut self, task: TaskInfo) {
        self.tasks.push(task);
    }

    /// Makes the status of a report and keeps it until it is acknowledged.
    pub(crate) fn add(
        &mut self,
        report: Report,
        executor_id: &str,
        agent_id: Option<&str>,
        epoch_seconds: f64,
    ) -> TaskStatus {
        let status = TaskStatus {
            task_id: report.task_id,
            state: report.state.into(),
            message: report.message,
            source: Some(task_status::Source::Executor.into()),
            reason: report.reason.map(Into::into),
            agent_id: agent_id.map(|value| AgentId { value: value.to_owned() }),
            executor_id: Some(ExecutorId { value: executor_id.to_owned() }),
            timestamp: Some(epoch_seconds),
            uuid: Some(Uuid::new_v4().into_bytes().to_vec().into()),
            healthy: report.healthy,
            ..TaskStatus::default()
        };
        self.updates.push(status.clone());
        status
    }

    /// The agent has got the update; whether that was the last one of a task.
    pub(crate) fn acknowledged(&mut self, task_id: &str, uuid: &[u8]) -> bool {
        self.tasks.retain(|t| t.task_id.value != task_id);
        let mut terminal = false;
        self.updates.retain(|status| {
            let it = status.uuid.as_deref() == Some(uuid) && status.task_id.value == task_id;
            terminal |= it && is_terminal(status.state());
            !it
        });
        terminal
    }

    /// What a SUBSCRIBE call carries.
    pub(crate) fn subscribe(&self) -> Subscribe {
        Subscribe {
            unacknowledged_tasks: self.tasks.clone(),
            unacknowledged_updates: self
                .updates
                .iter()
                .map(|status| Update { status: status.clone() })
                .collect(),
        }
    }
}

fn is_terminal(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::TaskFinished
            | TaskState::TaskFailed
            | TaskState::TaskKilled
            | TaskState::TaskError
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::TaskId;

    use super::*;

    fn report(state: TaskState) -> Report {
        Report {
            task_id: TaskId { value: "t".to_owned() },
            state,
            message: None,
            reason: None,
            healthy: None,
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() {
        let mut updates = Updates::default();
        updates.add_task(TaskInfo {
            task_id: TaskId { value: "t".to_owned() },
            ..TaskInfo::default()
        });
        let running = updates.add(report(TaskState::TaskRunning), "e", None, 1.0);
        let finished = updates.add(report(TaskState::TaskFinished), "e", None, 2.0);
        assert_eq!(running.uuid.as_ref().unwrap().len(), 16);
        assert_ne!(running.uuid, finished.uuid);

        assert!(!updates.acknowledged("t", running.uuid.as_ref().unwrap()));
        let subscribe = updates.subscribe();
        assert!(subscribe.unacknowledged_tasks.is_empty());
        assert_eq!(subscribe.unacknowledged_updates.len(), 1);

        assert!(!updates.acknowledged("t", b"another"), "an unknown uuid changes nothing");
        assert!(updates.acknowledged("t", finished.uuid.as_ref().unwrap()));
        assert!(updates.subscribe().unacknowledged_updates.is_empty());
    }
}
