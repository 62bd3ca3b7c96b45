//! The way of a status update through the agent: taken, seen by the hooks, applied to the task, written down, told.

use mezzo_model::{ContainerId, ExecutorId, FrameworkId, TaskId};
use mezzo_proto::state::v1::{StatusUpdated, run_record};
use mezzo_proto::v1::executor::{Event, event};
use mezzo_proto::v1::link::{StatusUpdate, from_agent};
use mezzo_proto::v1::network_info::IpAddress;
use mezzo_proto::v1::task_status::{Reason, Source};
use mezzo_proto::v1::{self, ContainerStatus, NetworkInfo, TaskState, TaskStatus};

use crate::agent::{About, Agent, Phase};
use crate::commands::deliver;
use crate::effect::{Effect, Measure};
use crate::executor::State;
use crate::stream::Stream;
use crate::task::{Place, is_terminal};
use crate::timers::Timer;
use crate::turn::Turn;

/// An update on its way to its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Whose task it is.
    pub framework: FrameworkId,
    /// What is told. Hooks may change labels and container status.
    pub status: TaskStatus,
    /// The container of the executor that made it; none if the agent did.
    pub from: Option<ContainerId>,
}

/// An update the agent itself makes.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) state: TaskState,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// Makes and takes an update about a task.
pub(crate) fn declare(
    agent: &mut Agent,
    turn: &mut Turn,
    framework: &FrameworkId,
    task: &TaskId,
    executor: Option<&ExecutorId>,
    verdict: Verdict,
    limited: &[v1::Resource],
) {
    let status = TaskStatus {
        task_id: v1::TaskId { value: task.as_str().to_owned() },
        state: verdict.state.into(),
        message: Some(verdict.message),
        source: Some(Source::Agent.into()),
        reason: Some(verdict.reason.into()),
        agent_id: agent.id.as_ref().map(|id| v1::AgentId { value: id.as_str().to_owned() }),
        executor_id: executor.map(|id| v1::ExecutorId { value: id.as_str().to_owned() }),
        timestamp: Some(turn.now.wall),
        uuid: Some(agent.ids.uuid()),
        limitation: (!limited.is_empty())
            .then(|| v1::TaskResourceLimitation { resources: limited.to_vec() }),
        ..TaskStatus::default()
    };
    receive(agent, turn, Update { framework: framework.clone(), status, from: None });
}

/// Takes an update. The executor is told that the agent has it once it is written down, or at once if it is not needed.
pub(crate) fn receive(agent: &mut Agent, turn: &mut Turn, mut update: Update) {
    let Some(uuid) = update.status.uuid.clone() else {
        return turn.measure(Measure::UpdateInvalid);
    };
    if agent.in_flight.contains_key(&uuid) {
        return;
    }
    let task = TaskId::new(&update.status.task_id.value);
    let key = (update.framework.clone(), task);
    if agent.streams.get(&key).is_some_and(|s| s.knows(&uuid)) {
        return acknowledge_to_executor(agent, turn, &update);
    }
    fill_in(agent, &mut update, &key.1);
    let ours = agent.frameworks.get(&key.0).is_some_and(|f| f.tasks.contains_key(&key.1));
    agent.in_flight.insert(uuid, if ours { About::Ours } else { About::Nothing });
    if agent.settings.decorate_statuses {
        turn.push(Effect::DecorateStatus(update));
    } else {
        admit(agent, turn, update);
    }
}

/// Where the task runs: frameworks expect to find at least one address there.
fn fill_in(agent: &Agent, update: &mut Update, task: &TaskId) {
    let Some(executor) = agent.frameworks.get(&update.framework).and_then(|f| f.executor_of(task))
    else {
        return;
    };
    let status = update.status.container_status.get_or_insert_with(ContainerStatus::default);
    if status.container_id.is_none() {
        status.container_id =
            Some(v1::ContainerId { value: executor.container.as_str().to_owned(), parent: None });
    }
    if status.network_infos.is_empty() {
        let address =
            IpAddress { ip_address: Some(agent.settings.ip.clone()), ..IpAddress::default() };
        status
            .network_infos
            .push(NetworkInfo { ip_addresses: vec![address], ..NetworkInfo::default() });
    }
}

