//! What a registered agent says.

use mezzo_proto::v1::link::from_agent::Message;

use super::{Turn, agent_lost, messages, status_update, unreachable};
use crate::effect::{Code, Effect, Rejection, SessionId};

pub(crate) fn apply(turn: &mut Turn<'_>, session: SessionId, message: Message) {
    let Some(id) = turn.cluster.agents_by_session.get(&session).cloned() else {
        // Between its hello and the end of the write an agent has nothing to say.
        turn.reject(Rejection::new(
            Code::FailedPrecondition,
            "an agent spoke before it was registered",
        ));
        return;
    };
    agent_lost::alive(turn, &id);
    match message {
        Message::Pong(_) => {}
        Message::StatusUpdate(update) => status_update::apply(turn, &id, update),
        Message::ExecutorMessage(message) => messages::from_executor(turn, &id, message),
        Message::ExecutorExited(exited) => messages::executor_exited(turn, &id, &exited),
        Message::Unregister(_) => unreachable::unregister(turn, &id),
        Message::Register(_) | Message::Reregister(_) => {
            turn.reject(Rejection::new(
                Code::FailedPrecondition,
                "an agent introduced itself twice on one stream",
            ));
            turn.effect(Effect::CloseAgent(session));
        }
    }
}
