//! Whether a task may be launched from what is left of its offers.

use mezzo_model::{ExecutorId, Format, Resources, Role, Scalar, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::executor_info::Type as ExecutorType;

use crate::command::Bargain;
use crate::state::{Agent, Framework};

/// Labels of one task, encoded. They stay in memory as long as the task is remembered.
const MAX_LABELS: usize = 1 << 20;

/// A task that may be launched.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What the task uses, allocated to its role.
    pub(crate) resources: Resources,
    /// Its custom executor, what that uses, and whether it is believed to run already.
    pub(crate) executor: Option<(ExecutorId, Resources, bool)>,
    /// What is left after it.
    pub(crate) remaining: Resources,
}

/// Checks a task, and fills in what a framework may leave out: the allocation role of resources and
/// the framework id of the executor.
pub(crate) fn check(
    framework: &Framework,
    agent: &Agent,
    bargain: &Bargain,
    task: &mut v1::TaskInfo,
) -> Result<Checked, String> {
    identity(framework, agent, task)?;
    durations(task)?;
    unavailable(task)?;
    let labels = task.labels.as_ref().map_or(0, prost::Message::encoded_len);
    if labels > MAX_LABELS {
        return Err(format!("task_info.labels: are {labels} bytes, expected at most {MAX_LABELS}"));
    }
    // An amount of zero is a resource too: a task may ask for none of a thing.
    if task.resources.is_empty() {
        return Err("task_info.resources: is empty, expected at least one resource".to_owned());
    }
    let resources = resources(&mut task.resources, "task_info.resources", &bargain.role)?;
    limits(task, &resources)?;
    let executor = match (&task.command, task.executor.as_mut()) {
        (Some(_), Some(_)) => {
            return Err(
                "task_info: has a command and an executor, expected exactly one of them".to_owned()
            );
        }
        (None, None) => {
            return Err(
                "task_info: has neither command nor executor, expected one of them".to_owned()
            );
        }
        (Some(_), None) => None,
        (None, Some(info)) => Some(executor(framework, agent, bargain, info)?),
    };
    let mut wanted = resources.clone();
    if let Some((_, needs, false)) = &executor {
        wanted += needs;
    }
    let Some(remaining) = bargain.remaining.checked_sub(&wanted) else {
        return Err(format!(
            "task_info.resources: task {} uses {}, more than the {} that is left of its offers",
            task.task_id.value,
            wanted.unallocate(),
            bargain.remaining.unallocate()
        ));
    };
    Ok(Checked { resources, executor, remaining })
}

fn identity(framework: &Framework, agent: &Agent, task: &v1::TaskInfo) -> Result<(), String> {
    let id = TaskId::parse(&task.task_id.value).map_err(|e| format!("task_info.task_id: {e}"))?;
    if framework.tasks.contains_key(&id) || framework.unreachable_tasks.contains_key(&id) {
        return Err(format!(
            "task_info.task_id: {:?} is the id of a live task, expected one that is not in use",
            id.as_str()
        ));
    }
    if task.agent_id.value != agent.id.as_str() {
        return Err(format!(
            "task_info.agent_id: is {:?}, expected the agent of the offers, {:?}",
            task.agent_id.value,
            agent.id.as_str()
        ));
    }
    Ok(())
}

/// What no executor of this version does. A task that asks for it relies on it.
fn unavailable(task: &v1::TaskInfo) -> Result<(), String> {
    let asked = [("health_check", task.health_check.is_some()), ("check", task.check.is_some())];
    // A custom executor may well do its own.
    match asked.iter().find(|(_, asked)| *asked && task.executor.is_none()) {
        Some((field, _)) => Err(format!(
            "task_info.{field}: is not available in this version, expected a task without it"
        )),
        None => Ok(()),
    }
}

fn durations(task: &v1::TaskInfo) -> Result<(), String> {
    let grace = task.kill_policy.as_ref().and_then(|p| p.grace_period.as_ref());
    if let Some(grace) = grace.filter(|g| g.nanoseconds < 0) {
        return Err(format!(
            "task_info.kill_policy.grace_period: is {} ns, expected 0 or more",
            grace.nanoseconds
        ));
    }
    if let Some(limit) = task.max_completion_time.as_ref().filter(|t| t.nanoseconds < 0) {
        return Err(format!(
            "task_info.max_completion_time: is {} ns, expected 0 or more",
            limit.nanoseconds
        ));
    }
    Ok(())
}

/// Reads resources and gives those without an allocation role that of the offers.
fn resources(wire: &mut Vec<v1::Resource>, field: &str, role: &Role) -> Result<Resources, String> {
    for resource in wire.iter() {
        let given = resource.allocation_info.as_ref().and_then(|a| a.role.as_deref());
        if let Some(other) = given.filter(|given| *given != role.as_str()) {
            return Err(format!(
                "{field}: {} is allocated to role {other:?}, expected that of the offers, {role}",
                resource.name
            ));
        }
    }
    let parsed = Resources::from_proto_at(field, wire).map_err(|e| e.to_string())?;
    let allocated = parsed.unallocate().allocate_to(role);
    *wire = allocated.to_proto(Format::PostRefinement);
    Ok(allocated)
}

/// Limits are for cpus and memory only, and not below the request.
fn limits(task: &v1::TaskInfo, resources: &Resources) -> Result<(), String> {
    for (name, limit) in &task.limits {
        if name != "cpus" && name != "mem" {
            return Err(format!(
                "task_info.limits: has {name:?}, expected only \"cpus\" and \"mem\""
            ));
        }
        if limit.value == f64::INFINITY {
            continue;
        }
        let request = resources.scalar(name);
        let value =
            Scalar::from_f64(limit.value).map_err(|e| format!("task_info.limits.{name}: {e}"))?;
        if value < request {
            return Err(format!(
                "task_info.limits.{name}: is {value}, expected at least the request, {request}"
            ));
        }
    }
    Ok(())
}

fn executor(
    framework: &Framework,
    agent: &Agent,
    bargain: &Bargain,
    info: &mut v1::ExecutorInfo,
) -> Result<(ExecutorId, Resources, bool), String> {
    const FIELD: &str = "task_info.executor";
    let id = ExecutorId::parse(&info.executor_id.value)
        .map_err(|e| format!("{FIELD}.executor_id: {e}"))?;
    if info.r#type() == ExecutorType::Default {
        return Err(format!("{FIELD}.type: is DEFAULT, which takes task groups only"));
    }
    if info.command.is_none() {
        return Err(format!("{FIELD}.command: is not set, expected the command that starts it"));
    }
    match &info.framework_id {
        Some(given) if given.value != framework.id.as_str() => {
            return Err(format!(
                "{FIELD}.framework_id: is {:?}, expected {:?}",
                given.value,
                framework.id.as_str()
            ));
        }
        _ => info.framework_id = Some((&framework.id).into()),
    }
    if let Some(grace) = info.shutdown_grace_period.as_ref().filter(|g| g.nanoseconds < 0) {
        return Err(format!(
            "{FIELD}.shutdown_grace_period: is {} ns, expected 0 or more",
            grace.nanoseconds
        ));
    }
    let needs = resources(&mut info.resources, "task_info.executor.resources", &bargain.role)?;
    match framework.executors.get(&(agent.id.clone(), id.clone())) {
        None => Ok((id, needs, false)),
        Some(running) if running.info == *info => Ok((id, needs, true)),
        Some(_) => Err(format!(
            "{FIELD}: differs from that of the executor {:?} which runs on the agent already",
            id.as_str()
        )),
    }
}
