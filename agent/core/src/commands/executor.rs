//! Executors connect, tell of their tasks, and leave.

use std::collections::BTreeSet;

use bytes::Bytes;
use mezzo_model::{ContainerId, ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1::executor::{Event, call, event};
use mezzo_proto::v1::link::{ExecutorMessage, from_agent};
use mezzo_proto::v1::task_status::{Reason, Source};
use mezzo_proto::v1::{self, TaskState};

use crate::agent::Agent;
use crate::command::ExecutorCall;
use crate::commands::{deliver, kill_task, recovered};
use crate::effect::{Effect, Measure};
use crate::executor::State;
use crate::removal;
use crate::task::Place;
use crate::turn::Turn;
use crate::updates::{self, Update, Verdict};

/// Something an executor says.
pub(crate) fn call(
    agent: &mut Agent,
    turn: &mut Turn,
    session: u64,
    framework: FrameworkId,
    executor: ExecutorId,
    call: ExecutorCall,
) {
    if let ExecutorCall::Subscribe(subscribe) = call {
        return self::subscribe(agent, turn, session, framework, executor, subscribe);
    }
    // A connection that was replaced has nothing to say any more.
    let Some((framework, executor)) = agent.sessions.get(&session).cloned() else { return };
    match call {
        ExecutorCall::Update(update) => self::update(agent, turn, &framework, &executor, update),
        ExecutorCall::Message(data) => message(agent, turn, &framework, &executor, data),
        ExecutorCall::Subscribe(_) => {}
    }
}

fn subscribe(
    agent: &mut Agent,
    turn: &mut Turn,
    session: u64,
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    subscribe: call::Subscribe,
) {
    let agent_info = agent.info();
    let Some(framework) = agent.frameworks.get_mut(&framework_id) else {
        let refusal = Some(format!("framework {framework_id} has nothing on this agent"));
        return turn.push(Effect::CloseExecutor { session, refusal });
    };
    let (framework_info, ending) = (framework.info.clone(), framework.terminating);
    let Some(executor) =
        framework.executors.get_mut(&executor_id).filter(|e| e.state != State::Terminated)
    else {
        let refusal =
            Some(format!("framework {framework_id} has no executor {executor_id} on this agent"));
        return turn.push(Effect::CloseExecutor { session, refusal });
    };
    let container = executor.container.clone();
    let first = executor.state == State::Registering;
    if let Some(old) = executor.session.replace(session) {
        agent.sessions.remove(&old);
        turn.push(Effect::CloseExecutor { session: old, refusal: None });
    }
    agent.sessions.insert(session, (framework_id.clone(), executor_id.clone()));
    turn.tell_executor(
        Some(session),
        Event {
            r#type: Some(event::Type::Subscribed.into()),
            subscribed: Some(event::Subscribed {
                executor_info: executor.info.clone(),
                framework_info,
                agent_info,
                container_id: Some(v1::ContainerId {
                    value: container.as_str().to_owned(),
                    parent: None,
                }),
            }),
            ..Event::default()
        },
    );
    if ending || executor.state == State::Terminating {
        turn.tell_executor(
            Some(session),
            Event { r#type: Some(event::Type::Shutdown.into()), ..Event::default() },
        );
        return recovered::not_awaited(agent, turn, &container);
    }
    executor.state = State::Running;
    if first {
        removal::cancel_deadline(agent, &container);
        return begin(agent, turn, &container);
    }
    resume(agent, turn, &framework_id, &executor_id, &container, subscribe);
    recovered::not_awaited(agent, turn, &container);
}

/// The first subscription: the executor gets what waits for it, or is not needed any more.
fn begin(agent: &mut Agent, turn: &mut Turn, container: &ContainerId) {
    let Some(executor) = agent.in_container(container) else { return };
    if executor.batches.is_empty() {
        return removal::shut_down_executor(agent, turn, container, None);
    }
    deliver::resize(agent, turn, container);
}

/// The executor is back: it says what it has, the agent says what it missed.
fn resume(
    agent: &mut Agent,
    turn: &mut Turn,
    framework_id: &FrameworkId,
    executor_id: &ExecutorId,
    container: &ContainerId,
    subscribe: call::Subscribe,
) {
    let mut known: BTreeSet<String> =
        subscribe.unacknowledged_tasks.into_iter().map(|t| t.task_id.value).collect();
    known.extend(subscribe.unacknowledged_updates.iter().map(|u| u.status.task_id.value.clone()));
    for update in subscribe.unacknowledged_updates {
        self::update(agent, turn, framework_id, executor_id, update);
    }
    let lost = agent.frameworks.get(framework_id).map(|f| f.state_or_lost(TaskState::TaskDropped));
    let (Some(state), Some(executor)) = (lost, agent.in_container(container)) else { return };
    let missed: Vec<TaskId> = executor
        .tasks
        .values()
        .filter(|t| t.place == Place::Launched && t.state == TaskState::TaskStaging)
        .filter(|t| !known.contains(&t.info.task_id.value))
        .map(|t| t.id())
        .collect();
    // It would wait for a task for ever: one that was for it and did not get there, or, if it is the agent's own for a
    // command, one that was killed before. An earlier life may have told it to end and is not remembered.
    let useless = if executor.is_command() {
        known.is_empty() && executor.active().all(|t| missed.contains(&t.id()))
    } else {
        !missed.is_empty() && missed.len() == executor.tasks.len() && executor.completed.is_empty()
    };
    for task in missed {
        let verdict = Verdict {
            state,
            reason: Reason::AgentRestarted,
            message: "Task launched during agent restart".to_owned(),
        };
        updates::declare(agent, turn, framework_id, &task, Some(executor_id), verdict, &[]);
    }
    if useless {
        return removal::shut_down_executor(agent, turn, container, None);
    }
    let Some(executor) = agent.in_container(container) else { return };
    let session = executor.session;
    for (task, policy) in std::mem::take(&mut executor.kills) {
        turn.tell_executor(session, kill_task::kill_event(&task, policy));
    }
    // Isolators that came up with the agent do not know what the container may use.
    deliver::resize(agent, turn, container);
    deliver::send(agent, turn, container);
}

fn update(
    agent: &mut Agent,
    turn: &mut Turn,
    framework: &FrameworkId,
    executor: &ExecutorId,
    update: call::Update,
) {
    let mut status = update.status;
    let own = agent.id.as_ref().map_or("", |id| id.as_str());
    let foreign = status.agent_id.as_ref().is_some_and(|id| id.value != own);
    if foreign || status.uuid.as_ref().is_none_or(|uuid| uuid.len() != 16) {
        turn.note(format!(
            "update of task {} from executor {executor} is not valid; dropped",
            status.task_id.value
        ));
        return turn.measure(Measure::UpdateInvalid);
    }
    let Some(container) = agent.executor(framework, executor).map(|e| e.container.clone()) else {
        return;
    };
    if status.state() == TaskState::TaskStaging {
        turn.note(format!(
            "executor {executor} says TASK_STAGING, which only an agent may; it is shut down"
        ));
        return removal::shut_down_executor(agent, turn, &container, None);
    }
    status.agent_id.get_or_insert_with(|| v1::AgentId { value: own.to_owned() });
    status.timestamp.get_or_insert(turn.now.wall);
    status.source = Some(Source::Executor.into());
    updates::receive(
        agent,
        turn,
        Update { framework: framework.clone(), status, from: Some(container) },
    );
}

fn message(
    agent: &Agent,
    turn: &mut Turn,
    framework: &FrameworkId,
    executor: &ExecutorId,
    data: Bytes,
) {
    turn.tell_master(
        agent,
        from_agent::Message::ExecutorMessage(ExecutorMessage {
            framework_id: v1::FrameworkId { value: framework.as_str().to_owned() },
            executor_id: v1::ExecutorId { value: executor.as_str().to_owned() },
            data,
        }),
    );
}

/// The connection is gone. The executor may come back; its container ends if it is gone for good.
pub(crate) fn left(agent: &mut Agent, session: u64) {
    let Some((framework, executor)) = agent.sessions.remove(&session) else { return };
    if let Some(executor) = agent.executor_mut(&framework, &executor)
        && executor.session == Some(session)
    {
        executor.session = None;
    }
}
