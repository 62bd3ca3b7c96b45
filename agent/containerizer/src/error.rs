//! Why an operation on a container failed. One enum per operation; each names the container or the thing that was wrong.

use std::io;
use std::path::PathBuf;

use mezzo_linux::process::ProcessError;
use mezzo_model::ContainerId;
use mezzo_module_api::{Code, ModuleError};

/// Why a container was not started. Everything that had been done for it is undone.
///
/// As a status message of a task: `Failed to launch container: {error}`, see [`LaunchError::task_message`].
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Ids are used once.
    #[error("container '{0}' exists already")]
    Exists(ContainerId),
    /// Ids are names of directories, and containers inside containers are not supported yet.
    #[error(
        "container id '{0}' cannot be used; expected one that is fit for a path, of a container in no other"
    )]
    InvalidId(String),
    /// It was destroyed while it started.
    #[error("container '{0}' was destroyed while it was being launched")]
    Destroyed(ContainerId),
    /// The command cannot be run as it is written.
    #[error("{0}")]
    InvalidCommand(String),
    /// `user` is no user of this machine.
    #[error("user '{user}' does not exist on this agent")]
    UnknownUser {
        /// Who.
        user: String,
    },
    /// The user database did not answer.
    #[error("cannot look up user '{user}'")]
    UserLookup {
        /// Who.
        user: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An agent that is not root can only run things as itself.
    #[error("cannot run as user '{user}': the agent is not root, it runs as '{agent}'")]
    UserSwitch {
        /// Who should run it.
        user: String,
        /// Who the agent is.
        agent: String,
    },
    /// The sandbox or something in it could not be made.
    #[error("cannot {action} '{}'", path.display())]
    Sandbox {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the runtime or meta directory could not be written.
    #[error("cannot checkpoint '{}'", path.display())]
    Checkpoint {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An isolator refused.
    #[error("isolator '{isolator}' failed to {call} the container")]
    Isolator {
        /// Its name.
        isolator: String,
        /// `prepare`, `watch` or `isolate`.
        call: &'static str,
        /// Its words.
        #[source]
        source: ModuleError,
    },
    /// A hook refused, or could not say.
    #[error("hook '{hook}' {}", if decided(source.code) { "refused the container" } else { "failed" })]
    Hook {
        /// Its name.
        hook: String,
        /// Its words.
        #[source]
        source: ModuleError,
    },
    /// Two isolators want different things where there can be only one.
    #[error("isolators '{first}' and '{second}' both set {what}")]
    Conflict {
        /// Who was first.
        first: String,
        /// Who came then.
        second: String,
        /// What both set.
        what: &'static str,
    },
    /// An isolator asks for something this containerizer cannot do.
    #[error("isolator '{isolator}' wants {what}, which this containerizer does not do")]
    Unsupported {
        /// Who.
        isolator: String,
        /// What.
        what: &'static str,
    },
    /// A module asks for something that no container can have.
    #[error("{kind} '{name}' wants {what}")]
    Unusable {
        /// `isolator` or `hook`.
        kind: &'static str,
        /// Which.
        name: String,
        /// What, and what was expected.
        what: String,
    },
    /// The launcher could not be started or did not answer.
    #[error("cannot start its process")]
    Launcher {
        /// Why not.
        #[source]
        source: mezzo_linux::launch::LaunchError,
    },
    /// A panic or the end of the runtime took the launch with it.
    #[error("the launch was cut off: {0}")]
    CutOff(String),
}

impl LaunchError {
    /// The message of the task that could not start: this error and everything behind it.
    pub fn task_message(&self) -> String {
        let mut text = format!("Failed to launch container: {self}");
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}

/// Whether an error with this code is what a module wanted to say, and not that it panicked, did not come back or is broken.
fn decided(code: Code) -> bool {
    !matches!(code, Code::Internal | Code::DeadlineExceeded | Code::Unavailable | Code::DataLoss)
}

/// Why limits were not changed.
#[derive(Debug, thiserror::Error)]
#[error("isolator '{isolator}' failed to update container '{container}'")]
pub struct UpdateError {
    /// Which container.
    pub container: ContainerId,
    /// Who refused.
    pub isolator: String,
    /// In its words.
    #[source]
    pub source: ModuleError,
}

/// Why there is nothing to tell about a container.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No such container, or it is ending.
    #[error("container '{0}' is unknown")]
    Unknown(ContainerId),
}

/// Why a container is still there, or not cleanly gone.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// Processes of it would not die. Its isolators are not cleaned up and its resources stay in use.
    #[error("container '{container}' cannot be killed: {reason}")]
    Stuck {
        /// Which container.
        container: ContainerId,
        /// What was tried, and what is left.
        reason: String,
    },
    /// All its processes are gone, but some isolators could not clean up.
    #[error("container '{container}' has ended, but was not cleaned up: {reason}")]
    Cleanup {
        /// Which container.
        container: ContainerId,
        /// Which isolators, and why.
        reason: String,
    },
}

/// Why containers could not be recovered. The agent must not go on.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A container's process could not be looked at.
    #[error("cannot find the process of container '{container}'")]
    Process {
        /// Which container.
        container: ContainerId,
        /// Why not.
        #[source]
        source: ProcessError,
    },
    /// A panic ended it.
    #[error("recovery was cut off: {0}")]
    CutOff(String),
    /// The runtime directory could not be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An isolator cannot take over.
    #[error("isolator '{isolator}' failed to recover")]
    Isolator {
        /// Its name.
        isolator: String,
        /// Its words.
        #[source]
        source: ModuleError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_is_broken_has_not_refused_anything() {
        let text = |code| {
            let source = ModuleError::new(code, "why");
            LaunchError::Hook { hook: "h".to_owned(), source }.task_message()
        };
        for code in [Code::Internal, Code::DeadlineExceeded, Code::Unavailable] {
            let text = text(code);
            assert!(text.starts_with("Failed to launch container: hook 'h' failed: why"), "{text}");
        }
        let text = text(Code::PermissionDenied);
        assert!(text.contains("hook 'h' refused the container: why"), "{text}");
    }
}
