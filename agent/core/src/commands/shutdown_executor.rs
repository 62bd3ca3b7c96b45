//! A framework wants one of its executors to end.

use mezzo_model::{ExecutorId, FrameworkId};
use mezzo_proto::v1::link::ShutdownExecutor;

use crate::agent::Agent;
use crate::removal;
use crate::turn::Turn;

pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, message: &ShutdownExecutor) {
    let framework = FrameworkId::new(&message.framework_id.value);
    let executor = ExecutorId::new(&message.executor_id.value);
    let Some(container) = agent.executor(&framework, &executor).map(|e| e.container.clone()) else {
        return turn.note(format!(
            "executor {executor} of framework {framework}, which shall end, is not here"
        ));
    };
    removal::shut_down_executor(agent, turn, &container, None);
}
