//! `cpu` of version 2: weight, quota and all CPU statistics.

use std::time::Duration;

use crate::cgroup::{CPU_PERIOD, Cgroup, CpuQuota, FlatKeyed, cpu_quota, cpu_weight};
use crate::{Error, Result};

/// The cpu controller's files of one cgroup.
#[derive(Debug, Clone)]
pub struct Cpu(Cgroup);

/// CPU time used, and how often the quota was hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// Periods in which the cgroup could run.
    pub nr_periods: u64,
    /// Of these, how many ended with the cgroup held back.
    pub nr_throttled: u64,
    /// Total time it was held back.
    pub throttled_time: Duration,
}

impl Cpu {
    /// Wraps a cgroup.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// Writes the weight for a number of cpus ([`cpu_weight`]).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_weight(&self, cpus: f64) -> Result<()> {
        self.0.write("cpu.weight", &cpu_weight(cpus).to_string())
    }

    /// The weight in force.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn weight(&self) -> Result<u64> {
        Ok(self.0.read_number("cpu.weight")?.unwrap_or(u64::MAX))
    }

    /// Writes the quota for a number of cpus ([`cpu_quota`]); `None` or an infinite number lifts it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_quota(&self, cpus: Option<f64>) -> Result<()> {
        let period = CPU_PERIOD.as_micros();
        let text = match cpu_quota(cpus.unwrap_or(f64::INFINITY)) {
            CpuQuota::At(time) => format!("{} {period}", time.as_micros()),
            CpuQuota::Unlimited => format!("max {period}"),
        };
        self.0.write("cpu.max", &text)
    }

    /// The quota in force.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn quota(&self) -> Result<CpuQuota> {
        let path = self.0.path().join("cpu.max");
        let text = self.0.read("cpu.max")?;
        match text.split_whitespace().next() {
            Some("max") => Ok(CpuQuota::Unlimited),
            Some(number) => match number.parse() {
                Ok(us) => Ok(CpuQuota::At(Duration::from_micros(us))),
                Err(_) => Err(Error::malformed(&path, number, "microseconds or \"max\"")),
            },
            None => Err(Error::malformed(&path, &text, "quota and period")),
        }
    }

    /// Time used and throttling.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn stat(&self) -> Result<CpuStat> {
        let values = FlatKeyed::read(&self.0.path().join("cpu.stat"))?;
        let micros = |key| Duration::from_micros(values.get(key).unwrap_or(0));
        Ok(CpuStat {
            user: micros("user_usec"),
            system: micros("system_usec"),
            nr_periods: values.get("nr_periods").unwrap_or(0),
            nr_throttled: values.get("nr_throttled").unwrap_or(0),
            throttled_time: micros("throttled_usec"),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn weight_and_quota_are_written_as_the_kernel_wants_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cpu.weight"), "").unwrap();
        std::fs::write(dir.path().join("cpu.max"), "").unwrap();
        let cpu = Cpu::new(Cgroup::new(dir.path()));
        cpu.set_weight(1.1).unwrap();
        assert_eq!(cpu.weight().unwrap(), 110);
        cpu.set_quota(Some(0.25)).unwrap();
        assert_eq!(cpu.cgroup().read("cpu.max").unwrap(), "25000 100000");
        assert_eq!(cpu.quota().unwrap(), CpuQuota::At(Duration::from_millis(25)));
        cpu.set_quota(None).unwrap();
        assert_eq!(cpu.quota().unwrap(), CpuQuota::Unlimited);
    }

    #[test]
    fn stat_is_in_microseconds() {
        let dir = tempfile::tempdir().unwrap();
        let text = "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 1\nthrottled_usec 5\n";
        std::fs::write(dir.path().join("cpu.stat"), text).unwrap();
        let stat = Cpu::new(Cgroup::new(dir.path())).stat().unwrap();
        assert_eq!(stat.user, Duration::from_micros(20));
        assert_eq!(stat.system, Duration::from_micros(10));
        assert_eq!((stat.nr_periods, stat.nr_throttled), (3, 1));
        assert_eq!(stat.throttled_time, Duration::from_micros(5));
    }
}
