//! The isolator around the monitor: which containers there are, and the thread of the rounds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use mezzo_linux::procfs::Procfs;
use mezzo_module_api::types::task_status::Reason;
use mezzo_module_api::types::value::{self, Scalar};
use mezzo_module_api::types::{ContainerId, Resource, ResourceStatistics};
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, ContainerLimitation, IsolateRequest, IsolateResponse,
    IsolatorCapabilitiesRequest, IsolatorCapabilitiesResponse, PrepareRequest, PrepareResponse,
    RecoverRequest, RecoverResponse, UpdateRequest, UpdateResponse, UsageRequest, UsageResponse,
    WatchRequest, WatchResponse,
};
use mezzo_module_api::{
    Code, Completion, Host, Isolator, LimitWatch, ModuleError, Parameters, container_name,
};

use crate::measure::{TreeMeasurer, tick_millis};
use crate::monitor::{Kind, Limits, Memory, Monitored, Verdict};
use crate::process::Root;
use crate::report::{Breach, message, usage};
use crate::settings::Settings;

/// Memory limits by looking at process trees.
pub struct ProcfsIsolator {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    host: Host,
    settings: Settings,
    procfs: Procfs,
    /// There is somebody to watch, or the isolator goes.
    changed: Condvar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<Key, Container>,
    /// Of the last container; tells one from another that has the same name later.
    last: u64,
    stopping: bool,
}

/// A container's id, outermost first.
type Key = Vec<String>;

struct Container {
    name: String,
    number: u64,
    /// Not known before `isolate`.
    root: Option<Root>,
    /// A nested container that shares its parent's memory has none of its own; a recovered one has none before its first
    /// update.
    limits: Limits,
    shares: bool,
    limit: Arc<LimitWatch>,
    used: Option<Memory>,
}

/// A container to look at in a round.
struct Target {
    key: Key,
    name: String,
    number: u64,
    roots: Vec<Root>,
    limits: Limits,
    limit: Arc<LimitWatch>,
}

impl ProcfsIsolator {
    /// The isolator for these parameters.
    ///
    /// # Errors
    /// When a parameter is wrong.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        let settings = Settings::new(&parameters)?;
        let procfs = Procfs::default();
        settings.warn_of_thrashing(&host, &procfs);
        let (changed, state) = (Condvar::new(), Mutex::default());
        let shared = Arc::new(Shared { host, settings, procfs, changed, state });
        Ok(Self { shared, thread: Mutex::default() })
    }

    /// The thread is only there when there is somebody to watch.
    fn start(&self) -> Result<(), ModuleError> {
        let Some(interval) = self.shared.settings.interval else { return Ok(()) };
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let run = move || Rounds::new(&shared).run(interval);
            let spawned = std::thread::Builder::new().name("mezzo-mem".to_owned()).spawn(run);
            *thread = Some(spawned.map_err(|error| {
                ModuleError::internal(format!("cannot start a thread to watch memory: {error}"))
            })?);
        }
        Ok(())
    }
}

impl Drop for ProcfsIsolator {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has not panicked: there is nothing in it that could.
            let _ = thread.join();
        }
    }
}

