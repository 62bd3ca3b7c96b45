//! The launch rules: which executor a task goes to, when a new one is started, and when a launch is dropped.

use mezzo_model::{ExecutorId, FrameworkId, TaskId};
use mezzo_proto::state::v1::{Started, TaskAdded, run_record::Record};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{self, ExecutorInfo, TaskInfo, TaskState};

use crate::agent::Agent;
use crate::commands::deliver;
use crate::container;
use crate::effect::{Effect, Launch, Measure};
use crate::executor::{Executor, State};
use crate::framework::PendingLaunch;
use crate::removal;
use crate::timers::Timer;
use crate::turn::Turn;
use crate::updates::{self, Verdict};

/// What a launch that is dropped tells.
struct Refusal {
    reason: Reason,
    message: &'static str,
}

const fn ended(message: &'static str) -> Refusal {
    Refusal { reason: Reason::ExecutorTerminated, message }
}

/// Launches tasks, or drops them and says why.
pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, id: &FrameworkId, launch: PendingLaunch) {
    let custom =
        launch.group.clone().or_else(|| launch.tasks.first().and_then(|t| t.executor.clone()));
    let Some(framework) = agent.frameworks.get(id) else { return };
    let executor_id = match (&custom, launch.tasks.first()) {
        (Some(info), _) => ExecutorId::new(&info.executor_id.value),
        (None, Some(task)) => ExecutorId::new(&task.task_id.value),
        (None, None) => return,
    };
    let existing = framework.executors.get(&executor_id).map(|e| (e.state, e.container.clone()));

    let refusal = match (&custom, &existing) {
        (None, Some(_)) => Some(Refusal {
            reason: Reason::TaskInvalid,
            message: "Cannot reuse an already existing executor for a command task",
        }),
        (Some(_), Some((State::Terminating | State::Terminated, _))) => {
            Some(ended("Executor is terminating or terminated"))
        }
        (Some(_), Some(_)) if launch.launch_executor => {
            Some(ended("The master wants to launch the executor, but it exists already"))
        }
        (Some(_), None) if !launch.launch_executor => {
            Some(ended("No executor is expected to launch and there is no executor running"))
        }
        _ => None,
    };
    if let Some(refusal) = refusal {
        let stray = existing.filter(|_| custom.is_some() && launch.launch_executor);
        drop_launch(agent, turn, id, &executor_id, &launch, &refusal);
        if custom.is_some() && launch.launch_executor {
            match stray {
                // The master does not know of it. Its end will be told like any other.
                Some((State::Registering | State::Running, container)) => {
                    removal::shut_down_executor(agent, turn, &container, None);
                }
                Some((State::Terminating, _)) => {}
                _ => removal::executor_exited(agent, turn, id, &executor_id, -1),
            }
        }
        return removal::remove_if_idle(agent, turn, id);
    }

    match existing {
        Some((_, container)) => add_to(agent, turn, id, &executor_id, &container, launch),
        None => start(agent, turn, id, custom, launch),
    }
}

fn drop_launch(
    agent: &mut Agent,
    turn: &mut Turn,
    id: &FrameworkId,
    executor: &ExecutorId,
    launch: &PendingLaunch,
    refusal: &Refusal,
) {
    let Some(state) = agent.frameworks.get(id).map(|f| f.state_or_lost(TaskState::TaskDropped))
    else {
        return;
    };
    for task in &launch.tasks {
        turn.measure(Measure::TaskMoved { from: Some(TaskState::TaskStaging), to: state });
        let verdict =
            Verdict { state, reason: refusal.reason, message: refusal.message.to_owned() };
        let task = TaskId::new(&task.task_id.value);
        updates::declare(agent, turn, id, &task, Some(executor), verdict, &[]);
    }
}

/// More tasks for an executor that is there.
fn add_to(
    agent: &mut Agent,
    turn: &mut Turn,
    id: &FrameworkId,
    executor_id: &ExecutorId,
    container: &mezzo_model::ContainerId,
    launch: PendingLaunch,
) {
    index(agent, id, executor_id, &launch.tasks);
    for task in &launch.tasks {
        turn.journal(agent, container, Record::TaskAdded(TaskAdded { task: task.clone() }));
    }
    if let Some(executor) = agent.executor_mut(id, executor_id) {
        executor.queue(launch.tasks, launch.group.is_some(), Some(launch.arrived));
    }
    deliver::resize(agent, turn, container);
}

/// A new executor, with the tasks that need it.
fn start(
    agent: &mut Agent,
    turn: &mut Turn,
    id: &FrameworkId,
    custom: Option<ExecutorInfo>,
    launch: PendingLaunch,
) {
    let container = agent.ids.container();
    let Some(framework) = agent.frameworks.get(id) else { return };
    let framework_info = framework.info.clone();
    let command_task = custom.is_none().then(|| launch.tasks.first().cloned()).flatten();
    let Some(mut info) = custom.or_else(|| {
        command_task
            .as_ref()
            .map(|t| container::command_executor(&agent.settings, &framework_info, t))
    }) else {
        return;
    };
    info.framework_id = Some(v1::FrameworkId { value: id.as_str().to_owned() });
    let executor_id = ExecutorId::new(&info.executor_id.value);
    let directory = container::directory(agent, id, &executor_id, container.as_str());
    let checkpoint = framework_info.checkpoint();
    let mut executor = Executor::new(info, container.clone(), directory, checkpoint);
    executor.command_task = command_task;
    let tasks = launch.tasks.clone();
    executor.queue(launch.tasks, launch.group.is_some(), Some(launch.arrived));
    // The container starts with room for them.
    executor.total_told = true;
    let deadline = turn.now.at + agent.settings.executor_registration_timeout;
    executor.deadline = Some(deadline);
    agent.timers.set(deadline, Timer::Registration(container.clone()));

    let started = Started {
        executor: executor.info.clone(),
        container_id: v1::ContainerId { value: container.as_str().to_owned(), parent: None },
        command_executor: executor.is_command(),
        command_task: executor.command_task.clone(),
    };
    let config = container::config(&agent.settings, &framework_info, &executor);
    let environment = container::environment(agent, &framework_info, &executor);
    let is_command = executor.is_command();
    index(agent, id, &executor_id, &tasks);
    agent.containers.insert(container.clone(), (id.clone(), executor_id.clone()));
    if let Some(framework) = agent.frameworks.get_mut(id) {
        framework.executors.insert(executor_id.clone(), executor);
    }
    turn.journal(agent, &container, Record::Started(started));
    if !is_command {
        for task in tasks {
            turn.journal(agent, &container, Record::TaskAdded(TaskAdded { task }));
        }
    }
    turn.measure(Measure::ExecutorLaunched);
    turn.push(Effect::Launch(Box::new(Launch {
        container,
        framework: framework_info,
        executor: executor_id,
        config,
        environment,
        checkpoint,
    })));
}

fn index(agent: &mut Agent, id: &FrameworkId, executor: &ExecutorId, tasks: &[TaskInfo]) {
    let Some(framework) = agent.frameworks.get_mut(id) else { return };
    for task in tasks {
        framework.tasks.insert(TaskId::new(&task.task_id.value), executor.clone());
    }
}
