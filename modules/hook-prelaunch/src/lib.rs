//! Hook `prelaunch`: the last check before a container starts.
//!
//! Refuses a container, so that its task fails with `REASON_CONTAINER_LAUNCH_FAILED` and a message that says why, when one
//! of these is true. They are asked in this order; without parameters nothing is refused.
//!
//! | parameter | a container is refused when |
//! |---|---|
//! | `refuse_label` | its task or its executor carries this label: `key` or `key=value`. May be given more than once. |
//! | `require_label` | neither its task nor its executor carries this label: `key` or `key=value`. May be given more than once. |
//! | `refuse_user` | it would run as this user, by whatever name, or as the agent's when it names none: `root`. May be given more than once. |
//! | `require_file` | there is no such path on the agent's machine: a mount that has to be there, a driver. May be given more than once. |
//! | `min_free_disk` | the file system of its sandbox has less space than this left for ordinary users: `10GB`. |
//! | `command` | this shell command, run by the agent's user with the request as JSON on its standard input, exits with anything but 0. What it writes to its standard error is told. |
//! | `command_timeout` | … or takes longer than this (default `5secs`); then it is killed with what is in its process group. |
//!
//! The JSON is that of `mezzo.module.v1.AgentPrelaunchRequest`: `container_id`, `framework`, `config` (with `task_info`,
//! `executor_info`, `resources`, `directory` …) and `environment`. A check that cannot be made refuses.

mod command;
mod label;
mod user;

use std::path::{Path, PathBuf};
use std::time::Duration;

use mezzo_module_abi::export_module;
use mezzo_module_api::v1::{
    AgentPrelaunchDockerRequest, AgentPrelaunchDockerResponse, AgentPrelaunchRequest,
    AgentPrelaunchResponse,
};
use mezzo_module_api::{Code, Hook, Host, ModuleError, Parameters};
use mezzo_proto::json;
use mezzo_proto::v1::{ExecutorInfo, Label, TaskInfo};

use crate::command::Check;
use crate::label::Pattern;
use crate::user::RefusedUser;

/// How long a command may take unless the operator says otherwise.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// The rules of one instance.
#[derive(Debug)]
pub struct Prelaunch {
    refuse_labels: Vec<Pattern>,
    require_labels: Vec<Pattern>,
    refuse_users: Vec<RefusedUser>,
    require_files: Vec<PathBuf>,
    min_free_disk: Option<u64>,
    command: Option<Check>,
}

/// What the rules look at.
struct Subject<'a> {
    task: Option<&'a TaskInfo>,
    executor: Option<&'a ExecutorInfo>,
    /// `None`: the agent's.
    user: Option<&'a str>,
    sandbox: &'a str,
}

impl Prelaunch {
    /// The hook with the rules of these parameters.
    ///
    /// # Errors
    /// When a parameter is unknown or wrong.
    pub fn new(_host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&[
            "refuse_label",
            "require_label",
            "refuse_user",
            "require_file",
            "min_free_disk",
            "command",
            "command_timeout",
        ])?;
        let patterns = |key: &'static str| {
            parameters.all(key).map(|text| Pattern::parse(key, text)).collect::<Result<_, _>>()
        };
        let require_files: Vec<PathBuf> =
            parameters.all("require_file").map(PathBuf::from).collect();
        if let Some(path) = require_files.iter().find(|path| !path.is_absolute()) {
            return Err(ModuleError::invalid(format!(
                "parameter `require_file` is `{}`, expected an absolute path",
                path.display()
            )));
        }
        let timeout = parameters.interval("command_timeout")?.unwrap_or(COMMAND_TIMEOUT);
        Ok(Self {
            refuse_labels: patterns("refuse_label")?,
            require_labels: patterns("require_label")?,
            refuse_users: parameters.all("refuse_user").map(RefusedUser::new).collect(),
            require_files,
            min_free_disk: parameters.size("min_free_disk")?,
            command: parameters.get("command").map(|text| Check::new(text, timeout)),
        })
    }

    fn check(
        &self,
        subject: &Subject<'_>,
        json: impl FnOnce() -> Result<String, ModuleError>,
    ) -> Result<(), ModuleError> {
        let labels: Vec<&Label> = subject.labels().collect();
        let is_carried = |pattern: &&Pattern| labels.iter().any(|label| pattern.matches(label));
        if let Some(pattern) = self.refuse_labels.iter().find(is_carried) {
            return Err(refused(format!("the label `{pattern}` is refused on this agent")));
        }
        if let Some(pattern) = self.require_labels.iter().find(|pattern| !is_carried(pattern)) {
            return Err(refused(format!("the label `{pattern}` is required on this agent")));
        }
        user::check(&self.refuse_users, subject.user)?;
        if let Some(missing) = self.require_files.iter().find(|path| !path.exists()) {
            return Err(refused(format!("`{}` is missing on this agent", missing.display())));
        }
        if let Some(needed) = self.min_free_disk {
            check_disk(Path::new(subject.sandbox), needed)?;
        }
        self.command.as_ref().map_or(Ok(()), |command| command.run(&json()?))
    }
}

