//! How things end: executors are told to end, are forgotten when nothing of them is left, and frameworks with them.

use mezzo_model::{ContainerId, ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::executor::{Event, event};
use mezzo_proto::v1::link::{ExecutorExited, from_agent};

use crate::agent::{Agent, Phase};
use crate::effect::{Checkpoint, Effect, ExecutorRemoved, Measure};
use crate::executor::{Cause, CompletedExecutor, Executor, State};
use crate::framework::CompletedFramework;
use crate::task::Place;
use crate::timers::Timer;
use crate::turn::Turn;
use crate::updates::close_stream;

/// Asks an executor to end; if it does not, its container is destroyed.
pub(crate) fn shut_down_executor(
    agent: &mut Agent,
    turn: &mut Turn,
    container: &ContainerId,
    cause: Option<Cause>,
) {
    let Some(grace) = agent.inside(container).map(|e| e.shutdown_grace(&agent.settings)) else {
        return;
    };
    let Some(executor) = agent.in_container(container) else { return };
    if !executor.is_live() {
        return;
    }
    executor.state = State::Terminating;
    if cause.is_some() {
        executor.ended_for = cause;
    }
    let session = executor.session;
    let old = executor.deadline.take();
    // An executor that is not connected cannot hear it; it may be back before the deadline.
    let at = turn.now.at + grace;
    executor.deadline = Some(at);
    if let Some(old) = old {
        agent.timers.cancel(old, Timer::Registration(container.clone()));
    }
    agent.timers.set(at, Timer::Shutdown(container.clone()));
    turn.tell_executor(
        session,
        Event { r#type: Some(event::Type::Shutdown.into()), ..Event::default() },
    );
}

/// Ends an executor's container at once.
pub(crate) fn destroy_executor(
    agent: &mut Agent,
    turn: &mut Turn,
    container: &ContainerId,
    cause: Cause,
) {
    let Some(executor) = agent.in_container(container) else { return };
    if executor.state == State::Terminated {
        return;
    }
    executor.state = State::Terminating;
    executor.ended_for.get_or_insert(cause);
    cancel_deadline(agent, container);
    turn.push(Effect::Destroy(container.clone()));
}

/// Takes the deadline of an executor out, whichever it is.
pub(crate) fn cancel_deadline(agent: &mut Agent, container: &ContainerId) {
    let Some(executor) = agent.in_container(container) else { return };
    if let Some(at) = executor.deadline.take() {
        agent.timers.cancel(at, Timer::Registration(container.clone()));
        agent.timers.cancel(at, Timer::Shutdown(container.clone()));
    }
}

/// A task whose last update is acknowledged.
pub(crate) fn complete_task(
    agent: &mut Agent,
    turn: &mut Turn,
    framework_id: &FrameworkId,
    task_id: &TaskId,
) {
    let keep = agent.settings.history.tasks;
    let Some(framework) = agent.frameworks.get_mut(framework_id) else { return };
    let Some(executor_id) = framework.tasks.remove(task_id) else { return };
    let Some(executor) = framework.executors.get_mut(&executor_id) else { return };
    if let Some(task) = executor.tasks.remove(task_id) {
        executor.completed.push_back(task);
        while executor.completed.len() > keep {
            executor.completed.pop_front();
        }
    }
    crate::commands::acknowledge::compact(agent, turn, framework_id, &executor_id);
    remove_if_over(agent, turn, framework_id, &executor_id);
}

/// Forgets an executor that has ended and whose tasks are all completed, and its framework if that has nothing else.
pub(crate) fn remove_if_over(
    agent: &mut Agent,
    turn: &mut Turn,
    framework_id: &FrameworkId,
    executor_id: &ExecutorId,
) {
    let Some(framework) = agent.frameworks.get_mut(framework_id) else { return };
    let over = framework.executors.get(executor_id).is_some_and(|e| {
        e.state == State::Terminated && (framework.terminating || e.tasks.is_empty())
    });
    if over && let Some(executor) = framework.executors.remove(executor_id) {
        forget(agent, turn, framework_id, executor);
    }
    remove_if_idle(agent, turn, framework_id);
}

fn forget(agent: &mut Agent, turn: &mut Turn, framework_id: &FrameworkId, mut executor: Executor) {
    let keep = agent.settings.history;
    agent.containers.remove(&executor.container);
    agent.awaited.remove(&executor.container);
    if let Some(session) = executor.session {
        agent.sessions.remove(&session);
        turn.push(Effect::CloseExecutor { session, refusal: None });
    }
    let left: Vec<TaskId> = executor.tasks.keys().cloned().collect();
    for task in left {
        close_stream(agent, &(framework_id.clone(), task.clone()));
        let Some(task) = executor.tasks.remove(&task) else { continue };
        if task.place != Place::Terminated {
            turn.measure(Measure::TaskForgotten(task.state));
        }
        executor.completed.push_back(task);
    }
    while executor.completed.len() > keep.tasks {
        executor.completed.pop_front();
    }
    if executor.checkpoint {
        turn.push(Effect::Checkpoint(Checkpoint::RemoveRun {
            framework: framework_id.clone(),
            executor: executor.id.clone(),
            container: executor.container.clone(),
        }));
    }
    let Some(framework) = agent.frameworks.get_mut(framework_id) else { return };
    framework.tasks.retain(|_, id| *id != executor.id);
    turn.push(Effect::ExecutorRemoved(Box::new(ExecutorRemoved {
        framework: framework.info.clone(),
        executor: executor.info.clone(),
        container: executor.container.clone(),
        directory: executor.directory.clone(),
    })));
    framework.completed_executors.push_back(CompletedExecutor {
        id: executor.id,
        info: executor.info,
        tasks: executor.completed,
    });
    while framework.completed_executors.len() > keep.executors {
        framework.completed_executors.pop_front();
    }
}

/// Forgets a framework that has neither executors nor launches that wait.
pub(crate) fn remove_if_idle(agent: &mut Agent, turn: &mut Turn, id: &FrameworkId) {
    if !agent.frameworks.get(id).is_some_and(|f| f.idle()) {
        return;
    }
    let Some(framework) = agent.frameworks.remove(id) else { return };
    if framework.info.checkpoint() {
        turn.push(Effect::Checkpoint(Checkpoint::RemoveFramework(id.clone())));
    }
    agent.completed.push_back(CompletedFramework {
        id: framework.id,
        info: framework.info,
        executors: framework.completed_executors,
    });
    while agent.completed.len() > agent.settings.history.frameworks {
        agent.completed.pop_front();
    }
}

/// Tells the master that an executor it knows of is not there. The agent's own executors for commands are no affair of his.
///
/// Between the agent's first word on a connection, which lists its executors, and the master's answer it has to wait: the
/// master would go on believing in an executor that was on the list.
pub(crate) fn executor_exited(
    agent: &mut Agent,
    turn: &mut Turn,
    framework: &FrameworkId,
    executor: &ExecutorId,
    status: i32,
) {
    let exited = ExecutorExited {
        framework_id: v1::FrameworkId { value: framework.as_str().to_owned() },
        executor_id: v1::ExecutorId { value: executor.as_str().to_owned() },
        status,
    };
    if agent.phase == Phase::Disconnected {
        agent.exits.push(exited);
    } else {
        turn.tell_master(agent, from_agent::Message::ExecutorExited(exited));
    }
}

/// An agent that was told to stop stops when its last executor has ended.
pub(crate) fn exit_if_empty(agent: &mut Agent, turn: &mut Turn) {
    if agent.phase != Phase::Terminating {
        return;
    }
    let busy = agent
        .frameworks
        .values()
        .flat_map(|f| f.executors.values())
        .any(|e| e.state != State::Terminated);
    if busy {
        return;
    }
    let Some(exit) = agent.exit.as_mut() else { return };
    if !exit.done {
        exit.done = true;
        turn.push(Effect::Exit { message: exit.message.clone(), failure: false });
    }
}
