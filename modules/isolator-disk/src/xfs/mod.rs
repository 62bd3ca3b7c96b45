//! `disk/xfs`: project quotas of XFS, counted and enforced by the kernel.
//!
//! A container's sandbox gets a project number, and everything that is made in it belongs to it, so what a container uses is
//! known at once and without walking; every persistent volume has a number of its own, which it keeps. With
//! `enforce_container_disk_quota` a container that has used up its disk cannot write any more, and decides itself what to do;
//! with `xfs_kill_containers` too it is ended when somebody looks and finds it over its quota, and the kernel stops it 10 MB above.
//!
//! Nothing is written down: a directory tells its project, the kernel tells which numbers are in use. A number is given out
//! again only when no file has it, which is when the sandbox is collected.

mod places;
mod projects;
mod settings;
mod state;
mod watcher;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use mezzo_linux::project_quota::{self, ProjectQuotas};
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, IsolatorCapabilitiesRequest, IsolatorCapabilitiesResponse,
    PrepareRequest, PrepareResponse, RecoverRequest, RecoverResponse, UpdateRequest,
    UpdateResponse, UsageRequest, UsageResponse, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Code, Completion, Host, Isolator, ModuleError, Parameters, container_name};
use mezzo_proto::v1::ResourceStatistics;

use places::{Account, file_systems, label};
use projects::Projects;
use settings::{Policy, Settings};
use state::{Container, Shared, State};

use crate::places::Place;

/// Disk quotas by XFS.
pub struct XfsIsolator {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl XfsIsolator {
    /// The isolator for these parameters.
    ///
    /// # Errors
    /// When a parameter is wrong, when it does not run as root, or when the work directory (or a disk that is a path) has no
    /// project quotas: then the message names the mount and what is missing.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        let settings = Settings::new(&parameters)?;
        if !mezzo_linux::user::is_root() {
            return Err(ModuleError::new(
                Code::PermissionDenied,
                "disk/xfs sets quotas, which only root may",
            ));
        }
        let process = host.process();
        let Some(work_dir) = process.work_dir.clone() else {
            return Err(ModuleError::new(
                Code::FailedPrecondition,
                format!("disk/xfs needs a process with a work directory, not {:?}", process.name),
            ));
        };
        let file_systems = file_systems(&work_dir, &process.resources)?;
        check_enforcement(&file_systems, settings.policy)?;
        let projects = Projects::new(settings.projects.clone());
        let state = State { containers: HashMap::new(), projects, stopping: false };
        let shared = Shared {
            host,
            settings,
            work_dir,
            file_systems,
            stopped: Condvar::new(),
            state: Mutex::new(state),
        };
        Ok(Self { shared: Arc::new(shared), thread: Mutex::default() })
    }

    /// The thread is only there when there is something to look at.
    fn start(&self) -> Result<(), ModuleError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let run = move || watcher::run(&shared);
            let spawned = std::thread::Builder::new().name("mezzo-xfs".to_owned()).spawn(run);
            *thread = Some(spawned.map_err(|error| {
                ModuleError::internal(format!("cannot start a thread to watch quotas: {error}"))
            })?);
        }
        Ok(())
    }

    /// Takes over the sandbox of a container that lives on, by the project that it has. False when it has none of ours.
    fn take_over(&self, name: &str, sandbox: &Path) -> Result<bool, ModuleError> {
        let project = match project_quota::project_of(sandbox) {
            Ok(project) => project,
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(broken(error)),
        };
        let Some(number) = project else { return Ok(false) };
        if !self.shared.state().projects.is_ours(number) && is_inherited(sandbox, number) {
            return Ok(false);
        }
        let quotas = self.shared.quotas_of(sandbox)?;
        let mut state = self.shared.state();
        state.projects.hold(number);
        let container = Container::new(Account::Project { number, quotas });
        state.containers.insert(name.to_owned(), container);
        Ok(true)
    }
}

