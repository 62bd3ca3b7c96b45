//! ACKNOWLEDGE: a framework has dealt with a status update.

use mezzo_model::{AgentId, FrameworkId, TaskId};
use mezzo_proto::v1::link::{self, from_master};
use mezzo_proto::v1::scheduler::call::Acknowledge;

use super::Turn;
use crate::effect::{Code, Rejection};
use crate::state::is_terminal;

pub(crate) fn apply(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    call: Acknowledge,
) -> Result<(), Rejection> {
    let task = TaskId::new(&call.task_id.value);
    let agent = AgentId::new(&call.agent_id.value);
    if !is_uuid(&call.uuid) {
        return Err(Rejection::new(
            Code::InvalidArgument,
            format!(
                "acknowledge.uuid: is {} bytes, expected the 16 bytes of the update's uuid",
                call.uuid.len()
            ),
        ));
    }
    let last = match turn.need_framework(framework)?.tasks.get(&task) {
        // Only the agent knows of it: it answered for a task that it never had, and this master,
        // which has come after, passed the answer on. The agent waits for this.
        None => false,
        Some(known) if known.view.status_update_uuid.is_none() => {
            return Err(Rejection::new(
                Code::FailedPrecondition,
                format!(
                    "acknowledge.task_id: no update of task {:?} has been forwarded to this framework",
                    task.as_str()
                ),
            ));
        }
        Some(known) => {
            let head = known.view.status_update_uuid.as_ref() == Some(&call.uuid);
            head && is_terminal(known.view.status_update_state())
        }
    };
    let holder = turn.framework(framework).and_then(|f| f.tasks.get(&task)).map(|t| &t.agent);
    if holder.is_some_and(|holder| *holder != agent) {
        return Err(Rejection::new(
            Code::InvalidArgument,
            format!("acknowledge.agent_id: {:?} does not have the task", agent.as_str()),
        ));
    }
    // An agent that cannot hear of it will send the update again: nothing ends before it has.
    if !turn.agent(&agent).is_some_and(|a| a.connected()) {
        return Err(Rejection::new(
            Code::FailedPrecondition,
            format!("acknowledge.agent_id: agent {:?} is not connected", agent.as_str()),
        ));
    }
    turn.books().counts.acknowledgements += 1;
    if last {
        turn.complete_task(framework, &task);
    }
    turn.tell_agent(
        &agent,
        from_master::Message::Acknowledge(link::Acknowledge {
            framework_id: framework.into(),
            task_id: (&task).into(),
            uuid: call.uuid,
        }),
    );
    Ok(())
}

/// Sixteen bytes that are not all zero.
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 16 && bytes.iter().any(|b| *b != 0)
}
