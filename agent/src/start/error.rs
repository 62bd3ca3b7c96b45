//! Why an agent cannot start, in one line.

use std::error::Error;
use std::path::PathBuf;

use mezzo_runtime::serve::BindError;

use crate::detect::ResourcesError;
use crate::identity::IdentityError;
use crate::modules::ModulesError;
use crate::store::{self, LockError, WriteError};

/// Why an agent cannot start. One line each, with [`mezzo_runtime::errors::one_line`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It was told to stop before it had started.
    #[error("stopped before it had started")]
    Stopped,
    /// A flag says something that cannot be.
    #[error("flag --{flag}: got {value:?}, expected {expected}")]
    Flag {
        /// Which.
        flag: &'static str,
        /// What it says.
        value: String,
        /// What it could say.
        expected: &'static str,
    },
    /// The work directory cannot be used.
    #[error(transparent)]
    WorkDir(#[from] LockError),
    /// The resources make no sense.
    #[error(transparent)]
    Resources(#[from] ResourcesError),
    /// The agent cannot say who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A module is not there.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The port is not free.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The checkpoints cannot be read.
    #[error(transparent)]
    Recover(#[from] store::RecoverError),
    /// The checkpoints cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// This is not the agent that left the checkpoints.
    #[error(
        "the agent in {} was another one: {what}. Start it as it was, allow more with --reconfiguration_policy=additive, or end its executors with --recover=cleanup and remove {}",
        work_dir.display(), meta.display()
    )]
    Incompatible {
        /// The work directory.
        work_dir: PathBuf,
        /// What to remove to start anew.
        meta: PathBuf,
        /// What is different.
        what: String,
    },
    /// Something of the installation is not there.
    #[error("cannot find {what}")]
    Missing {
        /// What.
        what: &'static str,
        /// Where it was looked for.
        #[source]
        source: std::io::Error,
    },
    /// The system refuses something.
    #[error("cannot {action}")]
    System {
        /// What.
        action: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

pub(super) fn system(
    action: &'static str,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> StartError {
    StartError::System { action, source: source.into() }
}
