//! A launch, as a list of steps. Each step knows how to be done and how to be undone; a container ends by undoing all of
//! them in reverse, a failed launch by undoing those that were begun. A step that is undone may have been done in part or not
//! at all.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mezzo_linux::launch::LaunchSpec;
use mezzo_linux::user::{Credentials, User, UserError, is_root};
use mezzo_module_api::v1::{ContainerLaunchInfo, ContainerLimitation};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::isolators::{self, Limitations, Missing};
use crate::launcher::{Launcher, Process, Waiting};
use crate::merge::{self, Merged};
use crate::runtime_dir::{self, Files};
use crate::sandbox::{self, Output};
use crate::variables::{Variables, WrongVariable};
use crate::{ContainerSpec, ExitStatus, LaunchError, missing};

/// How long the first process may take to die before its launcher is killed, too.
const REPORT_TIME: Duration = Duration::from_secs(5);
/// Cleaning up is tried again after these times, for what is busy for a moment.
const CLEANUP_PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(5)];

/// What a launch is made of, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The sandbox and the files in it. Stays when undone: whoever looks for the reason of a failure looks there.
    Sandbox,
    /// The container's directory of files that a later life of the agent reads.
    RuntimeDir,
    /// Isolators prepare, in order. Undone: they clean up, in reverse order.
    Prepare,
    /// Everything is put together, hooks have their say.
    Plan,
    /// The launcher starts and waits. Undone: every process of the container is killed.
    Spawn,
    /// The launcher's pid is written down; from here on a later life of the agent finds it.
    Checkpoint,
    /// Isolators begin to watch.
    Watch,
    /// Isolators take the launcher under control, in parallel.
    Isolate,
    /// The sandbox has everything it is to have; hooks may look at it.
    Fetched,
    /// The command runs.
    Go,
}

impl Step {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 10] = [
        Self::Sandbox,
        Self::RuntimeDir,
        Self::Prepare,
        Self::Plan,
        Self::Spawn,
        Self::Checkpoint,
        Self::Watch,
        Self::Isolate,
        Self::Fetched,
        Self::Go,
    ];

    /// Does it.
    pub(crate) async fn run(self, job: &mut Job) -> Result<(), LaunchError> {
        match self {
            Self::Sandbox => job.make_sandbox().await,
            Self::RuntimeDir => job.make_runtime_dir().await,
            Self::Prepare => job.prepare().await,
            Self::Plan => job.plan().await,
            Self::Spawn => job.spawn().await,
            Self::Checkpoint => job.checkpoint().await,
            Self::Watch => job.watch().await,
            Self::Isolate => job.isolate().await,
            Self::Fetched => {
                job.fetched().await;
                Ok(())
            }
            Self::Go => job.go().await,
        }
    }

    /// Undoes it, however much of it was done. An error means that it has to be tried again before anything before it.
    pub(crate) async fn undo(self, job: &mut Job) -> Result<(), Stuck> {
        match self {
            Self::Spawn => job.kill().await,
            Self::Prepare => {
                job.clean_up().await;
                Ok(())
            }
            Self::RuntimeDir => {
                job.remove_runtime_dir().await;
                Ok(())
            }
            Self::Sandbox
            | Self::Plan
            | Self::Checkpoint
            | Self::Watch
            | Self::Isolate
            | Self::Fetched
            | Self::Go => Ok(()),
        }
    }
}

/// Processes that do not die, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck(pub(crate) String);

