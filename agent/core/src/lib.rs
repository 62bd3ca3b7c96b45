//! What an agent decides, and nothing of how it is done.
//!
//! [`apply`] is the whole agent in one signature: every input is a [`Command`], every output an [`Effect`]. Time comes in with
//! the command, new ids come from a seed, so the same commands give the same state and the same effects. There is no thread,
//! no socket, no file and no clock in this crate.
//!
//! **Invariants**
//! * A status update is in the journal (for frameworks that checkpoint) before the executor hears that the agent has it and
//!   before the master sees it: [`Effect::Checkpoint`] comes first, and effects are carried out in order.
//! * Of every task only the head of its stream is on the way; the next update follows its acknowledgement.
//! * A task has at most one terminal update, whoever made it.
//! * No input can make this crate panic; what makes no sense is dropped with an [`Effect::Note`].

mod agent;
mod command;
mod commands;
mod container;
mod effect;
mod executor;
mod framework;
mod ids;
mod launch;
mod removal;
mod resources;
mod settings;
mod stream;
mod task;
mod timers;
mod turn;
mod updates;
mod view;

pub use agent::{Agent, Phase};
pub use command::{
    Command, ExecutorCall, Now, Recovered, RecoveredFramework, RecoveredRun, Termination,
};
pub use effect::{Checkpoint, Effect, ExecutorRemoved, Launch, Measure, RecoveredContainer};
pub use settings::{History, Settings};
pub use task::is_terminal;
pub use turn::apply;
pub use updates::Update;
pub use view::ContainerView;
