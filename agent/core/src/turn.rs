//! One command applied: dispatch, and the collecting of effects.

use mezzo_model::ContainerId;
use mezzo_proto::state::v1::{RunRecord, run_record};
use mezzo_proto::v1::executor;
use mezzo_proto::v1::link::{from_agent, from_master};

use crate::agent::{Agent, Phase};
use crate::command::{Command, Now};
use crate::commands as on;
use crate::effect::{Checkpoint, Effect, Measure};
use crate::removal;

/// Applies one command to the agent. The effects have to be carried out in order.
pub fn apply(agent: &mut Agent, command: Command, now: Now) -> Vec<Effect> {
    let mut turn = Turn { now, effects: Vec::new() };
    dispatch(agent, &mut turn, command);
    removal::exit_if_empty(agent, &mut turn);
    turn.effects
}

fn dispatch(agent: &mut Agent, turn: &mut Turn, command: Command) {
    match command {
        Command::Recovered(state) => on::recovered::apply(agent, turn, *state),
        Command::ContainersRecovered => on::recovered::containers(agent, turn),
        Command::LinkUp => on::link::up(agent, turn),
        Command::LinkDown => on::link::down(agent),
        Command::FromMaster(message) => from_master(agent, turn, *message),
        Command::TasksDecorated { token, labels } => {
            on::run_task::decorated(agent, turn, token, labels)
        }
        Command::StatusDecorated(update) => crate::updates::admit(agent, turn, update),
        Command::ContainerLaunched { container, result } => {
            on::container::launched(agent, turn, &container, result)
        }
        Command::ContainerUpdated { container, token, result } => {
            on::container::updated(agent, turn, &container, token, result);
        }
        Command::ContainerEnded { container, termination } => {
            on::container::ended(agent, turn, &container, termination)
        }
        Command::Executor { session, framework, executor, call } => {
            on::executor::call(agent, turn, session, framework, executor, call);
        }
        Command::ExecutorLeft { session } => on::executor::left(agent, session),
        Command::Leave { unregister } => on::leave::apply(agent, turn, unregister),
        Command::Tick => on::tick::apply(agent, turn),
    }
}

fn from_master(agent: &mut Agent, turn: &mut Turn, message: from_master::Message) {
    use from_master::Message;
    match message {
        Message::Registered(m) => on::registered::apply(agent, turn, m),
        Message::RunTask(m) => on::run_task::task(agent, turn, m),
        Message::RunTaskGroup(m) => on::run_task::group(agent, turn, m),
        Message::KillTask(m) => on::kill_task::apply(agent, turn, m),
        Message::Acknowledge(m) => on::acknowledge::apply(agent, turn, &m),
        Message::ShutdownFramework(m) => on::shutdown_framework::apply(agent, turn, &m),
        Message::ShutdownExecutor(m) => on::shutdown_executor::apply(agent, turn, &m),
        Message::UpdateFramework(m) => on::update_framework::apply(agent, turn, m),
        Message::FrameworkMessage(m) => on::framework_message::apply(agent, turn, m),
        Message::Shutdown(m) => on::leave::told(agent, turn, &m.message),
        // Answered by whoever holds the connection.
        Message::Ping(_) => {}
    }
}

/// What a command needs besides the state: the time, and a place for effects.
pub(crate) struct Turn {
    pub(crate) now: Now,
    pub(crate) effects: Vec<Effect>,
}

impl Turn {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn measure(&mut self, measure: Measure) {
        self.push(Effect::Measure(measure));
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.push(Effect::Note(text.into()));
    }

    /// Nothing reaches a master that has not registered the agent.
    pub(crate) fn tell_master(&mut self, agent: &Agent, message: from_agent::Message) {
        if agent.phase == Phase::Running || (agent.phase == Phase::Terminating && agent.linked) {
            self.push(Effect::ToMaster(message));
        }
    }

    pub(crate) fn tell_executor(&mut self, session: Option<u64>, event: executor::Event) {
        if let Some(session) = session {
            self.push(Effect::ToExecutor { session, event });
        }
    }

    /// Writes a record to the journal of the run in this container, if it has one.
    pub(crate) fn journal(
        &mut self,
        agent: &mut Agent,
        container: &ContainerId,
        record: run_record::Record,
    ) {
        let Some((framework, executor)) = agent.containers.get(container).cloned() else { return };
        let Some(entry) = agent.executor_mut(&framework, &executor) else { return };
        if !entry.checkpoint {
            return;
        }
        entry.appended += 1;
        self.push(Effect::Checkpoint(Checkpoint::Append {
            framework,
            executor,
            container: container.clone(),
            record: Box::new(RunRecord { record: Some(record) }),
        }));
    }
}
