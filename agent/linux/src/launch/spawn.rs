//! Spawning a launcher and telling it to go.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{LaunchSpec, SpecError};
use crate::process::{ProcessError, ProcessHandle, ProcessId, Signal};

/// The byte that says "go".
pub(crate) const GO: u8 = b'G';
/// A spec longer than this is refused on both sides.
pub(crate) const MAX_SPEC_BYTES: usize = 16 * 1024 * 1024;

/// Why a launcher could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The spec itself is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The spec cannot be passed on.
    #[error("launch spec cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// The spec is too long.
    #[error("launch spec is {found} bytes long, expected at most {MAX_SPEC_BYTES}")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// The launcher binary does not start.
    #[error("cannot start the launcher {}", path.display())]
    Spawn {
        /// The binary.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It started, but did not take what was written to it (it was killed, or is not our launcher).
    #[error("launcher {pid} does not take its {what}")]
    Handover {
        /// The launcher.
        pid: i32,
        /// `spec` or `go`.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A launcher that has its spec and waits. Dropping it instead of [`SpawnedLauncher::go`] ends it; nothing has run then.
#[derive(Debug)]
pub struct SpawnedLauncher {
    // In this order: the pipe closes before the process is waited for.
    child: Child,
    /// Taken only by `go`.
    process: Option<ProcessHandle>,
}

/// Starts the launcher binary with this spec. `stdout` and `stderr` become those of the program unless the spec says
/// otherwise; setup errors go to `stderr`.
///
/// A system call of about half a millisecond: call it from a blocking thread. Nothing of the agent is copied
/// (`posix_spawn`), whatever its size, and no descriptor but these three reaches the launcher.
///
/// # Errors
/// [`LaunchError`]; nothing is left running then.
pub fn spawn(
    launcher: &Path,
    spec: &LaunchSpec,
    stdout: File,
    stderr: File,
) -> Result<SpawnedLauncher, LaunchError> {
    spec.validate()?;
    let json = serde_json::to_vec(spec).map_err(LaunchError::Encode)?;
    let length = u32::try_from(json.len()).ok().filter(|_| json.len() <= MAX_SPEC_BYTES);
    let length = length.ok_or(LaunchError::TooLong { found: json.len() })?;
    let mut message = length.to_le_bytes().to_vec();
    message.extend(json);

    // Neither uid, gid, groups nor pre_exec here: any of them would make std fork the whole agent instead.
    let child = Command::new(launcher)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|source| LaunchError::Spawn { path: launcher.to_owned(), source })?;
    let pid = pid_of(&child);
    // From here on dropping cleans up. A child of ours keeps its pid until it is reaped, so opening it cannot go wrong by
    // pid reuse.
    let mut spawned = SpawnedLauncher { child, process: None };
    spawned.process = ProcessHandle::open(pid)?;
    spawned.tell(&message, "spec")?;
    Ok(spawned)
}

impl SpawnedLauncher {
    /// The launcher's pid: attach this one to cgroups.
    #[must_use]
    pub fn pid(&self) -> i32 {
        pid_of(&self.child)
    }

    /// The launcher's pid and start time: write these down before [`SpawnedLauncher::go`].
    #[must_use]
    pub fn id(&self) -> Option<ProcessId> {
        self.process.as_ref().map(ProcessHandle::id)
    }

    /// Lets it run. The handle becomes readable when the container has ended; then reap it. Dropping the handle leaves the
    /// container running.
    ///
    /// # Errors
    /// [`LaunchError::Handover`] when the launcher has died meanwhile (it is reaped then).
    pub fn go(mut self) -> Result<ProcessHandle, LaunchError> {
        // The pipe alone does not tell: for an instant another child that is just being spawned may hold its other end.
        let process = self.process.as_ref();
        if process.is_none_or(|process| process.wait_ended(Some(Duration::ZERO)).unwrap_or(true)) {
            let (pid, source) = (pid_of(&self.child), io::ErrorKind::BrokenPipe.into());
            return Err(LaunchError::Handover { pid, what: "go", source });
        }
        self.tell(&[GO], "go")?;
        // The end of its input means nothing to a launcher that runs.
        drop(self.child.stdin.take());
        self.process
            .take()
            .ok_or_else(|| ProcessError::InvalidPid { pid: pid_of(&self.child) }.into())
    }

    fn tell(&mut self, message: &[u8], what: &'static str) -> Result<(), LaunchError> {
        let pid = pid_of(&self.child);
        let stdin =
            self.child.stdin.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe));
        stdin.and_then(|stdin| stdin.write_all(message)).map_err(|source| LaunchError::Handover {
            pid,
            what,
            source,
        })
    }
}

impl Drop for SpawnedLauncher {
    fn drop(&mut self) {
        // After `go` the input is closed and the process is somebody else's to reap.
        if self.child.stdin.take().is_none() {
            return;
        }
        // It would exit by itself on the end of its input; SIGKILL makes sure that the wait is short.
        match &self.process {
            Some(process) => drop(process.signal(Signal::KILL)),
            None => drop(self.child.kill()),
        }
        drop(self.child.wait());
    }
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap_or_default()
}
