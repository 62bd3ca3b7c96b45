//! The one that owns the cluster: takes what happened, applies it, sends out what follows.
//!
//! It lives on a thread of its own, so that no handler, however busy, delays it. What it sends goes
//! into queues that take it at once; a write to the registry comes back later as a command.

use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use mezzo_master_core::{Applied, Books, Cluster, Command, Effect, Instant, Now, Write, WriteId};
use mezzo_runtime::clock::Clock;
use mezzo_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot};

use crate::allocation::ToAllocator;
use crate::hooks::ToHooks;
use crate::metrics::Numbers;
use crate::sessions::{Sent, Sessions};

/// Inputs that wait for the actor, at most. Beyond that, clients wait.
pub(crate) const QUEUE: usize = 8192;
/// Inputs applied before the queue of timers is looked at again.
const BATCH: usize = 256;

/// What reaches the actor.
pub(crate) enum Input {
    /// Something to apply.
    Command(Command),
    /// Somebody wants to read.
    Snapshot(oneshot::Sender<Books>),
}

/// How the rest of the process talks to the actor.
#[derive(Clone)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
}

impl Handle {
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs }
    }

    /// Hands over a command; waits while the actor's queue is full.
    pub(crate) async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.inputs.send(Input::Command(command)).await.map_err(|_| Stopped)
    }

    /// A consistent view of the cluster.
    pub(crate) async fn snapshot(&self) -> Result<Books, Stopped> {
        let (answer, wait) = oneshot::channel();
        self.inputs.send(Input::Snapshot(answer)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }
}

/// The master is shutting down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped;

impl From<Stopped> for tonic::Status {
    fn from(_: Stopped) -> Self {
        Self::unavailable("the master is shutting down")
    }
}

/// Everything the actor needs.
pub(crate) struct Actor {
    pub(crate) cluster: Cluster,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) writes: mpsc::UnboundedSender<(WriteId, Write)>,
    pub(crate) allocator: ToAllocator,
    pub(crate) hooks: Option<ToHooks>,
    pub(crate) numbers: Numbers,
    pub(crate) clock: Clock,
}

impl Actor {
    /// Runs until the shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let due = self.until_due();
            tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                received = self.inputs.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    for input in batch.drain(..) {
                        self.take(input);
                    }
                }
                () = tokio::time::sleep(due) => {}
            }
            if self.until_due().is_zero() {
                self.apply(Command::Tick);
            }
        }
    }

    fn until_due(&self) -> Duration {
        /// Without a timer there is nothing to wake up for.
        const LONG: Duration = Duration::from_secs(3600);
        self.cluster.next_deadline().map_or(LONG, |due| {
            Duration::from_nanos(due.0.saturating_sub(self.clock.monotonic_ns()))
        })
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Command(command) => self.apply(command),
            Input::Snapshot(reader) => {
                // A reader that has gone away needs no answer.
                let _ = reader.send(self.cluster.books.clone());
            }
        }
    }

    fn apply(&mut self, command: Command) {
        let started = StdInstant::now();
        let now = Now {
            instant: Instant(self.clock.monotonic_ns()),
            wall_nanos: i64::try_from(self.clock.wall_ns()).unwrap_or(i64::MAX),
        };
        let Applied { effects, rejections } =
            mezzo_master_core::apply(&mut self.cluster, command, now);
        for rejection in rejections {
            tracing::info!(
                code = ?rejection.code,
                framework = rejection.framework.as_ref().map(tracing::field::display),
                "refused: {}",
                rejection.message
            );
        }
        let lost: Vec<Command> =
            effects.into_iter().filter_map(|effect| self.carry_out(effect)).collect();
        self.numbers.applied(started.elapsed());
        for command in lost {
            self.apply(command);
        }
    }

    /// Does one thing. Gives what has to be applied because a peer was found not to read.
    fn carry_out(&self, effect: Effect) -> Option<Command> {
        match effect {
            Effect::ToFramework { session, event } => {
                if self.sessions.to_framework(session, *event) == Sent::CutOff {
                    return Some(Command::FrameworkLost(session));
                }
            }
            Effect::CloseFramework(session) => self.sessions.close_framework(session),
            Effect::ToAgent { session, message } => {
                if self.sessions.to_agent(session, *message) == Sent::CutOff {
                    return Some(Command::AgentLost(session));
                }
            }
            Effect::CloseAgent(session) => self.sessions.close_agent(session),
            Effect::Allocator(event) => self.allocator.observe(event),
            Effect::Allocate(agent) => self.allocator.allocate(agent),
            // The committer has gone only if it failed, and then the process is on its way out.
            Effect::Persist(id, write) => drop(self.writes.send((id, write))),
            Effect::Reply { to, result } => self.sessions.reply(to, result),
            Effect::AgentLost(agent) => {
                if let Some(hooks) = &self.hooks {
                    hooks.agent_lost(*agent);
                }
            }
            Effect::Publish(event) => self.sessions.publish(&event),
        }
        None
    }
}
