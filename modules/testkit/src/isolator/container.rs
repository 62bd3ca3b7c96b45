//! Containers for isolators: real processes, sandboxes, and the requests about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use mezzo_model::Format;
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerState, IsolateRequest, PrepareRequest,
    PrepareResponse, RecoverRequest, StatusRequest, StatusResponse, UpdateRequest, UsageRequest,
    UsageResponse, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Completion, Isolator, ModuleError};
use mezzo_proto::json::to_string;
use mezzo_proto::v1::{
    CommandInfo, ContainerId, ExecutorId, ExecutorInfo, FrameworkId, Resource, TaskId, TaskInfo,
};

use crate::report::good;
use crate::{Failure, Subject, Verdict};

/// How long what must come may take.
const SOON: Duration = Duration::from_secs(5);

/// A container: its id, its sandbox, and the process in it, which ends with it.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    sandbox: PathBuf,
    resources: Vec<Resource>,
    process: Child,
}

impl Container {
    /// One of this subject's, with a process that does nothing.
    pub(crate) fn new(subject: &Subject) -> Result<Self, Failure> {
        Self::with_id(subject, ContainerId { value: fresh_id(), parent: None })
    }

    /// The same, inside another.
    pub(crate) fn nested(subject: &Subject, parent: &Self) -> Result<Self, Failure> {
        let parent = Some(Box::new(parent.id.clone()));
        Self::with_id(subject, ContainerId { value: fresh_id(), parent })
    }

