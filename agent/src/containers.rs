//! Between the core and the containerizer: starts what is asked for and tells what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mezzo_agent_core::{Command, Launch, RecoveredContainer, Termination};
use mezzo_containerizer::{ContainerSpec, Containerizer, DestroyError, NamedHook};
use mezzo_model::ContainerId;
use mezzo_proto::v1::{Resource, value};
use mezzo_runtime::errors::one_line;
use mezzo_runtime::task::Tasks;
use mezzo_runtime::vital::Vital;
use tokio::runtime::Handle as Runtime;

use crate::actor::Handle;
use crate::hooks;
use crate::numbers::Numbers;
use crate::store::{self, LATEST};

/// The first pause before a container that would not die is killed again.
const STUCK_FIRST: Duration = Duration::from_secs(1);
/// Pauses double up to this.
const STUCK_MAX: Duration = Duration::from_secs(60);

/// Containers that hooks still look at before they are started. One that is to end meanwhile leaves, and is never started.
pub(crate) type Awaited = Arc<Mutex<BTreeSet<ContainerId>>>;

/// Starts, changes and ends containers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Containers {
    pub(crate) containerizer: Arc<dyn Containerizer>,
    pub(crate) actor: Handle,
    pub(crate) tasks: Tasks,
    pub(crate) hooks: Arc<[NamedHook]>,
    /// How long a hook may take.
    pub(crate) patience: Duration,
    pub(crate) awaited: Awaited,
    pub(crate) numbers: Numbers,
    pub(crate) vital: Vital,
    pub(crate) runtime: Runtime,
}

impl Containers {
    /// Starts a container.
    pub(crate) fn launch(&self, launch: Launch) {
        let _context = self.runtime.enter();
        let id = launch.container.clone();
        tracing::debug!(container = %id, executor = %launch.executor, "launching");
        let directory = launch.config.directory.clone();
        let spec = spec(launch);
        let this = self.clone();
        if self.hooks.is_empty() {
            // Called here, so that an end that is asked for next finds the container.
            let launched = self.containerizer.launch(spec);
            self.tasks
                .spawn("container", async move { this.watch(id, directory, launched.await).await });
            return;
        }
        this.awaited().insert(id.clone());
        self.tasks.spawn("container", async move {
            let spec = decorate(&this.hooks, spec, this.patience).await;
            if !this.awaited().remove(&id) {
                tracing::debug!(container = %id, "not started: its end was asked for meanwhile");
                return;
            }
            let launched = this.containerizer.launch(spec).await;
            this.watch(id, directory, launched).await;
        });
    }

    /// Tells how a launch went, and later how the container ended.
    async fn watch(
        &self,
        container: ContainerId,
        directory: String,
        launched: Result<mezzo_containerizer::Launched, mezzo_containerizer::LaunchError>,
    ) {
        if let Err(error) = launched {
            self.numbers.launch_failed.inc();
            let message = error.task_message();
            tracing::warn!(%container, "{message}");
            return self
                .actor
                .say(Command::ContainerLaunched { container, result: Err(message) })
                .await;
        }
        self.numbers.launched.inc();
        tracing::debug!(%container, "launched");
        self.actor
            .say(Command::ContainerLaunched { container: container.clone(), result: Ok(()) })
            .await;
        let link = async {
            let sandbox = directory.clone();
            let linked =
                tokio::task::spawn_blocking(move || point_latest_to(Path::new(&sandbox))).await;
            if let Ok(Err(error)) = linked {
                tracing::warn!(%container, "cannot make `latest` point to {directory}: {error}");
            }
        };
        tokio::join!(link, self.tell_end(container.clone()));
    }

    async fn tell_end(&self, container: ContainerId) {
        let termination = self.containerizer.wait(&container).await.unwrap_or_default();
        tracing::debug!(%container, exit = ?termination.exit, "ended");
        self.actor
            .say(Command::ContainerEnded { container, termination: translate(termination) })
            .await;
    }