impl Hook for Prelaunch {
    fn agent_prelaunch(
        &self,
        request: AgentPrelaunchRequest,
    ) -> Result<AgentPrelaunchResponse, ModuleError> {
        let config = request.config.clone().unwrap_or_default();
        let subject = Subject {
            task: config.task_info.as_ref(),
            executor: config.executor_info.as_ref(),
            user: config.user.as_deref(),
            sandbox: &config.directory,
        };
        self.check(&subject, || command::json(json::to_string(&request)))?;
        Ok(AgentPrelaunchResponse::default())
    }

    fn agent_prelaunch_docker(
        &self,
        request: AgentPrelaunchDockerRequest,
    ) -> Result<AgentPrelaunchDockerResponse, ModuleError> {
        let (task, executor) = (request.task.as_ref(), request.executor.as_ref());
        let command = task
            .and_then(|task| task.command.as_ref())
            .or_else(|| executor.and_then(|executor| executor.command.as_ref()));
        let subject = Subject {
            task,
            executor,
            user: command.and_then(|command| command.user.as_deref()),
            sandbox: request.work_directory(),
        };
        self.check(&subject, || command::json(json::to_string(&request)))?;
        Ok(AgentPrelaunchDockerResponse::default())
    }
}

impl<'a> Subject<'a> {
    fn labels(&self) -> impl Iterator<Item = &'a Label> + use<'a> {
        let task = self.task.and_then(|task| task.labels.as_ref());
        let executor = self.executor.and_then(|executor| executor.labels.as_ref());
        task.into_iter().chain(executor).flat_map(|labels| &labels.labels)
    }
}

/// Refuses when the file system has less than this left for ordinary users.
fn check_disk(sandbox: &Path, needed: u64) -> Result<(), ModuleError> {
    let stat = rustix::fs::statvfs(sandbox).map_err(|error| {
        refused(format!("cannot ask for the free space of `{}`: {error}", sandbox.display()))
    })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes >> 20;
    Err(refused(format!(
        "the disk of this agent has {}MB free, expected at least {}MB",
        megabytes(free),
        megabytes(needed)
    )))
}

/// The error that fails a task.
pub(crate) fn refused(message: String) -> ModuleError {
    ModuleError::new(Code::PermissionDenied, message)
}

