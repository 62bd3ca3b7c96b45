//! A task shall end.

use mezzo_model::{ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1::executor::{Event, event};
use mezzo_proto::v1::link::KillTask;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{self, KillPolicy, TaskState};

use crate::agent::Agent;
use crate::effect::Measure;
use crate::executor::State;
use crate::removal;
use crate::task::Place;
use crate::turn::Turn;
use crate::updates::{self, Verdict};

pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, message: KillTask) {
    let id = FrameworkId::new(&message.framework_id.value);
    let task = TaskId::new(&message.task_id.value);
    let Some(framework) = agent.frameworks.get(&id) else {
        return turn
            .note(format!("task {task} of framework {id}, which is not here, cannot be killed"));
    };
    if framework.terminating {
        return;
    }
    if kill_pending(agent, turn, &id, &task) {
        return;
    }
    let Some(framework) = agent.frameworks.get_mut(&id) else { return };
    let state_if_unknown = framework.state_or_lost(TaskState::TaskDropped);
    let Some(executor) = framework.executor_of_mut(&task) else {
        let verdict = Verdict {
            state: state_if_unknown,
            reason: Reason::ExecutorTerminated,
            message: "Cannot find executor".to_owned(),
        };
        return updates::declare(agent, turn, &id, &task, None, verdict, &[]);
    };
    // One that is ending tells of its tasks soon enough.
    if !executor.is_live() {
        return;
    }
    match executor.tasks.get(&task).map(|t| t.place) {
        Some(Place::Queued) => {
            let (executor_id, dead) = (executor.id.clone(), executor.undelivered_with(&task));
            killed_before_delivery(agent, turn, &id, &executor_id, &dead);
        }
        Some(Place::Launched) => {
            let Some(session) = executor.session else {
                // It is told when it is back.
                executor.kills.insert(task, message.kill_policy);
                return;
            };
            turn.tell_executor(Some(session), kill_event(&task, message.kill_policy));
        }
        Some(Place::Terminated) | None => {}
    }
}

/// What an executor hears.
pub(crate) fn kill_event(task: &TaskId, kill_policy: Option<KillPolicy>) -> Event {
    let kill = event::Kill { task_id: v1::TaskId { value: task.as_str().to_owned() }, kill_policy };
    Event { r#type: Some(event::Type::Kill.into()), kill: Some(kill), ..Event::default() }
}

fn verdict(message: &str) -> Verdict {
    Verdict {
        state: TaskState::TaskKilled,
        reason: Reason::TaskKilledDuringLaunch,
        message: message.to_owned(),
    }
}

/// Kills a task, and its group, that waits for the hooks.
fn kill_pending(agent: &mut Agent, turn: &mut Turn, id: &FrameworkId, task: &TaskId) -> bool {
    let Some(framework) = agent.frameworks.get_mut(id) else { return false };
    let token = framework
        .launches
        .iter()
        .find(|(_, l)| l.tasks.iter().any(|t| t.task_id.value == task.as_str()))
        .map(|(token, _)| *token);
    let Some(launch) = token.and_then(|t| framework.launches.remove(&t)) else { return false };
    let custom =
        launch.group.as_ref().or_else(|| launch.tasks.first().and_then(|t| t.executor.as_ref()));
    let executor = custom.map(|e| ExecutorId::new(&e.executor_id.value));
    for task in &launch.tasks {
        turn.measure(Measure::TaskMoved {
            from: Some(TaskState::TaskStaging),
            to: TaskState::TaskKilled,
        });
        let task = TaskId::new(&task.task_id.value);
        let verdict = verdict("Killed before it was launched");
        updates::declare(agent, turn, id, &task, executor.as_ref(), verdict, &[]);
    }
    if let (Some(executor), true) = (executor, launch.launch_executor)
        && agent.executor(id, &executor).is_none()
    {
        removal::executor_exited(agent, turn, id, &executor, -1);
    }
    removal::remove_if_idle(agent, turn, id);
    true
}

fn killed_before_delivery(
    agent: &mut Agent,
    turn: &mut Turn,
    id: &FrameworkId,
    executor_id: &ExecutorId,
    dead: &[TaskId],
) {
    // At once: hooks may take a while over the verdict, and the executor may ask meanwhile.
    if let Some(executor) = agent.executor_mut(id, executor_id) {
        executor.withdraw(dead);
    }
    for task in dead {
        let verdict = verdict("Killed before it was delivered to its executor");
        updates::declare(agent, turn, id, task, Some(executor_id), verdict, &[]);
    }
    // An executor that has subscribed and has never had a task that lived is of no use.
    let Some(executor) = agent.executor(id, executor_id) else { return };
    let only_these = executor.tasks.keys().all(|t| dead.contains(t));
    if only_these && executor.state == State::Running && executor.completed.is_empty() {
        let container = executor.container.clone();
        removal::shut_down_executor(agent, turn, &container, None);
    }
}
