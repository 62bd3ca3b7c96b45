//! A descriptor that becomes readable when something about a cgroup changes: an eventfd (version 1) or an inotify
//! (version 2, and the `*.events` files of version 1).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::EventfdFlags;
use rustix::fs::inotify;

use super::Cgroup;
use crate::{Error, Result};

/// Wakes up whoever polls it. A wake-up is only a reason to look.
#[derive(Debug)]
pub(super) struct Wakeup {
    fd: OwnedFd,
    /// The registration of an eventfd ends when its control file is closed.
    control: Option<OwnedFd>,
}

impl Wakeup {
    /// Registers an eventfd for a control file of a version-1 cgroup (`memory.oom_control`), with the arguments it takes.
    pub(super) fn of_control(cgroup: &Cgroup, name: &str, arguments: &str) -> Result<Self> {
        let path = cgroup.path().join(name);
        let control: OwnedFd =
            std::fs::File::open(&path).map_err(|source| Error::io("open", &path, source))?.into();
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::io("make an eventfd for", &path, errno))?;
        let registration = format!("{} {} {arguments}", fd.as_raw_fd(), control.as_raw_fd());
        cgroup.write("cgroup.event_control", registration.trim_end())?;
        Ok(Self { fd, control: Some(control) })
    }

    /// Watches a file for changes, and for its removal.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|errno| Error::io("make an inotify for", path, errno))?;
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&fd, path, what).map_err(|errno| Error::io("watch", path, errno))?;
        Ok(Self { fd, control: None })
    }

    /// True for an eventfd, which counts, false for an inotify, which tells.
    pub(super) fn counts(&self) -> bool {
        self.control.is_some()
    }

    /// Empties the descriptor: how often it was signalled (eventfd), or in how many reads it had something to tell.
    pub(super) fn drain(&self) -> rustix::io::Result<u64> {
        let mut buffer = [0_u8; 512];
        let mut times = 0_u64;
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(times),
                Ok(_) => {
                    let count = if self.counts() {
                        buffer.first_chunk().map_or(1, |bytes| u64::from_ne_bytes(*bytes))
                    } else {
                        1
                    };
                    times = times.saturating_add(count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
