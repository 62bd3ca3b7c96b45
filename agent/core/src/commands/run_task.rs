//! Tasks come in: they wait for the hooks if there are any, then go to the launch rules.

use std::collections::BTreeMap;

use mezzo_model::{ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1::link::{RunTask, RunTaskGroup};
use mezzo_proto::v1::{ExecutorInfo, FrameworkInfo, Labels, TaskInfo, TaskState};

use crate::agent::{Agent, Phase};
use crate::effect::{Checkpoint, Effect, Measure};
use crate::framework::{Framework, PendingLaunch};
use crate::launch;
use crate::turn::Turn;

/// One task.
pub(crate) fn task(agent: &mut Agent, turn: &mut Turn, message: RunTask) {
    take(agent, turn, message.framework_info, vec![message.task], None, message.launch_executor);
}

/// A task group.
pub(crate) fn group(agent: &mut Agent, turn: &mut Turn, message: RunTaskGroup) {
    let tasks = message.task_group.tasks;
    take(
        agent,
        turn,
        message.framework_info,
        tasks,
        Some(message.executor),
        message.launch_executor,
    );
}

fn take(
    agent: &mut Agent,
    turn: &mut Turn,
    info: FrameworkInfo,
    tasks: Vec<TaskInfo>,
    group: Option<ExecutorInfo>,
    launch_executor: bool,
) {
    if matches!(agent.phase, Phase::Recovering | Phase::Terminating) {
        return;
    }
    let Some(id) = info.id.as_ref().map(|id| FrameworkId::new(&id.value)) else {
        return turn.note("tasks of a framework without id; dropped");
    };
    let own = agent.id.as_ref().map_or("", |id| id.as_str());
    if tasks.is_empty() || tasks.iter().any(|t| t.agent_id.value != own) {
        return turn.note(format!("tasks of framework {id} that are not for this agent; dropped"));
    }
    // They become names of directories. Masters check this, too.
    let executor_ids = group
        .iter()
        .chain(tasks.iter().filter_map(|t| t.executor.as_ref()))
        .map(|e| &e.executor_id.value);
    let bad = FrameworkId::parse(id.as_str())
        .err()
        .or_else(|| tasks.iter().find_map(|t| TaskId::parse(&t.task_id.value).err()))
        .or_else(|| executor_ids.into_iter().find_map(|e| ExecutorId::parse(e).err()));
    if let Some(bad) = bad {
        return turn.note(format!("tasks of framework {id} are dropped: {bad}"));
    }
    if agent.frameworks.get(&id).is_some_and(|f| f.terminating) {
        return turn.note(format!("tasks of framework {id}, which is ending; dropped"));
    }
    if let Some(known) = tasks.iter().find(|t| is_here(agent, &id, &t.task_id.value)) {
        return turn.note(format!(
            "task {} of framework {id} is here already; dropped",
            known.task_id.value
        ));
    }

    add_framework(agent, turn, &id, info);
    for _ in &tasks {
        turn.measure(Measure::TaskMoved { from: None, to: TaskState::TaskStaging });
    }
    let token = agent.token();
    let decorate = agent.settings.decorate_tasks;
    let Some(framework) = agent.frameworks.get_mut(&id) else { return };
    if decorate {
        let executor = group.clone().or_else(|| tasks.first().and_then(|t| t.executor.clone()));
        turn.push(Effect::DecorateTasks {
            token,
            framework: Box::new(framework.info.clone()),
            executor: executor.map(Box::new),
            tasks: tasks.clone(),
        });
    }
    let pending = PendingLaunch { tasks, group, launch_executor, arrived: turn.now.at };
    if decorate {
        framework.launches.insert(token, pending);
    } else {
        launch::apply(agent, turn, &id, pending);
    }
}

/// The hooks have seen a launch. If it is not there any more, it was killed meanwhile.
pub(crate) fn decorated(
    agent: &mut Agent,
    turn: &mut Turn,
    token: u64,
    mut labels: BTreeMap<String, Labels>,
) {
    let found = agent
        .frameworks
        .iter_mut()
        .find_map(|(id, f)| Some((id.clone(), f.launches.remove(&token)?)));
    let Some((id, mut launch)) = found else { return };
    for task in &mut launch.tasks {
        if let Some(labels) = labels.remove(&task.task_id.value) {
            task.labels = Some(labels);
        }
    }
    launch::apply(agent, turn, &id, launch);
}

fn is_here(agent: &Agent, framework: &FrameworkId, task: &str) -> bool {
    agent.frameworks.get(framework).is_some_and(|f| {
        f.tasks.contains_key(&TaskId::new(task))
            || f.launches.values().flat_map(|l| &l.tasks).any(|t| t.task_id.value == task)
    })
}

fn add_framework(agent: &mut Agent, turn: &mut Turn, id: &FrameworkId, info: FrameworkInfo) {
    if agent.frameworks.contains_key(id) {
        return;
    }
    if info.checkpoint() {
        turn.push(Effect::Checkpoint(Checkpoint::Framework(Box::new(info.clone()))));
    }
    let mut framework = Framework::new(id.clone(), info);
    if let Some(at) = agent.completed.iter().position(|f| f.id == *id)
        && let Some(before) = agent.completed.remove(at)
    {
        framework.completed_executors = before.executors;
    }
    agent.frameworks.insert(id.clone(), framework);
}
