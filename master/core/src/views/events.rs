//! What watchers of the cluster hear.

use mezzo_model::{AgentId, FrameworkId};
use mezzo_proto::v1;
use mezzo_proto::v1::master::Event;
use mezzo_proto::v1::master::event::{self, Type};

use crate::state::{Agent, Books, Framework, Task};

fn of(r#type: Type) -> Event {
    Event { r#type: Some(r#type.into()), ..Event::default() }
}

pub(crate) fn task_added(task: &Task) -> Event {
    Event { task_added: Some(event::TaskAdded { task: task.view.clone() }), ..of(Type::TaskAdded) }
}

pub(crate) fn task_updated(
    framework: &FrameworkId,
    state: v1::TaskState,
    status: &v1::TaskStatus,
) -> Event {
    let updated = event::TaskUpdated {
        framework_id: framework.into(),
        status: status.clone(),
        state: state.into(),
    };
    Event { task_updated: Some(updated), ..of(Type::TaskUpdated) }
}

pub(crate) fn agent_added(books: &Books, agent: &Agent) -> Event {
    let added = event::AgentAdded { agent: books.agent_view(agent) };
    Event { agent_added: Some(added), ..of(Type::AgentAdded) }
}

pub(crate) fn agent_removed(id: &AgentId) -> Event {
    let removed = event::AgentRemoved { agent_id: id.into() };
    Event { agent_removed: Some(removed), ..of(Type::AgentRemoved) }
}

pub(crate) fn framework_event(books: &Books, framework: &Framework, added: bool) -> Event {
    let view = books.framework_view(framework);
    if added {
        let added = event::FrameworkAdded { framework: view };
        Event { framework_added: Some(added), ..of(Type::FrameworkAdded) }
    } else {
        let updated = event::FrameworkUpdated { framework: view };
        Event { framework_updated: Some(updated), ..of(Type::FrameworkUpdated) }
    }
}

pub(crate) fn framework_removed(framework: &Framework) -> Event {
    let removed = event::FrameworkRemoved { framework_info: (*framework.info).clone() };
    Event { framework_removed: Some(removed), ..of(Type::FrameworkRemoved) }
}
