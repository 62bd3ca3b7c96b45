//! An agent that has an id comes back, with what it runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use mezzo_model::{AgentId, ExecutorId, FrameworkId, Resources, Role, TaskId};
use mezzo_proto::module::v1::agent_updated::{Capabilities, Total};
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::module::v1::{AgentActivated, AgentUpdated};
use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::link::{
    KillTask, ReconcileTask, Reregister, ShutdownFramework, UpdateFramework, from_master,
};
use mezzo_proto::v1::task_status::Reason;

use super::{AgentHello, Turn, agent_lost, register, subscribe};
use crate::effect::{Effect, SessionId, Write};
use crate::events;
use crate::state::{AfterWrite, Executor, Framework, Task, is_terminal};

pub(crate) fn apply(turn: &mut Turn<'_>, session: SessionId, message: Reregister) {
    let info = &message.agent_info;
    let id = match check(info) {
        Ok(id) => id,
        Err(problem) => return turn.send_away(session, problem),
    };
    let Some(known) = turn.agent(&id).cloned() else {
        // Known from the registry, unreachable, or long forgotten: in each case written first.
        return register::admit(turn, session, id, AgentHello::Reregister(message));
    };
    if known.liveness.leaving {
        // Its end is being written; it will be refused or admitted anew on its next try.
        return turn.effect(Effect::CloseAgent(session));
    }
    let imposter = known.info.hostname != info.hostname
        || (known.connected() && known.info.port() != info.port());
    if imposter {
        return turn.send_away(
            session,
            format!(
                "agent_info.id: {} belongs to the agent at {}, not to the one at {}",
                id,
                known.address(),
                crate::state::address(info)
            ),
        );
    }
    if *known.info != *info {
        turn.persist(
            Write::Admit(
                id.clone(),
                Box::new(mezzo_proto::state::v1::AdmittedAgent { info: info.clone() }),
            ),
            AfterWrite::Removed,
        );
    }
    come_back(turn, session, &id, message);
}

fn check(info: &v1::AgentInfo) -> Result<AgentId, String> {
    register::check(info)?;
    let id = info.id.as_ref().map_or("", |id| &id.value);
    AgentId::parse(id).map_err(|e| format!("agent_info.id: {e}"))
}

/// An agent whose tasks are in the books: both sides compare what they have.
fn come_back(turn: &mut Turn<'_>, session: SessionId, id: &AgentId, message: Reregister) {
    turn.cluster.agents_by_address.insert(crate::state::address(&message.agent_info), id.clone());
    register::take_over(turn, id, session);
    update_description(turn, id, &message);
    let reported: BTreeSet<(FrameworkId, TaskId)> = message.tasks.iter().map(key_of).collect();
    restore(turn, id, &message, true, None);
    let reconcile = missing(turn, id, &reported);
    drop_unreported_executors(turn, id, &message);
    if let Some(key) = turn.agent(id).map(|a| a.key) {
        turn.allocator(Event::AgentActivated(AgentActivated { agent: Some(key) }));
        turn.effect(Effect::Allocate(Some(key)));
    }
    welcome(turn, id, &message, reconcile);
}

/// An agent that the registry has just admitted, again or for the first time.
pub(crate) fn admitted(
    turn: &mut Turn<'_>,
    session: SessionId,
    id: &AgentId,
    message: Reregister,
    was_unreachable: bool,
) {
    register::enter(
        turn,
        session,
        id,
        message.agent_info.clone(),
        message.version.clone(),
        message.capabilities.clone(),
    );
    let now = turn.now.time_info();
    if let Some(agent) = turn.agent_mut(id) {
        agent.reregistered = Some(now);
    }
    let told = was_unreachable.then_some(Reason::AgentReregistered);
    restore(turn, id, &message, false, told);
    lose_unreported(turn, id);
    register::announce(turn, id);
    welcome(turn, id, &message, Vec::new());
}

