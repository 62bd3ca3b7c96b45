//! An earlier life of the agent: its executors are taken over, what it had not told yet is told.

use mezzo_model::{ContainerId, ExecutorId, FrameworkId, TaskId};
use mezzo_proto::state::v1::{RunRecord, run_record::Record};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{self, ContainerId as ProtoContainerId, TaskState};

use crate::agent::{Agent, Phase};
use crate::command::{Recovered, RecoveredRun, Termination};
use crate::commands::{container as containers_of, leave};
use crate::container;
use crate::effect::{Checkpoint, Effect, Measure, RecoveredContainer};
use crate::executor::{Cause, Executor, State};
use crate::framework::Framework;
use crate::removal;
use crate::stream::Stream;
use crate::task::{Place, Task, is_terminal};
use crate::timers::Timer;
use crate::turn::Turn;

/// Rebuilds the state from what was on disk.
pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, recovered: Recovered) {
    if agent.phase != Phase::Recovering {
        return;
    }
    agent.id.clone_from(&recovered.id);
    agent.settings.info.id = recovered.id.map(|id| v1::AgentId { value: id.as_str().to_owned() });
    let mut expected = Vec::new();
    for found in recovered.frameworks {
        let Some(id) = found.info.id.as_ref().map(|id| FrameworkId::new(&id.value)) else {
            continue;
        };
        agent.frameworks.insert(id.clone(), Framework::new(id.clone(), found.info));
        for run in found.runs {
            if let Some(container) = recover_run(agent, turn, &id, run) {
                expected.push(container);
            }
        }
        removal::remove_if_idle(agent, turn, &id);
    }
    if recovered.rebooted {
        for container in expected.drain(..) {
            let state = agent
                .frameworks
                .get(&container.framework)
                .map(|f| f.state_or_lost(TaskState::TaskGone));
            let termination = Termination {
                state,
                reason: Some(Reason::AgentRestarted),
                message: Some("The agent's machine was restarted".to_owned()),
                ..Termination::default()
            };
            containers_of::ended(agent, turn, &container.container, termination);
        }
    }
    agent.awaited = expected.iter().map(|c| c.container.clone()).collect();
    if recovered.cleanup {
        leave::terminate(
            agent,
            turn,
            "every executor was ended, as --recover=cleanup asks".to_owned(),
        );
    }
    turn.push(Effect::Recover(expected));
}

fn recover_run(
    agent: &mut Agent,
    turn: &mut Turn,
    id: &FrameworkId,
    run: RecoveredRun,
) -> Option<RecoveredContainer> {
    let mut records = run.records.into_iter().filter_map(|r: RunRecord| r.record);
    let Some(Record::Started(started)) = records.next() else {
        turn.note(format!(
            "the journal of container {} (executor {}, framework {id}) cannot be read: the container is cleaned up",
            run.container, run.executor
        ));
        turn.push(Effect::Checkpoint(Checkpoint::RemoveRun {
            framework: id.clone(),
            executor: run.executor,
            container: run.container,
        }));
        return None;
    };
    let ProtoContainerId { value: container, .. } = started.container_id;
    let executor_id = ExecutorId::new(&started.executor.executor_id.value);
    let directory = container::directory(agent, id, &executor_id, &container);
    let container = ContainerId::new(&container);
    let mut executor = Executor::new(started.executor, container.clone(), directory, true);
    executor.appended = 1;
    executor.state = State::Running;
    if let Some(task) = started.command_task {
        executor.command_task = Some(task.clone());
        add_task(&mut executor, task);
    }
    for record in records {
        executor.appended += 1;
        replay(agent, id, &mut executor, record);
    }

    let config =
        agent.frameworks.get(id).map(|f| container::config(&agent.settings, &f.info, &executor));
    let framework = agent.frameworks.get_mut(id)?;
    for (task_id, task) in &executor.tasks {
        framework.tasks.insert(task_id.clone(), executor_id.clone());
        if task.place != Place::Terminated {
            turn.measure(Measure::TaskMoved { from: None, to: task.state });
        }
    }
    turn.measure(Measure::ExecutorLaunched);
    framework.executors.insert(executor_id.clone(), executor);
    agent.containers.insert(container.clone(), (id.clone(), executor_id.clone()));
    Some(RecoveredContainer {
        container,
        framework: id.clone(),
        executor: executor_id,
        config: config?,
    })
}

