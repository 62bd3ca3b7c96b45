//! What an executor has said and the agent has not yet confirmed.
//!
//! Updates stay here until they are acknowledged, so there is no second queue in front of the
//! connection that could fill up, overtake or lose one: the connection sends from this list and
//! remembers how far it got.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mezzo_proto::v1;
use mezzo_proto::v1::executor::{Call, call};
use tokio::sync::{Notify, watch};

/// Messages to the framework may be lost by their nature; more than this many waiting are refused.
const MESSAGES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    framework_id: v1::FrameworkId,
    executor_id: v1::ExecutorId,
    said: Mutex<Said>,
    changed: Notify,
    unacknowledged: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Said {
    /// In the order of `update` calls; the first `sent` of them went out on this connection.
    updates: VecDeque<v1::TaskStatus>,
    sent: usize,
    /// Tasks none of whose updates is acknowledged.
    tasks: Vec<v1::TaskInfo>,
    messages: VecDeque<Bytes>,
    stopping: bool,
}

impl Outbox {
    pub(crate) fn new(framework_id: v1::FrameworkId, executor_id: v1::ExecutorId) -> Self {
        Self {
            framework_id,
            executor_id,
            said: Mutex::default(),
            changed: Notify::new(),
            unacknowledged: watch::Sender::new(0),
        }
    }

    pub(crate) fn executor_id(&self) -> &v1::ExecutorId {
        &self.executor_id
    }

    pub(crate) fn push_update(&self, status: v1::TaskStatus) {
        {
            let mut said = self.lock();
            said.updates.push_back(status);
            self.unacknowledged.send_replace(said.updates.len());
        }
        self.changed.notify_one();
    }

    /// False if too many messages wait already.
    pub(crate) fn push_message(&self, data: Bytes) -> bool {
        {
            let mut said = self.lock();
            if said.messages.len() >= MESSAGES {
                return false;
            }
            said.messages.push_back(data);
        }
        self.changed.notify_one();
        true
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_one();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Asked to stop, and nothing is left to say or to be confirmed.
    pub(crate) fn finished(&self) -> bool {
        let said = self.lock();
        said.stopping && said.updates.is_empty() && said.messages.is_empty()
    }

    pub(crate) fn remember_task(&self, task: v1::TaskInfo) {
        self.lock().tasks.push(task);
    }

    pub(crate) fn acknowledge(&self, task_id: &v1::TaskId, uuid: &Bytes) {
        let mut said = self.lock();
        said.tasks.retain(|task| task.task_id != *task_id);
        let at = said.updates.iter().position(|update| update.uuid.as_ref() == Some(uuid));
        if let Some(at) = at {
            said.updates.remove(at);
            if at < said.sent {
                said.sent -= 1;
            }
            self.unacknowledged.send_replace(said.updates.len());
        }
    }

    /// The first call of a connection. It carries every update, so none has to be sent again.
    pub(crate) fn subscribe(&self) -> Call {
        let mut said = self.lock();
        said.sent = said.updates.len();
        let updates = said.updates.iter().cloned().map(|status| call::Update { status }).collect();
        let subscribe = call::Subscribe {
            unacknowledged_tasks: said.tasks.clone(),
            unacknowledged_updates: updates,
        };
        Call { subscribe: Some(subscribe), ..self.call(call::Type::Subscribe) }
    }

    pub(crate) fn has_next(&self) -> bool {
        let said = self.lock();
        said.sent < said.updates.len() || !said.messages.is_empty()
    }

    /// The next call of a connection that has subscribed.
    pub(crate) fn next(&self) -> Option<Call> {
        let mut said = self.lock();
        if let Some(status) = said.updates.get(said.sent).cloned() {
            said.sent += 1;
            let update = Some(call::Update { status });
            return Some(Call { update, ..self.call(call::Type::Update) });
        }
        let data = said.messages.pop_front()?;
        let message = Some(call::Message { data });
        Some(Call { message, ..self.call(call::Type::Message) })
    }

    /// Waits for the next change. Only the connection waits here.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn unacknowledged(&self) -> watch::Receiver<usize> {
        self.unacknowledged.subscribe()
    }

    fn call(&self, kind: call::Type) -> Call {
        Call {
            executor_id: self.executor_id.clone(),
            framework_id: self.framework_id.clone(),
            r#type: Some(kind.into()),
            ..Default::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        // Nothing in here panics half-way, so what a poisoned lock guards is whole.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
