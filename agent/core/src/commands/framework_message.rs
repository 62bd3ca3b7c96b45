//! A scheduler says something to its executor.

use mezzo_model::{ExecutorId, FrameworkId};
use mezzo_proto::v1::executor::{Event, event};
use mezzo_proto::v1::link::FrameworkMessage;

use crate::agent::Agent;
use crate::executor::State;
use crate::turn::Turn;

/// Passes it on if the executor listens. Such messages may be lost: that is what they are.
pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, message: FrameworkMessage) {
    let framework = FrameworkId::new(&message.framework_id.value);
    let executor = ExecutorId::new(&message.executor_id.value);
    let session = agent
        .executor(&framework, &executor)
        .filter(|e| e.state == State::Running)
        .and_then(|e| e.session);
    if session.is_none() {
        return turn.note(format!(
            "message for executor {executor} of framework {framework}, which is not connected; dropped"
        ));
    }
    let event = Event {
        r#type: Some(event::Type::Message.into()),
        message: Some(event::Message { data: message.data }),
        ..Event::default()
    };
    turn.tell_executor(session, event);
}
