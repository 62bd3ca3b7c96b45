//! Time as the core knows it: it comes in with each command.

use std::time::Duration;

use mezzo_proto::v1;

/// A point on the master's monotonic clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// This instant, later by `duration`; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// When a command is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and intervals.
    pub instant: Instant,
    /// Nanoseconds since the epoch, for what people and frameworks read.
    pub wall_nanos: i64,
}

impl Now {
    /// Seconds since the epoch, as status updates carry them.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "microseconds are enough for a timestamp")]
    pub fn timestamp(self) -> f64 {
        self.wall_nanos as f64 / 1e9
    }

    /// The wall clock as a message.
    #[must_use]
    pub fn time_info(self) -> v1::TimeInfo {
        v1::TimeInfo { nanoseconds: self.wall_nanos }
    }
}
