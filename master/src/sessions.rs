//! Who is connected, and how to reach them.
//!
//! Sending never waits: the actor serves everybody and must not stand still for one. A peer that
//! reads too slowly to keep its queue below the limit is cut off, and comes back to fresh state.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use mezzo_master_core::{Rejection, ReplyTo, SessionId};
use mezzo_proto::v1::link::{FromMaster, from_master};
use mezzo_proto::v1::{master, scheduler};
use tokio::sync::{mpsc, oneshot};

/// Events that wait for one peer, at most.
const QUEUE: usize = 1 << 17;
/// Events that wait for one watcher of the cluster, at most.
const WATCHER_QUEUE: usize = 1 << 14;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sent {
    /// It is in the queue, or its reader is gone, which is told elsewhere.
    Taken,
    /// The reader is too far behind. A stream that is not read does not notice by itself: whoever
    /// sent this has to treat the session as lost.
    CutOff,
}

/// Live streams and waiting callers.
#[derive(Default)]
pub(crate) struct Sessions {
    next: AtomicU64,
    frameworks: DashMap<SessionId, mpsc::Sender<scheduler::Event>>,
    agents: DashMap<SessionId, mpsc::Sender<FromMaster>>,
    watchers: DashMap<SessionId, mpsc::Sender<master::Event>>,
    callers: DashMap<ReplyTo, oneshot::Sender<Result<(), Rejection>>>,
}

impl Sessions {
    /// A number for a session or a caller, never given twice.
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn open_framework(&self) -> (SessionId, mpsc::Receiver<scheduler::Event>) {
        open(SessionId(self.number()), &self.frameworks, QUEUE)
    }

    pub(crate) fn open_agent(&self) -> (SessionId, mpsc::Receiver<FromMaster>) {
        open(SessionId(self.number()), &self.agents, QUEUE)
    }

    pub(crate) fn open_watcher(&self) -> (SessionId, mpsc::Receiver<master::Event>) {
        open(SessionId(self.number()), &self.watchers, WATCHER_QUEUE)
    }

    /// A caller that waits for the outcome of its command.
    pub(crate) fn open_caller(&self) -> (ReplyTo, oneshot::Receiver<Result<(), Rejection>>) {
        let (answer, wait) = oneshot::channel();
        let id = ReplyTo(self.number());
        self.callers.insert(id, answer);
        (id, wait)
    }

    pub(crate) fn to_framework(&self, session: SessionId, event: scheduler::Event) -> Sent {
        send(&self.frameworks, session, event, "framework")
    }

    pub(crate) fn to_agent(&self, session: SessionId, message: from_master::Message) -> Sent {
        send(&self.agents, session, FromMaster { message: Some(message) }, "agent")
    }

    /// Ends a framework's stream once it has read what is on its way.
    pub(crate) fn close_framework(&self, session: SessionId) {
        self.frameworks.remove(&session);
    }

    /// Ends an agent's stream once it has read what is on its way.
    pub(crate) fn close_agent(&self, session: SessionId) {
        self.agents.remove(&session);
    }

    pub(crate) fn close_watcher(&self, session: SessionId) {
        self.watchers.remove(&session);
    }

    pub(crate) fn reply(&self, to: ReplyTo, result: Result<(), Rejection>) {
        if let Some((_, caller)) = self.callers.remove(&to) {
            // A caller that has gone away needs no answer.
            let _ = caller.send(result);
        }
    }

    /// Tells everybody who watches the cluster. Those who cannot keep up are cut off.
    pub(crate) fn publish(&self, event: &master::Event) {
        self.watchers.retain(|_, watcher| watcher.try_send(event.clone()).is_ok());
    }

    /// Frameworks and agents that are connected now.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.frameworks.len(), self.agents.len())
    }
}

fn open<T>(
    id: SessionId,
    sessions: &DashMap<SessionId, mpsc::Sender<T>>,
    queue: usize,
) -> (SessionId, mpsc::Receiver<T>) {
    let (sender, receiver) = mpsc::channel(queue);
    sessions.insert(id, sender);
    (id, receiver)
}

fn send<T>(
    sessions: &DashMap<SessionId, mpsc::Sender<T>>,
    id: SessionId,
    message: T,
    who: &str,
) -> Sent {
    let full = sessions.get(&id).is_some_and(|session| {
        matches!(session.try_send(message), Err(mpsc::error::TrySendError::Full(_)))
    });
    if !full {
        return Sent::Taken;
    }
    tracing::warn!(session = id.0, "{who} does not read its stream; it is cut off");
    sessions.remove(&id);
    Sent::CutOff
}
