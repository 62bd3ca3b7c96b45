//! A process held by a pidfd.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::{ProcessError, ProcessId, WaitStatus};

/// A process that cannot be confused with a later one of the same pid. The descriptor becomes readable when it has ended
/// (poll it, or put the handle into an `AsyncFd`); then [`ProcessHandle::try_reap`] if it is our child.
#[derive(Debug)]
pub struct ProcessHandle {
    id: ProcessId,
    pidfd: OwnedFd,
}

impl ProcessHandle {
    /// Opens the process that has this pid now; `None` when there is none.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn open(pid: i32) -> Result<Option<Self>, ProcessError> {
        if pid <= 0 {
            return Err(ProcessError::InvalidPid { pid });
        }
        let raw = Pid::from_raw(pid).ok_or(ProcessError::InvalidPid { pid })?;
        let pidfd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL: the pid is that of a thread, not of a process: the process of that pid is gone, too.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(ProcessError::io("open", pid, errno)),
        };
        // The start time is read *after* opening: should the pid have changed hands in between, the process read about is
        // the later one, and the pidfd says that its own has ended.
        let Some(id) = ProcessId::of(pid)? else {
            return Ok(None);
        };
        Ok(Some(Self { id, pidfd }))
    }

    /// Opens exactly this process; `None` when it is gone, also if its pid belongs to another one now.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn open_expected(id: ProcessId) -> Result<Option<Self>, ProcessError> {
        Ok(Self::open(id.pid)?.filter(|found| found.id == id))
    }

    /// Which process.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.id.pid
    }

    /// Sends a signal; false when the process has ended already.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn signal(&self, signal: Signal) -> Result<bool, ProcessError> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(ProcessError::io("signal", self.id.pid, errno)),
        }
    }

    /// Waits for the end, for at most `timeout` (`None`: for ever); true when it has ended. Works for any process. Blocks.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn wait_ended(&self, timeout: Option<Duration>) -> Result<bool, ProcessError> {
        let started = std::time::Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
            let spec = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, spec.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(ProcessError::io("wait for", self.id.pid, errno)),
            }
        }
    }

    /// Takes the wait status of our own child if it has ended; `None` while it runs. Never blocks.
    ///
    /// # Errors
    /// [`ProcessError`]; ECHILD when it is not our child or was reaped already.
    pub fn try_reap(&self) -> Result<Option<WaitStatus>, ProcessError> {
        self.wait_id(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// Waits for our own child and takes its status. Blocks.
    ///
    /// # Errors
    /// As [`ProcessHandle::try_reap`].
    pub fn wait(&self) -> Result<WaitStatus, ProcessError> {
        loop {
            if let Some(status) = self.wait_id(WaitIdOptions::EXITED)? {
                return Ok(status);
            }
        }
    }

    fn wait_id(&self, options: WaitIdOptions) -> Result<Option<WaitStatus>, ProcessError> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(status) => return Ok(status.map(|status| decode(&status))),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(ProcessError::io("reap", self.id.pid, errno)),
            }
        }
    }
}

/// `waitid` gives the parts, `wait` (and our status files) the whole number.
fn decode(status: &WaitIdStatus) -> WaitStatus {
    if let Some(code) = status.exit_status() {
        return WaitStatus::from_raw((code & 0xff) << 8);
    }
    let core = if status.dumped() { 0x80 } else { 0 };
    WaitStatus::from_raw(status.terminating_signal().unwrap_or(0) | core)
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl AsRawFd for ProcessHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::zombie_processes,
    reason = "a failed test may panic; the handle does the waiting"
)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeper() -> ProcessHandle {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        ProcessHandle::open(i32::try_from(child.id()).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_signalled_child_becomes_readable_and_is_reaped_once() {
        let process = sleeper();
        assert!(!process.wait_ended(Some(Duration::ZERO)).unwrap());
        assert_eq!(process.try_reap().unwrap(), None);
        assert!(process.signal(Signal::TERM).unwrap());
        assert!(process.wait_ended(None).unwrap());
        assert!(!process.id().is_alive().unwrap());
        assert_eq!(process.wait().unwrap(), WaitStatus::signalled(15));
        assert!(process.try_reap().is_err());
        assert!(!process.signal(Signal::KILL).unwrap());
        assert!(ProcessHandle::open_expected(process.id()).unwrap().is_none());
    }

    #[test]
    fn an_exit_code_is_kept_as_a_raw_status() {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let process = ProcessHandle::open(i32::try_from(child.id()).unwrap()).unwrap().unwrap();
        assert_eq!(process.wait().unwrap().raw(), 7 << 8);
    }

    #[test]
    fn a_reused_pid_is_not_opened_as_the_old_process() {
        let process = sleeper();
        let other = ProcessId { start_time: process.id().start_time - 1, ..process.id() };
        assert!(ProcessHandle::open_expected(other).unwrap().is_none());
        assert!(ProcessHandle::open_expected(process.id()).unwrap().is_some());
        process.signal(Signal::KILL).unwrap();
        process.wait().unwrap();
    }

    #[test]
    fn impossible_pids_are_refused() {
        for pid in [0, -1, i32::MIN] {
            assert!(matches!(
                ProcessHandle::open(pid).unwrap_err(),
                ProcessError::InvalidPid { .. }
            ));
        }
        assert!(ProcessHandle::open(i32::MAX).unwrap().is_none());
    }
}