/// Tasks that were set aside when the agent became unreachable, and that it has come back without:
/// those that it reported are not aside any more.
fn lose_unreported(turn: &mut Turn<'_>, id: &AgentId) {
    let mut lost = Vec::new();
    for framework in turn.cluster.books.frameworks.values() {
        let of_agent = framework.unreachable_tasks.values().filter(|task| task.agent == *id);
        let state = framework.state_for(v1::TaskState::TaskGone);
        lost.extend(of_agent.map(|task| (framework.id.clone(), task.id.clone(), state)));
    }
    for (framework, task, state) in lost {
        let message = "the agent is reachable again and does not have the task";
        let reason = Reason::AgentReregistered;
        let status = events::status(&task, Some(id), state, reason, message, turn.now);
        turn.end_task(&framework, &task, &status);
        turn.tell_framework(&framework, events::update(status));
    }
}

fn key_of(task: &v1::Task) -> (FrameworkId, TaskId) {
    (FrameworkId::new(&task.framework_id.value), TaskId::new(&task.task_id.value))
}

/// Takes over a changed description; what is in use stays in use.
fn update_description(turn: &mut Turn<'_>, id: &AgentId, message: &Reregister) {
    let now = turn.now.time_info();
    let Ok(total) = register::check(&message.agent_info) else { return };
    let Some(agent) = turn.agent_mut(id) else { return };
    agent.reregistered = Some(now);
    agent.version.clone_from(&message.version);
    agent.capabilities.clone_from(&message.capabilities);
    let key = agent.key;
    if *agent.info == message.agent_info && agent.total == total {
        return;
    }
    let mut in_use = agent.total.clone();
    in_use.subtract(&agent.available);
    let mut available = total.clone();
    available.subtract(&in_use);
    agent.total = total.clone();
    agent.available = available;
    agent.info = Arc::new(message.agent_info.clone());
    turn.allocator(Event::AgentUpdated(AgentUpdated {
        agent: Some(key),
        agent_info: Some(message.agent_info.clone()),
        total: Some(Total { resources: total.to_proto(mezzo_model::Format::PostRefinement) }),
        capabilities: Some(Capabilities { capabilities: message.capabilities.clone() }),
    }));
}

/// Enters the frameworks, executors and tasks that an agent reports and the books lack. If the
/// allocator knows the agent it is told of each; if not, it will be, with the agent. If `told` is
/// set, frameworks hear of each task's state for that reason.
fn restore(
    turn: &mut Turn<'_>,
    id: &AgentId,
    message: &Reregister,
    announced: bool,
    told: Option<Reason>,
) {
    for info in &message.frameworks {
        restore_framework(turn, info);
    }
    let mut taken = Vec::new();
    for info in &message.executors {
        taken.extend(restore_executor(turn, id, info));
    }
    for task in &message.tasks {
        taken.extend(restore_task(turn, id, task, told));
    }
    for (framework, role, resources) in taken {
        let needed = resources.unallocate();
        if turn.agent(id).is_some_and(|a| !a.available.contains(&needed)) {
            // What runs comes before what is offered.
            agent_lost::rescind_offers(turn, id);
        }
        if let Some(agent) = turn.agent_mut(id) {
            agent.available.subtract(&needed);
        }
        if announced {
            turn.allocated(&framework, &role, id, &resources);
        }
    }
}

type Taken = (FrameworkId, Role, Resources);

fn restore_framework(turn: &mut Turn<'_>, info: &v1::FrameworkInfo) {
    let Some(id) = info.id.as_ref().map(|id| FrameworkId::new(&id.value)) else { return };
    if turn.framework(&id).is_some() || is_completed(turn, &id) {
        return;
    }
    let Ok(roles) = crate::validate::framework::check(&turn.cluster.config, info, &[]) else {
        return;
    };
    let key = turn.cluster.next_key();
    let framework =
        Framework { roles: roles.subscribed, ..Framework::unknown(id, key, info.clone()) };
    subscribe::add(turn, framework, Vec::new());
}

pub(crate) fn is_completed(turn: &Turn<'_>, id: &FrameworkId) -> bool {
    turn.cluster.books.completed_frameworks.iter().any(|f| f.id == *id)
}

fn restore_executor(
    turn: &mut Turn<'_>,
    agent: &AgentId,
    info: &v1::ExecutorInfo,
) -> Option<Taken> {
    let framework = FrameworkId::new(&info.framework_id.as_ref()?.value);
    let id = ExecutorId::new(&info.executor_id.value);
    let known = turn.framework(&framework)?;
    if known.executors.contains_key(&(agent.clone(), id.clone())) {
        return None;
    }
    let resources = Resources::from_proto(&info.resources).ok()?;
    let role = role_of(known, &resources);
    let executor =
        Executor { info: info.clone(), role: role.clone(), resources: resources.clone() };
    turn.enter_executor(&framework, agent, &id, executor);
    Some((framework, role, resources))
}

