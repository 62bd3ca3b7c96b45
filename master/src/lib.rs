//! The master as a process: everything around `mezzo-master-core` that does I/O.
//!
//! ```text
//!  frameworks ─ api::scheduler ─┐                          ┌─ sessions ─▶ frameworks, agents
//!  agents ───── api::link ──────┼─▶ actor (owns Cluster) ──┼─ registry ─▶ disk, then back
//!  operators ── api::operator ──┘        ▲                 └─ allocation ─▶ the module
//!                                        └───── proposals, "it is on disk" ─────┘
//! ```
//!
//! **Invariants**
//! * The [`actor`] alone changes the cluster. Nothing it does waits for a client, a disk or a module.
//! * Handlers decode, send a command and encode; they decide nothing.
//! * The `DashMap`s of [`sessions`] say who is connected, never what is true of the cluster.

pub mod app;

mod actor;
mod allocation;
mod api;
mod config;
mod hooks;
mod metrics;
mod registry;
mod sessions;

pub use config::Flags;
