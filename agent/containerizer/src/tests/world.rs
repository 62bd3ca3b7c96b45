//! A world of fakes that writes down what happens, and lets a test interfere at a named moment.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mezzo_linux::launch::{LaunchError as LauncherError, LaunchSpec, Namespaces};
use mezzo_linux::process::{ProcessError, ProcessId};
use mezzo_model::ContainerId;
use mezzo_module_api::v1::*;
use mezzo_module_api::{Completion, Hook, Isolator, ModuleError};
use mezzo_proto::v1::CommandInfo;
use tokio::sync::watch;

use crate::launcher::{Launcher, Process, Waiting};
use crate::runtime_dir::Files;
use crate::{Config, ContainerSpec, Containerizer, ExitStatus, MezzoContainerizer, hook, isolator};

/// What a test does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interference {
    Fail,
    Destroy,
    /// Until the test interferes no more; only for the container `stuck`.
    Hang,
}

pub(crate) struct World {
    pub(crate) log: Mutex<Vec<String>>,
    pub(crate) interfere: Mutex<Option<(String, Interference)>>,
    released: Condvar,
    pub(crate) specs: Mutex<Vec<LaunchSpec>>,
    pub(crate) processes: Mutex<Vec<Arc<FakeProcess>>>,
    pub(crate) watches: Mutex<Vec<Completion<WatchResponse>>>,
    pub(crate) immortal: Mutex<bool>,
    pub(crate) info: Mutex<ContainerLaunchInfo>,
    pub(crate) recovered: Mutex<Vec<RecoverRequest>>,
    pub(crate) adoptable: Mutex<Vec<ProcessId>>,
    /// The watchdog's and that of calls.
    patience: (Duration, Duration),
    containerizer: OnceLock<MezzoContainerizer>,
    pub(crate) dir: PathBuf,
}

/// A world and its directory, which goes with the test. (The world itself stays: its parts know it.)
pub(crate) struct Scene {
    world: Arc<World>,
    _dir: tempfile::TempDir,
}

impl Drop for Scene {
    /// A test that fails while a module hangs would wait for it for ever: the runtime waits for its threads.
    fn drop(&mut self) {
        self.world.release();
    }
}

impl std::ops::Deref for Scene {
    type Target = Arc<World>;

    fn deref(&self) -> &Arc<World> {
        &self.world
    }
}

impl World {
    /// A world with isolators `a` and `b` and a hook `h`.
    pub(crate) fn begin() -> (Scene, MezzoContainerizer) {
        Self::with_patience(Duration::from_secs(60), Duration::from_secs(60))
    }

    /// The same, where modules may take this long until others stop waiting, and until they have failed.
    pub(crate) fn with_patience(
        watchdog: Duration,
        timeout: Duration,
    ) -> (Scene, MezzoContainerizer) {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(Self {
            log: Mutex::default(),
            interfere: Mutex::default(),
            released: Condvar::new(),
            specs: Mutex::default(),
            processes: Mutex::default(),
            watches: Mutex::default(),
            immortal: Mutex::default(),
            info: Mutex::default(),
            recovered: Mutex::default(),
            adoptable: Mutex::default(),
            patience: (watchdog, timeout),
            containerizer: OnceLock::new(),
            dir: dir.path().to_owned(),
        });
        let containerizer = world.containerizer();
        let _ = world.containerizer.set(containerizer.clone());
        (Scene { world, _dir: dir }, containerizer)
    }

    /// Another containerizer of this world, as after a restart of the agent.
    pub(crate) fn containerizer(self: &Arc<Self>) -> MezzoContainerizer {
        let mut config = Config::new(self.dir.join("run"), "/no/launcher");
        config.namespaces = Namespaces::NONE;
        config.kill_timeout = Duration::from_millis(50);
        (config.module_watchdog, config.module_call_timeout) = self.patience;
        config.launches_at_once = 1;
        config.isolators =
            ["a", "b"].map(|name| isolator(name, Arc::new(Fake::new(self, name)))).into();
        config.hooks = vec![hook("h", Arc::new(Fake::new(self, "h")))];
        MezzoContainerizer::with_launcher(config, Arc::new(FakeLauncher(Arc::clone(self))))
    }

    pub(crate) fn spec(&self, id: &str) -> ContainerSpec {
        ContainerSpec {
            container_id: ContainerId::new(id),
            config: ContainerConfig {
                command_info: CommandInfo {
                    value: Some("true".to_owned()),
                    ..CommandInfo::default()
                },
                directory: self.dir.join("sandboxes").join(id).display().to_string(),
                ..ContainerConfig::default()
            },
            environment: mezzo_proto::v1::Environment::default(),
            framework: None,
            forked_pid: Some(self.dir.join("meta").join(id).join("forked.pid")),
        }
    }

    pub(crate) fn at(&self, moment: &str, what: Interference) {
        *self.interfere.lock().unwrap() = Some((moment.to_owned(), what));
    }

