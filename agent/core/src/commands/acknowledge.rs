//! A framework has acknowledged an update.

use mezzo_model::{ExecutorId, FrameworkId, TaskId};
use mezzo_proto::state::v1::{
    RunRecord, Started, StatusAcknowledged, StatusUpdated, TaskAdded, run_record::Record,
};
use mezzo_proto::v1;
use mezzo_proto::v1::link::Acknowledge;

use crate::agent::Agent;
use crate::effect::{Checkpoint, Effect, Measure};
use crate::removal;
use crate::task::is_terminal;
use crate::timers::Timer;
use crate::turn::Turn;
use crate::updates;

/// A journal with fewer records than this is never rewritten.
const REWRITE_ABOVE: usize = 4096;

pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, message: &Acknowledge) {
    let key = (FrameworkId::new(&message.framework_id.value), TaskId::new(&message.task_id.value));
    let Some(stream) = agent.streams.get_mut(&key) else {
        return turn.note(format!(
            "acknowledgement for task {} of framework {} that has no updates",
            key.1, key.0
        ));
    };
    let Some(status) = stream.acknowledge(&message.uuid) else {
        // An old one: the update was sent more than once, and this one was acknowledged before.
        return;
    };
    turn.measure(Measure::UpdateAcknowledged);
    if let Some(at) = stream.retry_at.take() {
        agent.timers.cancel(at, Timer::Retry(key.0.clone(), key.1.clone()));
    }
    if let Some(container) = stream.journal.clone() {
        let record =
            StatusAcknowledged { task_id: message.task_id.clone(), uuid: message.uuid.clone() };
        turn.journal(agent, &container, Record::StatusAcknowledged(record));
    }
    if is_terminal(status.state()) {
        updates::close_stream(agent, &key);
        removal::complete_task(agent, turn, &key.0, &key.1);
    } else {
        updates::send_head(agent, turn, &key);
    }
}

/// Rewrites the journal of a run when most of it is about tasks that are over.
pub(crate) fn compact(
    agent: &mut Agent,
    turn: &mut Turn,
    framework: &FrameworkId,
    executor_id: &ExecutorId,
) {
    let Some(executor) = agent.executor(framework, executor_id) else { return };
    if !executor.checkpoint
        || executor.appended < REWRITE_ABOVE
        || executor.appended < 16 * executor.tasks.len()
    {
        return;
    }
    let mut records = vec![Record::Started(Started {
        executor: executor.info.clone(),
        container_id: v1::ContainerId {
            value: executor.container.as_str().to_owned(),
            parent: None,
        },
        command_executor: executor.is_command(),
        command_task: executor.command_task.clone(),
    })];
    for (id, task) in &executor.tasks {
        if !executor.is_command() {
            records.push(Record::TaskAdded(TaskAdded { task: task.info.clone() }));
        }
        // The newest acknowledged update is needed for the state it tells.
        let pending: Vec<_> = agent
            .streams
            .get(&(framework.clone(), id.clone()))
            .map(|s| s.pending().cloned().collect())
            .unwrap_or_default();
        if pending.is_empty()
            && let Some(status) = task.statuses.last()
        {
            let uuid = status.uuid.clone().unwrap_or_default();
            records.push(Record::StatusUpdated(StatusUpdated { status: status.clone() }));
            records.push(Record::StatusAcknowledged(StatusAcknowledged {
                task_id: status.task_id.clone(),
                uuid,
            }));
        }
        records.extend(
            pending.into_iter().map(|status| Record::StatusUpdated(StatusUpdated { status })),
        );
    }
    let records: Vec<RunRecord> =
        records.into_iter().map(|record| RunRecord { record: Some(record) }).collect();
    let container = executor.container.clone();
    if let Some(executor) = agent.executor_mut(framework, executor_id) {
        executor.appended = records.len();
    }
    turn.push(Effect::Checkpoint(Checkpoint::Rewrite {
        framework: framework.clone(),
        executor: executor_id.clone(),
        container,
        records,
    }));
}
