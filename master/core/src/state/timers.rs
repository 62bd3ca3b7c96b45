//! Deadlines, kept in order of time.

use std::collections::BTreeMap;

use mezzo_model::{AgentId, FrameworkId, OfferId};

use crate::time::Instant;

/// What is due at a deadline. Each handler looks whether it still matters: nothing is ever
/// un-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A framework has been away for its failover timeout. The number tells this absence from a
    /// later one.
    Failover(FrameworkId, u64),
    /// An offer has been held too long.
    Offer(OfferId),
    /// It is time to ping an agent of this session again.
    Ping(AgentId, crate::effect::SessionId),
    /// An agent has been disconnected for too long. The number tells this absence from a later one.
    Disconnected(AgentId, u64),
    /// An agent of the registry has not come back since the master started.
    Recovered(AgentId),
}

/// Timers by deadline; equal deadlines run in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Instant, u64), Timer>,
    set: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.set += 1;
        self.due.insert((at, self.set), timer);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
