//! `disk/du`: measures what containers use of the disk, and ends those that use too much.
//!
//! A container has one place per path of its disk resources: the sandbox (together with the ephemeral volumes, which share
//! its quota) and each volume with a path of its own. Every place is walked once per interval by one thread that gives way
//! to everybody else ([`walker`], [`rota`]), counted as `du -k -s` does ([`walk`]). What is inside another place of the
//! container is not counted twice.
//!
//! A walk that takes longer than a quarter of an interval ends as soon as it has found more than the quota, if that ends the
//! container: the figure is then the least that is used. So a tree of very many files is found out in time.
//!
//! A disk of its own (`MOUNT`) is measured, but never ends a container: its file system says when it is full. The figures are
//! as old as the last walk; a task has up to two intervals before it is ended, and one that fills the disk faster than that
//! is what `disk/xfs` is for.

mod excluded;
mod open;
mod rota;
mod state;
mod walk;
mod walker;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, IsolatorCapabilitiesRequest, IsolatorCapabilitiesResponse,
    PrepareRequest, PrepareResponse, RecoverRequest, RecoverResponse, UpdateRequest,
    UpdateResponse, UsageRequest, UsageResponse, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Completion, Host, Isolator, ModuleError, Parameters, container_name};
use mezzo_proto::v1::{ContainerId, ResourceStatistics};

use crate::places::Place;
use rota::Key;
use state::{Settings, Shared, State};

/// How long a cleanup waits for a walk to let go of the container's directories. A walk asks every few files; one that hangs
/// longer than this hangs in a file system.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Disk usage by walking.
pub struct DuIsolator {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DuIsolator {
    /// The isolator for these parameters.
    ///
    /// # Errors
    /// When a parameter is wrong.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters
            .allow_only(&["container_disk_watch_interval", "enforce_container_disk_quota"])?;
        let settings = Settings {
            interval: parameters
                .interval("container_disk_watch_interval")?
                .unwrap_or(Duration::from_secs(15)),
            enforce: parameters.parse("enforce_container_disk_quota")?.unwrap_or(false),
            volumes: host.process().work_dir.as_ref().map(|work_dir| work_dir.join("volumes")),
        };
        Ok(Self { shared: Arc::new(Shared::new(host, settings)), thread: Mutex::default() })
    }

    /// The thread is only there when there is something to measure.
    fn start(&self) -> Result<(), ModuleError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let run = move || walker::run(&shared);
            let spawned = std::thread::Builder::new().name("mezzo-du".to_owned()).spawn(run);
            *thread = Some(spawned.map_err(|error| {
                ModuleError::internal(format!("cannot start a thread to measure disks: {error}"))
            })?);
        }
        Ok(())
    }
}

impl Drop for DuIsolator {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopping = true;
        if let Some(walking) = &state.walking {
            walking.cancelled.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has not panicked: there is nothing in it that could.
            let _ = thread.join();
        }
    }
}

impl Isolator for DuIsolator {
    /// Nested containers live in their parent's sandbox and on its quota.
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(false), standalone: Some(true) })
    }

    /// What a recovered container may use is told by the first update.
    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        let mut state = self.shared.state();
        for found in request.states.into_iter().filter(|state| state.container_id.parent.is_none())
        {
            let ephemeral = found.ephemeral_volumes.into_iter().map(PathBuf::from).collect();
            state.insert(&found.container_id.value, found.directory.into(), ephemeral);
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
        let mut state = self.shared.state();
        if state.containers.contains_key(&id.value) {
            return Err(ModuleError::new(
                mezzo_module_api::Code::AlreadyExists,
                format!("container `{}` has been prepared before", id.value),
            ));
        }
        let ephemeral = config.ephemeral_volumes.into_iter().map(PathBuf::from).collect();
        state.insert(&id.value, config.directory.into(), ephemeral);
        state.set_resources(&id.value, &config.resources, Instant::now());
        drop(state);
        self.shared.changed.notify_all();
        Ok(PrepareResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let limit = outermost(request.container_id).and_then(|name| {
            let state = self.shared.state();
            state.containers.get(&name).map(|container| Arc::clone(&container.limit))
        });
        match limit {
            Some(limit) => limit.watch(done),
            None => done.never(),
        }
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        if let Some(name) = outermost(request.container_id) {
            self.start()?;
            self.shared.state().set_resources(&name, &request.requests, Instant::now());
            self.shared.changed.notify_all();
        }
        Ok(UpdateResponse::default())
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let name = container_name(&request.container_id.clone().unwrap_or_default());
        let state = self.shared.state();
        let known = outermost(request.container_id).and_then(|name| state.containers.get(&name));
        let Some(container) = known else {
            return Err(ModuleError::not_found(format!("container `{name}` is unknown")));
        };
        let mut statistics = ResourceStatistics::default();
        for (place, measured) in &container.places {
            if *place == Place::Sandbox {
                statistics.disk_limit_bytes = Some(measured.quota.bytes());
                statistics.disk_used_bytes = measured.used;
            }
            let mut one = measured.quota.statistics();
            one.used_bytes = measured.used;
            statistics.disk_statistics.push(one);
        }
        Ok(UsageResponse { statistics: Some(statistics) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let Some(name) = outermost(request.container_id) else {
            return Ok(CleanupResponse::default());
        };
        let mut state = self.shared.state();
        // Goes last, without the lock: who watches it is told then.
        let container = state.containers.remove(&name);
        if let Some(container) = &container {
            let keys: Vec<Key> = container.places.values().map(|measured| measured.key).collect();
            keys.iter().for_each(|key| state.forget(*key));
            // An open directory would keep a volume from being unmounted.
            let still_open = |state: &mut State| {
                state.walking.as_ref().is_some_and(|walking| keys.contains(&walking.key))
            };
            drop(self.shared.changed.wait_timeout_while(state, LETTING_GO, still_open));
        }
        Ok(CleanupResponse::default())
    }
}

/// The name of a container that is in no other; only those are known here.
fn outermost(id: Option<ContainerId>) -> Option<String> {
    let id = id.unwrap_or_default();
    id.parent.is_none().then_some(id.value)
}

impl std::fmt::Debug for DuIsolator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuIsolator").finish_non_exhaustive()
    }
}
