//! A descriptor that wakes up whoever polls it when something about a cgroup changes: an eventfd for the control files of
//! version 1, an open `*.events` file otherwise.
//!
//! Not inotify: an instance of it per container is more than a user may have (128), and takes the kernel 10 ms to close.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::EventfdFlags;

use super::Cgroup;
use crate::{Error, Result};

/// How a descriptor says that there may be news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It is readable (`POLLIN`).
    Readable,
    /// It has an exceptional condition (`POLLPRI`); it is always readable.
    Priority,
}

/// Wakes up whoever polls it. A wake-up is only a reason to look.
#[derive(Debug)]
pub(super) enum Wakeup {
    /// Registered for a control file.
    Eventfd(OwnedFd),
    /// A file that the kernel tells changes of until it is read again.
    Events(File),
}

impl Wakeup {
    /// Registers an eventfd for a control file of a version-1 cgroup (`memory.oom_control`), with the arguments it takes.
    pub(super) fn of_control(cgroup: &Cgroup, name: &str, arguments: &str) -> Result<Self> {
        let path = cgroup.path().join(name);
        let control = open(&path)?;
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::io("make an eventfd for", &path, errno))?;
        let registration = format!("{} {} {arguments}", fd.as_raw_fd(), control.as_raw_fd());
        cgroup.write("cgroup.event_control", registration.trim_end())?;
        // The registration lives as long as the eventfd; the control file only says what it is for.
        Ok(Self::Eventfd(fd))
    }

    /// Watches a file of counters for changes.
    pub(super) fn of_events(path: &Path) -> Result<Self> {
        let wakeup = Self::Events(open(path)?);
        wakeup.drain().map_err(|source| Error::io("read", path, source))?;
        Ok(wakeup)
    }

    /// What to poll it for.
    pub(super) fn readiness(&self) -> Readiness {
        match self {
            Self::Eventfd(_) => Readiness::Readable,
            Self::Events(_) => Readiness::Priority,
        }
    }

    /// Takes the wake-up; how often an eventfd was signalled. A file does not count.
    pub(super) fn drain(&self) -> io::Result<u64> {
        match self {
            Self::Eventfd(fd) => {
                let mut count = [0; 8];
                match rustix::io::read(fd, &mut count) {
                    Ok(_) => Ok(u64::from_ne_bytes(count)),
                    Err(rustix::io::Errno::AGAIN) => Ok(0),
                    Err(errno) => Err(errno.into()),
                }
            }
            Self::Events(file) => {
                let mut file = file;
                file.rewind()?;
                io::copy(&mut file.take(4096), &mut io::sink())?;
                Ok(0)
            }
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| Error::io("open", path, source))
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Eventfd(fd) => fd.as_fd(),
            Self::Events(file) => file.as_fd(),
        }
    }
}
