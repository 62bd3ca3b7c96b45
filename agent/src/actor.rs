//! The one task that owns the state of the agent.

use std::time::Duration;

use mezzo_agent_core::{Agent, Command, Effect, Now, apply};
use mezzo_runtime::clock::Clock;
use mezzo_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot};

/// Inputs that wait at most. Who has more to say waits.
const INPUTS: usize = 8192;
/// Inputs that are worked on before their effects are handed over.
const BATCH: usize = 256;
/// How long to sleep when there is no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(3600);

type Look = Box<dyn FnOnce(&Agent) + Send>;

#[expect(clippy::large_enum_variant, reason = "nearly all inputs are commands")]
enum Input {
    Command(Command),
    Look(Look),
}

/// Says things to the actor. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    answers: mpsc::UnboundedSender<Command>,
}

impl Handle {
    /// Says something; waits while there is too much to do. After the end of the actor nobody hears it.
    pub(crate) async fn say(&self, command: Command) {
        let _ = self.inputs.send(Input::Command(command)).await;
    }

    /// Answers what the actor itself has asked. Never waits: the actor may be waiting for whoever answers.
    pub(crate) fn answer(&self, command: Command) {
        let _ = self.answers.send(command);
    }

    /// Looks at the state; none after the end of the actor.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Agent) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let look: Look = Box::new(move |agent| {
            // Who asked may be gone.
            let _ = answer.send(look(agent));
        });
        self.inputs.send(Input::Look(look)).await.ok()?;
        answered.await.ok()
    }
}

/// The receiving side, until the actor runs.
pub(crate) struct Inputs {
    inputs: mpsc::Receiver<Input>,
    answers: mpsc::UnboundedReceiver<Command>,
}

/// A handle, and what the actor hears of it.
pub(crate) fn channel() -> (Handle, Inputs) {
    let (inputs, receiver) = mpsc::channel(INPUTS);
    #[expect(
        clippy::disallowed_methods,
        reason = "holds one answer for each question, and the queues of questions are bounded"
    )]
    let (answers, answered) = mpsc::unbounded_channel();
    (Handle { inputs, answers }, Inputs { inputs: receiver, answers: answered })
}

/// Owns the agent until the shutdown.
pub(crate) async fn run(
    mut agent: Agent,
    Inputs { mut inputs, mut answers }: Inputs,
    effects: mpsc::Sender<Vec<Effect>>,
    clock: Clock,
    shutdown: Shutdown,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut answered = Vec::with_capacity(BATCH);
    loop {
        let until =
            agent.next_deadline().map_or(NO_DEADLINE, |at| at.saturating_sub(now(&clock).at));
        let mut out = Vec::new();
        tokio::select! {
            () = shutdown.triggered() => return,
            count = inputs.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return;
                }
                for input in batch.drain(..) {
                    match input {
                        Input::Command(command) => out.append(&mut apply(&mut agent, command, now(&clock))),
                        Input::Look(look) => look(&agent),
                    }
                }
            }
            count = answers.recv_many(&mut answered, BATCH) => {
                if count == 0 {
                    return;
                }
                for command in answered.drain(..) {
                    out.append(&mut apply(&mut agent, command, now(&clock)));
                }
            }
            () = clock.sleep(until) => {}
        }
        let at = now(&clock);
        if agent.next_deadline().is_some_and(|deadline| deadline <= at.at) {
            out.append(&mut apply(&mut agent, Command::Tick, at));
        }
        if !out.is_empty() && effects.send(out).await.is_err() {
            return;
        }
    }
}

/// The time, as the core wants it.
pub(crate) fn now(clock: &Clock) -> Now {
    let reading = clock.now();
    Now {
        wall: Duration::from_nanos(reading.wall_ns).as_secs_f64(),
        at: Duration::from_nanos(reading.monotonic_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_never_waits_for_an_actor_that_waits_itself() {
        let (handle, inputs) = channel();
        for _ in 0..INPUTS {
            handle.say(Command::Tick).await;
        }
        // Nothing more goes in, and the actor does not run.
        handle.answer(Command::Tick);
        assert_eq!((inputs.inputs.len(), inputs.answers.len()), (INPUTS, 1));
    }
}
