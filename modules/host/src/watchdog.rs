//! Notices calls that do not come back.
//!
//! One thread looks now and then at the calls that are inside modules (`inflight.rs`). It ends nothing: a thread that is
//! inside a module cannot be ended. It tells, so that an operator knows which module holds what up, and so that whoever waits
//! for a call, or shuts down, can stop waiting ([`crate::Modules::stuck`]).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::metered::Meter;

/// How often it looks: so many times in the time a call may take.
const LOOKS: u32 = 4;
/// Not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// A call that has been inside a module for longer than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckCall {
    /// The module's name.
    pub module: String,
    /// What was called.
    pub function: &'static str,
    /// How long it has been there.
    pub lasts: Duration,
}

/// Watches over the calls of the modules of a process; dropped, it stops.
pub(crate) struct Watchdog {
    watched: Arc<Watched>,
    /// Started with the first module; `None` also when nothing is to be watched.
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Watched {
    limit: Duration,
    state: Mutex<State>,
    /// That it ends.
    wake: Condvar,
}

#[derive(Default)]
struct State {
    meters: Vec<Arc<Meter>>,
    ends: bool,
}

impl Watchdog {
    /// One that tells of calls longer than `limit`; of none if it is zero.
    pub(crate) fn new(limit: Duration) -> Self {
        let watched = Watched { limit, state: Mutex::default(), wake: Condvar::new() };
        Self { watched: Arc::new(watched), thread: Mutex::default() }
    }

    /// Watches one module more.
    pub(crate) fn watch(&self, meter: &Arc<Meter>) {
        self.watched.lock().meters.push(Arc::clone(meter));
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() || self.watched.limit.is_zero() {
            return;
        }
        let watched = Arc::clone(&self.watched);
        let started =
            thread::Builder::new().name("module-watchdog".to_owned()).spawn(move || watched.run());
        match started {
            Ok(handle) => *thread = Some(handle),
            Err(error) => tracing::warn!(%error, "no watchdog for modules: no thread for it"),
        }
    }

    /// The calls that have been inside for too long.
    pub(crate) fn stuck(&self) -> Vec<StuckCall> {
        if self.watched.limit.is_zero() {
            return Vec::new();
        }
        let now = Instant::now();
        let meters = self.watched.lock().meters.clone();
        meters.iter().flat_map(|meter| meter.stuck(self.watched.limit, now)).collect()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.watched.lock().ends = true;
        self.watched.wake.notify_all();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Watched {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let pause = (self.limit / LOOKS).max(SHORTEST_PAUSE);
        let mut looked = Instant::now();
        let mut state = self.lock();
        while !state.ends {
            let waited = self.wake.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let now = Instant::now();
            for meter in &state.meters {
                meter.look(self.limit, looked, now);
            }
            looked = now;
        }
    }
}

/// Whether a call that lasts so long now, and lasted less when it was last looked at, is to be told of: when it is overdue,
/// and again whenever its time has doubled.
pub(crate) fn is_due(limit: Duration, before: Duration, now: Duration) -> bool {
    let doublings = |lasts: Duration| {
        lasts.as_micros().checked_div(limit.as_micros()).and_then(u128::checked_ilog2)
    };
    doublings(now) > doublings(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_of_when_it_is_overdue_and_when_its_time_has_doubled() {
        let limit = Duration::from_secs(10);
        let told: Vec<u64> = (1..=100)
            .filter(|second| {
                is_due(limit, Duration::from_secs(second - 1), Duration::from_secs(*second))
            })
            .collect();
        assert_eq!(told, [10, 20, 40, 80]);
    }
}