/// One container, as its owner sees it: what is known and held so far.
pub(crate) struct Job {
    pub(crate) config: Arc<Config>,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) spec: Arc<ContainerSpec>,
    pub(crate) files: Files,
    /// Where isolators say that the container has to end.
    pub(crate) limitations: mpsc::Receiver<ContainerLimitation>,
    pub(crate) limited: Limitations,
    /// The launcher, once it may run.
    pub(crate) process: Option<Arc<dyn Process>>,
    /// How it ended, once it has.
    pub(crate) exit: Option<ExitStatus>,
    /// What went wrong in cleaning up.
    pub(crate) leftovers: Vec<String>,
    /// Its turn among the launches. Given back when a module takes too long, so that others need not wait for it.
    pub(crate) turn: Option<OwnedSemaphorePermit>,
    /// Isolators that did not come back from a call for this container.
    missing: Vec<Missing>,
    user: Option<Credentials>,
    output: Option<Output>,
    infos: Vec<(String, ContainerLaunchInfo)>,
    planned: Option<LaunchSpec>,
    waiting: Option<Box<dyn Waiting>>,
}

impl Job {
    pub(crate) fn new(
        config: Arc<Config>,
        launcher: Arc<dyn Launcher>,
        spec: Arc<ContainerSpec>,
    ) -> Self {
        let files = Files::of(&config.runtime_dir, &spec.container_id);
        // Room for one word of each isolator, which is all they have.
        let (sender, limitations) = mpsc::channel(config.isolators.len().max(1));
        Self {
            config,
            launcher,
            spec,
            files,
            limitations,
            limited: Limitations::new(sender),
            process: None,
            exit: None,
            leftovers: Vec::new(),
            turn: None,
            missing: Vec::new(),
            user: None,
            output: None,
            infos: Vec::new(),
            planned: None,
            waiting: None,
        }
    }

    async fn make_sandbox(&mut self) -> Result<(), LaunchError> {
        let spec = Arc::clone(&self.spec);
        let (user, output) = blocking(move || {
            let user = spec.config.user.as_deref().map(resolve).transpose()?.flatten();
            let output = sandbox::make(spec.config.directory.as_ref(), user.as_ref())?;
            Ok((user, output))
        })
        .await?;
        self.user = user;
        self.output = Some(output);
        Ok(())
    }

    async fn make_runtime_dir(&mut self) -> Result<(), LaunchError> {
        let files = self.files.clone();
        blocking(move || {
            files.create().map_err(|source| LaunchError::Checkpoint {
                path: files.directory().to_owned(),
                source,
            })
        })
        .await
    }

    async fn prepare(&mut self) -> Result<(), LaunchError> {
        let (config, spec) = (Arc::clone(&self.config), Arc::clone(&self.spec));
        let mut missing = Vec::new();
        let calls =
            isolators::prepare(&config.isolators, &spec, config.module_call_timeout, &mut missing);
        let infos = self.unhurried(calls).await;
        self.missing.append(&mut missing);
        self.infos = infos?;
        Ok(())
    }

    /// Waits for modules. Other launches need not, once it takes long.
    async fn unhurried<T>(&mut self, calls: impl Future<Output = T>) -> T {
        let mut calls = std::pin::pin!(calls);
        match tokio::time::timeout(self.config.module_watchdog, &mut calls).await {
            Ok(answer) => answer,
            Err(_) => {
                self.turn = None;
                calls.await
            }
        }
    }

    async fn plan(&mut self) -> Result<(), LaunchError> {
        let (config, spec) = (Arc::clone(&self.config), Arc::clone(&self.spec));
        let infos = std::mem::take(&mut self.infos);
        missing::refuse(&spec.config)?;
        let merged = merge::merge(&infos, config.namespaces)?;
        let mut environment = Variables::default();
        environment.set(&spec.environment).map_err(WrongVariable::in_command)?;
        environment.merge(merged.environment.clone());
        if let Some(users) = &spec.config.command_info.environment {
            environment.set(users).map_err(WrongVariable::in_command)?;
        }
        let mut task_environment = merged.task_environment.clone();
        let hooks = async {
            for hook in &config.hooks {
                let patience = config.module_call_timeout;
                isolators::prelaunch(
                    hook,
                    &spec,
                    &mut environment,
                    &mut task_environment,
                    patience,
                )
                .await?;
            }
            Ok::<(), LaunchError>(())
        };
        self.unhurried(hooks).await?;
        let environment = environment.finish(task_environment);
        let plan = plan(&spec, merged, environment, self.user.take(), &self.files)?;
        self.planned = Some(plan);
        Ok(())
    }

