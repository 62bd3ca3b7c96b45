//! What an executor's container is made from: its configuration, its environment, and the executor the agent invents for a
//! task that brings only a command.

use std::time::Duration;

use mezzo_model::{ExecutorId, FrameworkId};
use mezzo_proto::module::v1::ContainerConfig;
use mezzo_proto::v1::environment::Variable;
use mezzo_proto::v1::{
    self, CommandInfo, DurationInfo, Environment, ExecutorInfo, FrameworkInfo, Resource, TaskInfo,
    value,
};

use crate::agent::Agent;
use crate::executor::Executor;
use crate::resources;
use crate::settings::Settings;

/// What a command executor needs for itself, on top of its task. The master does not count it.
const OVERHEAD: [(&str, f64); 2] = [("cpus", 0.1), ("mem", 32.0)];
/// How long a task gets to end when nothing else is said.
const KILL_GRACE: Duration = Duration::from_secs(3);
/// A command executor needs this longer than its task: a second to reap it and a second to tell of it.
const KILL_MARGIN: Duration = Duration::from_secs(2);

/// The executor for a task that brings only a command.
#[expect(deprecated, reason = "the source of an executor is deprecated, but tools show it")]
pub(crate) fn command_executor(
    settings: &Settings,
    framework: &FrameworkInfo,
    task: &TaskInfo,
) -> ExecutorInfo {
    let command = task.command.clone().unwrap_or_default();
    let grace = task
        .kill_policy
        .as_ref()
        .and_then(|p| p.grace_period.as_ref())
        .and_then(|g| u64::try_from(g.nanoseconds).ok())
        .map_or(KILL_GRACE, Duration::from_nanos);
    ExecutorInfo {
        executor_id: v1::ExecutorId { value: task.task_id.value.clone() },
        framework_id: framework.id.clone(),
        command: Some(CommandInfo {
            shell: Some(false),
            value: Some(settings.command_executor.clone()),
            arguments: vec![settings.command_executor.clone()],
            uris: command.uris.clone(),
            user: command.user.clone(),
            environment: None,
        }),
        container: task.container.clone(),
        resources: OVERHEAD.iter().map(|(name, amount)| overhead(name, *amount, task)).collect(),
        name: Some(format!("Command Executor (Task: {}) {}", task.task_id.value, shown(&command))),
        source: Some(task.task_id.value.clone()),
        shutdown_grace_period: Some(duration(grace + KILL_MARGIN)),
        ..ExecutorInfo::default()
    }
}

fn overhead(name: &str, amount: f64, task: &TaskInfo) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount }),
        allocation_info: task.resources.first().and_then(|r| r.allocation_info.clone()),
        ..Resource::default()
    }
}

