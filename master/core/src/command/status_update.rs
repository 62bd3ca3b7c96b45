//! A status update of a task comes from its agent.
//!
//! The update is the head of the task's stream: the one that the framework is to acknowledge next.
//! Beside it stands the newest state of the task, which may be ahead. Resources are free as soon as
//! that is terminal, however long the framework takes to acknowledge.

use std::sync::Arc;

use mezzo_model::{AgentId, FrameworkId, TaskId};
use mezzo_proto::v1::link::{ShutdownFramework, StatusUpdate, from_master};

use super::{Turn, reregister};
use crate::effect::{Code, Rejection};
use crate::events;
use crate::state::is_terminal;

pub(crate) fn apply(turn: &mut Turn<'_>, agent: &AgentId, update: StatusUpdate) {
    let framework = FrameworkId::new(&update.framework_id.value);
    let task = TaskId::new(&update.status.task_id.value);
    let latest = update.latest_state();
    turn.books().counts.status_updates += 1;
    if turn.framework(&framework).is_none() {
        turn.reject(Rejection::new(
            Code::NotFound,
            format!(
                "status_update.framework_id: {:?} is not a framework of this cluster",
                framework.as_str()
            ),
        ));
        // Nobody will acknowledge it. The books had nothing on the agent when the framework was removed, so the agent was
        // not told; without a word it would send the update for ever.
        if reregister::is_completed(turn, &framework) {
            let framework_id = (&framework).into();
            let end = from_master::Message::ShutdownFramework(ShutdownFramework { framework_id });
            turn.tell_agent(agent, end);
        }
        return;
    }
    let mut status = update.status;
    status.agent_id = Some(agent.into());
    let entry = turn
        .framework_mut(&framework)
        .and_then(|f| f.tasks.get_mut(&task))
        .filter(|t| t.agent == *agent)
        .map(Arc::make_mut);
    if let Some(entry) = entry {
        entry.view.status_update_state = Some(status.state);
        entry.view.status_update_uuid.clone_from(&status.uuid);
        let was_live = !is_terminal(entry.view.state());
        if was_live && is_terminal(latest) {
            turn.count_end(latest);
        }
        turn.note_status(&framework, &task, latest, &status);
        if is_terminal(latest) {
            turn.free_task(&framework, &task);
        }
    }
    // Also of a task that is not in the books: the agent holds it until it is acknowledged.
    turn.tell_framework(&framework, events::update(status));
}
