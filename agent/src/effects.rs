//! Carries out what the core decides, in order, on a thread of its own: checkpoints are files, and files may be slow.

use std::sync::Arc;
use std::time::Instant;

use mezzo_agent_core::{Checkpoint, Effect};
use mezzo_model::AgentId;
use mezzo_runtime::errors::one_line;
use mezzo_runtime::shutdown::Shutdown;
use mezzo_runtime::vital::Vital;
use tokio::sync::{mpsc, watch};

use crate::containers::Containers;
use crate::executors::Sessions;
use crate::hooks::Hooks;
use crate::link::MasterLine;
use crate::numbers::Numbers;
use crate::store::Writer;

/// Steps that wait at most. The actor waits when there are more.
const STEPS: usize = 1024;

/// Everything effects act on.
pub(crate) struct Effects {
    pub(crate) writer: Writer,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) master: Arc<MasterLine>,
    pub(crate) containers: Containers,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) numbers: Numbers,
    /// Says whether the link should look for a master.
    pub(crate) connect: watch::Sender<bool>,
    /// Says who this agent is.
    pub(crate) agent_id: watch::Sender<Option<AgentId>>,
    pub(crate) vital: Vital,
    pub(crate) shutdown: Shutdown,
}

/// Where the actor puts its effects.
pub(crate) fn channel() -> (mpsc::Sender<Vec<Effect>>, mpsc::Receiver<Vec<Effect>>) {
    mpsc::channel(STEPS)
}

impl Effects {
    /// Works until the actor is gone. Call it on a thread outside the runtime.
    pub(crate) fn run(mut self, mut steps: mpsc::Receiver<Vec<Effect>>) {
        while let Some(effects) = steps.blocking_recv() {
            if !self.step(effects) {
                return;
            }
        }
    }

    /// The effects of one step of the actor; false if the agent cannot go on.
    fn step(&mut self, effects: Vec<Effect>) -> bool {
        let mut writing = None;
        for effect in effects {
            match effect {
                Effect::Checkpoint(checkpoint) => {
                    let begin = Instant::now();
                    if !self.write(checkpoint) {
                        return false;
                    }
                    *writing.get_or_insert(std::time::Duration::ZERO) += begin.elapsed();
                }
                other => self.carry_out(other),
            }
        }
        if let Some(time) = writing {
            self.numbers.checkpoint.observe(time.as_secs_f64());
        }
        true
    }

    fn write(&mut self, checkpoint: Checkpoint) -> bool {
        if let Checkpoint::Agent(info) = &checkpoint {
            self.agent_id.send_replace(info.id.as_ref().map(AgentId::from));
        }
        let Err(error) = self.writer.write(checkpoint) else { return true };
        // To go on would mean to promise what is not kept. Tasks run on; the next start finds them.
        self.vital.fail(one_line(&error));
        false
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::ToMaster(message) => self.master.send(message),
            Effect::ToExecutor { session, event } => self.sessions.send(session, event),
            Effect::CloseExecutor { session, refusal } => self.sessions.close(session, refusal),
            Effect::Launch(launch) => self.containers.launch(*launch),
            Effect::Update { container, token, requests, limits } => {
                self.containers.update(container, token, requests, limits);
            }
            Effect::Destroy(container) => self.containers.destroy(container),
            Effect::Recover(containers) => self.containers.recover(containers),
            Effect::DecorateTasks { token, framework, executor, tasks } => match &self.hooks {
                Some(hooks) => hooks.tasks(token, framework, executor, tasks),
                None => tracing::error!("tasks were to be shown to hooks, and there are none"),
            },
            Effect::DecorateStatus(update) => match &self.hooks {
                Some(hooks) => hooks.status(update),
                None => tracing::error!("an update was to be shown to hooks, and there are none"),
            },
            Effect::ExecutorRemoved(removed) => {
                if let Some(hooks) = &self.hooks {
                    hooks.executor_removed(removed);
                }
            }
            Effect::ConnectMaster => {
                self.connect.send_replace(true);
            }
            Effect::Exit { message, failure } => {
                if failure {
                    self.vital.fail(message);
                } else {
                    self.shutdown.trigger(message);
                }
            }
            Effect::Measure(measure) => self.numbers.take(measure),
            Effect::Note(text) => tracing::warn!("{text}"),
            // Written in `step`.
            Effect::Checkpoint(_) => {}
        }
    }
}
