//! The processes of a container, behind a trait so that the pipeline is tested without any.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mezzo_linux::launch::{self, LaunchError, LaunchSpec};
use mezzo_linux::process::{self, ProcessError, ProcessHandle, ProcessId, Signal, WaitStatus};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::ExitStatus;
use crate::runtime_dir::Files;

/// How long one pass over the processes of a tree may take before it gives up; the caller comes again.
const TREE_PASS: Duration = Duration::from_secs(5);

/// Starts processes and finds them again. All methods block for a short time and are called from blocking threads of the
/// runtime.
pub(crate) trait Launcher: Send + Sync {
    /// Starts a launcher that has the spec and waits.
    fn spawn(
        &self,
        spec: &LaunchSpec,
        stdout: File,
        stderr: File,
        files: &Files,
    ) -> Result<Box<dyn Waiting>, LaunchError>;

    /// A launcher of an earlier life of the agent; none if it has ended.
    fn adopt(&self, id: ProcessId, files: &Files)
    -> Result<Option<Arc<dyn Process>>, ProcessError>;
}

/// A launcher that waits for "go". Dropping it ends it, and nothing has run.
pub(crate) trait Waiting: Send {
    fn id(&self) -> ProcessId;
    fn go(self: Box<Self>) -> Result<Arc<dyn Process>, LaunchError>;
}

/// The processes of a container that runs.
pub(crate) trait Process: Send + Sync {
    /// The launcher.
    fn id(&self) -> ProcessId;

    /// Until the container's first process and its launcher have ended.
    fn ended(self: Arc<Self>) -> BoxFuture<'static, ()>;

    /// Kills the container's processes, so that the launcher reports and ends; `harder`: and the launcher.
    fn kill(&self, harder: bool) -> Result<(), ProcessError>;

    /// How it ended, once it has; clears up what is left of it.
    fn exit(&self) -> Option<ExitStatus>;
}

/// The real launcher, `mezzo-launcher`.
pub(crate) struct LinuxLauncher {
    pub(crate) binary: std::path::PathBuf,
}

impl Launcher for LinuxLauncher {
    fn spawn(
        &self,
        spec: &LaunchSpec,
        stdout: File,
        stderr: File,
        files: &Files,
    ) -> Result<Box<dyn Waiting>, LaunchError> {
        let spawned = launch::spawn(&self.binary, spec, stdout, stderr)?;
        let pid = spawned.pid();
        // It waits for its input, so it can only be gone if somebody killed it.
        let id = spawned.id().ok_or_else(|| gone(pid))?;
        Ok(Box::new(LinuxWaiting { spawned, id, files: files.clone() }))
    }

    fn adopt(
        &self,
        id: ProcessId,
        files: &Files,
    ) -> Result<Option<Arc<dyn Process>>, ProcessError> {
        let Some(handle) = ProcessHandle::open_expected(id)? else { return Ok(None) };
        if handle.wait_ended(Some(Duration::ZERO))? {
            // Usually somebody else's to reap; after an `exec` of the agent it is still ours.
            let _ = handle.try_reap();
            return Ok(None);
        }
        let process = LinuxProcess::new(handle, files.clone())
            .map_err(|source| ProcessError::Io { operation: "watch", pid: id.pid, source })?;
        Ok(Some(Arc::new(process)))
    }
}

struct LinuxWaiting {
    spawned: launch::SpawnedLauncher,
    id: ProcessId,
    files: Files,
}

impl Waiting for LinuxWaiting {
    fn id(&self) -> ProcessId {
        self.id
    }

    fn go(self: Box<Self>) -> Result<Arc<dyn Process>, LaunchError> {
        let pid = self.id.pid;
        let handle = self.spawned.go()?;
        let process = LinuxProcess::new(handle, self.files).map_err(|source| ProcessError::Io {
            operation: "watch",
            pid,
            source,
        })?;
        Ok(Arc::new(process))
    }
}

struct LinuxProcess {
    handle: AsyncFd<ProcessHandle>,
    files: Files,
}

impl LinuxProcess {
    /// Must run within the runtime, which watches the descriptor.
    #[expect(
        deprecated,
        reason = "its successor is `unsafe` and asks that the handle keeps one descriptor open, which it does: it owns it"
    )]
    fn new(handle: ProcessHandle, files: Files) -> io::Result<Self> {
        Ok(Self { handle: AsyncFd::with_interest(handle, Interest::READABLE)?, files })
    }
}

impl Process for LinuxProcess {
    fn id(&self) -> ProcessId {
        self.handle.get_ref().id()
    }

    fn ended(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // A pidfd stays readable, so readiness is never cleared; an error means that the runtime is shutting down.
            if self.handle.readable().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn kill(&self, harder: bool) -> Result<(), ProcessError> {
        // The launcher outlives the first process: it kills what that one leaves behind and writes down how it ended.
        let first = launch::read_pid_file(&self.files.first_process()).ok().flatten();
        if let (false, Some(first)) = (harder, first) {
            if let Some(first) = ProcessHandle::open_expected(first)? {
                first.signal(Signal::KILL)?;
            }
            return Ok(());
        }
        if self.handle.get_ref().wait_ended(Some(Duration::ZERO))? {
            return Ok(());
        }
        process::kill_tree(self.id().pid, TREE_PASS)
    }

    fn exit(&self) -> Option<ExitStatus> {
        // A launcher that is not our child (an earlier agent's) is reaped by whoever adopted it.
        let launcher = self.handle.get_ref().try_reap().ok().flatten();
        let program = launch::read_status_file(&self.files.status()).ok().flatten();
        program.or(launcher).map(exit_status)
    }
}

/// The status of a container that ended while nobody looked.
pub(crate) fn recorded_exit(files: &Files) -> Option<ExitStatus> {
    launch::read_status_file(&files.status()).ok().flatten().map(exit_status)
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(status.raw())
}

fn gone(pid: i32) -> LaunchError {
    LaunchError::Handover {
        pid,
        what: "spec",
        source: io::Error::new(io::ErrorKind::BrokenPipe, "it has ended"),
    }
}
