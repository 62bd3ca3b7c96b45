//! What a scheduler says.

use std::sync::Arc;

use bytes::Bytes;
use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::{Call, call};
use tokio::sync::watch;

use super::outbox::Outbox;

/// Speaks to the master. Cheap to clone; no method blocks or fails.
///
/// What becomes of a call while the driver is not connected: a launch reports its tasks lost
/// (`TASK_DROPPED` or `TASK_LOST`, reason `REASON_MASTER_DISCONNECTED`); a decline, an
/// acknowledgement or a message is dropped, since offers are void by then and agents send
/// unacknowledged updates again; suppress and revive are part of the next subscription; all others
/// are sent after it.
#[derive(Debug, Clone)]
pub struct Handle {
    outbox: Arc<Outbox>,
    stop: watch::Sender<Stop>,
}

/// Whether the driver shall end, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    Leave,
    Teardown,
}

impl Handle {
    pub(super) fn new(info: v1::FrameworkInfo) -> Self {
        Self { outbox: Arc::new(Outbox::new(info)), stop: watch::Sender::new(Stop::No) }
    }

    pub(super) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    pub(super) fn stop_requested(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// The id that the master gave this framework; none before the first subscription.
    #[must_use]
    pub fn framework_id(&self) -> Option<v1::FrameworkId> {
        self.outbox.framework_id()
    }

    /// Whether the framework is subscribed at this moment.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.outbox.connected()
    }

    /// Uses up `offers` (of one agent and one role) for `operations`, in order. What they leave is
    /// declined with `filters`.
    pub fn accept(
        &self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        operations: Vec<v1::offer::Operation>,
        filters: Option<v1::Filters>,
    ) {
        let offer_ids = offers.into_iter().collect();
        let accept = Some(call::Accept { offer_ids, operations, filters });
        self.call(Call { accept, ..of_type(call::Type::Accept) });
    }

    /// Launches `tasks` on `offers` (of one agent and one role). The rest is declined for the
    /// master's default of five seconds; [`Handle::accept`] takes another filter.
    pub fn launch(&self, offers: impl IntoIterator<Item = v1::OfferId>, tasks: Vec<v1::TaskInfo>) {
        self.accept(offers, vec![launch(tasks)], None);
    }

    /// Refuses `offers`; the same resources do not come again for `refuse_seconds`.
    pub fn decline(
        &self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        refuse_seconds: Option<f64>,
    ) {
        let offer_ids = offers.into_iter().collect();
        let filters = refuse_seconds.map(|seconds| v1::Filters { refuse_seconds: Some(seconds) });
        let decline = Some(call::Decline { offer_ids, filters });
        self.call(Call { decline, ..of_type(call::Type::Decline) });
    }

    /// Asks for the end of a task. The answer is a status update.
    pub fn kill(&self, task_id: impl Into<v1::TaskId>) {
        let kill = call::Kill { task_id: task_id.into(), agent_id: None, kill_policy: None };
        self.call(Call { kill: Some(kill), ..of_type(call::Type::Kill) });
    }

    /// Asks for the end of a custom executor and all its tasks.
    pub fn shutdown_executor(
        &self,
        executor_id: impl Into<v1::ExecutorId>,
        agent_id: impl Into<v1::AgentId>,
    ) {
        let shutdown =
            call::Shutdown { executor_id: executor_id.into(), agent_id: agent_id.into() };
        self.call(Call { shutdown: Some(shutdown), ..of_type(call::Type::Shutdown) });
    }

    /// Wants no more offers for `roles`; for none of its roles if empty.
    pub fn suppress(&self, roles: impl IntoIterator<Item = String>) {
        let suppress = call::Suppress { roles: roles.into_iter().collect() };
        self.call(Call { suppress: Some(suppress), ..of_type(call::Type::Suppress) });
    }

    /// Wants offers again and forgets all filters, for `roles`; for all its roles if empty.
    pub fn revive(&self, roles: impl IntoIterator<Item = String>) {
        let revive = call::Revive { roles: roles.into_iter().collect() };
        self.call(Call { revive: Some(revive), ..of_type(call::Type::Revive) });
    }

    /// Asks for the state of `tasks`; of all that the master knows if empty.
    pub fn reconcile(&self, tasks: impl IntoIterator<Item = (v1::TaskId, Option<v1::AgentId>)>) {
        let tasks = tasks
            .into_iter()
            .map(|(task_id, agent_id)| call::reconcile::Task { task_id, agent_id })
            .collect();
        let reconcile = Some(call::Reconcile { tasks });
        self.call(Call { reconcile, ..of_type(call::Type::Reconcile) });
    }

    /// Tells the agent that this update has arrived for good. Only needed with explicit
    /// acknowledgements; an update that needs none (no uuid) is passed over.
    pub fn acknowledge(&self, status: &v1::TaskStatus) {
        if let Some(call) = acknowledgement(status) {
            self.call(call);
        }
    }

    /// Sends `data` to an executor. It may be lost on the way.
    pub fn message(
        &self,
        agent_id: impl Into<v1::AgentId>,
        executor_id: impl Into<v1::ExecutorId>,
        data: impl Into<Bytes>,
    ) {
        let message = Some(call::Message {
            agent_id: agent_id.into(),
            executor_id: executor_id.into(),
            data: data.into(),
        });
        self.call(Call { message, ..of_type(call::Type::Message) });
    }

    /// Removes this framework from the cluster with all its tasks, and ends the driver.
    pub fn teardown(&self) {
        self.stop.send_replace(Stop::Teardown);
    }

    /// Ends the driver. The master keeps the framework and its tasks for its failover timeout.
    pub fn stop(&self) {
        self.stop.send_if_modified(|stop| {
            let first = *stop == Stop::No;
            if first {
                *stop = Stop::Leave;
            }
            first
        });
    }

    /// Does what was asked for by [`Handle::stop`] or [`Handle::teardown`], now that the update
    /// which may have caused it is acknowledged.
    pub(super) fn close(&self) {
        let stop = *self.stop.borrow();
        if stop == Stop::Teardown {
            self.call(of_type(call::Type::Teardown));
        }
        self.outbox.close();
    }

    /// Any call; the driver puts the framework's id on it.
    pub fn call(&self, call: Call) {
        self.outbox.push(call);
    }
}

/// An operation that launches `tasks`.
#[must_use]
pub fn launch(tasks: Vec<v1::TaskInfo>) -> v1::offer::Operation {
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Launch.into()),
        launch: Some(v1::offer::operation::Launch { task_infos: tasks }),
        ..Default::default()
    }
}

/// The acknowledgement of an update; none for an update that needs none.
pub(super) fn acknowledgement(status: &v1::TaskStatus) -> Option<Call> {
    let uuid = status.uuid.clone().filter(|uuid| !uuid.is_empty())?;
    let agent_id = status.agent_id.clone()?;
    let acknowledge = Some(call::Acknowledge { agent_id, task_id: status.task_id.clone(), uuid });
    Some(Call { acknowledge, ..of_type(call::Type::Acknowledge) })
}

fn of_type(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Default::default() }
}
