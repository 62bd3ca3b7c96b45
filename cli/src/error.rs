//! What can go wrong, each in one line for people.

use std::path::PathBuf;

use tonic::Status;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// Nobody answers at the master's address.
    #[error(
        "cannot connect to a master at {address}: {why}; expected a running master (--master HOST:PORT)"
    )]
    NoMaster {
        /// Where it was looked for.
        address: String,
        /// What came of trying.
        why: String,
    },
    /// The master or an agent said no.
    #[error("{what}: {}", .status.message())]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        status: Box<Status>,
    },
    /// The master does not want the framework of `mezzo run`.
    #[error("{0}")]
    Aborted(#[from] mezzo_sdk::Aborted),
    /// A sandbox cannot be read.
    #[error("{0}")]
    Sandbox(#[from] mezzo_sdk::sandbox::SandboxError),
    /// There is no such task.
    #[error("no task '{task}': expected the id of a task as 'mezzo tasks --all' shows it")]
    NoTask {
        /// What was asked for.
        task: String,
    },
    /// Several frameworks have a task of this id.
    #[error("task '{task}' exists in several frameworks ({frameworks}): expected --framework too")]
    Ambiguous {
        /// What was asked for.
        task: String,
        /// Those that have one.
        frameworks: String,
    },
    /// A file of tasks is not readable.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line of a file of tasks makes no sense.
    #[error("{}:{line}: {why}", .path.display())]
    TaskLine {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// There is nothing to run.
    #[error("nothing to run: expected a command after -- or --tasks FILE with at least one line")]
    NothingToRun,
    /// A message cannot be written as JSON.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] mezzo_proto::json::JsonError),
    /// The local cluster did not start or did not stay up.
    #[error("{0}")]
    Local(#[from] crate::local::LocalError),
    /// Nobody could look at a module library.
    #[error("{0}")]
    Inspect(#[from] crate::modules::InspectError),
    /// A new module cannot be made.
    #[error("{0}")]
    NewModule(#[from] crate::modules::NewModuleError),
    /// Anything that the operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl CliError {
    pub(crate) fn refused(what: &'static str) -> impl Fn(Status) -> Self {
        move |status| Self::Refused { what, status: Box::new(status) }
    }

    pub(crate) fn io(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
