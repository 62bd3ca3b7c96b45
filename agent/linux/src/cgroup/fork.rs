//! "This container wanted more processes than it may have", as a file descriptor.

use std::os::fd::{AsFd, BorrowedFd};

use super::v1::Pids;
use super::wakeup::Wakeup;
use crate::{Error, Result};

/// Watches `pids.events` of one cgroup, either version. Ready for [`Readiness::Priority`](super::Readiness) when there may be
/// news; then call `check`.
///
/// Kernels before 6.11 count in the cgroup of whoever forks, later ones (version 2) in the one whose limit it was: for a
/// container whose processes are in a child without limits of its own, both are this cgroup.
#[derive(Debug)]
pub struct ForkWatch {
    wakeup: Wakeup,
    pids: Pids,
    seen: u64,
}

impl ForkWatch {
    pub(super) fn new(pids: Pids) -> Result<Self> {
        let wakeup = Wakeup::of_events(&pids.cgroup().path().join("pids.events"))?;
        let seen = pids.refused()?;
        Ok(Self { wakeup, pids, seen })
    }

    /// Takes the wake-up and says how many forks were refused since the last call; `None` when the cgroup is gone.
    ///
    /// # Errors
    /// When the counter cannot be read for another reason.
    pub fn check(&mut self) -> Result<Option<u64>> {
        let drained = self
            .wakeup
            .drain()
            .map_err(|source| Error::io("read the events of", self.pids.cgroup().path(), source));
        match drained.and_then(|_| self.pids.refused()) {
            Ok(now) => {
                let before = std::mem::replace(&mut self.seen, now);
                Ok(Some(now.saturating_sub(before)))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for ForkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use crate::cgroup::Cgroup;

    #[test]
    fn refused_forks_are_told_once_and_removal_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let events = dir.path().join("pids.events");
        std::fs::write(&events, "max 2\n").unwrap();
        let mut watch = ForkWatch::new(Pids::new(Cgroup::new(dir.path()))).unwrap();
        assert_eq!(watch.check().unwrap(), Some(0));
        std::fs::write(&events, "max 5\n").unwrap();
        assert_eq!(watch.check().unwrap(), Some(3));
        assert_eq!(watch.check().unwrap(), Some(0));
        std::fs::remove_file(&events).unwrap();
        assert_eq!(watch.check().unwrap(), None);
    }
}
