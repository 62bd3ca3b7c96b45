//! Messages that tests send.

use bytes::Bytes;
use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::{Event, event};

/// An offer of scalars, for role `*`.
#[must_use]
pub fn offer(id: &str, agent: &str, scalars: &[(&str, f64)]) -> v1::Offer {
    let allocation = v1::resource::AllocationInfo { role: Some("*".to_owned()) };
    let resources = scalars
        .iter()
        .map(|(name, value)| v1::Resource {
            name: (*name).to_owned(),
            r#type: v1::value::Type::Scalar.into(),
            scalar: Some(v1::value::Scalar { value: *value }),
            allocation_info: Some(allocation.clone()),
            ..Default::default()
        })
        .collect();
    v1::Offer {
        id: v1::OfferId { value: id.to_owned() },
        agent_id: v1::AgentId { value: agent.to_owned() },
        hostname: "127.0.0.1".to_owned(),
        resources,
        allocation_info: Some(allocation),
        ..Default::default()
    }
}

/// An update of `task` that has to be acknowledged.
#[must_use]
pub fn update(task: &v1::TaskInfo, state: v1::TaskState) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: task.task_id.clone(),
        state: state.into(),
        agent_id: Some(task.agent_id.clone()),
        uuid: Some(Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes())),
        source: Some(v1::task_status::Source::Executor.into()),
        ..Default::default()
    }
}

/// An event of this type with nothing in it; a test fills in the rest.
#[must_use]
pub fn event(kind: event::Type) -> Event {
    Event { r#type: Some(kind.into()), ..Default::default() }
}
