//! An agent leaves the cluster: it stopped answering, it never came back after a failover of the
//! master, or it said good-bye.
//!
//! The registry knows first. Only then are its tasks called unreachable (or lost, to frameworks that
//! do not know the difference): a master that fails over in between must not have said otherwise.

use std::sync::Arc;

use mezzo_model::AgentId;
use mezzo_proto::module::v1::AgentRemoved;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::state::v1::UnreachableAgent;
use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::event::Failure;
use mezzo_proto::v1::task_status::Reason;

use super::{Turn, agent_lost};
use crate::effect::{Effect, Write};
use crate::state::{AfterWrite, Agent, trim};
use crate::{events, views};

/// Begins: the registry is told.
pub(crate) fn mark(turn: &mut Turn<'_>, id: &AgentId) {
    let Some(agent) = turn.agent_mut(id) else { return };
    if agent.liveness.leaving {
        return;
    }
    agent.liveness.leaving = true;
    write_down(turn, id);
}

/// An agent of the registry has not come back in time.
pub(crate) fn not_recovered(turn: &mut Turn<'_>, id: &AgentId) {
    if turn.cluster.books.recovered_agents.contains_key(id) {
        write_down(turn, id);
    }
}

fn write_down(turn: &mut Turn<'_>, id: &AgentId) {
    let since = turn.now.wall_nanos;
    let record = UnreachableAgent { agent_id: id.into(), since: turn.now.time_info() };
    turn.persist(
        Write::MarkUnreachable(id.clone(), record),
        AfterWrite::Unreachable { id: id.clone(), since },
    );
}

/// The registry has it.
pub(crate) fn marked(turn: &mut Turn<'_>, id: &AgentId, since: i64) {
    let recovered = turn.books().recovered_agents.remove(id);
    if recovered.is_none() && turn.agent(id).is_none() {
        // It left for good meanwhile.
        return;
    }
    turn.books().unreachable_agents.insert(id.clone(), since);
    turn.books().counts.agents_unreachable += 1;
    if let Some(info) = recovered {
        tell_everybody(turn, id, &info);
    }
    let time = v1::TimeInfo { nanoseconds: since };
    remove(turn, id, v1::TaskState::TaskUnreachable, Some(time), "the agent is unreachable");
}

/// An agent shuts down and says so.
pub(crate) fn unregister(turn: &mut Turn<'_>, id: &AgentId) {
    turn.persist(Write::Remove(id.clone()), AfterWrite::Removed);
    remove(turn, id, v1::TaskState::TaskLost, None, "the agent unregistered");
}

/// Takes an agent out of the books. Its tasks get `state`; unreachable ones are kept aside.
pub(crate) fn remove(
    turn: &mut Turn<'_>,
    id: &AgentId,
    state: v1::TaskState,
    since: Option<v1::TimeInfo>,
    message: &str,
) {
    let Some(agent) = turn.agent(id).cloned() else { return };
    agent_lost::rescind_offers(turn, id);
    for (framework, task) in &agent.tasks {
        let Some(owner) = turn.framework(framework) else { continue };
        let told = owner.state_for(state);
        let mut status =
            events::status(task, Some(id), told, Reason::AgentRemoved, message, turn.now);
        status.unreachable_time = since;
        if state == v1::TaskState::TaskUnreachable {
            set_aside(turn, framework, task, &status);
        } else {
            turn.end_task(framework, task, &status);
        }
        turn.tell_framework(framework, events::update(status));
    }
    for (framework, executor) in &agent.executors {
        turn.drop_executor(framework, id, executor);
    }
    turn.allocator(Event::AgentRemoved(AgentRemoved { agent: Some(agent.key) }));
    forget(turn, &agent);
    tell_everybody(turn, id, &agent.info);
    turn.publish(views::agent_removed(id));
}

/// A task of an unreachable agent: it may come back as it was.
fn set_aside(
    turn: &mut Turn<'_>,
    framework: &mezzo_model::FrameworkId,
    task: &mezzo_model::TaskId,
    status: &v1::TaskStatus,
) {
    turn.note_status(framework, task, status.state(), status);
    turn.free_task(framework, task);
    let limit = turn.cluster.config.max_unreachable_tasks_per_framework;
    let completed = turn.cluster.config.max_completed_tasks_per_framework;
    let Some(entry) = turn.framework_mut(framework) else { return };
    let Some(gone) = entry.tasks.remove(task) else { return };
    if entry.unreachable_tasks.len() < limit {
        entry.unreachable_tasks.insert(task.clone(), gone);
    } else {
        entry.completed_tasks.push_back(gone);
        trim(&mut entry.completed_tasks, completed);
    }
}

fn forget(turn: &mut Turn<'_>, agent: &Agent) {
    let address = agent.address();
    if turn.cluster.agents_by_address.get(&address) == Some(&agent.id) {
        turn.cluster.agents_by_address.remove(&address);
    }
    turn.cluster.agents_by_key.remove(&agent.key);
    if let Some(session) = agent.liveness.session {
        turn.cluster.agents_by_session.remove(&session);
        turn.effect(Effect::CloseAgent(session));
    }
    turn.books().agents.remove(&agent.id);
}

/// Every connected framework hears that an agent is lost, whether it had tasks there or not; then the hooks do.
fn tell_everybody(turn: &mut Turn<'_>, id: &AgentId, info: &v1::AgentInfo) {
    let connected: Vec<_> =
        turn.cluster.books.frameworks.values().filter(|f| f.connected()).map(Arc::clone).collect();
    for framework in connected {
        let failure = Failure { agent_id: Some(id.into()), executor_id: None, status: None };
        turn.tell_framework(&framework.id, events::failure(failure));
    }
    turn.effect(Effect::AgentLost(Box::new(info.clone())));
}
