//! LAUNCH: tasks, each on its own. One that is not valid is reported and the others go on.

use std::sync::Arc;

use mezzo_model::{AgentId, ExecutorId, Resources, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::link::{RunTask, from_master};
use mezzo_proto::v1::offer::operation::Launch;
use mezzo_proto::v1::task_status::Reason;

use super::{Bargain, report_task};
use crate::command::Turn;
use crate::state::{Executor, Task};
use crate::validate::task::{self, Checked};

pub(super) fn apply(turn: &mut Turn<'_>, bargain: &mut Bargain, launch: Launch) {
    for info in launch.task_infos {
        if let Err((info, message)) = launch_one(turn, bargain, info) {
            report_task(
                turn,
                &bargain.framework,
                &info,
                v1::TaskState::TaskError,
                Reason::TaskInvalid,
                &message,
            );
        }
    }
}

fn launch_one(
    turn: &mut Turn<'_>,
    bargain: &mut Bargain,
    mut info: v1::TaskInfo,
) -> Result<(), (Box<v1::TaskInfo>, String)> {
    let Some(framework) = turn.framework(&bargain.framework).map(Arc::clone) else {
        return Ok(());
    };
    let Some(agent) = turn.agent(&bargain.agent).map(Arc::clone) else { return Ok(()) };
    let checked = match task::check(&framework, &agent, bargain, &mut info) {
        Ok(checked) => checked,
        Err(message) => return Err((Box::new(info), message)),
    };
    let Checked { resources, executor, remaining } = checked;
    bargain.remaining = remaining;

    let launch_executor = match executor {
        // A command task always brings its own.
        None => true,
        Some((_, _, true)) => false,
        Some((id, resources, false)) => {
            enter_executor(turn, bargain, &info, &id, resources);
            true
        }
    };
    let task = Task {
        id: TaskId::new(&info.task_id.value),
        agent: bargain.agent.clone(),
        role: bargain.role.clone(),
        view: view(&framework.info, bargain, &info),
        resources,
        freed: false,
    };
    turn.enter_task(&bargain.framework, task);
    turn.books().counts.tasks_launched += 1;
    turn.tell_agent(
        &bargain.agent,
        from_master::Message::RunTask(RunTask {
            framework_info: (*framework.info).clone(),
            task: info,
            launch_executor,
        }),
    );
    Ok(())
}

fn enter_executor(
    turn: &mut Turn<'_>,
    bargain: &Bargain,
    task: &v1::TaskInfo,
    id: &ExecutorId,
    resources: Resources,
) {
    let Some(info) = task.executor.clone() else { return };
    let executor = Executor { info, role: bargain.role.clone(), resources };
    turn.enter_executor(&bargain.framework, &bargain.agent, id, executor);
}

/// The task as it is shown from now on.
fn view(framework: &v1::FrameworkInfo, bargain: &Bargain, info: &v1::TaskInfo) -> v1::Task {
    let of_command = info.command.as_ref().and_then(|c| c.user.clone());
    let of_executor =
        info.executor.as_ref().and_then(|e| e.command.as_ref()).and_then(|c| c.user.clone());
    v1::Task {
        name: info.name.clone(),
        task_id: info.task_id.clone(),
        framework_id: (&bargain.framework).into(),
        executor_id: info.executor.as_ref().map(|e| e.executor_id.clone()),
        agent_id: (&bargain.agent as &AgentId).into(),
        state: v1::TaskState::TaskStaging.into(),
        resources: info.resources.clone(),
        labels: info.labels.clone(),
        discovery: info.discovery.clone(),
        container: info.container.clone(),
        health_check: info.health_check.clone(),
        kill_policy: info.kill_policy,
        user: Some(of_command.or(of_executor).unwrap_or_else(|| framework.user.clone())),
        limits: info.limits.clone(),
        ..v1::Task::default()
    }
}