export_module! {
    hook "prelaunch" ("refuses containers by label, user, missing file, full disk or command before they start") = Prelaunch::new;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_module_api::v1::ContainerConfig;
    use mezzo_proto::v1::{CommandInfo, Labels};

    use super::*;

    fn labelled(key: &str, value: &str) -> Option<TaskInfo> {
        let labels = vec![Label { key: key.into(), value: Some(value.into()) }];
        Some(TaskInfo { labels: Some(Labels { labels }), ..TaskInfo::default() })
    }

    fn request(config: ContainerConfig) -> AgentPrelaunchRequest {
        AgentPrelaunchRequest { config: Some(config), ..AgentPrelaunchRequest::default() }
    }

    fn with_label(key: &str, value: &str) -> AgentPrelaunchRequest {
        request(ContainerConfig { task_info: labelled(key, value), ..ContainerConfig::default() })
    }

    fn hook(pairs: &[(&str, &str)]) -> Prelaunch {
        Prelaunch::new(Host::silent(), Parameters::from_pairs(pairs)).unwrap()
    }

    fn verdict(hook: &Prelaunch, request: AgentPrelaunchRequest) -> Result<(), String> {
        hook.agent_prelaunch(request).map(drop).map_err(|error| {
            assert_eq!(error.code, Code::PermissionDenied, "{error}");
            error.message
        })
    }

    #[test]
    fn a_refused_label_fails_the_launch_and_others_pass() {
        let hook = hook(&[("refuse_label", "quarantine=yes"), ("refuse_label", "broken")]);
        assert_eq!(
            verdict(&hook, with_label("quarantine", "yes")).unwrap_err(),
            "the label `quarantine=yes` is refused on this agent"
        );
        verdict(&hook, with_label("broken", "whatever")).unwrap_err();
        verdict(&hook, with_label("quarantine", "no")).unwrap();
    }

    #[test]
    fn a_required_label_must_be_there() {
        let hook = hook(&[("require_label", "owner")]);
        verdict(&hook, with_label("owner", "anybody")).unwrap();
        assert_eq!(
            verdict(&hook, with_label("team", "x")).unwrap_err(),
            "the label `owner` is required on this agent"
        );
    }

    #[test]
    fn a_file_that_has_to_be_there_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mounted");
        let hook = hook(&[("require_file", "/"), ("require_file", file.to_str().unwrap())]);
        assert_eq!(
            verdict(&hook, AgentPrelaunchRequest::default()).unwrap_err(),
            format!("`{}` is missing on this agent", file.display())
        );
        std::fs::write(&file, "").unwrap();
        verdict(&hook, AgentPrelaunchRequest::default()).unwrap();
    }

    #[test]
    fn a_disk_that_is_too_full_or_not_there_fails_the_launch() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = |path: &Path| {
            let directory = path.to_str().unwrap().to_owned();
            request(ContainerConfig { directory, ..ContainerConfig::default() })
        };
        verdict(&hook(&[("min_free_disk", "1B")]), sandbox(dir.path())).unwrap();
        let full = hook(&[("min_free_disk", "1000000TB")]);
        let message = verdict(&full, sandbox(dir.path())).unwrap_err();
        assert!(message.ends_with("MB free, expected at least 1048576000000MB"), "{message}");
        let message = verdict(&full, sandbox(&dir.path().join("gone"))).unwrap_err();
        assert!(message.starts_with("cannot ask for the free space of "), "{message}");
    }

    #[test]
    fn a_container_that_docker_runs_is_held_to_the_same_rules() {
        let hook = hook(&[("refuse_label", "broken"), ("refuse_user", "root")]);
        let verdict = |task: Option<TaskInfo>| {
            let request = AgentPrelaunchDockerRequest { task, ..Default::default() };
            hook.agent_prelaunch_docker(request).map(drop).map_err(|error| error.message)
        };
        let user = |user: &str| {
            let command = CommandInfo { user: Some(user.into()), ..CommandInfo::default() };
            Some(TaskInfo { command: Some(command), ..TaskInfo::default() })
        };
        verdict(user("nobody")).unwrap();
        assert!(verdict(user("root")).unwrap_err().contains("`root`"));
        assert!(verdict(labelled("broken", "")).unwrap_err().contains("`broken`"));
    }

    #[test]
    fn without_parameters_nothing_is_refused() {
        verdict(&hook(&[]), AgentPrelaunchRequest::default()).unwrap();
    }

    #[test]
    fn wrong_parameters_are_refused_at_start() {
        let make = |pairs: &[(&str, &str)]| {
            Prelaunch::new(Host::silent(), Parameters::from_pairs(pairs)).unwrap_err().message
        };
        assert!(make(&[("refuse_lable", "x")]).starts_with("unknown parameter `refuse_lable`"));
        assert_eq!(
            make(&[("refuse_label", "=x")]),
            "parameter `refuse_label` is `=x`, expected `key` or `key=value`"
        );
        assert_eq!(
            make(&[("require_file", "etc/x")]),
            "parameter `require_file` is `etc/x`, expected an absolute path"
        );
        assert!(
            make(&[("min_free_disk", "lots")]).starts_with("parameter `min_free_disk` is `lots`")
        );
        assert!(make(&[("command_timeout", "0secs")]).contains("above 0"));
    }
}
