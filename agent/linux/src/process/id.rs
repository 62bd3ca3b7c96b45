//! A name for a process that stays true after the pid is used again.

use serde::{Deserialize, Serialize};

use super::ProcessError;
use crate::procfs::Procfs;

/// A pid and the moment the process started. Valid within one boot; keep the boot id next to it when it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid.
    pub pid: i32,
    /// Clock ticks from boot to its start.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this pid now; `None` when there is none. A zombie still counts as there.
    ///
    /// # Errors
    /// [`ProcessError::Procfs`].
    pub fn of(pid: i32) -> Result<Option<Self>, ProcessError> {
        let stat = Procfs::default().stat(pid)?;
        Ok(stat.map(|stat| Self { pid, start_time: stat.start_time }))
    }

    /// The calling process.
    ///
    /// # Errors
    /// [`ProcessError::Procfs`].
    pub fn current() -> Result<Self, ProcessError> {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        Self::of(pid)?.ok_or(ProcessError::InvalidPid { pid })
    }

    /// True while this very process exists and has not ended (a zombie has).
    ///
    /// # Errors
    /// [`ProcessError::Procfs`].
    pub fn is_alive(&self) -> Result<bool, ProcessError> {
        let stat = Procfs::default().stat(self.pid)?;
        Ok(stat.is_some_and(|stat| stat.start_time == self.start_time && !stat.state.is_over()))
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (started at tick {})", self.pid, self.start_time)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_same_pid_with_another_start_time_is_not_the_process() {
        let us = ProcessId::current().unwrap();
        assert!(us.is_alive().unwrap());
        let earlier_owner_of_the_pid = ProcessId { start_time: us.start_time + 1, ..us };
        assert!(!earlier_owner_of_the_pid.is_alive().unwrap());
        assert_eq!(ProcessId::of(i32::MAX).unwrap(), None);
    }
}
