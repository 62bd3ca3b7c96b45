//! An agent registers for the first time: the registry admits it, then everybody sees it.

use std::sync::Arc;

use mezzo_model::{AgentId, Resources};
use mezzo_proto::module::v1::AgentAdded;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::state::v1::AdmittedAgent;
use mezzo_proto::v1;
use mezzo_proto::v1::link::{Register, Registered, from_master};

use super::{AgentHello, Turn, agent_lost, reregister, unreachable};
use crate::effect::{Effect, SessionId, Write};
use crate::state::{AfterWrite, Agent, Liveness};
use crate::views;

pub(crate) fn apply(turn: &mut Turn<'_>, session: SessionId, mut message: Register) {
    let info = &mut message.agent_info;
    if let Err(problem) = check(info) {
        turn.send_away(session, problem);
        return;
    }
    let address = crate::state::address(info);
    if let Some(id) = turn.cluster.agents_by_address.get(&address).cloned() {
        let connected = turn.agent(&id).is_some_and(|a| a.connected());
        let idle = turn.agent(&id).is_some_and(|a| a.tasks.is_empty() && a.executors.is_empty());
        if connected && idle {
            // It missed the answer to its first try, and asks again.
            take_over(turn, &id, session);
            acknowledge(turn, &id, Vec::new());
            return;
        }
        replace(turn, &id);
    }
    let id =
        AgentId::new(&format!("{}-S{}", turn.cluster.config.master_id, turn.cluster.next.agent));
    turn.cluster.next.agent += 1;
    info.id = Some((&id).into());
    admit(turn, session, id, AgentHello::Register(message));
}

/// A new agent at the address of another one: that one is no more.
fn replace(turn: &mut Turn<'_>, id: &AgentId) {
    turn.persist(Write::Remove(id.clone()), AfterWrite::Removed);
    unreachable::remove(
        turn,
        id,
        v1::TaskState::TaskLost,
        None,
        "a new agent registered at the address of this task's agent",
    );
}

/// What is wrong with an agent's description.
pub(crate) fn check(info: &v1::AgentInfo) -> Result<Resources, String> {
    if info.hostname.is_empty() {
        return Err("agent_info.hostname: is empty, expected the name of its machine".to_owned());
    }
    Resources::from_proto_at("agent_info.resources", &info.resources).map_err(|e| e.to_string())
}

/// Writes an agent to the registry; [`admitted`] goes on from there.
pub(crate) fn admit(turn: &mut Turn<'_>, session: SessionId, id: AgentId, hello: AgentHello) {
    let info = match &hello {
        AgentHello::Register(message) => message.agent_info.clone(),
        AgentHello::Reregister(message) => message.agent_info.clone(),
    };
    turn.cluster.waiting_agents.insert(session);
    turn.persist(
        Write::Admit(id.clone(), Box::new(AdmittedAgent { info })),
        AfterWrite::Admit { session, hello: Box::new(hello), id },
    );
}

/// The registry has the agent. If its connection is gone it is not entered: it would look as if it were
/// there. It will be back on another connection, and with another id if it had none before.
pub(crate) fn admitted(turn: &mut Turn<'_>, session: SessionId, id: AgentId, hello: AgentHello) {
    if !turn.cluster.waiting_agents.remove(&session) {
        if matches!(hello, AgentHello::Register(_)) {
            turn.persist(Write::Remove(id), AfterWrite::Removed);
        }
        return;
    }
    // It has tried twice, and the other try is through.
    if turn.agent(&id).is_some()
        && let AgentHello::Reregister(message) = hello
    {
        return reregister::apply(turn, session, message);
    }
    turn.books().recovered_agents.remove(&id);
    let was_unreachable = turn.books().unreachable_agents.remove(&id).is_some();
    match hello {
        AgentHello::Register(message) => {
            let address = crate::state::address(&message.agent_info);
            if let Some(other) = turn.cluster.agents_by_address.get(&address).cloned() {
                replace(turn, &other);
            }
            enter(turn, session, &id, message.agent_info, message.version, message.capabilities);
            announce(turn, &id);
            acknowledge(turn, &id, Vec::new());
        }
        AgentHello::Reregister(message) => {
            reregister::admitted(turn, session, &id, message, was_unreachable);
        }
    }
}

/// Puts an agent into the books, with nothing in use.
pub(crate) fn enter(
    turn: &mut Turn<'_>,
    session: SessionId,
    id: &AgentId,
    info: v1::AgentInfo,
    version: String,
    capabilities: Vec<v1::agent_info::Capability>,
) {
    let total = check(&info).unwrap_or_default();
    let key = turn.cluster.next_key();
    let agent = Agent {
        id: id.clone(),
        key,
        version,
        capabilities,
        available: total.clone(),
        total,
        liveness: Liveness { session: Some(session), ..Liveness::default() },
        registered: turn.now.time_info(),
        reregistered: None,
        tasks: imbl::OrdSet::new(),
        executors: imbl::OrdSet::new(),
        offers: imbl::OrdSet::new(),
        pending_kills: imbl::OrdMap::new(),
        info: Arc::new(info),
    };
    turn.cluster.agents_by_session.insert(session, id.clone());
    turn.cluster.agents_by_address.insert(agent.address(), id.clone());
    turn.cluster.agents_by_key.insert(key, id.clone());
    turn.books().agents.insert(id.clone(), Arc::new(agent));
}

/// Lets allocator and watchers know of an agent that has just entered the books.
pub(crate) fn announce(turn: &mut Turn<'_>, id: &AgentId) {
    let Some(agent) = turn.agent(id).cloned() else { return };
    let used = turn.holdings_on(&agent);
    turn.allocator(Event::AgentAdded(AgentAdded {
        agent: Some(agent.key),
        agent_info: Some((*agent.info).clone()),
        capabilities: agent.capabilities.clone(),
        total: agent.total.to_proto(mezzo_model::Format::PostRefinement),
        unavailability: None,
        used,
    }));
    turn.effect(Effect::Allocate(Some(agent.key)));
    let event = views::agent_added(&turn.cluster.books, &agent);
    turn.publish(event);
}

/// A new connection of an agent takes the place of the old one.
pub(crate) fn take_over(turn: &mut Turn<'_>, id: &AgentId, session: SessionId) {
    let old = turn.agent_mut(id).and_then(|a| a.liveness.session.replace(session));
    if let Some(old) = old.filter(|old| *old != session) {
        turn.cluster.agents_by_session.remove(&old);
        turn.effect(Effect::CloseAgent(old));
    }
    turn.cluster.agents_by_session.insert(session, id.clone());
}

/// Tells an agent that it is registered, and begins to ping it.
pub(crate) fn acknowledge(
    turn: &mut Turn<'_>,
    id: &AgentId,
    reconcile: Vec<v1::link::ReconcileTask>,
) {
    let patience = agent_lost::patience(&turn.cluster.config);
    turn.tell_agent(
        id,
        from_master::Message::Registered(Registered {
            agent_id: id.into(),
            ping_timeout_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            reconcile,
        }),
    );
    if let Some(session) = turn.agent(id).and_then(|a| a.liveness.session) {
        agent_lost::watch(turn, id, session);
    }
}
