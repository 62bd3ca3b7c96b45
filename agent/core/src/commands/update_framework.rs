//! A framework subscribed again or changed.

use mezzo_model::FrameworkId;
use mezzo_proto::v1::link::UpdateFramework;

use crate::agent::Agent;
use crate::effect::{Checkpoint, Effect};
use crate::turn::Turn;
use crate::updates;

/// Keeps the new info and sends everything again that the framework has not acknowledged.
pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, message: UpdateFramework) {
    let Some(id) = message.framework_info.id.as_ref().map(|id| FrameworkId::new(&id.value)) else {
        return turn.note("update of a framework without id; ignored");
    };
    if let Some(framework) = agent.frameworks.get_mut(&id) {
        // Runs that have a journal keep it, and none gets one in the middle of its life.
        let checkpoint = framework.info.checkpoint;
        framework.info = message.framework_info;
        framework.info.checkpoint = checkpoint;
        if framework.info.checkpoint() {
            turn.push(Effect::Checkpoint(Checkpoint::Framework(Box::new(framework.info.clone()))));
        }
    }
    for key in agent.streams_of(&id) {
        if let Some(stream) = agent.streams.get_mut(&key) {
            stream.restart();
        }
        updates::send_head(agent, turn, &key);
    }
}
