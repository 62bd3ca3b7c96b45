//! "This container ran out of memory", as a file descriptor.
//!
//! Version 1 signals an eventfd registered on `memory.oom_control`; version 2 changes `memory.events`, which inotify
//! sees. Both also wake up when the cgroup is removed, so a wake-up is only a reason to look: [`OomWatch::check`] decides
//! by the counters in the files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::event::EventfdFlags;
use rustix::fs::inotify;

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
    /// The cgroup was removed; nothing more will come.
    Removed,
}

/// Watches one cgroup for running out of memory. Readable (poll, `AsyncFd`) when there may be news; then call `check`.
#[derive(Debug)]
pub struct OomWatch {
    wakeup: OwnedFd,
    cgroup: Cgroup,
    source: Source,
    seen: Counters,
}

#[derive(Debug)]
enum Source {
    /// Keeps `memory.oom_control` open: the registration ends when it is closed.
    Eventfd {
        _oom_control: OwnedFd,
    },
    Inotify,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    oom: u64,
    killed: u64,
}

impl OomWatch {
    /// Watches a version-1 memory cgroup. The kernel's own killer stays enabled.
    pub(super) fn v1(cgroup: &Cgroup) -> Result<Self> {
        let control_path = cgroup.path().join("memory.oom_control");
        let control: OwnedFd = std::fs::File::open(&control_path)
            .map_err(|source| Error::io("open", &control_path, source))?
            .into();
        let wakeup = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::io("make an eventfd for", &control_path, errno))?;
        cgroup.write(
            "cgroup.event_control",
            &format!("{} {}", wakeup.as_raw_fd(), control.as_raw_fd()),
        )?;
        let mut watch = Self {
            wakeup,
            cgroup: cgroup.clone(),
            source: Source::Eventfd { _oom_control: control },
            seen: Counters::default(),
        };
        watch.seen = watch.counters()?;
        Ok(watch)
    }

    /// Watches a version-2 cgroup.
    pub(super) fn v2(cgroup: &Cgroup) -> Result<Self> {
        let events = cgroup.path().join("memory.events");
        let wakeup = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|errno| Error::io("make an inotify for", &events, errno))?;
        inotify::add_watch(
            &wakeup,
            &events,
            inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF,
        )
        .map_err(|errno| Error::io("watch", &events, errno))?;
        let mut watch = Self {
            wakeup,
            cgroup: cgroup.clone(),
            source: Source::Inotify,
            seen: Counters::default(),
        };
        watch.seen = watch.counters()?;
        Ok(watch)
    }

    /// Takes the wake-up (the descriptor is not readable afterwards) and says what happened since the last call.
    ///
    /// # Errors
    /// When the counters cannot be read for another reason than the cgroup being gone.
    pub fn check(&mut self) -> Result<OomEvent> {
        let woken = self.drain()?;
        let now = match self.counters() {
            Ok(now) => now,
            Err(error) if error.is_not_found() => return Ok(OomEvent::Removed),
            Err(error) => return Err(error),
        };
        let before = std::mem::replace(&mut self.seen, now);
        let happened = match self.source {
            // Version 1 has no counter of limit hits, only of kills, and a hit may come before its kill: the eventfd
            // itself is the news. It is also signalled on removal, so only while the directory still stands.
            Source::Eventfd { .. } => (woken && self.cgroup.exists()) || now.killed > before.killed,
            Source::Inotify => now.oom > before.oom || now.killed > before.killed,
        };
        Ok(if happened { OomEvent::OutOfMemory { killed: now.killed } } else { OomEvent::Nothing })
    }

    /// The cgroup being watched.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    fn counters(&self) -> Result<Counters> {
        let name = match self.source {
            Source::Eventfd { .. } => "memory.oom_control",
            Source::Inotify => "memory.events",
        };
        let path: PathBuf = self.cgroup.path().join(name);
        let values = FlatKeyed::read(&path)?;
        Ok(Counters {
            oom: values.get("oom").unwrap_or(0),
            killed: values.get("oom_kill").unwrap_or(0),
        })
    }

    /// Empties the descriptor; true when there was something in it.
    fn drain(&self) -> Result<bool> {
        let mut buffer = [0_u8; 512];
        let mut woken = false;
        loop {
            match rustix::io::read(&self.wakeup, &mut buffer) {
                Ok(0) => return Ok(woken),
                Ok(_) => woken = true,
                Err(rustix::io::Errno::AGAIN) => return Ok(woken),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::io("read the events of", self.cgroup.path(), errno));
                }
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.wakeup.as_raw_fd()
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
