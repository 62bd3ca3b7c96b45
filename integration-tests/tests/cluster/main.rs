//! What the issue promises, asked of real processes: each test has a cluster of its own, made of the
//! binaries beside this program, and leaves nothing behind.
//!
//! `cargo build --workspace` makes the binaries. Most of it wants root, for containers are made of
//! cgroups and namespaces; without root those tests fail and say so.
#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod calls;
mod cgroups;
mod checkpoints;
mod command_line;
mod examples;
mod flags;
mod framework;
mod hook_chain;
mod hooks;
mod hostile_allocator;
mod isolation;
mod kernel;
mod kill;
mod launch;
mod leftovers;
mod limits;
mod memory;
mod module_examples;
mod modules;
mod ports;
mod posix;
mod raw;
mod refusals;
mod restart;
mod services;
mod shared;
mod statistics;
mod stuck_modules;

/// The name of a test's end: an error that is shown with all its causes.
pub(crate) type Done = anyhow::Result<()>;
