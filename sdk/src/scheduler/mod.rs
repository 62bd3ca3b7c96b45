//! The half of a framework that decides: a [`Scheduler`] and the driver that connects it.
//!
//! Two ways to use it. [`SchedulerDriver::run`] calls the methods of a [`Scheduler`], one at a
//! time. [`SchedulerDriver::start`] gives the same as a stream of [`Event`]s, for a scheduler that
//! waits for other things as well.
//!
//! What the driver does by itself: it subscribes, watches the heartbeats, connects again with
//! growing pauses under the same framework id, and acknowledges each status update after the
//! scheduler has seen it (unless told to leave that to the scheduler).

mod connection;
mod driver;
mod event;
mod framework;
mod handle;
mod outbox;

use bytes::Bytes;

pub use self::driver::{Aborted, Events, SchedulerDriver};
pub use self::event::Event;
pub use self::framework::Framework;
pub use self::handle::{Handle, launch};
use crate::v1;
use mezzo_proto::v1::scheduler::event::{Failure, Subscribed};

/// What a scheduler does. Methods are called one at a time and must not block: work that takes
/// time belongs in a task or a thread that holds a clone of the [`Handle`].
pub trait Scheduler {
    /// The master knows this framework.
    fn subscribed(&mut self, handle: &Handle, subscribed: Subscribed) {
        let _ = (handle, subscribed);
    }

    /// The master knows it again after the connection was lost. Offers from before are void, and a
    /// launch from before may have got lost on the way, so this asks what has become of all tasks.
    fn reregistered(&mut self, handle: &Handle, subscribed: Subscribed) {
        let _ = subscribed;
        handle.reconcile([]);
    }

    /// Resources to use or decline. Each offer must be answered, or its resources stay unused.
    fn offers(&mut self, handle: &Handle, offers: Vec<v1::Offer>);

    /// A task has a new state, or its state was asked for. The same update may come twice.
    fn status_update(&mut self, handle: &Handle, status: v1::TaskStatus);

    /// This offer is no longer valid.
    fn rescinded(&mut self, handle: &Handle, offer_id: v1::OfferId) {
        let _ = (handle, offer_id);
    }

    /// The operator would like these resources back.
    fn inverse_offers(&mut self, handle: &Handle, offers: Vec<v1::InverseOffer>) {
        let _ = (handle, offers);
    }

    /// This inverse offer is no longer valid.
    fn inverse_offer_rescinded(&mut self, handle: &Handle, offer_id: v1::OfferId) {
        let _ = (handle, offer_id);
    }

    /// An operation (reserve, create …) has a new state.
    fn operation_update(&mut self, handle: &Handle, status: v1::OperationStatus) {
        let _ = (handle, status);
    }

    /// An executor says something. May be lost, may come twice.
    fn message(
        &mut self,
        handle: &Handle,
        agent_id: v1::AgentId,
        executor_id: v1::ExecutorId,
        data: Bytes,
    ) {
        let _ = (handle, agent_id, executor_id, data);
    }

    /// An executor ended (its wait status is in it), or, without an executor, an agent is lost.
    /// What that means for tasks comes as status updates.
    fn failure(&mut self, handle: &Handle, failure: Failure) {
        let _ = (handle, failure);
    }

    /// The connection is lost and being tried again. All offers are void.
    fn disconnected(&mut self, handle: &Handle) {
        let _ = handle;
    }

    /// The master refuses this framework, or another process took its id. The driver ends.
    fn error(&mut self, handle: &Handle, message: String) {
        let _ = (handle, message);
    }
}