fn add_task(executor: &mut Executor, info: v1::TaskInfo) {
    executor.total.add(&info.resources);
    // Whether it was delivered nobody knows. The executor will say when it is back.
    let task = Task { place: Place::Launched, ..Task::new(info, None) };
    executor.tasks.insert(task.id(), task);
}

fn replay(agent: &mut Agent, id: &FrameworkId, executor: &mut Executor, record: Record) {
    match record {
        Record::Started(_) => {}
        Record::TaskAdded(added) => add_task(executor, added.task),
        Record::StatusUpdated(updated) => {
            let status = updated.status;
            let task_id = TaskId::new(&status.task_id.value);
            let Some(task) = executor.tasks.get_mut(&task_id) else { return };
            task.record(&status);
            if is_terminal(status.state()) {
                executor.terminate(&task_id);
            }
            agent
                .streams
                .entry((id.clone(), task_id))
                .or_insert_with(|| {
                    Stream::new(Some(executor.id.clone()), Some(executor.container.clone()))
                })
                .push(status);
        }
        Record::StatusAcknowledged(acknowledged) => {
            let key = (id.clone(), TaskId::new(&acknowledged.task_id.value));
            let Some(status) =
                agent.streams.get_mut(&key).and_then(|s| s.acknowledge(&acknowledged.uuid))
            else {
                return;
            };
            if is_terminal(status.state()) {
                agent.streams.remove(&key);
                if let Some(task) = executor.tasks.remove(&key.1) {
                    executor.completed.push_back(task);
                }
            }
        }
    }
}

/// The containers are taken over: their executors have a little time to come back.
pub(crate) fn containers(agent: &mut Agent, turn: &mut Turn) {
    if agent.phase == Phase::Terminating {
        let left: Vec<ContainerId> = agent.containers.keys().cloned().collect();
        for container in left {
            turn.push(Effect::Destroy(container));
        }
        return;
    }
    if agent.phase != Phase::Recovering || agent.awaited_until.is_some() {
        return;
    }
    let at = turn.now.at + agent.settings.executor_reregistration_timeout;
    agent.awaited_until = Some(at);
    agent.timers.set(at, Timer::Reregistration);
    connect_if_all_are_back(agent, turn);
}

/// One less to wait for: it is back, or has ended.
pub(crate) fn not_awaited(agent: &mut Agent, turn: &mut Turn, container: &ContainerId) {
    if agent.awaited.remove(container) {
        connect_if_all_are_back(agent, turn);
    }
}

fn connect_if_all_are_back(agent: &mut Agent, turn: &mut Turn) {
    if agent.phase == Phase::Recovering
        && agent.awaited.is_empty()
        && let Some(at) = agent.awaited_until
    {
        agent.timers.cancel(at, Timer::Reregistration);
        agent.phase = Phase::Disconnected;
        turn.push(Effect::ConnectMaster);
    }
}

/// Who is not back by now is not waited for.
pub(crate) fn wait_is_over(agent: &mut Agent, turn: &mut Turn) {
    let timeout = agent.settings.executor_reregistration_timeout;
    for container in std::mem::take(&mut agent.awaited) {
        let state = agent
            .containers
            .get(&container)
            .and_then(|(framework, _)| agent.frameworks.get(framework))
            .map_or(TaskState::TaskLost, |f| f.state_or_lost(TaskState::TaskGone));
        let cause = Cause {
            state,
            reason: Reason::ExecutorReregistrationTimeout,
            message: format!("Executor did not reregister within {timeout:?}"),
        };
        removal::destroy_executor(agent, turn, &container, cause);
    }
    connect_if_all_are_back(agent, turn);
}
