//! "This container ran out of memory", as a file descriptor.
//!
//! Version 1 signals an eventfd registered on `memory.oom_control`; version 2 tells changes of `memory.events`. Both wake up
//! for other reasons too (version 1 when the cgroup is removed), so a wake-up is only a reason to look: [`OomWatch::check`]
//! decides by the counters in the files. Removal of a version-2 cgroup wakes nobody: who removes it drops the watch.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;

use super::wakeup::{Readiness, Wakeup};
use super::{Cgroup, FlatKeyed};
use crate::{Error, Result};

/// What a wake-up of an [`OomWatch`] meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// Nothing new; wait again.
    Nothing,
    /// The limit was hit and could not be met by reclaiming.
    OutOfMemory {
        /// How many processes of the cgroup the kernel has killed for it so far.
        killed: u64,
    },
    /// The cgroup was removed; nothing more will come. (Version 2: found out by whoever looks, nobody is woken for it.)
    Removed,
}

/// Watches one cgroup for running out of memory. Ready (see [`OomWatch::readiness`]) when there may be news; then call
/// `check`.
#[derive(Debug)]
pub struct OomWatch {
    wakeup: Wakeup,
    cgroup: Cgroup,
    seen: Counters,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    oom: u64,
    killed: u64,
}

impl OomWatch {
    /// Watches a version-1 memory cgroup. The kernel's own killer stays enabled.
    pub(super) fn v1(cgroup: &Cgroup) -> Result<Self> {
        Self::new(cgroup, Wakeup::of_control(cgroup, "memory.oom_control", "")?)
    }

    /// Watches a version-2 cgroup.
    pub(super) fn v2(cgroup: &Cgroup) -> Result<Self> {
        Self::new(cgroup, Wakeup::of_events(&cgroup.path().join("memory.events"))?)
    }

    fn new(cgroup: &Cgroup, wakeup: Wakeup) -> Result<Self> {
        let mut watch = Self { wakeup, cgroup: cgroup.clone(), seen: Counters::default() };
        watch.seen = watch.counters()?;
        Ok(watch)
    }

    /// Takes the wake-up (the descriptor is not readable afterwards) and says what happened since the last call.
    ///
    /// # Errors
    /// When the counters cannot be read for another reason than the cgroup being gone.
    pub fn check(&mut self) -> Result<OomEvent> {
        let woken = match self.wakeup.drain() {
            Ok(times) => times > 0,
            Err(source) => {
                let error = Error::io("read the events of", self.cgroup.path(), source);
                return if error.is_not_found() { Ok(OomEvent::Removed) } else { Err(error) };
            }
        };
        let now = match self.counters() {
            Ok(now) => now,
            Err(error) if error.is_not_found() => return Ok(OomEvent::Removed),
            Err(error) => return Err(error),
        };
        let before = std::mem::replace(&mut self.seen, now);
        // Version 1 has no counter of limit hits, only of kills, and a hit may come before its kill: the eventfd itself is
        // the news. It is also signalled on removal, so only while the directory still stands.
        let hit = match self.wakeup {
            Wakeup::Eventfd(_) => woken && self.cgroup.exists(),
            Wakeup::Events(_) => now.oom > before.oom,
        };
        let happened = hit || now.killed > before.killed;
        Ok(if happened { OomEvent::OutOfMemory { killed: now.killed } } else { OomEvent::Nothing })
    }

    /// What to poll it for.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.wakeup.readiness()
    }

    /// The cgroup being watched.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    fn counters(&self) -> Result<Counters> {
        let name = match self.wakeup {
            Wakeup::Eventfd(_) => "memory.oom_control",
            Wakeup::Events(_) => "memory.events",
        };
        let path: PathBuf = self.cgroup.path().join(name);
        let values = FlatKeyed::read(&path)?;
        Ok(Counters {
            oom: values.get("oom").unwrap_or(0),
            killed: values.get("oom_kill").unwrap_or(0),
        })
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.wakeup.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn events(dir: &std::path::Path, oom: u64, killed: u64) {
        let text =
            format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {killed}\noom_group_kill 0\n");
        std::fs::write(dir.join("memory.events"), text).unwrap();
    }

    #[test]
    fn v2_watch_tells_a_new_oom_once_and_ignores_other_changes() {
        let dir = tempfile::tempdir().unwrap();
        events(dir.path(), 1, 1);
        let mut watch = OomWatch::v2(&Cgroup::new(dir.path())).unwrap();
        assert_eq!(watch.check().unwrap(), OomEvent::Nothing);
        events(dir.path(), 1, 1);
        assert_eq!(watch.check().unwrap(), OomEvent::Nothing);
        events(dir.path(), 2, 3);
        assert_eq!(watch.check().unwrap(), OomEvent::OutOfMemory { killed: 3 });
        assert_eq!(watch.check().unwrap(), OomEvent::Nothing);
    }

    #[test]
    fn v2_watch_tells_removal() {
        let dir = tempfile::tempdir().unwrap();
        events(dir.path(), 0, 0);
        let mut watch = OomWatch::v2(&Cgroup::new(dir.path())).unwrap();
        std::fs::remove_file(dir.path().join("memory.events")).unwrap();
        assert_eq!(watch.check().unwrap(), OomEvent::Removed);
    }
}
