//! `memory`: a soft limit (where reclaim aims at under pressure) and a hard one (where the OOM killer comes).

use super::pressure::{PressureCounter, PressureLevel};
use crate::cgroup::{Cgroup, FlatKeyed, OomWatch, memory_bytes};
use crate::{Error, Result};

/// One cgroup of the `memory` controller.
#[derive(Debug, Clone)]
pub struct Memory(Cgroup);

/// A hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryLimit {
    /// At most this many bytes.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

/// Page counters of version 1 end here; the kernel shows "no limit" as this rounded down to a page.
const KERNEL_UNLIMITED: u64 = i64::MAX as u64 & !0xffff;

impl Memory {
    /// Wraps a cgroup in the memory hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// Writes the soft limit, never below 32 MB.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_soft_limit(&self, bytes: u64) -> Result<()> {
        self.0.write("memory.soft_limit_in_bytes", &memory_bytes(bytes).to_string())
    }

    /// The soft limit in force.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn soft_limit(&self) -> Result<MemoryLimit> {
        self.limit_of("memory.soft_limit_in_bytes")
    }

    /// Writes the hard limit (never below 32 MB) of a new container. With `swap`, memory plus swap gets the same limit.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_hard_limit(&self, limit: MemoryLimit, swap: bool) -> Result<()> {
        // The kernel keeps memory <= memory+swap at all times, so the order depends on the direction. A new cgroup has
        // no limits: memory first.
        self.write_limit("memory.limit_in_bytes", limit)?;
        if swap { self.write_limit("memory.memsw.limit_in_bytes", limit) } else { Ok(()) }
    }

    /// Writes the hard limit if it is higher than the one in force; true when written. It is never lowered under a running
    /// task: memory that was within the limit when taken must not get it killed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn raise_hard_limit(&self, limit: MemoryLimit, swap: bool) -> Result<bool> {
        let limit = floored(limit);
        if limit <= self.hard_limit()? {
            return Ok(false);
        }
        if swap {
            self.write_limit("memory.memsw.limit_in_bytes", limit)?;
        }
        self.write_limit("memory.limit_in_bytes", limit)?;
        Ok(true)
    }

    /// The hard limit in force.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn hard_limit(&self) -> Result<MemoryLimit> {
        self.limit_of("memory.limit_in_bytes")
    }

    /// Bytes in use now, page cache included.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn usage(&self) -> Result<u64> {
        self.number("memory.usage_in_bytes")
    }

    /// The most that was ever in use.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn max_usage(&self) -> Result<u64> {
        self.number("memory.max_usage_in_bytes")
    }

    /// Memory plus swap in use; `None` when the kernel does not count swap.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn memsw_usage(&self) -> Result<Option<u64>> {
        self.optional_number("memory.memsw.usage_in_bytes")
    }

    /// Kernel memory in use; `None` when not counted.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn kmem_usage(&self) -> Result<Option<u64>> {
        self.optional_number("memory.kmem.usage_in_bytes")
    }

    /// Kernel memory of TCP buffers in use; `None` when not counted.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn kmem_tcp_usage(&self) -> Result<Option<u64>> {
        self.optional_number("memory.kmem.tcp.usage_in_bytes")
    }

    /// All of `memory.stat`; the `total_…` keys include the cgroups below.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn stat(&self) -> Result<FlatKeyed> {
        FlatKeyed::read(&self.0.path().join("memory.stat"))
    }

    /// Starts to watch for running out of memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn watch_oom(&self) -> Result<OomWatch> {
        OomWatch::v1(&self.0)
    }

    /// Starts to count the events of memory pressure of a level.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn count_pressure(&self, level: PressureLevel) -> Result<PressureCounter> {
        PressureCounter::new(&self.0, level)
    }

    fn write_limit(&self, name: &str, limit: MemoryLimit) -> Result<()> {
        match floored(limit) {
            MemoryLimit::Bytes(bytes) => self.0.write(name, &bytes.to_string()),
            MemoryLimit::Unlimited => self.0.write(name, "-1"),
        }
    }

    fn limit_of(&self, name: &str) -> Result<MemoryLimit> {
        let path = self.0.path().join(name);
        let text = self.0.read(name)?;
        match text.trim() {
            "-1" => Ok(MemoryLimit::Unlimited),
            number => match number.parse() {
                Ok(bytes) if bytes >= KERNEL_UNLIMITED => Ok(MemoryLimit::Unlimited),
                Ok(bytes) => Ok(MemoryLimit::Bytes(bytes)),
                Err(_) => Err(Error::malformed(&path, number, "a number of bytes")),
            },
        }
    }

    fn number(&self, name: &str) -> Result<u64> {
        Ok(self.0.read_number(name)?.unwrap_or(u64::MAX))
    }

    fn optional_number(&self, name: &str) -> Result<Option<u64>> {
        match self.number(name) {
            Ok(number) => Ok(Some(number)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn floored(limit: MemoryLimit) -> MemoryLimit {
    match limit {
        MemoryLimit::Bytes(bytes) => MemoryLimit::Bytes(memory_bytes(bytes)),
        MemoryLimit::Unlimited => MemoryLimit::Unlimited,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    const MB: u64 = 1024 * 1024;

    fn memory(dir: &tempfile::TempDir) -> Memory {
        for name in
            ["memory.soft_limit_in_bytes", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        {
            std::fs::write(dir.path().join(name), "9223372036854771712\n").unwrap();
        }
        Memory::new(Cgroup::new(dir.path()))
    }

    /// The kernel replaces a value; an ordinary file keeps the tail of a longer old one.
    fn holds(memory: &Memory, name: &str, value: &str) {
        std::fs::write(memory.cgroup().path().join(name), value).unwrap();
    }

    #[test]
    fn a_fresh_cgroup_is_unlimited_and_the_floor_applies() {
        let dir = tempfile::tempdir().unwrap();
        let memory = memory(&dir);
        assert_eq!(memory.hard_limit().unwrap(), MemoryLimit::Unlimited);
        holds(&memory, "memory.limit_in_bytes", "");
        holds(&memory, "memory.soft_limit_in_bytes", "");
        memory.set_hard_limit(MemoryLimit::Bytes(MB), false).unwrap();
        memory.set_soft_limit(5).unwrap();
        assert_eq!(memory.hard_limit().unwrap(), MemoryLimit::Bytes(32 * MB));
        assert_eq!(memory.soft_limit().unwrap(), MemoryLimit::Bytes(32 * MB));
        assert_eq!(
            memory.cgroup().read("memory.memsw.limit_in_bytes").unwrap(),
            "9223372036854771712\n"
        );
    }

    #[test]
    fn the_hard_limit_is_raised_but_never_lowered() {
        let dir = tempfile::tempdir().unwrap();
        let memory = memory(&dir);
        holds(&memory, "memory.limit_in_bytes", "67108864");
        holds(&memory, "memory.memsw.limit_in_bytes", "67108864");
        assert!(!memory.raise_hard_limit(MemoryLimit::Bytes(40 * MB), true).unwrap());
        assert!(!memory.raise_hard_limit(MemoryLimit::Bytes(64 * MB), true).unwrap());
        assert_eq!(memory.hard_limit().unwrap(), MemoryLimit::Bytes(64 * MB));
        assert!(memory.raise_hard_limit(MemoryLimit::Bytes(96 * MB), true).unwrap());
        assert_eq!(memory.hard_limit().unwrap(), MemoryLimit::Bytes(96 * MB));
        holds(&memory, "memory.limit_in_bytes", "67108864");
        assert!(memory.raise_hard_limit(MemoryLimit::Unlimited, false).unwrap());
        assert!(memory.cgroup().read("memory.limit_in_bytes").unwrap().starts_with("-1"));
    }

    #[test]
    fn counters_the_kernel_does_not_have_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let memory = memory(&dir);
        assert_eq!(memory.kmem_usage().unwrap(), None);
        holds(&memory, "memory.kmem.usage_in_bytes", "4096\n");
        assert_eq!(memory.kmem_usage().unwrap(), Some(4096));
    }
}
