//! An agent's connection is gone, or it stops answering.
//!
//! A broken connection ends its offers and no more: the agent may come back with everything it
//! runs. Only when it has been away, or silent, for the whole of its ping timeouts is it called
//! unreachable.

use std::time::Duration;

use mezzo_model::AgentId;
use mezzo_proto::module::v1::AgentDeactivated;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1::link::{Ping, from_master};

use super::{Turn, unreachable};
use crate::effect::{Effect, SessionId};
use crate::state::{Config, Timer};

pub(crate) fn apply(turn: &mut Turn<'_>, session: SessionId) {
    turn.cluster.waiting_agents.remove(&session);
    let Some(id) = turn.cluster.agents_by_session.remove(&session) else { return };
    let Some(agent) = turn.agent_mut(&id) else { return };
    if agent.liveness.session != Some(session) {
        return;
    }
    agent.liveness.session = None;
    agent.liveness.absence += 1;
    let (key, absence) = (agent.key, agent.liveness.absence);
    let due = turn.now.instant.after(patience(&turn.cluster.config));
    turn.cluster.timers.set(due, Timer::Disconnected(id.clone(), absence));
    rescind_offers(turn, &id);
    turn.allocator(Event::AgentDeactivated(AgentDeactivated { agent: Some(key) }));
}

/// How long an agent may be silent.
pub(crate) fn patience(config: &Config) -> Duration {
    config.agent_ping_timeout.saturating_mul(config.max_agent_ping_timeouts)
}

pub(crate) fn rescind_offers(turn: &mut Turn<'_>, id: &AgentId) {
    let offers = turn.agent(id).map(|a| a.offers.clone()).unwrap_or_default();
    for offer in &offers {
        turn.discard_offer(offer, true);
    }
}

/// An agent has been disconnected for as long as it may.
pub(crate) fn timed_out(turn: &mut Turn<'_>, id: &AgentId, absence: u64) {
    let still_away = turn
        .agent(id)
        .is_some_and(|a| a.liveness.session.is_none() && a.liveness.absence == absence);
    if still_away {
        unreachable::mark(turn, id);
    }
}

/// Starts the pings of a connection.
pub(crate) fn watch(turn: &mut Turn<'_>, id: &AgentId, session: SessionId) {
    if let Some(agent) = turn.agent_mut(id) {
        agent.liveness.unanswered = 0;
    }
    ping(turn, id, session);
}

/// Time for the next ping, or for the end of patience.
pub(crate) fn ping(turn: &mut Turn<'_>, id: &AgentId, session: SessionId) {
    let limit = turn.cluster.config.max_agent_ping_timeouts;
    let interval = turn.cluster.config.agent_ping_timeout;
    let Some(agent) = turn.agent_mut(id).filter(|a| a.liveness.session == Some(session)) else {
        return;
    };
    if agent.liveness.unanswered >= limit {
        unreachable::mark(turn, id);
        turn.effect(Effect::CloseAgent(session));
        return;
    }
    agent.liveness.unanswered += 1;
    turn.send_to_agent(session, from_master::Message::Ping(Ping {}));
    let due = turn.now.instant.after(interval);
    turn.cluster.timers.set(due, Timer::Ping(id.clone(), session));
}

/// An agent gave a sign of life. The entry is not touched if nothing was owed: readers may share it.
pub(crate) fn alive(turn: &mut Turn<'_>, id: &AgentId) {
    if turn.agent(id).is_some_and(|a| a.liveness.unanswered > 0)
        && let Some(agent) = turn.agent_mut(id)
    {
        agent.liveness.unanswered = 0;
    }
}