impl Isolator for XfsIsolator {
    /// Nested containers live in their parent's sandbox and on its quota.
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(false), standalone: Some(true) })
    }

    /// What a recovered container may use is known to the kernel, and told by the first update. One that was started without
    /// this isolator stays without it.
    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        for found in request.states.into_iter().filter(|state| state.container_id.parent.is_none())
        {
            let name = container_name(&found.container_id);
            if self.take_over(&name, Path::new(&found.directory))? {
                self.start()?;
            } else {
                self.shared.host.warn(format!(
                    "container `{name}`: {} belongs to no project, its disk is not limited",
                    found.directory
                ));
            }
        }
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let config = request.config.unwrap_or_default();
        if id.parent.is_some() {
            return Ok(PrepareResponse::default());
        }
        self.start()?;
        let name = container_name(&id);
        let sandbox = Path::new(&config.directory);
        let quotas = self.shared.quotas_of(sandbox)?;
        let number = {
            let mut state = self.shared.state();
            if state.containers.contains_key(&name) {
                return Err(ModuleError::new(
                    Code::AlreadyExists,
                    format!("container `{name}` has been prepared before"),
                ));
            }
            let number = state.projects.take(&self.shared.file_systems)?;
            let container = Container::new(Account::Project { number, quotas });
            // From here on the cleanup, which comes after a failure too, gives the number back.
            state.containers.insert(name.clone(), container);
            number
        };
        let ephemeral = config.ephemeral_volumes.iter().map(Path::new);
        for directory in std::iter::once(sandbox).chain(ephemeral) {
            label(directory, number, &self.shared.host)?;
        }
        self.shared.set_resources(&name, &config.resources)?;
        Ok(PrepareResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let name = container_name(&request.container_id.unwrap_or_default());
        let limit = {
            let state = self.shared.state();
            state.containers.get(&name).map(|container| Arc::clone(&container.limit))
        };
        match limit {
            Some(limit) => limit.watch(done),
            None => done.never(),
        }
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let name = container_name(&request.container_id.unwrap_or_default());
        self.shared.set_resources(&name, &request.requests)?;
        Ok(UpdateResponse::default())
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let name = container_name(&request.container_id.unwrap_or_default());
        let places = {
            let state = self.shared.state();
            let Some(container) = state.containers.get(&name) else {
                return Err(ModuleError::not_found(format!("container `{name}` is unknown")));
            };
            container.places.clone()
        };
        let mut statistics = ResourceStatistics::default();
        for (place, metered) in &places {
            let (used, limit) = metered.measure()?;
            if *place == Place::Sandbox {
                statistics.disk_used_bytes = Some(used);
                statistics.disk_limit_bytes = limit;
            }
            statistics.disk_statistics.push(metered.statistics(used, limit));
        }
        Ok(UsageResponse { statistics: Some(statistics) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let name = container_name(&request.container_id.unwrap_or_default());
        // Whoever waits is told "never" when it is dropped, which must not be with the lock held.
        let container = self.shared.state().remove(&name);
        drop(container);
        Ok(CleanupResponse::default())
    }
}

impl Drop for XfsIsolator {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopping = true;
        let containers = std::mem::take(&mut state.containers);
        drop(state);
        drop(containers);
        self.shared.stopped.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has not panicked: there is nothing in it that could.
            let _ = thread.join();
        }
    }
}

/// Who is to enforce quotas needs a kernel that does.
fn check_enforcement(systems: &[ProjectQuotas], policy: Policy) -> Result<(), ModuleError> {
    let idle = systems.iter().find(|system| policy != Policy::Count && !system.are_enforced());
    match idle {
        None => Ok(()),
        Some(system) => Err(ModuleError::invalid(format!(
            "parameter `enforce_container_disk_quota` is `true`, but {} is mounted with pqnoenforce, which only counts: expected prjquota",
            system.mount_point().display()
        ))),
    }
}

/// True when the directory has its project from the directory above: an operator's, not ours.
fn is_inherited(directory: &Path, project: u32) -> bool {
    directory
        .parent()
        .and_then(|above| project_quota::project_of(above).ok())
        .is_some_and(|above| above == Some(project))
}

fn broken(error: mezzo_linux::Error) -> ModuleError {
    let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
    ModuleError::internal(format!("{error}{why}"))
}

impl std::fmt::Debug for XfsIsolator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XfsIsolator").finish_non_exhaustive()
    }
}