    /// Changes what a container may use.
    pub(crate) fn update(
        &self,
        container: ContainerId,
        token: u64,
        requests: Vec<Resource>,
        limits: BTreeMap<String, f64>,
    ) {
        let _context = self.runtime.enter();
        let limits =
            limits.into_iter().map(|(name, value)| (name, value::Scalar { value })).collect();
        let updated = self.containerizer.update(&container, requests, limits);
        let actor = self.actor.clone();
        self.tasks.spawn("container update", async move {
            let result = updated.await.map_err(|error| one_line(&error));
            actor.say(Command::ContainerUpdated { container, token, result }).await;
        });
    }

    /// Ends a container, however long it takes.
    pub(crate) fn destroy(&self, container: ContainerId) {
        let _context = self.runtime.enter();
        let this = self.clone();
        self.tasks.spawn("container end", async move { this.end(container).await });
    }

    async fn end(&self, container: ContainerId) {
        if self.awaited().remove(&container) {
            let termination = Termination::default();
            return self.actor.say(Command::ContainerEnded { container, termination }).await;
        }
        let mut pause = STUCK_FIRST;
        let mut stuck = false;
        let termination = loop {
            match self.containerizer.destroy(&container).await {
                Ok(termination) => break termination.unwrap_or_default(),
                Err(error @ DestroyError::Stuck { .. }) => {
                    if !stuck {
                        self.numbers.stuck.inc();
                        stuck = true;
                    }
                    tracing::warn!(%container, "trying again in {pause:?}: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(STUCK_MAX);
                }
                Err(error) => {
                    tracing::warn!(%container, "{error}");
                    break self.containerizer.wait(&container).await.unwrap_or_default();
                }
            }
        };
        if stuck {
            self.numbers.stuck.dec();
        }
        self.actor
            .say(Command::ContainerEnded { container, termination: translate(termination) })
            .await;
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeSet<ContainerId>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the containers of an earlier run.
    pub(crate) fn recover(&self, containers: Vec<RecoveredContainer>) {
        let _context = self.runtime.enter();
        let this = self.clone();
        self.tasks.spawn("recovery", async move {
            let all: Vec<ContainerId> = containers.iter().map(|c| c.container.clone()).collect();
            let expected =
                containers.into_iter().map(|c| mezzo_containerizer::RecoveredContainer {
                    container_id: c.container,
                    config: c.config,
                });
            let found = match this.containerizer.recover(expected.collect()).await {
                Ok(found) => found,
                Err(error) => {
                    return this.vital.fail(one_line(&error));
                }
            };
            if !all.is_empty() || !found.orphans.is_empty() {
                tracing::info!(
                    running = found.running.len(),
                    ended = found.ended.len(),
                    orphans = found.orphans.len(),
                    "recovered containers"
                );
            }
            for container in all {
                let that = this.clone();
                this.tasks.spawn("container", async move { that.tell_end(container).await });
            }
            this.actor.say(Command::ContainersRecovered).await;
        });
    }
}

fn spec(launch: Launch) -> ContainerSpec {
    ContainerSpec {
        container_id: launch.container,
        config: launch.config,
        environment: launch.environment,
        framework: Some(launch.framework),
        // The containerizer's own record of it is enough.
        forked_pid: None,
    }
}

async fn decorate(
    hooks: &[NamedHook],
    mut spec: ContainerSpec,
    patience: Duration,
) -> ContainerSpec {
    if let Some(executor) = &spec.config.executor_info {
        spec.environment = hooks::environment(hooks, executor, spec.environment, patience).await;
    }
    spec
}

/// Makes `runs/latest` point to a sandbox.
fn point_latest_to(sandbox: &Path) -> std::io::Result<()> {
    match (sandbox.parent(), sandbox.file_name().and_then(|name| name.to_str())) {
        (Some(runs), Some(name)) => store::link(name, &runs.join(LATEST)),
        _ => Ok(()),
    }
}

fn translate(termination: mezzo_containerizer::Termination) -> Termination {
    Termination {
        status: termination.exit.map(mezzo_containerizer::ExitStatus::raw),
        state: termination.state,
        reason: termination.reason,
        message: termination.message,
        limited: termination.limited_resources,
    }
}
