//! `memory` of version 2: protection below `memory.low`, a hard limit at `memory.max`.

use crate::Result;
use crate::cgroup::v1::MemoryLimit;
use crate::cgroup::{Cgroup, FlatKeyed, OomWatch, memory_bytes};

/// The memory controller's files of one cgroup.
#[derive(Debug, Clone)]
pub struct Memory(Cgroup);

/// How often the limits mattered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// The limit was about to be exceeded.
    pub max: u64,
    /// Reclaim did not help.
    pub oom: u64,
    /// Processes killed for it.
    pub oom_kill: u64,
}

impl Memory {
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

    /// Protects this much from reclaim, never less than 32 MB. (Version 1 has a reclaim *target* instead: not the same.)
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn set_low(&self, bytes: u64) -> Result<()> {
        self.0.write("memory.low", &memory_bytes(bytes).to_string())
    }

    /// The protected amount in force.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn low(&self) -> Result<MemoryLimit> {
        self.limit_of("memory.low")
    }

    /// Writes the hard limit (never below 32 MB) of a new container.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn set_max(&self, limit: MemoryLimit) -> Result<()> {
        let text = match limit {
            MemoryLimit::Bytes(bytes) => memory_bytes(bytes).to_string(),
            MemoryLimit::Unlimited => "max".to_owned(),
        };
        self.0.write("memory.max", &text)
    }

    /// Writes the hard limit if it is higher than the one in force; true when written.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn raise_max(&self, limit: MemoryLimit) -> Result<bool> {
        let floored = match limit {
            MemoryLimit::Bytes(bytes) => MemoryLimit::Bytes(memory_bytes(bytes)),
            MemoryLimit::Unlimited => MemoryLimit::Unlimited,
        };
        if floored <= self.max()? {
            return Ok(false);
        }
        self.set_max(floored)?;
        Ok(true)
    }

    /// The hard limit in force.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn max(&self) -> Result<MemoryLimit> {
        self.limit_of("memory.max")
    }

    /// Bytes in use now, page cache included.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn current(&self) -> Result<u64> {
        Ok(self.0.read_number("memory.current")?.unwrap_or(u64::MAX))
    }

    /// The most that was ever in use; `None` on kernels before 5.19.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn peak(&self) -> Result<Option<u64>> {
        match self.0.read_number("memory.peak") {
            Ok(peak) => Ok(peak),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All of `memory.stat` (the cgroups below are always included).
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn stat(&self) -> Result<FlatKeyed> {
        FlatKeyed::read(&self.0.path().join("memory.stat"))
    }

    /// The event counters.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn events(&self) -> Result<MemoryEvents> {
        let values = FlatKeyed::read(&self.0.path().join("memory.events"))?;
        let count = |key| values.get(key).unwrap_or(0);
        Ok(MemoryEvents { max: count("max"), oom: count("oom"), oom_kill: count("oom_kill") })
    }

    /// Makes the OOM killer take all processes of the cgroup together, not one and leave a torso. A
    /// launcher that could protect itself (`oom_score_adj` -1000) is spared.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn kill_as_group(&self) -> Result<()> {
        self.0.write("memory.oom.group", "1")
    }

    /// Starts to watch for running out of memory.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn watch_oom(&self) -> Result<OomWatch> {
        OomWatch::v2(&self.0)
    }

    fn limit_of(&self, name: &str) -> Result<MemoryLimit> {
        Ok(self.0.read_number(name)?.map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    const MB: u64 = 1024 * 1024;

    #[test]
    fn max_is_raised_but_never_lowered() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("memory.max"), "67108864").unwrap();
        let memory = Memory::new(Cgroup::new(dir.path()));
        assert!(!memory.raise_max(MemoryLimit::Bytes(MB)).unwrap());
        assert!(memory.raise_max(MemoryLimit::Bytes(96 * MB)).unwrap());
        assert_eq!(memory.max().unwrap(), MemoryLimit::Bytes(96 * MB));
        std::fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(memory.max().unwrap(), MemoryLimit::Unlimited);
        assert!(!memory.raise_max(MemoryLimit::Unlimited).unwrap());
    }

    #[test]
    fn events_and_optional_peak_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("memory.events"),
            "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\n",
        )
        .unwrap();
        let memory = Memory::new(Cgroup::new(dir.path()));
        assert_eq!(memory.events().unwrap(), MemoryEvents { max: 4, oom: 2, oom_kill: 1 });
        assert_eq!(memory.peak().unwrap(), None);
    }
}
