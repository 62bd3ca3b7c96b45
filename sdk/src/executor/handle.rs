//! What an executor says.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mezzo_proto::v1;

use super::config::Config;
use super::outbox::Outbox;

/// Speaks to the agent. Cheap to clone; no method blocks.
#[derive(Debug, Clone)]
pub struct Handle {
    outbox: Arc<Outbox>,
}

/// Too many messages wait for the agent: this one was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of messages to the agent is full")]
pub struct MessageRefused;

impl Handle {
    pub(super) fn new(config: &Config) -> Self {
        let outbox = Outbox::new(config.framework_id.clone(), config.executor_id.clone());
        Self { outbox: Arc::new(outbox) }
    }

    pub(super) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Reports a status. It is sent now or when the agent is back, and kept until the agent has it
    /// safe. Returns the uuid by which [`super::Event::Acknowledged`] will name it.
    pub fn update(&self, mut status: v1::TaskStatus) -> Bytes {
        let uuid = match status.uuid.take() {
            Some(uuid) if !uuid.is_empty() => uuid,
            _ => Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes()),
        };
        status.uuid = Some(uuid.clone());
        status.source = Some(v1::task_status::Source::Executor.into());
        status.timestamp.get_or_insert_with(now);
        status.executor_id.get_or_insert_with(|| self.outbox.executor_id().clone());
        self.outbox.push_update(status);
        uuid
    }

    /// Sends `data` to the framework's scheduler. It may be lost on the way.
    ///
    /// # Errors
    /// If too many messages wait already.
    pub fn message(&self, data: impl Into<Bytes>) -> Result<(), MessageRefused> {
        if self.outbox.push_message(data.into()) { Ok(()) } else { Err(MessageRefused) }
    }

    /// Ends the connection as soon as every update is acknowledged, or after a minute.
    pub fn stop(&self) {
        self.outbox.stop();
    }

    /// How many updates the agent has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        *self.outbox.unacknowledged().borrow()
    }

    /// Waits until the agent has acknowledged every update.
    pub async fn acknowledged(&self) {
        // The sender lives in the outbox that this handle holds, so this cannot fail.
        let _ = self.outbox.unacknowledged().wait_for(|count| *count == 0).await;
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
