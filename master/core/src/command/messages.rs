//! Words between a framework and its executors, passed on as they are and never repeated.

use mezzo_model::{AgentId, ExecutorId, FrameworkId};
use mezzo_proto::v1::link::{self, from_master};
use mezzo_proto::v1::scheduler::call::{Message, Shutdown};
use mezzo_proto::v1::scheduler::event;

use super::Turn;
use crate::effect::{Code, Rejection};
use crate::events;

pub(crate) fn to_executor(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    call: Message,
) -> Result<(), Rejection> {
    let agent = AgentId::new(&call.agent_id.value);
    need_agent(turn, &agent, "message")?;
    turn.tell_agent(
        &agent,
        from_master::Message::FrameworkMessage(link::FrameworkMessage {
            framework_id: framework.into(),
            executor_id: call.executor_id,
            data: call.data,
        }),
    );
    Ok(())
}

pub(crate) fn from_executor(turn: &mut Turn<'_>, agent: &AgentId, message: link::ExecutorMessage) {
    let framework = FrameworkId::new(&message.framework_id.value);
    turn.tell_framework(
        &framework,
        events::message(event::Message {
            agent_id: agent.into(),
            executor_id: message.executor_id,
            data: message.data,
        }),
    );
}

pub(crate) fn shutdown_executor(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    call: Shutdown,
) -> Result<(), Rejection> {
    let agent = AgentId::new(&call.agent_id.value);
    need_agent(turn, &agent, "shutdown")?;
    turn.tell_agent(
        &agent,
        from_master::Message::ShutdownExecutor(link::ShutdownExecutor {
            framework_id: framework.into(),
            executor_id: call.executor_id,
        }),
    );
    Ok(())
}

/// A custom executor has ended: its framework hears of it.
pub(crate) fn executor_exited(turn: &mut Turn<'_>, agent: &AgentId, exited: &link::ExecutorExited) {
    let framework = FrameworkId::new(&exited.framework_id.value);
    let executor = ExecutorId::new(&exited.executor_id.value);
    turn.drop_executor(&framework, agent, &executor);
    turn.tell_framework(
        &framework,
        events::failure(event::Failure {
            agent_id: Some(agent.into()),
            executor_id: Some((&executor).into()),
            status: Some(exited.status),
        }),
    );
    if let Some(key) = turn.agent(agent).map(|a| a.key) {
        turn.effect(crate::Effect::Allocate(Some(key)));
    }
}

fn need_agent(turn: &Turn<'_>, agent: &AgentId, field: &str) -> Result<(), Rejection> {
    if turn.agent(agent).is_some_and(|a| a.connected()) {
        return Ok(());
    }
    Err(Rejection::new(
        Code::NotFound,
        format!("{field}.agent_id: {:?} is not a connected agent", agent.as_str()),
    ))
}
