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