/// A command as it is shown in names: the first characters of it.
fn shown(command: &CommandInfo) -> String {
    let value = command.value.as_deref();
    match (command.shell(), value) {
        (true, None) => "(Command: NO COMMAND)".to_owned(),
        (true, Some(value)) => format!("(Command: sh -c '{}')", shortened(value)),
        (false, None) => "(Command: NO EXECUTABLE)".to_owned(),
        (false, Some(value)) => {
            let words: Vec<&str> = std::iter::once(value)
                .chain(command.arguments.iter().map(String::as_str))
                .collect();
            format!("(Command: [{}])", shortened(&words.join(", ")))
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 15 {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(12).collect();
    short.push_str("...");
    short
}

/// Where a run has its sandbox.
pub(crate) fn directory(
    agent: &Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    container: &str,
) -> String {
    let id = agent.id.as_ref().map_or("", |id| id.as_str());
    let root = agent.settings.work_dir.trim_end_matches('/');
    format!("{root}/agents/{id}/frameworks/{framework}/executors/{executor}/runs/{container}")
}

/// The configuration of an executor's container, with room for the tasks it has now.
pub(crate) fn config(
    settings: &Settings,
    framework: &FrameworkInfo,
    executor: &Executor,
) -> ContainerConfig {
    let command = executor.info.command.clone().unwrap_or_default();
    let user =
        command.user.clone().or_else(|| Some(framework.user.clone()).filter(|u| !u.is_empty()));
    ContainerConfig {
        executor_info: Some(executor.info.clone()),
        task_info: executor.command_task.clone(),
        command_info: command,
        container_info: executor.info.container.clone(),
        resources: executor.total.to_proto(),
        limits: resources::limits(executor)
            .into_iter()
            .map(|(name, value)| (name, value::Scalar { value }))
            .collect(),
        directory: executor.directory.clone(),
        user: user.filter(|_| settings.switch_user),
        ..ContainerConfig::default()
    }
}

/// What the agent puts into the environment of an executor.
pub(crate) fn environment(
    agent: &Agent,
    framework: &FrameworkInfo,
    executor: &Executor,
) -> Environment {
    let settings = &agent.settings;
    let framework_id = framework.id.as_ref().map_or("", |id| &id.value);
    let port = settings.endpoint.rsplit(':').next().unwrap_or_default();
    let role = executor
        .tasks
        .values()
        .flat_map(|t| &t.info.resources)
        .chain(&executor.info.resources)
        .find_map(|r| r.allocation_info.as_ref()?.role.clone());
    let mut environment = Environment::default();
    let mut set = |name: &str, value: &str| {
        environment.variables.push(Variable {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..Variable::default()
        });
    };
    if !settings.executor_environment.contains_key("PATH") {
        set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
    for (name, value) in &settings.executor_environment {
        set(name, value);
    }
    let agent_id = agent.id.as_ref().map_or("", |id| id.as_str());
    set("LIBPROCESS_PORT", "0");
    set("LIBPROCESS_IP", &settings.ip);
    set("MESOS_FRAMEWORK_ID", framework_id);
    set("MESOS_EXECUTOR_ID", executor.id.as_str());
    set("MESOS_DIRECTORY", &executor.directory);
    set("MESOS_SANDBOX", &executor.directory);
    // The names are those that executors written for Mesos read.
    set("MESOS_SLAVE_ID", agent_id);
    set("MESOS_SLAVE_PID", &format!("slave(1)@{}:{port}", settings.ip));
    set("MESOS_AGENT_ENDPOINT", &settings.endpoint);
    set("MESOS_CHECKPOINT", if executor.checkpoint { "1" } else { "0" });
    set("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", &text(executor.shutdown_grace(settings)));
    set("MESOS_HTTP_COMMAND_EXECUTOR", if executor.is_command() { "1" } else { "0" });
    if executor.checkpoint {
        set("MESOS_RECOVERY_TIMEOUT", &text(settings.recovery_timeout));
        set("MESOS_SUBSCRIPTION_BACKOFF_MAX", &text(settings.executor_reregistration_timeout));
    }
    if let Some(role) = role {
        set("MESOS_ALLOCATION_ROLE", &role);
    }
    environment
}

fn duration(duration: Duration) -> DurationInfo {
    DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}

/// A duration as executors read it: the largest unit that needs no fraction.
fn text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [
        ("weeks", 604_800_000_000_000),
        ("days", 86_400_000_000_000),
        ("hrs", 3_600_000_000_000),
        ("mins", 60_000_000_000),
        ("secs", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    units
        .iter()
        .find(|(_, size)| nanos >= *size && nanos.is_multiple_of(*size))
        .map_or_else(|| format!("{nanos}ns"), |(name, size)| format!("{}{name}", nanos / size))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mezzo_proto::v1::CommandInfo;

    use super::{shown, text};

    fn shell(value: &str) -> CommandInfo {
        CommandInfo { value: Some(value.to_owned()), ..CommandInfo::default() }
    }

    #[test]
    fn a_command_of_15_characters_is_shown_whole_and_one_of_16_is_cut_to_12() {
        assert_eq!(shown(&shell("123456789012345")), "(Command: sh -c '123456789012345')");
        assert_eq!(shown(&shell("1234567890123456")), "(Command: sh -c '123456789012...')");
    }

    #[test]
    fn a_command_without_shell_is_shown_as_its_words() {
        let command = CommandInfo {
            shell: Some(false),
            arguments: vec!["ls".to_owned(), "-la".to_owned()],
            ..shell("/bin/ls")
        };
        assert_eq!(shown(&command), "(Command: [/bin/ls, ls,...])");
    }

    #[test]
    fn durations_are_written_in_the_largest_whole_unit() {
        assert_eq!(text(Duration::from_secs(5)), "5secs");
        assert_eq!(text(Duration::from_secs(900)), "15mins");
        assert_eq!(text(Duration::from_millis(1500)), "1500ms");
        assert_eq!(text(Duration::ZERO), "0ns");
    }
}
