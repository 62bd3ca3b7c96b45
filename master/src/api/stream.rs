//! The sending half of a stream: events from a queue, and a word to the actor when it ends.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use mezzo_master_core::Command;
use mezzo_runtime::task;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;

use crate::actor::Handle;

/// A stream of events with heartbeats between them.
pub(crate) struct Events<T> {
    queue: mpsc::Receiver<T>,
    heartbeat: Option<(Interval, fn() -> T)>,
    _end: OnEnd,
}

impl<T> Events<T> {
    /// Events of one session; `end` is told to the actor when nobody reads them any more.
    pub(crate) fn new(queue: mpsc::Receiver<T>, end: OnEnd) -> Self {
        Self { queue, heartbeat: None, _end: end }
    }

    /// Sends `beat` at an interval, while nothing else waits to be sent.
    pub(crate) fn heartbeats(mut self, every: Duration, beat: fn() -> T) -> Self {
        let mut interval = interval_at(Instant::now() + every, every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.heartbeat = Some((interval, beat));
        self
    }
}

impl<T: Unpin> Stream for Events<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(next) = self.queue.poll_recv(cx) {
            return Poll::Ready(next.map(Ok));
        }
        if let Some((interval, beat)) = &mut self.heartbeat
            && interval.poll_tick(cx).is_ready()
        {
            return Poll::Ready(Some(Ok(beat())));
        }
        Poll::Pending
    }
}

/// Tells the actor something when it is dropped, and runs a last action.
pub(crate) struct OnEnd {
    actor: Handle,
    command: Option<Command>,
    cleanup: Option<Box<dyn FnOnce() + Send>>,
}

impl OnEnd {
    pub(crate) fn new(
        actor: Handle,
        command: Option<Command>,
        cleanup: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { actor, command, cleanup: Some(Box::new(cleanup)) }
    }
}

impl Drop for OnEnd {
    fn drop(&mut self) {
        if let Some(cleanup) = self.cleanup.take() {
            cleanup();
        }
        let Some(command) = self.command.take() else { return };
        // Outside of the runtime there is no actor left to tell.
        if tokio::runtime::Handle::try_current().is_ok() {
            let actor = self.actor.clone();
            task::spawn("session-end", async move {
                let _ = actor.send(command).await;
            });
        }
    }
}
