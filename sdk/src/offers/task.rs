//! Describing a task before it is known where it will run.

use std::time::Duration;

use bytes::Bytes;
use mezzo_proto::v1;
use mezzo_proto::v1::environment::{Variable, variable};

use super::pick::{self, Needs};

/// What to run and what it needs: `Task::shell("make all").cpus(2.0).mem(1024.0)`.
///
/// A task gets 0.1 cpus and 32 MB unless it says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    info: v1::TaskInfo,
    needs: Needs,
    /// Names of the resources whose amount was not a number that a resource can have.
    impossible: Option<String>,
}

impl Task {
    /// Runs `command` with `/bin/sh -c`.
    #[must_use]
    pub fn shell(command: impl Into<String>) -> Self {
        let value = Some(command.into());
        Self::of_command(v1::CommandInfo { shell: Some(true), value, ..Default::default() })
    }

    /// Runs a program with arguments, the first of which is its name; no shell reads them.
    #[must_use]
    pub fn command(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments: Vec<String> = words.into_iter().map(Into::into).collect();
        let value = arguments.first().cloned();
        Self::of_command(v1::CommandInfo {
            shell: Some(false),
            value,
            arguments,
            ..Default::default()
        })
    }

    /// Runs what `command` says.
    #[must_use]
    pub fn of_command(command: v1::CommandInfo) -> Self {
        Self::with(v1::TaskInfo { command: Some(command), ..Default::default() })
    }

    /// Hands the task to an executor of the framework's own.
    ///
    /// The executor's resources are needed on top of the task's, but only where it is not running
    /// yet: [`super::Packing::place`] takes those of `executor` each time that it starts one.
    #[must_use]
    pub fn on_executor(executor: v1::ExecutorInfo) -> Self {
        Self::with(v1::TaskInfo { executor: Some(executor), ..Default::default() })
    }

    fn with(info: v1::TaskInfo) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let mut task = Self { info, needs: Needs::default(), impossible: None }.id(id);
        task.info.name = "task".to_owned();
        task.cpus(0.1).mem(32.0)
    }

    /// What people call it. The id is made of it, if it was not set.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.info.name = name.into();
        self
    }

    /// Its id, which no other living task of the framework may have. A random one if not set.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.info.task_id = v1::TaskId { value: id.into() };
        self
    }

    /// Processors, in thousandths of one.
    #[must_use]
    pub fn cpus(self, cpus: f64) -> Self {
        self.resource("cpus", cpus)
    }

    /// Memory in megabytes.
    #[must_use]
    pub fn mem(self, megabytes: f64) -> Self {
        self.resource("mem", megabytes)
    }

    /// Disk in megabytes.
    #[must_use]
    pub fn disk(self, megabytes: f64) -> Self {
        self.resource("disk", megabytes)
    }

    /// So much of any resource that is counted. An amount that is no amount (negative, NaN) makes
    /// the task fit nowhere.
    #[must_use]
    pub fn resource(mut self, name: &str, amount: f64) -> Self {
        match pick::milli(amount) {
            Some(milli) => {
                self.needs.scalars.insert(name.to_owned(), milli);
                self.impossible = self.impossible.filter(|impossible| impossible != name);
            }
            None => self.impossible = Some(name.to_owned()),
        }
        self
    }

    /// `count` ports, whichever are free. The command finds them in `PORT0`, `PORT1` ….
    #[must_use]
    pub fn ports(mut self, count: usize) -> Self {
        self.needs.any_ports = count;
        self
    }

    /// This very port. The command finds it in `PORT0`, `PORT1` …, before those of
    /// [`Task::ports`].
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.needs.fixed_ports.push(port.into());
        self
    }

    /// A variable of the command's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Some(command) = self.command_mut() {
            set_variable(command, name.into(), value.into());
        }
        self
    }

    /// A file that is fetched into the sandbox first; archives are unpacked.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        if let Some(command) = self.command_mut() {
            command.uris.push(v1::command_info::Uri { value: uri.into(), ..Default::default() });
        }
        self
    }

    /// The user that the command runs as, if not the framework's.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        if let Some(command) = self.command_mut() {
            command.user = Some(user.into());
        }
        self
    }

    /// A label that people and tools see.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let label = v1::Label { key: key.into(), value: Some(value.into()) };
        self.info.labels.get_or_insert_default().labels.push(label);
        self
    }

    /// How long the task may take to end after it was asked to, before it is made to.
    #[must_use]
    pub fn kill_grace(mut self, grace: Duration) -> Self {
        let grace_period = Some(duration(grace));
        self.info.kill_policy = Some(v1::KillPolicy { grace_period });
        self
    }

    /// The longest that the task may run.
    #[must_use]
    pub fn max_completion_time(mut self, time: Duration) -> Self {
        self.info.max_completion_time = Some(duration(time));
        self
    }

    /// How the task tells that it is well.
    #[must_use]
    pub fn health_check(mut self, check: v1::HealthCheck) -> Self {
        self.info.health_check = Some(check);
        self
    }

    /// The container that it runs in.
    #[must_use]
    pub fn container(mut self, container: v1::ContainerInfo) -> Self {
        self.info.container = Some(container);
        self
    }

    /// Anything that the executor should know.
    #[must_use]
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.info.data = Some(data.into());
        self
    }

    /// The id that the task will have.
    #[must_use]
    pub fn task_id(&self) -> &v1::TaskId {
        &self.info.task_id
    }

    /// Anything else that a task can say; agent and resources are filled in when it is placed.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut v1::TaskInfo)) -> Self {
        edit(&mut self.info);
        self
    }

    pub(crate) fn executor(&self) -> Option<&v1::ExecutorInfo> {
        self.info.executor.as_ref()
    }

    /// Takes what the task needs out of `free`. If it does not fit, nothing is taken.
    pub(crate) fn take_from(&self, free: &mut Vec<v1::Resource>) -> Option<Vec<v1::Resource>> {
        if self.impossible.is_some() {
            return None;
        }
        pick::take(free, &self.needs)
    }

    /// The task as it will run on `agent` with `resources`.
    pub(crate) fn placed(&self, agent: v1::AgentId, resources: Vec<v1::Resource>) -> v1::TaskInfo {
        let mut info = self.info.clone();
        info.agent_id = agent;
        if let Some(command) = &mut info.command {
            for (index, port) in pick::ports_of(&resources).into_iter().enumerate() {
                set_variable(command, format!("PORT{index}"), port.to_string());
            }
        }
        info.resources = resources;
        info
    }

    /// The command to change: the task's own, else its executor's.
    fn command_mut(&mut self) -> Option<&mut v1::CommandInfo> {
        let executor = self.info.executor.as_mut().and_then(|executor| executor.command.as_mut());
        self.info.command.as_mut().or(executor)
    }
}

fn set_variable(command: &mut v1::CommandInfo, name: String, value: String) {
    let variables = &mut command.environment.get_or_insert_default().variables;
    variables.retain(|variable| variable.name != name);
    variables.push(Variable {
        name,
        value: Some(value),
        r#type: Some(variable::Type::Value.into()),
        ..Default::default()
    });
}

fn duration(duration: Duration) -> v1::DurationInfo {
    let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    v1::DurationInfo { nanoseconds }
}