impl Isolator for ProcfsIsolator {
    /// The processes of nested containers count for those they are nested in.
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(true), standalone: Some(true) })
    }

    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        self.start()?;
        for found in request.states {
            let shares = shares_memory(&found.container_id, found.container_info.as_ref());
            let root = self.shared.root(found.pid);
            let mut state = self.shared.state();
            state.insert(&found.container_id, Some(root), Limits::default(), shares);
        }
        self.shared.changed.notify_all();
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        self.start()?;
        let id = request.container_id.unwrap_or_default();
        let config = request.config.unwrap_or_default();
        let shares = shares_memory(&id, config.container_info.as_ref());
        let limits = self.shared.settings.limits(&config.resources, &config.limits);
        let limits = if shares { Limits::default() } else { limits };
        let mut state = self.shared.state();
        if state.containers.contains_key(&key(&id)) {
            // It runs, perhaps: in its place would be one without a process, which nothing limits.
            let name = container_name(&id);
            let message = format!("container `{name}` has been prepared already");
            return Err(ModuleError::new(Code::AlreadyExists, message));
        }
        state.insert(&id, None, limits, shares);
        Ok(PrepareResponse::default())
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let root = self.shared.root(request.pid.unwrap_or_default());
        let mut state = self.shared.state();
        let Some(container) = state.containers.get_mut(&key(&id)) else {
            let name = container_name(&id);
            return Err(ModuleError::not_found(format!("container `{name}` was not prepared")));
        };
        container.root = Some(root);
        drop(state);
        self.shared.changed.notify_all();
        Ok(IsolateResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let key = key(&request.container_id.unwrap_or_default());
        let limit = {
            let state = self.shared.state();
            state.containers.get(&key).map(|container| Arc::clone(&container.limit))
        };
        match limit {
            Some(limit) => limit.watch(done),
            None => done.never(),
        }
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let key = key(&request.container_id.unwrap_or_default());
        let mut state = self.shared.state();
        if let Some(container) = state.containers.get_mut(&key).filter(|known| !known.shares) {
            container.limits = self.shared.settings.limits(&request.requests, &request.limits);
        }
        Ok(UpdateResponse::default())
    }

    /// What the last round saw; nothing before the first that judged it.
    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let state = self.shared.state();
        let Some(container) = state.containers.get(&key(&id)) else {
            let name = container_name(&id);
            return Err(ModuleError::not_found(format!("container `{name}` is unknown")));
        };
        let statistics = ResourceStatistics {
            mem_rss_bytes: container.used.map(|used| used.physical_bytes),
            mem_limit_bytes: container.limits.physical_bytes,
            ..ResourceStatistics::default()
        };
        Ok(UsageResponse { statistics: Some(statistics) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let key = key(&request.container_id.unwrap_or_default());
        // Dropped without the lock: who watches it is told then.
        let container = self.shared.state().containers.remove(&key);
        drop(container);
        Ok(CleanupResponse::default())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that has this pid now. When it is gone already nobody else is taken for it.
    fn root(&self, pid: u64) -> Root {
        let pid = i32::try_from(pid).unwrap_or(0);
        let stat = self.procfs.stat(pid).ok().flatten();
        Root { pid, start_time: Some(stat.map_or(0, |stat| stat.start_time)) }
    }
}

impl State {
    fn insert(&mut self, id: &ContainerId, root: Option<Root>, limits: Limits, shares: bool) {
        self.last += 1;
        let container = Container {
            name: container_name(id),
            number: self.last,
            root,
            limits,
            shares,
            limit: Arc::default(),
            used: None,
        };
        self.containers.insert(key(id), container);
    }

    /// Who is looked at: all that have a process, are not over already, and whose memory is their own.
    fn targets(&self) -> Vec<Target> {
        let watched = self.containers.iter().filter_map(|(key, container)| {
            let root = container.root.filter(|_| !container.shares)?;
            (!container.limit.is_reached()).then_some((key, container, root))
        });
        let target = |(key, container, root): (&Key, &Container, Root)| {
            // Those nested in it come right after it.
            let after = (Bound::Excluded(key), Bound::Unbounded);
            let nested = self
                .containers
                .range::<Key, _>(after)
                .take_while(|(other, _)| other.starts_with(key))
                .filter_map(|(_, nested)| nested.root);
            Target {
                key: key.clone(),
                name: container.name.clone(),
                number: container.number,
                roots: std::iter::once(root).chain(nested).collect(),
                limits: container.limits,
                limit: Arc::clone(&container.limit),
            }
        };
        watched.map(target).collect()
    }
}

/// The thread's own: what it has seen in the rounds before.
struct Rounds<'a> {
    shared: &'a Shared,
    measurer: Box<dyn TreeMeasurer>,
    monitored: HashMap<u64, Monitored>,
    /// Who could not be measured, told once.
    complained: HashSet<u64>,
    started: Instant,
    tick_millis: u64,
}

