//! Events to frameworks, and the statuses that a master makes by itself.

use mezzo_model::{AgentId, OfferId, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::Event;
use mezzo_proto::v1::scheduler::event::{self, Type};
use mezzo_proto::v1::task_status::{Reason, Source};

use crate::time::Now;

fn of(r#type: Type) -> Event {
    Event { r#type: Some(r#type.into()), ..Event::default() }
}

pub(crate) fn subscribed(subscribed: event::Subscribed) -> Event {
    Event { subscribed: Some(subscribed), ..of(Type::Subscribed) }
}

pub(crate) fn heartbeat() -> Event {
    of(Type::Heartbeat)
}

pub(crate) fn offers(offers: Vec<v1::Offer>) -> Event {
    Event { offers: Some(event::Offers { offers }), ..of(Type::Offers) }
}

pub(crate) fn rescind(offer: &OfferId) -> Event {
    Event { rescind: Some(event::Rescind { offer_id: offer.into() }), ..of(Type::Rescind) }
}

pub(crate) fn update(status: v1::TaskStatus) -> Event {
    Event { update: Some(event::Update { status }), ..of(Type::Update) }
}

pub(crate) fn operation_update(status: v1::OperationStatus) -> Event {
    Event {
        update_operation_status: Some(event::UpdateOperationStatus { status }),
        ..of(Type::UpdateOperationStatus)
    }
}

pub(crate) fn message(message: event::Message) -> Event {
    Event { message: Some(message), ..of(Type::Message) }
}

pub(crate) fn failure(failure: event::Failure) -> Event {
    Event { failure: Some(failure), ..of(Type::Failure) }
}

pub(crate) fn error(message: impl Into<String>) -> Event {
    Event { error: Some(event::Error { message: message.into() }), ..of(Type::Error) }
}

/// A status that the master makes. It carries no uuid: nobody acknowledges it.
pub(crate) fn status(
    task: &TaskId,
    agent: Option<&AgentId>,
    state: v1::TaskState,
    reason: Reason,
    message: impl Into<String>,
    now: Now,
) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: task.into(),
        state: state.into(),
        message: Some(message.into()),
        source: Some(Source::Master.into()),
        reason: Some(reason.into()),
        agent_id: agent.map(Into::into),
        timestamp: Some(now.timestamp()),
        ..v1::TaskStatus::default()
    }
}
