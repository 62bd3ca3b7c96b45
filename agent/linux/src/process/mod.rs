//! Processes: naming one for good, waiting for its end, signalling it and all that came out of it.
//!
//! A pid alone is not a name: it is used again after the process ended. [`ProcessId`] adds the start time, and
//! [`ProcessHandle`] holds a pidfd, which always means the process it was opened for.

mod handle;
mod id;
mod status;
mod table;
mod tree;

pub use handle::ProcessHandle;
pub use id::ProcessId;
pub use rustix::process::Signal;
pub use status::WaitStatus;
pub use table::ProcessTable;
pub use tree::{
    kill_tree, members_of_session, members_of_tree, signal_members, signal_session, signal_tree,
};

use std::io;

/// Why something asked of a process did not work. "It is gone" is never an error but part of the answer.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A system call on a process failed.
    #[error("cannot {operation} process {pid}")]
    Io {
        /// The verb.
        operation: &'static str,
        /// The process.
        pid: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A number that cannot be a process.
    #[error("process id is {pid}, expected a number above 0")]
    InvalidPid {
        /// The number.
        pid: i32,
    },
    /// Some processes of a tree are still there.
    #[error("processes {left:?} of the tree of {root} are still there {after:?} after SIGKILL")]
    Survived {
        /// The root of the tree.
        root: i32,
        /// Who is left.
        left: Vec<i32>,
        /// How long was waited.
        after: std::time::Duration,
    },
    /// `/proc` could not be read.
    #[error(transparent)]
    Procfs(#[from] crate::Error),
}

impl ProcessError {
    fn io(operation: &'static str, pid: i32, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, pid, source: source.into() }
    }
}
