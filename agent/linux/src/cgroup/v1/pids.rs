//! `pids`: how many processes and threads.

use crate::Result;
use crate::cgroup::{Cgroup, FlatKeyed, ForkWatch};

/// One cgroup of the `pids` controller. The files are the same in version 1 and 2.
#[derive(Debug, Clone)]
pub struct Pids(Cgroup);

impl Pids {
    /// Wraps a cgroup in the pids hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// Limits the number of processes and threads; `None` lifts the limit.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn set_max(&self, max: Option<u64>) -> Result<()> {
        let text = max.map_or_else(|| "max".to_owned(), |max| max.to_string());
        self.0.write("pids.max", &text)
    }

    /// The limit in force; `None` is no limit.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn max(&self) -> Result<Option<u64>> {
        self.0.read_number("pids.max")
    }

    /// How many there are now.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn current(&self) -> Result<u64> {
        Ok(self.0.read_number("pids.current")?.unwrap_or(0))
    }

    /// How many forks the limit has refused so far.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn refused(&self) -> Result<u64> {
        let events = FlatKeyed::read(&self.0.path().join("pids.events"))?;
        Ok(events.get("max").unwrap_or(0))
    }

    /// Starts to watch for forks that the limit refuses.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn watch_refused(&self) -> Result<ForkWatch> {
        ForkWatch::new(self.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn max_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pids.max"), "").unwrap();
        std::fs::write(dir.path().join("pids.current"), "3\n").unwrap();
        let pids = Pids::new(Cgroup::new(dir.path()));
        pids.set_max(Some(512)).unwrap();
        assert_eq!(pids.max().unwrap(), Some(512));
        pids.set_max(None).unwrap();
        assert_eq!(pids.max().unwrap(), None);
        assert_eq!(pids.current().unwrap(), 3);
    }
}
