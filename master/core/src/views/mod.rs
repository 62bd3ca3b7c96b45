//! The books as messages: what frameworks, operators and watchers are shown.

mod events;
mod offers;
mod state;

pub(crate) use events::{
    agent_added, agent_removed, framework_event, framework_removed, task_added, task_updated,
};
pub(crate) use offers::offer;
