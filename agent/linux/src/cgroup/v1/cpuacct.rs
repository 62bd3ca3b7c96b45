//! `cpuacct`: CPU time used.

use std::time::Duration;

use crate::Result;
use crate::cgroup::{Cgroup, FlatKeyed};
use crate::procfs::clock_ticks_to_duration;

/// One cgroup of the `cpuacct` controller.
#[derive(Debug, Clone)]
pub struct Cpuacct(Cgroup);

/// CPU time used by the cgroup and all below it, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuacctStat {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl Cpuacct {
    /// Wraps a cgroup in the cpuacct hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// User and system time (the kernel counts these in clock ticks).
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn stat(&self) -> Result<CpuacctStat> {
        let values = FlatKeyed::read(&self.0.path().join("cpuacct.stat"))?;
        Ok(CpuacctStat {
            user: clock_ticks_to_duration(values.get("user").unwrap_or(0)),
            system: clock_ticks_to_duration(values.get("system").unwrap_or(0)),
        })
    }

    /// Total time, exact to the nanosecond.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn usage(&self) -> Result<Duration> {
        Ok(Duration::from_nanos(self.0.read_number("cpuacct.usage")?.unwrap_or(0)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_time() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cpuacct.stat"), "user 250\nsystem 50\n").unwrap();
        std::fs::write(dir.path().join("cpuacct.usage"), "3000000001\n").unwrap();
        let cpuacct = Cpuacct::new(Cgroup::new(dir.path()));
        let stat = cpuacct.stat().unwrap();
        // 100 ticks a second on every Linux of today.
        assert_eq!((stat.user.as_secs_f64(), stat.system.as_secs_f64()), (2.5, 0.5));
        assert_eq!(cpuacct.usage().unwrap(), Duration::from_nanos(3_000_000_001));
    }
}
