//! A framework is over: everything of it ends, and nobody wants to hear how.

use mezzo_model::{ContainerId, FrameworkId};
use mezzo_proto::v1::link::ShutdownFramework;

use crate::agent::Agent;
use crate::effect::Measure;
use crate::removal;
use crate::turn::Turn;
use crate::updates::close_stream;

pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, message: &ShutdownFramework) {
    end(agent, turn, &FrameworkId::new(&message.framework_id.value));
}

/// Ends a framework. Its updates are not told any more, whether acknowledged or not.
pub(crate) fn end(agent: &mut Agent, turn: &mut Turn, id: &FrameworkId) {
    for key in agent.streams_of(id) {
        close_stream(agent, &key);
    }
    let Some(framework) = agent.frameworks.get_mut(id) else { return };
    framework.terminating = true;
    for (_, launch) in std::mem::take(&mut framework.launches) {
        for _ in &launch.tasks {
            turn.measure(Measure::TaskForgotten(mezzo_proto::v1::TaskState::TaskStaging));
        }
    }
    let executors: Vec<_> =
        framework.executors.values().map(|e| (e.id.clone(), e.container.clone())).collect();
    for (executor, container) in executors {
        let container: ContainerId = container;
        removal::shut_down_executor(agent, turn, &container, None);
        // One that has ended and only waited for acknowledgements.
        removal::remove_if_over(agent, turn, id, &executor);
    }
    removal::remove_if_idle(agent, turn, id);
}