/// Applies an update to its task.
pub(crate) fn admit(agent: &mut Agent, turn: &mut Turn, update: Update) {
    let task_id = TaskId::new(&update.status.task_id.value);
    let state = update.status.state();
    let uuid = update.status.uuid.as_ref();
    let answer =
        update.from.is_none() && uuid.and_then(|u| agent.in_flight.get(u)) == Some(&About::Nothing);
    let Some(framework) = agent.frameworks.get_mut(&update.framework) else {
        // What the agent says about a task of a framework it does not know: the answer to a master's question. If it was
        // about a task that was here, the task's end has been acknowledged while the hooks looked at this.
        if answer {
            return forward(agent, turn, update);
        }
        return drop_update(agent, turn, &update, Measure::UpdateInvalid);
    };
    if framework.terminating {
        return drop_update(agent, turn, &update, Measure::UpdateInvalid);
    }
    let executor = framework.executor_of_mut(&task_id);
    let Some(executor) = executor else {
        if answer {
            return forward(agent, turn, update);
        }
        return discard(agent, turn, &update);
    };
    let Some(task) = executor.tasks.get_mut(&task_id) else { return discard(agent, turn, &update) };
    if task.place == Place::Terminated || (task.place == Place::Queued && !is_terminal(state)) {
        return discard(agent, turn, &update);
    }

    let before = task.state;
    task.record(&update.status);
    if before != state {
        turn.measure(Measure::TaskMoved { from: Some(before), to: state });
    }
    if state == TaskState::TaskRunning
        && before != state
        && let Some(arrived) = task.arrived.take()
    {
        turn.measure(Measure::LaunchTime(turn.now.at.saturating_sub(arrived)));
    }
    if let Some(stream) = agent.streams.get_mut(&(update.framework.clone(), task_id.clone())) {
        stream.latest = state;
    }
    if !is_terminal(state) {
        return forward(agent, turn, update);
    }

    let delivered = task.place == Place::Launched;
    executor.terminate(&task_id);
    // The framework must not hear of the end before what the task held is taken from the container.
    if delivered && executor.state == State::Running {
        executor.waiting.push(update);
        let container = executor.container.clone();
        deliver::resize(agent, turn, &container);
    } else {
        forward(agent, turn, update);
    }
}

/// Puts an update into its stream, writes it down, tells the executor that the agent has it, and sends it if it is the head.
pub(crate) fn forward(agent: &mut Agent, turn: &mut Turn, update: Update) {
    if let Some(uuid) = &update.status.uuid {
        agent.in_flight.remove(uuid);
    }
    let key = (update.framework.clone(), TaskId::new(&update.status.task_id.value));
    let framework = agent.frameworks.get(&key.0);
    if framework.is_some_and(|f| f.terminating) {
        return turn.measure(Measure::UpdateInvalid);
    }
    let owner = framework
        .and_then(|f| f.executor_of(&key.1))
        .map(|e| (e.id.clone(), e.checkpoint.then(|| e.container.clone())));
    let journal = owner.as_ref().and_then(|(_, journal)| journal.clone());
    let latest = framework
        .and_then(|f| f.executor_of(&key.1))
        .and_then(|e| e.tasks.get(&key.1))
        .map_or(update.status.state(), |t| t.state);
    if let Some(container) = &journal {
        let record = StatusUpdated { status: update.status.clone() };
        turn.journal(agent, container, run_record::Record::StatusUpdated(record));
    }
    acknowledge_to_executor(agent, turn, &update);
    if update.from.is_some() {
        turn.measure(Measure::UpdateAccepted);
    }
    let stream = agent
        .streams
        .entry(key.clone())
        .or_insert_with(|| Stream::new(owner.map(|(id, _)| id), journal));
    let is_head = stream.push(update.status);
    stream.latest = latest;
    if is_head {
        send_head(agent, turn, &key);
    }
}

/// Sends the head of a stream and waits for its acknowledgement; does nothing while no master listens.
pub(crate) fn send_head(agent: &mut Agent, turn: &mut Turn, key: &(FrameworkId, TaskId)) {
    if agent.phase != Phase::Running {
        return;
    }
    let Some(stream) = agent.streams.get_mut(key) else { return };
    let Some(status) = stream.head().cloned() else { return };
    let timer = Timer::Retry(key.0.clone(), key.1.clone());
    if let Some(at) = stream.retry_at.take() {
        agent.timers.cancel(at, timer.clone());
    }
    let at = turn.now.at + stream.next_wait();
    stream.retry_at = Some(at);
    agent.timers.set(at, timer);
    turn.push(Effect::ToMaster(from_agent::Message::StatusUpdate(StatusUpdate {
        framework_id: v1::FrameworkId { value: key.0.as_str().to_owned() },
        status,
        latest_state: stream.latest.into(),
        executor_id: stream
            .executor
            .as_ref()
            .map(|id| v1::ExecutorId { value: id.as_str().to_owned() }),
    })));
}

/// Forgets a stream and its deadline.
pub(crate) fn close_stream(agent: &mut Agent, key: &(FrameworkId, TaskId)) {
    if let Some(stream) = agent.streams.remove(key)
        && let Some(at) = stream.retry_at
    {
        agent.timers.cancel(at, Timer::Retry(key.0.clone(), key.1.clone()));
    }
}

/// An update nobody needs: the executor shall not send it again.
fn discard(agent: &mut Agent, turn: &mut Turn, update: &Update) {
    acknowledge_to_executor(agent, turn, update);
    drop_update(agent, turn, update, Measure::UpdateInvalid);
}

fn drop_update(agent: &mut Agent, turn: &mut Turn, update: &Update, measure: Measure) {
    if let Some(uuid) = &update.status.uuid {
        agent.in_flight.remove(uuid);
    }
    turn.measure(measure);
}

fn acknowledge_to_executor(agent: &mut Agent, turn: &mut Turn, update: &Update) {
    let (Some(container), Some(uuid)) = (&update.from, update.status.uuid.clone()) else { return };
    let session = agent.in_container(container).and_then(|e| e.session);
    let acknowledged = event::Acknowledged { task_id: update.status.task_id.clone(), uuid };
    turn.tell_executor(
        session,
        Event {
            r#type: Some(event::Type::Acknowledged.into()),
            acknowledged: Some(acknowledged),
            ..Event::default()
        },
    );
}
