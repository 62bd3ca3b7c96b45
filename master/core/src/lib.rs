//! The decisions of a master, as one function.
//!
//! [`apply`] takes the state of the cluster, a [`Command`] and the time, and gives [`Effect`]s: what
//! to tell whom, what to write down, what to let the allocator know. It reads no clock, draws no
//! random number and does no I/O, so the same commands always give the same state and effects.
//!
//! Reading order: [`Command`], [`state`], then one file per command in `command/`.
//!
//! **Invariants**
//! * One writer. Whoever wants the state changed sends a command; readers hold a [`Books`] snapshot.
//! * An offer is in [`Books::offers`] from the moment it is made until the command that ends it, so
//!   it can be used at most once.
//! * `agent.available` + everything offered + everything used = `agent.total`, for every agent.
//! * An agent is visible to frameworks and allocator only after the registry has it on disk.

mod allocation;
mod command;
mod effect;
mod events;
mod filters;
mod ledger;
pub mod state;
mod time;
mod validate;
mod views;

pub use command::{AgentHello, Command, Persisted, Proposal};
pub use effect::{Applied, Code, Effect, Rejection, ReplyTo, SessionId, Write, WriteId};
pub use state::{Agent, Books, Cluster, Config, Executor, Framework, Offer, Task};
pub use time::{Instant, Now};

/// Applies one command to the cluster.
///
/// Never fails and never panics on input: what cannot be done becomes a [`Rejection`] or an effect
/// that tells the caller, and the rest of the command is carried out.
pub fn apply(cluster: &mut Cluster, command: Command, now: Now) -> Applied {
    let mut turn = command::Turn::new(cluster, now);
    command::dispatch(&mut turn, command);
    turn.finish()
}
