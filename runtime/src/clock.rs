//! The time, passed as a value: the system's in a process, one that only a test moves in a test.
//!
//! Two times, as everywhere in the project: monotonic (for every decision: timeouts, leases, back-off) and wall (for what
//! people read). No decision may use the wall clock, because it jumps.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// One reading of both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Reading {
    /// Since an arbitrary moment near the start of the process; never goes back.
    pub monotonic_ns: u64,
    /// Since 1970-01-01 UTC; may jump.
    pub wall_ns: u64,
}

/// Where the time comes from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The time of the machine. (Monotonic time is tokio's, so a paused or simulated runtime moves it.)
    #[default]
    System,
    /// Time that stands still until [`ManualClock::advance`].
    Manual(ManualClock),
}

impl Clock {
    /// The time of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self::System
    }

    /// A clock that stands at `wall_ns` until it is advanced, and the hand that advances it.
    #[must_use]
    pub fn manual(wall_ns: u64) -> (Self, ManualClock) {
        let hand = ManualClock::starting_at(wall_ns);
        (Self::Manual(hand.clone()), hand)
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(&self) -> Reading {
        match self {
            Self::System => Reading {
                monotonic_ns: nanos(origin().elapsed()),
                wall_ns: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos),
            },
            Self::Manual(hand) => *hand.now.borrow(),
        }
    }

    /// Monotonic time in nanoseconds.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        self.now().monotonic_ns
    }

    /// Wall time in nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn wall_ns(&self) -> u64 {
        self.now().wall_ns
    }

    /// Waits for `duration` of this clock's monotonic time.
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Self::System => tokio::time::sleep(duration).await,
            Self::Manual(hand) => {
                let until = self.monotonic_ns().saturating_add(nanos(duration));
                let mut now = hand.now.subscribe();
                // An error means that every hand is gone; `hand` above is one, so it cannot be.
                let _ = now.wait_for(|now| now.monotonic_ns >= until).await;
            }
        }
    }
}

/// The hand of a manual clock: moves it forward, and its wall time anywhere.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<watch::Sender<Reading>>,
}

impl ManualClock {
    fn starting_at(wall_ns: u64) -> Self {
        let start = Reading { monotonic_ns: 0, wall_ns };
        Self { now: Arc::new(watch::Sender::new(start)) }
    }

    /// Moves both clocks forward and wakes who waited for that.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| {
            now.monotonic_ns = now.monotonic_ns.saturating_add(nanos(by));
            now.wall_ns = now.wall_ns.saturating_add(nanos(by));
        });
    }

    /// Sets the wall clock alone, as an administrator or a bad time server does.
    pub fn jump_wall(&self, wall_ns: u64) {
        self.now.send_modify(|now| now.wall_ns = wall_ns);
    }
}

/// The zero of the monotonic clock: the first reading of this process.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_sleep_ends_when_the_hand_passes_it() {
        let (clock, hand) = Clock::manual(1_000);
        let sleeper = tokio::join!(clock.sleep(Duration::from_secs(5)), async {
            hand.advance(Duration::from_secs(3));
            assert_eq!(clock.monotonic_ns(), 3_000_000_000);
            hand.advance(Duration::from_secs(3));
        });
        let ((), ()) = sleeper;
        assert_eq!(clock.wall_ns(), 6_000_001_000);
    }

    #[test]
    fn a_jump_of_the_wall_clock_leaves_monotonic_time_alone() {
        let (clock, hand) = Clock::manual(10);
        hand.advance(Duration::from_nanos(5));
        hand.jump_wall(0);
        assert_eq!(clock.now(), Reading { monotonic_ns: 5, wall_ns: 0 });
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = Clock::system();
        let first = clock.now();
        let second = clock.now();
        assert!(second.monotonic_ns >= first.monotonic_ns);
        assert!(first.wall_ns > 1_600_000_000_000_000_000);
    }
}