impl<'a> Rounds<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            measurer: shared.settings.measurer(),
            monitored: HashMap::new(),
            complained: HashSet::new(),
            started: Instant::now(),
            tick_millis: tick_millis(),
        }
    }

    fn run(mut self, interval: std::time::Duration) {
        let changed = &self.shared.changed;
        loop {
            let nobody = |state: &mut State| !state.stopping && state.containers.is_empty();
            let state = changed
                .wait_while(self.shared.state(), nobody)
                .unwrap_or_else(PoisonError::into_inner);
            if state.stopping {
                return;
            }
            let targets = state.targets();
            drop(state);
            self.round(&targets);
            // After the round, however long it took.
            let _ = changed
                .wait_timeout_while(self.shared.state(), interval, |state| !state.stopping)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn round(&mut self, targets: &[Target]) {
        let numbers: HashSet<u64> = targets.iter().map(|target| target.number).collect();
        self.monitored.retain(|number, _| numbers.contains(number));
        self.complained.retain(|number| numbers.contains(number));
        self.shared.host.count("rounds", 1);
        let begun = self.measurer.begin_round();
        for target in targets {
            let measured = begun.clone().and_then(|()| self.measurer.tree(&target.roots));
            let processes = match measured {
                Ok(processes) => processes,
                Err(error) => {
                    self.shared.host.count("unmeasured", 1);
                    if self.complained.insert(target.number) {
                        let name = &target.name;
                        self.shared
                            .host
                            .warn(format!("cannot measure container `{name}`: {error}"));
                    }
                    continue;
                }
            };
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let monitored = self.monitored.entry(target.number).or_default();
            let verdict = monitored.round(processes, now, self.tick_millis, target.limits);
            if verdict != Verdict::TooEarly {
                self.record(target);
            }
            if let Verdict::Over { kind, excess } = verdict {
                self.end(target, kind, excess);
            }
        }
    }

    fn record(&self, target: &Target) {
        let Some(monitored) = self.monitored.get(&target.number) else { return };
        let used = monitored.total(0);
        let mut state = self.shared.state();
        let container = state.containers.get_mut(&target.key);
        if let Some(container) = container.filter(|known| known.number == target.number) {
            container.used = Some(used);
        }
        drop(state);
        self.shared.host.debug(format!(
            "container `{}`: {}; {:.1} % of a CPU, {} ms of CPU time so far",
            target.name,
            usage(used, target.limits),
            monitored.cpu_percent().unwrap_or(0.0),
            monitored.cpu_ticks().saturating_mul(self.tick_millis),
        ));
    }

    /// The container is over its memory: whoever watches it hears of it, and no round looks at it again.
    fn end(&self, target: &Target, kind: Kind, excess: u64) {
        let Some(monitored) = self.monitored.get(&target.number) else { return };
        let host = &self.shared.host;
        let (used, root) = (monitored.total(0), target.roots.first().map_or(0, |root| root.pid));
        if let Some(leader) = monitored.processes().find(|process| process.pid == root)
            && leader.pgrp != root
        {
            host.error(format!(
                "container `{}`: its first process {root} is not the leader of its process group",
                target.name
            ));
        }
        let command_line = |pid| {
            let words = self.shared.procfs.cmdline(pid).ok().flatten()?;
            Some(words.join(" "))
        };
        let container = &target.name;
        let breach = Breach { container, root, kind, excess, used, limits: target.limits };
        let text = message(&breach, monitored.processes(), command_line);
        host.warn(text.as_str());
        host.count("over_limit", 1);
        let bytes = match kind {
            Kind::Virtual => used.virtual_bytes,
            Kind::Physical => used.physical_bytes,
        };
        target.limit.reach(ContainerLimitation {
            resources: vec![memory(bytes)],
            message: Some(text),
            reason: Some(Reason::ContainerLimitationMemory.into()),
        });
    }
}

fn key(id: &ContainerId) -> Key {
    let mut key: Key = std::iter::successors(Some(id), |id| id.parent.as_deref())
        .map(|id| id.value.clone())
        .collect();
    key.reverse();
    key
}

/// So much memory, as a resource.
fn memory(bytes: u64) -> Resource {
    #[allow(clippy::cast_precision_loss, reason = "megabytes are exact far beyond any machine")]
    let value = bytes as f64 / f64::from(1 << 20);
    Resource {
        name: "mem".to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(Scalar { value }),
        ..Resource::default()
    }
}

/// True for a nested container that lives on the memory of the one around it, as it does unless it says otherwise.
fn shares_memory(id: &ContainerId, info: Option<&mezzo_module_api::types::ContainerInfo>) -> bool {
    let linux = info.and_then(|info| info.linux_info.as_ref());
    id.parent.is_some() && linux.and_then(|linux| linux.share_cgroups).unwrap_or(true)
}

impl std::fmt::Debug for ProcfsIsolator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcfsIsolator").finish_non_exhaustive()
    }
}
