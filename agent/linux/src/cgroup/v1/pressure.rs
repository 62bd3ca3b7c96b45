//! Memory pressure of version 1: how often the kernel has had to work for the memory of a cgroup.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Result;
use crate::cgroup::Cgroup;
use crate::cgroup::wakeup::Wakeup;

/// How hard it is to find memory, as the kernel judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PressureLevel {
    /// Memory is being reclaimed.
    Low,
    /// Reclaiming takes effort: swapping, dropping active caches.
    Medium,
    /// The out-of-memory killer is near.
    Critical,
}

/// Counts the events of one level (and of the levels above it) since it was made. Costs nobody anything: the kernel counts.
#[derive(Debug)]
pub struct PressureCounter {
    wakeup: Wakeup,
    seen: AtomicU64,
}

impl PressureCounter {
    /// Counts from now on.
    ///
    /// # Errors
    /// [`crate::Error::Io`], when the kernel has no `memory.pressure_level`.
    pub(super) fn new(cgroup: &Cgroup, level: PressureLevel) -> Result<Self> {
        let name = match level {
            PressureLevel::Low => "low",
            PressureLevel::Medium => "medium",
            PressureLevel::Critical => "critical",
        };
        let wakeup = Wakeup::of_control(cgroup, "memory.pressure_level", name)?;
        Ok(Self { wakeup, seen: AtomicU64::new(0) })
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        // An eventfd that cannot be read has nothing new to say.
        let new = self.wakeup.drain().unwrap_or(0);
        self.seen.fetch_add(new, Ordering::Relaxed).saturating_add(new)
    }
}
