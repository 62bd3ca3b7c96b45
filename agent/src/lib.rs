//! The agent: runs tasks on one machine and tells a master about them.
//!
//! What to do is decided by `mezzo-agent-core`; this crate does it. One task, the [`actor`], owns the state and feeds it
//! commands; one thread, the [`effects`] thread, carries out what comes out, in order, checkpoints first. Around them:
//!
//! | module | for |
//! |---|---|
//! | [`flags`] | what the operator says |
//! | [`start`] | putting everything together |
//! | [`link`] | the connection to the master |
//! | [`executors`] | the connections of executors |
//! | [`containers`] | starting, changing and ending containers |
//! | [`hooks`] | letting hook modules see and change things |
//! | [`store`] | checkpoints, and reading them back |
//! | [`service`] | what operators ask, over gRPC and HTTP |
//! | [`numbers`] | what Prometheus sees |
//!
//! **Invariants**
//! * Only the actor changes the state; only the effects thread writes checkpoints.
//! * Whatever follows a checkpoint in the list of effects happens after it is written. If it cannot be written the agent
//!   stops: its tasks go on and the next start finds everything as it was last written.
//! * Nothing waits for an executor or an operator: who does not read is cut off.

pub mod flags;
pub mod start;

mod actor;
mod containers;
mod detect;
mod effects;
mod executors;
mod hooks;
mod identity;
mod link;
mod modules;
mod numbers;
mod parameters;
#[expect(
    clippy::result_large_err,
    reason = "a failure with its details is made once for a call and sent"
)]
mod service;
mod store;

pub use detect::ResourcesError;
pub use identity::IdentityError;
pub use modules::ModulesError;
pub use start::{Agent, Parts, StartError};
pub use store::{LockError, RecoverError, WriteError};