    async fn spawn(&mut self) -> Result<(), LaunchError> {
        let (Some(spec), Some(output)) = (self.planned.take(), self.output.take()) else {
            return Err(out_of_order());
        };
        let (launcher, files) = (Arc::clone(&self.launcher), self.files.clone());
        let Output { stdout, stderr } = output;
        self.waiting =
            Some(blocking(move || launch(&*launcher, &spec, stdout, stderr, &files)).await?);
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<(), LaunchError> {
        let id = self.waiting.as_ref().ok_or_else(out_of_order)?.id();
        let (spec, files) = (Arc::clone(&self.spec), self.files.clone());
        blocking(move || {
            // The agent's own record first: a container that is in the runtime directory only is an orphan.
            let records =
                spec.forked_pid.iter().map(|path| (path.clone(), format!("{}\n", id.pid)));
            for (path, text) in records.chain([(files.pid(), runtime_dir::pid_line(id))]) {
                runtime_dir::write_whole(&path, &text)
                    .map_err(|source| LaunchError::Checkpoint { path, source })?;
            }
            Ok(())
        })
        .await
    }

    async fn watch(&mut self) -> Result<(), LaunchError> {
        let (config, spec) = (Arc::clone(&self.config), Arc::clone(&self.spec));
        let limited = self.limited.clone();
        let (id, patience) = (&spec.container_id, config.module_call_timeout);
        let calls = isolators::watch(&config.isolators, id, &limited, patience);
        self.unhurried(calls).await.map_err(|(isolator, source)| LaunchError::Isolator {
            isolator,
            call: "watch",
            source,
        })
    }

    async fn isolate(&mut self) -> Result<(), LaunchError> {
        let pid = self.waiting.as_ref().ok_or_else(out_of_order)?.id().pid;
        let (config, spec) = (Arc::clone(&self.config), Arc::clone(&self.spec));
        let calls = config.isolators.iter().map(|isolator| {
            isolators::isolate(isolator, &spec.container_id, pid, config.module_call_timeout)
        });
        // All are waited for: none may still be at it when they are asked to clean up.
        let outcomes = self.unhurried(join_all(calls)).await;
        let mut outcome = Ok(());
        for (error, missing) in outcomes.into_iter().filter_map(Result::err) {
            self.missing.extend(missing);
            outcome = outcome.and(Err(error));
        }
        outcome
    }

    async fn fetched(&mut self) {
        let (config, spec) = (Arc::clone(&self.config), Arc::clone(&self.spec));
        let calls = isolators::post_fetch(&config.hooks, &spec, config.module_call_timeout);
        self.unhurried(calls).await;
    }

    async fn go(&mut self) -> Result<(), LaunchError> {
        let waiting = self.waiting.take().ok_or_else(out_of_order)?;
        self.process = Some(
            blocking(move || waiting.go().map_err(|source| LaunchError::Launcher { source }))
                .await?,
        );
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), Stuck> {
        if let Some(waiting) = self.waiting.take() {
            let _ = spawn_blocking(move || drop(waiting)).await;
        }
        let Some(process) = self.process.clone() else { return Ok(()) };
        for (harder, patience) in [(false, REPORT_TIME), (true, self.config.kill_timeout)] {
            let ended = Arc::clone(&process).ended();
            let killed = {
                let process = Arc::clone(&process);
                spawn_blocking(move || process.kill(harder)).await
            };
            if tokio::time::timeout(patience, ended).await.is_ok() {
                self.reap().await;
                break;
            }
            if harder {
                let why = match killed {
                    Ok(Ok(())) => format!("it is still there {patience:?} after SIGKILL"),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                return Err(Stuck(format!("process {}: {why}", process.id())));
            }
        }
        self.process = None;
        Ok(())
    }

    /// Takes the exit status of a process that has ended.
    pub(crate) async fn reap(&mut self) {
        let Some(process) = self.process.clone() else { return };
        self.exit = spawn_blocking(move || process.exit()).await.ok().flatten();
        // Nothing is left to kill, even if nobody knows how it ended.
        self.process = None;
    }

    async fn clean_up(&mut self) {
        // An isolator may wait for the kernel as long as a kill may.
        let patience = self.config.kill_timeout.saturating_add(self.config.module_call_timeout);
        let mut pauses = CLEANUP_PAUSES.iter();
        let mut failures = loop {
            let id = &self.spec.container_id;
            let isolators::Uncleaned { failures, missing } =
                isolators::clean_up(&self.config.isolators, id, patience, &self.missing).await;
            let again = failures.len() > missing.len();
            self.missing.extend(missing);
            for (isolator, error) in &failures {
                tracing::warn!(container = %self.spec.container_id, isolator, "an isolator could not clean up: {error}");
            }
            match pauses.next() {
                Some(pause) if again => tokio::time::sleep(*pause).await,
                _ => break failures,
            }
        };
        let missing = self.missing.iter();
        let missing =
            missing.map(|name| format!("isolator '{name}' has not come back from a call"));
        failures.retain(|(name, _)| !self.missing.contains(name));
        let failures = failures.into_iter().map(|(name, why)| format!("isolator '{name}': {why}"));
        self.leftovers.extend(failures.chain(missing));
    }

    async fn remove_runtime_dir(&mut self) {
        // What could not be cleaned up is found again after a restart, as an orphan.
        if !self.leftovers.is_empty() {
            return;
        }
        let files = self.files.clone();
        let removed = spawn_blocking(move || files.remove()).await;
        if let Ok(Err(error)) = removed {
            self.leftovers
                .push(format!("cannot remove '{}': {error}", self.files.directory().display()));
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LaunchError> + Send + 'static,
) -> Result<T, LaunchError> {
    spawn_blocking(work).await.map_err(|error| LaunchError::CutOff(error.to_string()))?
}

fn launch(
    launcher: &dyn Launcher,
    spec: &LaunchSpec,
    stdout: File,
    stderr: File,
    files: &Files,
) -> Result<Box<dyn Waiting>, LaunchError> {
    launcher.spawn(spec, stdout, stderr, files).map_err(|source| LaunchError::Launcher { source })
}

/// The ids of a user; none if that is who we are.
fn resolve(name: &str) -> Result<Option<Credentials>, LaunchError> {
    let user = User::by_name(name).map_err(|error| match error {
        UserError::Lookup { name, source } => LaunchError::UserLookup { user: name, source },
        UserError::Unknown { name } | UserError::Invalid { name } => {
            LaunchError::UnknownUser { user: name }
        }
    })?;
    if is_root() {
        return Ok(Some(user.credentials));
    }
    let agent = User::current_name();
    if agent == user.name {
        Ok(None)
    } else {
        Err(LaunchError::UserSwitch { user: user.name, agent })
    }
}

/// Puts everything together.
fn plan(
    spec: &ContainerSpec,
    merged: Merged,
    environment: Vec<(String, String)>,
    user: Option<Credentials>,
    files: &Files,
) -> Result<LaunchSpec, LaunchError> {
    let mut plan = merge::program(&spec.config.command_info)?;
    plan.env = environment;
    plan.cwd = Some(spec.config.directory.clone().into());
    plan.namespaces = merged.namespaces;
    plan.mount_proc = plan.namespaces.pid && plan.namespaces.mount;
    plan.mounts = merged.mounts;
    plan.rlimits = merged.rlimits;
    plan.no_new_privs = merged.no_new_privs;
    plan.user = user;
    if let Some(user) = &mut plan.user {
        user.groups.extend(merged.groups);
    }
    plan.status_file = Some(files.status());
    plan.pid_file = Some(files.first_process());
    Ok(plan)
}

fn out_of_order() -> LaunchError {
    LaunchError::CutOff("the steps of the launch came in a wrong order".to_owned())
}
