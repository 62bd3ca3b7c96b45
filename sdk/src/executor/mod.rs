//! The half of a framework that runs on agents: an [`Executor`] and the driver that connects it.
//!
//! Two ways to use it. [`run`] calls the methods of an [`Executor`], one at a time. [`start`] gives
//! the same as a stream of [`Event`]s, for an executor that waits for other things as well, such
//! as the end of a child process.
//!
//! What the driver keeps: every status update until the agent acknowledges it, and every task
//! until one of its updates is acknowledged. Both go with each new subscription, so an agent that
//! restarts learns what it missed. Updates and messages never block the caller.
//!
//! When the agent goes away, an executor of a checkpointing framework tries again for
//! [`Config::recovery_timeout`]; any other is told to shut down at once. All of it works on a
//! current-thread runtime.

mod config;
mod connection;
mod event;
mod handle;
mod outbox;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use self::config::{Config, EnvironmentError};
pub use self::event::Event;
pub use self::handle::{Handle, MessageRefused};
use crate::v1;
use mezzo_proto::v1::executor::event::Subscribed;

/// What an executor does. Methods are called one at a time and must not block: work that takes
/// time belongs in a task or a thread that holds a clone of the [`Handle`].
pub trait Executor {
    /// The agent knows this executor, now or again. Tasks that were launched before are still ours.
    fn subscribed(&mut self, handle: &Handle, subscribed: Subscribed) {
        let _ = (handle, subscribed);
    }

    /// Run this task. Its first update tells the framework that it has arrived.
    fn launch(&mut self, handle: &Handle, task: v1::TaskInfo);

    /// Run these tasks: all or none. Launches one by one unless the executor does better.
    fn launch_group(&mut self, handle: &Handle, group: v1::TaskGroupInfo) {
        for task in group.tasks {
            self.launch(handle, task);
        }
    }

    /// End this task. The policy, if any, replaces the task's own.
    fn kill(&mut self, handle: &Handle, task_id: v1::TaskId, policy: Option<v1::KillPolicy>);

    /// The agent has this update safe; it will not be sent again.
    fn acknowledged(&mut self, handle: &Handle, task_id: v1::TaskId, uuid: bytes::Bytes) {
        let _ = (handle, task_id, uuid);
    }

    /// The framework's scheduler says something. May be lost, may come twice.
    fn message(&mut self, handle: &Handle, data: bytes::Bytes) {
        let _ = (handle, data);
    }

    /// The agent is gone for now; a checkpointing framework's tasks go on.
    fn disconnected(&mut self, handle: &Handle) {
        let _ = handle;
    }

    /// End everything within the grace period. Call [`Handle::stop`] when done, as this does.
    fn shutdown(&mut self, handle: &Handle) {
        handle.stop();
    }

    /// The agent refuses this executor; nothing more comes.
    fn error(&mut self, handle: &Handle, message: String) {
        let _ = (handle, message);
    }
}

/// Runs `executor` until it calls [`Handle::stop`], or the agent is lost or refuses it.
///
/// # Errors
/// If the agent refused the executor; its words are in the error.
pub async fn run(config: Config, mut executor: impl Executor) -> Result<(), Refused> {
    let (handle, mut events) = start(config);
    let mut refused = None;
    while let Some(event) = events.next().await {
        match event {
            Event::Subscribed(subscribed) => executor.subscribed(&handle, *subscribed),
            Event::Launch(task) => executor.launch(&handle, *task),
            Event::LaunchGroup(group) => executor.launch_group(&handle, group),
            Event::Kill { task_id, policy } => executor.kill(&handle, task_id, policy),
            Event::Acknowledged { task_id, uuid } => {
                executor.acknowledged(&handle, task_id, uuid);
            }
            Event::Message(data) => executor.message(&handle, data),
            Event::Disconnected => executor.disconnected(&handle),
            Event::Shutdown => executor.shutdown(&handle),
            Event::Error(message) => {
                executor.error(&handle, message.clone());
                refused = Some(Refused(message));
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

/// The agent does not want this executor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent refused this executor: {0}")]
pub struct Refused(pub String);

/// Connects in the background: what to say goes through the handle, what is heard comes as events.
///
/// Must be called within a tokio runtime. Dropping the [`Events`] ends the connection.
#[must_use]
pub fn start(config: Config) -> (Handle, Events) {
    let (sender, receiver) = mpsc::channel(connection::EVENTS);
    let handle = Handle::new(&config);
    let task = tokio::spawn(connection::run(config, handle.outbox(), sender));
    (handle, Events { receiver, task })
}

/// What the agent says, in order.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

impl Events {
    /// The next event; none once the connection has ended for good. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A status of `task_id` with nothing else said; the driver fills in uuid, time and source.
#[must_use]
pub fn status(task_id: &v1::TaskId, state: v1::TaskState) -> v1::TaskStatus {
    v1::TaskStatus { task_id: task_id.clone(), state: state.into(), ..Default::default() }
}