    fn with_id(subject: &Subject, id: ContainerId) -> Result<Self, Failure> {
        let failed = |what: &str, error: std::io::Error| {
            Failure::new(format!("{what}: {error}"), "a container can be made")
        };
        let sandbox = subject.place().join("sandboxes").join(&id.value);
        fs::create_dir_all(&sandbox).map_err(|error| failed("the sandbox", error))?;
        let process = Command::new("sleep")
            .arg("600")
            .current_dir(&sandbox)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| failed("`sleep`", error))?;
        let resources = subject.asked().to_proto(Format::PostRefinement);
        Ok(Self { id, sandbox, resources, process })
    }

    pub(crate) fn name(&self) -> &str {
        &self.id.value
    }

    pub(crate) fn config(&self) -> ContainerConfig {
        let executor = ExecutorInfo {
            executor_id: ExecutorId { value: format!("executor-{}", self.name()) },
            framework_id: Some(FrameworkId { value: "framework-of-the-testkit".into() }),
            command: Some(CommandInfo::default()),
            resources: self.resources.clone(),
            ..ExecutorInfo::default()
        };
        let task = TaskInfo {
            name: "sleeper".into(),
            task_id: TaskId { value: format!("task-{}", self.name()) },
            resources: self.resources.clone(),
            ..TaskInfo::default()
        };
        ContainerConfig {
            executor_info: Some(executor),
            task_info: Some(task),
            command_info: CommandInfo { value: Some("sleep 600".into()), ..CommandInfo::default() },
            resources: self.resources.clone(),
            directory: self.sandbox.display().to_string(),
            ..ContainerConfig::default()
        }
    }

    pub(crate) fn prepare(&self, isolator: &dyn Isolator) -> Result<PrepareResponse, ModuleError> {
        isolator.prepare(PrepareRequest {
            container_id: Some(self.id.clone()),
            config: Some(self.config()),
        })
    }

    pub(crate) fn isolate(&self, isolator: &dyn Isolator) -> Result<(), ModuleError> {
        let request = IsolateRequest {
            container_id: Some(self.id.clone()),
            pid: Some(self.process.id().into()),
        };
        isolator.isolate(request).map(drop)
    }

    pub(crate) fn update(&self, isolator: &dyn Isolator) -> Result<(), ModuleError> {
        isolator
            .update(UpdateRequest {
                container_id: Some(self.id.clone()),
                requests: self.resources.clone(),
                limits: Default::default(),
            })
            .map(drop)
    }

    pub(crate) fn usage(&self, isolator: &dyn Isolator) -> Result<UsageResponse, ModuleError> {
        isolator.usage(UsageRequest { container_id: Some(self.id.clone()) })
    }

    /// The names of what `usage` tells.
    pub(crate) fn measured(&self, isolator: &dyn Isolator) -> Result<BTreeSet<String>, Failure> {
        let told = good(self.usage(isolator), "usage")?;
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::new(format!("usage that has no JSON: {error}"), "statistics")
        };
        let text = to_string(&told.statistics.unwrap_or_default());
        let text = text.map_err(|error| unreadable(&error))?;
        let fields: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        Ok(fields.into_keys().collect())
    }

    pub(crate) fn status(&self, isolator: &dyn Isolator) -> Result<StatusResponse, ModuleError> {
        isolator.status(StatusRequest { container_id: Some(self.id.clone()) })
    }

    pub(crate) fn cleanup(&self, isolator: &dyn Isolator) -> Result<(), ModuleError> {
        isolator.cleanup(CleanupRequest { container_id: Some(self.id.clone()) }).map(drop)
    }

    pub(crate) fn watch(&self, isolator: &dyn Isolator) -> Watch {
        let (sender, receiver) = mpsc::channel();
        let never = sender.clone();
        let done = Completion::with_never(
            // The watch may have been given up.
            move |answer| drop(sender.send(Ended::Answered(answer))),
            move || drop(never.send(Ended::Never)),
        );
        isolator.watch(WatchRequest { container_id: Some(self.id.clone()) }, done);
        Watch { receiver }
    }

    /// From nothing to running: everything before the process is let go.
    pub(crate) fn start(&self, isolator: &dyn Isolator) -> Result<Watch, Failure> {
        good(self.prepare(isolator), "prepare")?;
        let watch = self.watch(isolator);
        good(self.isolate(isolator), "isolate")?;
        Ok(watch)
    }

    /// The process ends, and the container is cleaned up.
    pub(crate) fn finish(&mut self, isolator: &dyn Isolator) -> Verdict {
        self.kill();
        good(self.cleanup(isolator), "cleanup")
    }

    /// Ends the process and waits for its end.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Its process has not been ended.
    pub(crate) fn running(&mut self, when: &str) -> Verdict {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(Failure::new(
                format!("{when} the process has ended: {ended:?}"),
                "the process runs on",
            )),
        }
    }

    /// As the next life of the agent tells of it.
    pub(crate) fn state(&self) -> ContainerState {
        let config = self.config();
        ContainerState {
            executor_info: config.executor_info,
            container_info: None,
            container_id: self.id.clone(),
            pid: self.process.id().into(),
            directory: config.directory,
            ephemeral_volumes: Vec::new(),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A recovery with these.
pub(crate) fn recover(
    isolator: &dyn Isolator,
    alive: &[&Container],
    orphans: &[&Container],
) -> Verdict {
    let request = RecoverRequest {
        states: alive.iter().map(|container| container.state()).collect(),
        orphans: orphans.iter().map(|container| container.id.clone()).collect(),
    };
    good(isolator.recover(request), "recover").map(drop)
}

fn fresh_id() -> String {
    format!("testkit-{}-{}", std::process::id(), Subject::number())
}

/// A watch that has been asked for.
pub(crate) struct Watch {
    receiver: Receiver<Ended>,
}

/// How a watch ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Answered(Result<WatchResponse, ModuleError>),
    Never,
}

impl Watch {
    /// Its container has not been told to end.
    pub(crate) fn quiet(&self) -> Verdict {
        self.pending().map(drop)
    }

    /// The same, and whether it may be told yet: an isolator that limits nothing has said `never`.
    pub(crate) fn pending(&self) -> Result<bool, Failure> {
        match self.receiver.try_recv() {
            Err(TryRecvError::Empty) => Ok(true),
            Err(TryRecvError::Disconnected) | Ok(Ended::Never) => Ok(false),
            Ok(Ended::Answered(answer)) => Err(Failure::new(
                format!("the watch of a `sleep` was answered with {answer:?}"),
                "a container within its limits runs on",
            )),
        }
    }

    /// It has ended, or does soon, without an answer.
    pub(crate) fn over(&self, when: &str) -> Verdict {
        match self.receiver.recv_timeout(SOON) {
            // Ended before: who looks twice finds nothing.
            Ok(Ended::Never) | Err(RecvTimeoutError::Disconnected) => Ok(()),
            Ok(Ended::Answered(answer)) => Err(Failure::new(
                format!("{when} the watch was answered with {answer:?}"),
                "`Completion::never`",
            )),
            Err(RecvTimeoutError::Timeout) => Err(Failure::new(
                format!("{when} the watch is kept, and nobody will ever answer it"),
                "`Completion::never`",
            )),
        }
    }

    /// It has ended, or does soon, however.
    pub(crate) fn gone(&self, when: &str) -> Verdict {
        match self.receiver.recv_timeout(SOON) {
            Ok(Ended::Answered(Ok(answer))) => Err(Failure::new(
                format!("{when} the watch was answered with {answer:?}"),
                "no limitation: nothing was wrong with the container",
            )),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                Err(Failure::new(format!("{when} the watch is kept"), "it ends"))
            }
        }
    }
}
