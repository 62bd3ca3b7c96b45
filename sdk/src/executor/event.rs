//! What an executor hears.

use bytes::Bytes;
use mezzo_proto::v1;
use mezzo_proto::v1::executor::event::{Subscribed, Type};

/// One thing that the agent said, or that became of the connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The agent knows this executor, now or again.
    Subscribed(Box<Subscribed>),
    /// Run this task.
    Launch(Box<v1::TaskInfo>),
    /// Run these tasks, all or none.
    LaunchGroup(v1::TaskGroupInfo),
    /// End this task; the policy, if any, replaces the task's own.
    Kill {
        /// The task to end.
        task_id: v1::TaskId,
        /// The grace to give, if not the task's own.
        policy: Option<v1::KillPolicy>,
    },
    /// The agent has this update safe.
    Acknowledged {
        /// The task that the update was about.
        task_id: v1::TaskId,
        /// The update.
        uuid: Bytes,
    },
    /// The framework's scheduler says something.
    Message(Bytes),
    /// The connection broke; it will be tried again if the framework checkpoints.
    Disconnected,
    /// End everything: the agent says so, or it is lost and will not be waited for.
    Shutdown,
    /// The agent refuses this executor. Nothing follows.
    Error(String),
}

impl Event {
    /// What a message means; nothing for a heartbeat or a message of a newer agent.
    pub(crate) fn from_wire(event: v1::executor::Event) -> Option<Self> {
        Some(match event.r#type() {
            Type::Subscribed => Self::Subscribed(Box::new(event.subscribed?)),
            Type::Launch => Self::Launch(Box::new(event.launch?.task)),
            Type::LaunchGroup => Self::LaunchGroup(event.launch_group?.task_group),
            Type::Kill => {
                let kill = event.kill?;
                Self::Kill { task_id: kill.task_id, policy: kill.kill_policy }
            }
            Type::Acknowledged => {
                let acknowledged = event.acknowledged?;
                Self::Acknowledged { task_id: acknowledged.task_id, uuid: acknowledged.uuid }
            }
            Type::Message => Self::Message(event.message?.data),
            Type::Shutdown => Self::Shutdown,
            Type::Error => Self::Error(event.error?.message),
            Type::Heartbeat | Type::Unknown => return None,
        })
    }
}
