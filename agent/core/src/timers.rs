//! What has to happen at a certain time if nothing else happens before.

use std::collections::BTreeSet;
use std::time::Duration;

use mezzo_model::{ContainerId, FrameworkId, TaskId};

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The executor in this container has to have subscribed.
    Registration(ContainerId),
    /// The executor in this container has to have ended.
    Shutdown(ContainerId),
    /// The head of this task's stream is sent again.
    Retry(FrameworkId, TaskId),
    /// Executors of an earlier life of the agent have to be back.
    Reregistration,
}

/// All deadlines, soonest first. Each is in here exactly once and is taken out when it means nothing any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    entries: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Duration, timer: Timer) {
        self.entries.insert((at, timer));
    }

    pub(crate) fn cancel(&mut self, at: Duration, timer: Timer) {
        self.entries.remove(&(at, timer));
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.entries.pop_first().map(|(_, timer)| timer)
    }
}
