//! One child process with its log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::LocalError;

/// Lines of a log that are told when its process ends by itself.
const LAST_LINES: usize = 5;
/// How long a process may take to stop.
const GRACE: Duration = Duration::from_secs(15);

/// A process of the cluster.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `binary`; what it writes goes to `<logs>/<name>.log`.
    pub(super) fn start(
        name: String,
        binary: &Path,
        flags: &[String],
        logs: &Path,
    ) -> Result<Self, LocalError> {
        let log = logs.join(format!("{name}.log"));
        let fail = |source| LocalError::Start { name: name.clone(), source };
        let file = File::create(&log).map_err(fail)?;
        let child = Command::new(binary)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(fail)?)
            .stderr(file)
            // Ctrl-C is for us: we stop the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        Ok(Self { name, child, log })
    }

    /// Waits until the process ends, which nobody asked for.
    pub(super) async fn ended(&mut self) -> LocalError {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let skipped = lines.len().saturating_sub(LAST_LINES);
        let last_words: Vec<&str> = lines.into_iter().skip(skipped).collect();
        LocalError::Ended { name: self.name.clone(), status, last_words: last_words.join("\n  ") }
    }

    /// Asks the process to stop, and makes it if it does not.
    pub(super) async fn stop(&mut self) {
        terminate(&self.child);
        if timeout(GRACE, self.child.wait()).await.is_err() {
            // The process may just have ended by itself.
            let _ = self.child.kill().await;
        }
    }
}

/// Sends SIGTERM, if the process is still there.
pub(super) fn terminate(child: &Child) {
    // Only a child that was not waited for has an id, so this never hits a stranger.
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}