    /// Lets go what hangs.
    pub(crate) fn release(&self) {
        *self.interfere.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.released.notify_all();
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn process(&self) -> Arc<FakeProcess> {
        self.processes.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) fn files(&self, id: &str) -> Files {
        Files::of(&self.dir.join("run"), &ContainerId::new(id))
    }

    /// Something happens; an error if the test wants it to fail.
    fn moment(
        &self,
        moment: &str,
        id: Option<&mezzo_proto::v1::ContainerId>,
    ) -> Result<(), ModuleError> {
        self.log.lock().unwrap().push(moment.to_owned());
        let wanted = self.interfere.lock().unwrap().clone();
        match wanted {
            Some((when, Interference::Fail)) if when == moment => {
                Err(ModuleError::internal(format!("{moment} fails")))
            }
            Some((when, Interference::Destroy)) if when == moment => {
                let id = id.map_or_else(|| ContainerId::new("c"), |id| ContainerId::new(&id.value));
                // The request is made by the call itself; nobody waits for the outcome here.
                drop(self.containerizer.get().unwrap().destroy(&id));
                Ok(())
            }
            Some((when, Interference::Hang))
                if when == moment && id.is_some_and(|id| id.value == "stuck") =>
            {
                let interfere = self.interfere.lock().unwrap();
                drop(self.released.wait_while(interfere, |now| now.is_some()).unwrap());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

struct Fake {
    world: Arc<World>,
    name: &'static str,
}

impl Fake {
    fn new(world: &Arc<World>, name: &'static str) -> Self {
        Self { world: Arc::clone(world), name }
    }

    fn moment(
        &self,
        call: &str,
        id: Option<&mezzo_proto::v1::ContainerId>,
    ) -> Result<(), ModuleError> {
        self.world.moment(&format!("{call} {}", self.name), id)
    }
}

impl Isolator for Fake {
    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        self.world.recovered.lock().unwrap().push(request);
        self.moment("recover", None).map(|()| RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        self.moment("prepare", request.container_id.as_ref())?;
        Ok(PrepareResponse { launch_info: Some(self.world.info.lock().unwrap().clone()) })
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        assert_eq!(request.pid, Some(4711));
        self.moment("isolate", request.container_id.as_ref()).map(|()| IsolateResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let _ = self.moment("watch", request.container_id.as_ref());
        self.world.watches.lock().unwrap().push(done);
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        self.moment("update", request.container_id.as_ref()).map(|()| UpdateResponse::default())
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        self.moment("usage", request.container_id.as_ref())?;
        let statistics = mezzo_proto::v1::ResourceStatistics {
            // Each isolator knows one thing.
            processes: (self.name == "a").then_some(1),
            threads: (self.name == "b").then_some(2),
            ..Default::default()
        };
        Ok(UsageResponse { statistics: Some(statistics) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        self.moment("cleanup", request.container_id.as_ref()).map(|()| CleanupResponse::default())
    }
}

impl Hook for Fake {
    fn agent_post_fetch(
        &self,
        request: AgentPostFetchRequest,
    ) -> Result<AgentPostFetchResponse, ModuleError> {
        self.moment("post-fetch", request.container_id.as_ref())
            .map(|()| AgentPostFetchResponse::default())
    }

    fn agent_prelaunch(
        &self,
        request: AgentPrelaunchRequest,
    ) -> Result<AgentPrelaunchResponse, ModuleError> {
        self.moment("prelaunch", request.container_id.as_ref())
            .map(|()| AgentPrelaunchResponse::default())
    }
}

struct FakeLauncher(Arc<World>);

const ID: ProcessId = ProcessId { pid: 4711, start_time: 1 };

fn broken() -> LauncherError {
    LauncherError::Handover {
        pid: ID.pid,
        what: "spec",
        source: io::Error::from(io::ErrorKind::BrokenPipe),
    }
}

impl Launcher for FakeLauncher {
    fn spawn(
        &self,
        spec: &LaunchSpec,
        _: File,
        _: File,
        _: &Files,
    ) -> Result<Box<dyn Waiting>, LauncherError> {
        self.0.specs.lock().unwrap().push(spec.clone());
        self.0.moment("spawn", None).map_err(|_| broken())?;
        Ok(Box::new(FakeWaiting { world: Arc::clone(&self.0), went: false }))
    }

    fn adopt(&self, id: ProcessId, _: &Files) -> Result<Option<Arc<dyn Process>>, ProcessError> {
        let alive = self.0.adoptable.lock().unwrap().contains(&id);
        Ok(alive.then(|| FakeProcess::start(&self.0, id) as Arc<dyn Process>))
    }
}

struct FakeWaiting {
    world: Arc<World>,
    went: bool,
}

impl Waiting for FakeWaiting {
    fn id(&self) -> ProcessId {
        ID
    }

    fn go(mut self: Box<Self>) -> Result<Arc<dyn Process>, LauncherError> {
        self.world.moment("go", None).map_err(|_| broken())?;
        self.went = true;
        Ok(FakeProcess::start(&self.world, ID))
    }
}

impl Drop for FakeWaiting {
    fn drop(&mut self) {
        if !self.went {
            self.world.log.lock().unwrap().push("launcher dropped".to_owned());
        }
    }
}

pub(crate) struct FakeProcess {
    world: Arc<World>,
    id: ProcessId,
    exit: watch::Sender<Option<ExitStatus>>,
}

impl FakeProcess {
    fn start(world: &Arc<World>, id: ProcessId) -> Arc<Self> {
        let process =
            Arc::new(Self { world: Arc::clone(world), id, exit: watch::Sender::new(None) });
        world.processes.lock().unwrap().push(Arc::clone(&process));
        process
    }

    pub(crate) fn end(&self, exit: ExitStatus) {
        self.exit.send_if_modified(|now| now.is_none().then(|| *now = Some(exit)).is_some());
    }
}

impl Process for FakeProcess {
    fn id(&self) -> ProcessId {
        self.id
    }

    fn ended(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _ = self.exit.subscribe().wait_for(Option::is_some).await;
        })
    }

    fn kill(&self, harder: bool) -> Result<(), ProcessError> {
        let _ = self.world.moment(if harder { "kill harder" } else { "kill" }, None);
        if !*self.world.immortal.lock().unwrap() {
            self.end(ExitStatus::Signaled(9));
        }
        Ok(())
    }

    fn exit(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }
}
