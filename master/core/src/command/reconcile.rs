//! RECONCILE: what the master knows of tasks. Answers carry no uuid and are never acknowledged.

use mezzo_model::{AgentId, FrameworkId, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::call::{Reconcile, reconcile};
use mezzo_proto::v1::task_status::Reason;

use super::Turn;
use crate::events;
use crate::state::Task;

/// No task named: all live ones. Else one answer for each, except where it is not known yet.
pub(crate) fn apply(turn: &mut Turn<'_>, id: &FrameworkId, call: Reconcile) {
    let Some(framework) = turn.framework(id).cloned() else { return };
    if call.tasks.is_empty() {
        for task in framework.tasks.values() {
            tell_known(turn, id, task);
        }
        return;
    }
    for asked in call.tasks {
        let task = TaskId::new(&asked.task_id.value);
        match framework.tasks.get(&task) {
            Some(known) => tell_known(turn, id, known),
            None => tell_unknown(turn, id, &task, asked),
        }
    }
}

/// The state that the framework was sent last, if it was sent any: never one that overtakes an
/// update on its way.
fn tell_known(turn: &mut Turn<'_>, id: &FrameworkId, task: &Task) {
    let state = match task.view.status_update_state {
        Some(_) => task.view.status_update_state(),
        None => task.view.state(),
    };
    let last = task.view.statuses.iter().rev().find(|s| s.state() == state);
    let mut status = events::status(
        &task.id,
        Some(&task.agent),
        state,
        Reason::Reconciliation,
        "the latest state that is known",
        turn.now,
    );
    if let Some(last) = last {
        status.healthy = last.healthy;
        status.check_status.clone_from(&last.check_status);
        status.container_status.clone_from(&last.container_status);
        status.labels.clone_from(&last.labels);
    }
    turn.tell_framework(id, events::update(status));
}

fn tell_unknown(turn: &mut Turn<'_>, id: &FrameworkId, task: &TaskId, asked: reconcile::Task) {
    let books = &turn.cluster.books;
    let agent = asked.agent_id.map(|a| AgentId::new(&a.value));
    let mut since = None;
    let (aware, what) = match &agent {
        // The agent may still come back with the task: an answer now could be wrong.
        Some(agent) if books.recovered_agents.contains_key(agent) => return,
        None if !books.recovered_agents.is_empty() => return,
        Some(agent) if books.agents.contains_key(agent) => {
            (v1::TaskState::TaskGone, "the agent is registered and does not have the task")
        }
        Some(agent) => match books.unreachable_agents.get(agent) {
            Some(nanoseconds) => {
                since = Some(v1::TimeInfo { nanoseconds: *nanoseconds });
                (v1::TaskState::TaskUnreachable, "the agent is unreachable")
            }
            None => (v1::TaskState::TaskUnknown, "neither task nor agent is known"),
        },
        None => (v1::TaskState::TaskUnknown, "the task is not known"),
    };
    let Some(framework) = turn.framework(id) else { return };
    let state = framework.state_for(aware);
    let mut status =
        events::status(task, agent.as_ref(), state, Reason::Reconciliation, what, turn.now);
    status.unreachable_time = since;
    turn.tell_framework(id, events::update(status));
}
