//! Operations that this version does not carry out: each is refused in so many words, so that a
//! framework is never left waiting.

use mezzo_model::FrameworkId;
use mezzo_proto::v1;
use mezzo_proto::v1::OperationState;
use mezzo_proto::v1::task_status::Reason;

use super::{report_task, tasks_of};
use crate::command::Turn;
use crate::effect::{Code, Rejection};
use crate::events;

pub(super) fn apply(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    operation: &v1::offer::Operation,
) {
    let name = operation.r#type().as_str_name();
    let message = format!("accept.operations: {name} is not available in this version");
    for task in tasks_of(operation) {
        report_task(
            turn,
            framework,
            task,
            v1::TaskState::TaskError,
            Reason::TaskGroupInvalid,
            &message,
        );
    }
    report(turn, framework, operation, &message);
    turn.reject(Rejection::new(Code::Unimplemented, message));
}

/// OPERATION_ERROR, if the framework gave the operation an id to hear of it by.
pub(super) fn report(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    operation: &v1::offer::Operation,
    message: &str,
) {
    if operation.id.is_none() {
        return;
    }
    let status = v1::OperationStatus {
        operation_id: operation.id.clone(),
        state: OperationState::OperationError.into(),
        message: Some(message.to_owned()),
        ..v1::OperationStatus::default()
    };
    turn.tell_framework(framework, events::operation_update(status));
}
