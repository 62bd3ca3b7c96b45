//! The driver: configuration, start, and the loop that calls a [`Scheduler`].

use std::time::Duration;

use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::Call;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Scheduler;
use super::connection::{self, Settings};
use super::event::Event;
use super::handle::{Handle, Stop, acknowledgement};

/// How long calls made before [`Handle::stop`] may take to reach the master.
const FLUSH: Duration = Duration::from_secs(10);

/// Connects a scheduler to its master.
///
/// ```no_run
/// # async fn f(scheduler: impl mezzo_sdk::Scheduler) -> Result<(), mezzo_sdk::Aborted> {
/// use mezzo_sdk::{Framework, SchedulerDriver};
/// SchedulerDriver::new("127.0.0.1:5050", Framework::new("mine")).run(scheduler).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SchedulerDriver {
    settings: Settings,
    info: v1::FrameworkInfo,
    explicit: bool,
}

/// The master does not want this framework, or another process took over its id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the master refused this framework: {0}")]
pub struct Aborted(pub String);

impl SchedulerDriver {
    /// A driver for the framework that `info` describes.
    ///
    /// `master` is `host:port`, or several separated by commas, of which each is tried in turn.
    #[must_use]
    pub fn new(master: impl Into<String>, info: impl Into<v1::FrameworkInfo>) -> Self {
        Self { settings: Settings::new(master.into()), info: info.into(), explicit: false }
    }

    /// Leaves acknowledgements to the scheduler: an update is sent again and again until
    /// [`Handle::acknowledge`] is called for it.
    #[must_use]
    pub fn explicit_acknowledgements(mut self) -> Self {
        self.explicit = true;
        self
    }

    /// The pauses between attempts to connect: from `first`, doubling, up to `longest`.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.first_pause = first;
        self.settings.longest_pause = longest;
        self
    }

    /// After how many heartbeats' time without a word the connection is taken for broken.
    #[must_use]
    pub fn missed_heartbeats(mut self, count: u32) -> Self {
        self.settings.missed_heartbeats = count.max(1);
        self
    }

    /// Connects in the background: what to say goes through the handle, what is heard comes as
    /// events. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(self) -> (Handle, Events) {
        let (sender, receiver) = mpsc::channel(connection::EVENTS);
        let handle = Handle::new(self.info);
        let task = tokio::spawn(connection::run(self.settings, handle.outbox(), sender));
        let events = Events {
            receiver,
            task,
            stop: handle.stop_requested(),
            handle: handle.clone(),
            explicit: self.explicit,
            seen: None,
        };
        (handle, events)
    }

    /// Runs `scheduler` until it calls [`Handle::stop`] or [`Handle::teardown`], then gives it
    /// back.
    ///
    /// # Errors
    /// If the master refused the framework; its words are in the error.
    pub async fn run<S: Scheduler>(self, mut scheduler: S) -> Result<S, Aborted> {
        let (handle, mut events) = self.start();
        while let Some(event) = events.next().await {
            if let Event::Error(message) = event {
                scheduler.error(&handle, message.clone());
                return Err(Aborted(message));
            }
            dispatch(&mut scheduler, &handle, event);
        }
        Ok(scheduler)
    }
}

fn dispatch(scheduler: &mut impl Scheduler, handle: &Handle, event: Event) {
    match event {
        Event::Subscribed(subscribed) => scheduler.subscribed(handle, *subscribed),
        Event::Reregistered(subscribed) => scheduler.reregistered(handle, *subscribed),
        Event::Offers(offers) => scheduler.offers(handle, offers),
        Event::InverseOffers(offers) => scheduler.inverse_offers(handle, offers),
        Event::Rescinded(offer_id) => scheduler.rescinded(handle, offer_id),
        Event::InverseOfferRescinded(id) => scheduler.inverse_offer_rescinded(handle, id),
        Event::Update(status) => scheduler.status_update(handle, *status),
        Event::OperationUpdate(status) => scheduler.operation_update(handle, *status),
        Event::Message { agent_id, executor_id, data } => {
            scheduler.message(handle, agent_id, executor_id, data);
        }
        Event::Failure(failure) => scheduler.failure(handle, failure),
        Event::Disconnected => scheduler.disconnected(handle),
        Event::Error(message) => scheduler.error(handle, message),
    }
}

/// What the master says, in order.
///
/// With automatic acknowledgements, asking for the next event acknowledges the update before it.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
    stop: watch::Receiver<Stop>,
    handle: Handle,
    explicit: bool,
    /// The acknowledgement of the update that was handed out last.
    seen: Option<Call>,
}

impl Events {
    /// The next event; none once the driver has stopped or was refused. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(seen) = self.seen.take() {
            self.handle.call(seen);
        }
        let event = tokio::select! {
            biased;
            // The sender lives in the handle that we hold, so this cannot fail.
            _ = self.stop.wait_for(|stop| *stop != Stop::No) => None,
            event = self.receiver.recv() => Some(event?),
        };
        let Some(event) = event else {
            self.finish().await;
            return None;
        };
        if let Event::Update(status) = &event
            && !self.explicit
        {
            self.seen = acknowledgement(status);
        }
        Some(event)
    }

    /// Lets the last calls reach the master.
    async fn finish(&mut self) {
        self.handle.close();
        // What still comes is of no interest, but the connection must be able to get rid of it.
        let drained = async { while self.receiver.recv().await.is_some() {} };
        let _ = tokio::time::timeout(FLUSH, drained).await;
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}