fn restore_task(
    turn: &mut Turn<'_>,
    agent: &AgentId,
    view: &v1::Task,
    told: Option<Reason>,
) -> Option<Taken> {
    let (framework, id) = key_of(view);
    let known = turn.framework_mut(&framework)?;
    known.unreachable_tasks.remove(&id);
    if known.tasks.contains_key(&id) {
        return None;
    }
    let known = turn.framework(&framework)?;
    let resources = Resources::from_proto(&view.resources).ok()?;
    let role = role_of(known, &resources);
    let freed = is_terminal(view.state());
    let task = Task {
        id: id.clone(),
        agent: agent.clone(),
        role: role.clone(),
        resources: resources.clone(),
        view: view.clone(),
        freed,
    };
    turn.enter_task(&framework, task);
    if let Some(reason) = told {
        let status = events::status(
            &id,
            Some(agent),
            view.state(),
            reason,
            "the agent is reachable again",
            turn.now,
        );
        turn.tell_framework(&framework, events::update(status));
    }
    (!freed).then_some((framework, role, resources))
}

fn role_of(framework: &Framework, resources: &Resources) -> Role {
    resources
        .allocation_role()
        .or_else(|| framework.roles.first())
        .cloned()
        .unwrap_or_else(Role::star)
}

/// Tasks in the books that the agent did not report. The launch may still be on its way, so the
/// agent has the last word.
fn missing(
    turn: &Turn<'_>,
    id: &AgentId,
    reported: &BTreeSet<(FrameworkId, TaskId)>,
) -> Vec<ReconcileTask> {
    let Some(agent) = turn.agent(id) else { return Vec::new() };
    agent
        .tasks
        .iter()
        .filter(|key| !reported.contains(key))
        .filter_map(|(framework, task)| {
            Some(ReconcileTask {
                framework_id: framework.into(),
                task_id: task.into(),
                partition_aware: turn.framework(framework)?.can(Capability::PartitionAware),
            })
        })
        .collect()
}

fn drop_unreported_executors(turn: &mut Turn<'_>, id: &AgentId, message: &Reregister) {
    let reported: BTreeSet<(&str, &str)> = message
        .executors
        .iter()
        .filter_map(|e| {
            Some((e.framework_id.as_ref()?.value.as_str(), e.executor_id.value.as_str()))
        })
        .collect();
    let gone: Vec<_> = turn
        .agent(id)
        .into_iter()
        .flat_map(|a| a.executors.iter().cloned())
        .filter(|(framework, executor)| {
            !reported.contains(&(framework.as_str(), executor.as_str()))
        })
        .collect();
    for (framework, executor) in gone {
        turn.drop_executor(&framework, id, &executor);
    }
}

/// The answer, and everything that the agent missed.
fn welcome(turn: &mut Turn<'_>, id: &AgentId, message: &Reregister, reconcile: Vec<ReconcileTask>) {
    register::acknowledge(turn, id, reconcile);
    for info in &message.frameworks {
        let Some(framework) = info.id.as_ref().map(|id| FrameworkId::new(&id.value)) else {
            continue;
        };
        if is_completed(turn, &framework) {
            turn.tell_agent(
                id,
                from_master::Message::ShutdownFramework(ShutdownFramework {
                    framework_id: (&framework).into(),
                }),
            );
        } else if let Some(known) = turn.framework(&framework).filter(|f| *f.info != *info) {
            let framework_info = (*known.info).clone();
            turn.tell_agent(
                id,
                from_master::Message::UpdateFramework(UpdateFramework { framework_info }),
            );
        }
    }
    let kills = turn.agent(id).map(|a| a.pending_kills.clone()).unwrap_or_default();
    for ((framework, task), kill_policy) in kills {
        turn.tell_agent(
            id,
            from_master::Message::KillTask(KillTask {
                framework_id: (&framework).into(),
                task_id: (&task).into(),
                kill_policy,
            }),
        );
    }
}
