//! Containers: what an agent starts executors in.
//!
//! [`Containerizer`] is the whole interface; the agent holds an `Arc<dyn Containerizer>`. [`MezzoContainerizer`] is the real
//! one (a launch pipeline around isolator modules and the launcher of `mezzo-linux`), [`FakeContainerizer`] keeps containers
//! in memory for tests.
//!
//! **Invariants**
//! * One task owns one container from its launch to its end; nothing else changes it. Events of one container never cost
//!   work in proportion to all of them.
//! * Whatever a launch has done is undone in reverse, by the same code, whether the launch fails, the container ends or it
//!   is destroyed.
//! * A pid is on disk before the process behind it may run the command, so an agent that is killed at any instant finds its
//!   containers again, or they never ran.
//! * No call blocks the async runtime: files, processes and modules are handled on blocking threads.
//! * A module that does not come back fails the launch that waits for it, and holds up no other container.

mod config;
mod container;
mod containerizer;
mod error;
mod fake;
mod isolators;
mod launcher;
mod merge;
mod mezzo;
mod missing;
mod pipeline;
mod recovery;
mod runtime_dir;
mod sandbox;
mod usage;
mod variables;

#[cfg(test)]
mod tests;

pub use config::{AnyHook, AnyIsolator, Config, NamedHook, NamedIsolator, hook, isolator};
pub use containerizer::{
    ContainerSpec, Containerizer, ExitStatus, Launched, RecoveredContainer, Recovery, Termination,
};
pub use error::{DestroyError, LaunchError, RecoverError, UpdateError, UsageError};
pub use fake::{FakeContainerizer, FakeLaunch};
pub use mezzo::MezzoContainerizer;
