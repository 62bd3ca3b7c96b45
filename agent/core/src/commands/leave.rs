//! The agent ends its executors and then itself.

use mezzo_model::FrameworkId;
use mezzo_proto::v1::link::{Unregister, from_agent};

use crate::agent::{Agent, Exit, Phase};
use crate::commands::shutdown_framework;
use crate::turn::Turn;

/// The operator wants it.
pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, unregister: bool) {
    if unregister {
        turn.tell_master(agent, from_agent::Message::Unregister(Unregister {}));
    }
    terminate(agent, turn, "told to end its executors and stop".to_owned());
}

/// The master wants it.
pub(crate) fn told(agent: &mut Agent, turn: &mut Turn, message: &str) {
    terminate(agent, turn, format!("the master told this agent to shut down: {message}"));
}

pub(crate) fn terminate(agent: &mut Agent, turn: &mut Turn, message: String) {
    if agent.phase == Phase::Terminating {
        return;
    }
    agent.phase = Phase::Terminating;
    agent.exit = Some(Exit { message, done: false });
    let frameworks: Vec<FrameworkId> = agent.frameworks.keys().cloned().collect();
    for id in &frameworks {
        shutdown_framework::end(agent, turn, id);
    }
}
