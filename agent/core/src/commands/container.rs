//! Containers start, change and end.

use mezzo_model::{ContainerId, TaskId};
use mezzo_proto::v1::TaskState;
use mezzo_proto::v1::task_status::Reason;

use crate::agent::Agent;
use crate::command::Termination;
use crate::commands::{deliver, recovered};
use crate::effect::{Effect, Measure};
use crate::executor::{Cause, State};
use crate::removal;
use crate::turn::Turn;
use crate::updates::{self, Verdict};

/// A container runs, or could not be started.
pub(crate) fn launched(
    agent: &mut Agent,
    turn: &mut Turn,
    container: &ContainerId,
    result: Result<(), String>,
) {
    match result {
        Ok(()) => {
            if agent.inside(container).is_none_or(|e| e.state == State::Terminated) {
                // Its end was told before its start; it must not stay.
                turn.push(Effect::Destroy(container.clone()));
            }
        }
        Err(message) => {
            let termination = Termination {
                state: Some(TaskState::TaskFailed),
                reason: Some(Reason::ContainerLaunchFailed),
                message: Some(message),
                ..Termination::default()
            };
            ended(agent, turn, container, termination);
        }
    }
}

/// A container has been changed, or could not be.
pub(crate) fn updated(
    agent: &mut Agent,
    turn: &mut Turn,
    container: &ContainerId,
    token: u64,
    result: Result<(), String>,
) {
    if let Err(message) = result {
        let state = agent
            .containers
            .get(container)
            .and_then(|(framework, _)| agent.frameworks.get(framework))
            .map_or(TaskState::TaskLost, |f| f.state_or_lost(TaskState::TaskGone));
        let cause = Cause {
            state,
            reason: Reason::ContainerUpdateFailed,
            message: format!("Failed to update resources for container: {message}"),
        };
        removal::destroy_executor(agent, turn, container, cause);
    }
    deliver::changed(agent, turn, container, token);
}

/// A container has ended: so have its executor and all its tasks.
pub(crate) fn ended(
    agent: &mut Agent,
    turn: &mut Turn,
    container: &ContainerId,
    termination: Termination,
) {
    removal::cancel_deadline(agent, container);
    let Some((id, executor_id)) = agent.containers.get(container).cloned() else { return };
    let Some(executor) = agent.executor_mut(&id, &executor_id) else { return };
    if executor.state == State::Terminated {
        return;
    }
    executor.state = State::Terminated;
    executor.batches.clear();
    let is_command = executor.is_command();
    let cause = executor.ended_for.take();
    // What waited for a change of the container has nothing to wait for.
    let mut waiting = executor.change.take().map(|(_, w)| w).unwrap_or_default();
    waiting.append(&mut executor.waiting);
    let active: Vec<TaskId> = executor.active().map(|t| t.id()).collect();
    let session = executor.session.take();
    turn.measure(Measure::ExecutorEnded);
    for update in waiting {
        updates::forward(agent, turn, update);
    }
    for task in &active {
        let verdict = verdict(&termination, cause.as_ref());
        updates::declare(agent, turn, &id, task, Some(&executor_id), verdict, &termination.limited);
    }
    if let Some(session) = session {
        agent.sessions.remove(&session);
        turn.push(Effect::CloseExecutor { session, refusal: None });
    }
    if !is_command {
        removal::executor_exited(agent, turn, &id, &executor_id, termination.status.unwrap_or(-1));
    }
    removal::remove_if_over(agent, turn, &id, &executor_id);
    recovered::not_awaited(agent, turn, container);
}

/// What the tasks of an ended container are told: the containerizer knows best, then the agent if it ended it.
fn verdict(termination: &Termination, cause: Option<&Cause>) -> Verdict {
    let messages = [termination.message.as_deref(), cause.map(|c| c.message.as_str())];
    let message = messages.into_iter().flatten().collect::<Vec<_>>().join("; ");
    Verdict {
        state: termination.state.or(cause.map(|c| c.state)).unwrap_or(TaskState::TaskFailed),
        reason: termination
            .reason
            .or(cause.map(|c| c.reason))
            .unwrap_or(Reason::ExecutorTerminated),
        message: if message.is_empty() { "Executor terminated".to_owned() } else { message },
    }
}
