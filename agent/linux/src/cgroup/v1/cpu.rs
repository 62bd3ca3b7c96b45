//! `cpu`: relative shares, and a hard quota per period.

use std::time::Duration;

use crate::cgroup::{CPU_PERIOD, Cgroup, CpuQuota, FlatKeyed, cpu_quota, cpu_shares};
use crate::{Error, Result};

/// One cgroup of the `cpu` controller.
#[derive(Debug, Clone)]
pub struct Cpu(Cgroup);

/// How often the quota was hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// Periods in which the cgroup could run.
    pub nr_periods: u64,
    /// Of these, how many ended with the cgroup held back.
    pub nr_throttled: u64,
    /// Total time it was held back.
    pub throttled_time: Duration,
}

impl Cpu {
    /// Wraps a cgroup in the cpu hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// Writes the weight for a number of cpus ([`cpu_shares`]).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_shares(&self, cpus: f64) -> Result<()> {
        self.0.write("cpu.shares", &cpu_shares(cpus).to_string())
    }

    /// The weight in force.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn shares(&self) -> Result<u64> {
        Ok(self.0.read_number("cpu.shares")?.unwrap_or(u64::MAX))
    }

    /// Writes period and quota for a number of cpus ([`cpu_quota`]); an infinite number lifts the quota.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_quota(&self, cpus: f64) -> Result<()> {
        self.0.write("cpu.cfs_period_us", &CPU_PERIOD.as_micros().to_string())?;
        let quota = match cpu_quota(cpus) {
            CpuQuota::At(time) => time.as_micros().to_string(),
            CpuQuota::Unlimited => "-1".to_owned(),
        };
        self.0.write("cpu.cfs_quota_us", &quota)
    }

    /// The quota in force.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn quota(&self) -> Result<CpuQuota> {
        let path = self.0.path().join("cpu.cfs_quota_us");
        let text = self.0.read("cpu.cfs_quota_us")?;
        match text.trim().parse::<i64>() {
            Ok(quota) => Ok(u64::try_from(quota)
                .map_or(CpuQuota::Unlimited, |us| CpuQuota::At(Duration::from_micros(us)))),
            Err(_) => Err(Error::malformed(&path, &text, "a number of microseconds or -1")),
        }
    }

    /// The throttling statistics.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn stat(&self) -> Result<CpuStat> {
        let values = FlatKeyed::read(&self.0.path().join("cpu.stat"))?;
        Ok(CpuStat {
            nr_periods: values.get("nr_periods").unwrap_or(0),
            nr_throttled: values.get("nr_throttled").unwrap_or(0),
            throttled_time: Duration::from_nanos(values.get("throttled_time").unwrap_or(0)),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_the_kernel_wants_them() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let cpu = Cpu::new(Cgroup::new(dir.path()));
        cpu.set_shares(1.5).unwrap();
        cpu.set_quota(1.5).unwrap();
        assert_eq!(cpu.shares().unwrap(), 1536);
        assert_eq!(cpu.cgroup().read("cpu.cfs_period_us").unwrap(), "100000");
        assert_eq!(cpu.quota().unwrap(), CpuQuota::At(Duration::from_millis(150)));
        std::fs::write(dir.path().join("cpu.cfs_quota_us"), "").unwrap();
        cpu.set_quota(f64::INFINITY).unwrap();
        assert_eq!(cpu.quota().unwrap(), CpuQuota::Unlimited);
    }

    #[test]
    fn throttled_time_is_nanoseconds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("cpu.stat"),
            "nr_periods 10\nnr_throttled 4\nthrottled_time 2500000000\n",
        )
        .unwrap();
        let stat = Cpu::new(Cgroup::new(dir.path())).stat().unwrap();
        assert_eq!(
            (stat.nr_periods, stat.nr_throttled, stat.throttled_time.as_secs_f64()),
            (10, 4, 2.5)
        );
    }
}
