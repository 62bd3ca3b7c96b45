//! Deadlines that have come.

use super::{Turn, agent_lost, framework_lost, unreachable};
use crate::state::Timer;

pub(crate) fn apply(turn: &mut Turn<'_>) {
    while let Some(timer) = turn.cluster.timers.pop_due(turn.now.instant) {
        match timer {
            Timer::Failover(id, absence) => framework_lost::timed_out(turn, &id, absence),
            Timer::Offer(id) => turn.discard_offer(&id, true),
            Timer::Ping(id, session) => agent_lost::ping(turn, &id, session),
            Timer::Disconnected(id, absence) => agent_lost::timed_out(turn, &id, absence),
            Timer::Recovered(id) => unreachable::not_recovered(turn, &id),
        }
    }
}
