//! `cgroups/mem`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mezzo_linux::cgroup::v1::MemoryLimit;
use mezzo_linux::cgroup::{Cgroup, memory_bytes, oom_score_adj, v1, v2};
use mezzo_linux::procfs::Procfs;
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, ContainerLimitation, IsolateRequest, IsolateResponse,
    IsolatorCapabilitiesRequest, IsolatorCapabilitiesResponse, PrepareRequest, PrepareResponse,
    RecoverRequest, RecoverResponse, UpdateRequest, UpdateResponse, UsageRequest, UsageResponse,
    WatchRequest, WatchResponse,
};
use mezzo_module_api::{Completion, Host, Isolator, ModuleError, Parameters};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::value::{self, Scalar};
use mezzo_proto::v1::{ContainerId, Resource, ResourceStatistics};

use crate::amount::{Amount, Asked, bytes, display};
use crate::layout::{Layout, broken, root_of, shares_cgroups};
use crate::oom::{OomWatcher, WatchKey};
use crate::settings::Settings;

const MEGABYTE: u64 = 1024 * 1024;

/// Limits and statistics of memory.
#[derive(Debug)]
pub struct MemIsolator {
    host: Host,
    settings: Settings,
    layout: Layout,
    containers: Arc<Mutex<Containers>>,
    watcher: OomWatcher,
    procfs: Procfs,
}

type Containers = HashMap<String, Container>;

#[derive(Debug, Default)]
struct Container {
    /// Unknown between recovery and the first update.
    amount: Option<Amount>,
    /// In its root's cgroup.
    shared: bool,
    /// A hard limit has been written once; from then on it only rises.
    limited: bool,
    /// A command task or a nested container: with less memory requested than allowed it is the first to go.
    expendable: bool,
    oom: Option<WatchKey>,
    /// Whoever waits for the limitation, or the limitation that nobody has waited for yet.
    waiting: Option<Completion<WatchResponse>>,
    happened: Option<ContainerLimitation>,
}

impl MemIsolator {
    /// The isolator for these parameters.
    ///
    /// # Errors
    /// When a parameter is wrong or the machine has not got the controller.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        let settings = Settings::new(&parameters)?;
        let layout = Layout::new(&settings, &["memory"])?;
        let watcher = OomWatcher::new(host.clone())?;
        Ok(Self {
            host,
            settings,
            layout,
            containers: Arc::default(),
            watcher,
            procfs: Procfs::default(),
        })
    }

    fn containers(&self) -> MutexGuard<'_, Containers> {
        lock(&self.containers)
    }

    /// Writes the limits. The request is the soft one (version 1: where reclaim aims at; version 2: what is protected).
    fn apply(&self, id: &ContainerId, amount: Amount, first: bool) -> Result<(), ModuleError> {
        let Some(request) = amount.request else {
            return Err(ModuleError::invalid(format!(
                "container `{}` requests no mem",
                display(id)
            )));
        };
        let soft = bytes(request);
        let hard = hard_limit(amount, soft);
        let control = self.layout.control("memory", id)?;
        if self.layout.is_v2() {
            let memory = v2::Memory::new(control);
            memory.set_low(soft).map_err(broken)?;
            let written =
                if first { memory.set_max(hard) } else { memory.raise_max(hard).map(|_| ()) };
            return written.map_err(broken);
        }
        let memory = v1::Memory::new(control);
        memory.set_soft_limit(soft).map_err(broken)?;
        let swap = self.settings.limit_swap;
        let written = if first {
            memory.set_hard_limit(hard, swap)
        } else {
            memory.raise_hard_limit(hard, swap).map(|_| ())
        };
        written.map_err(broken)
    }

    /// Begins to watch the container's cgroup.
    fn arm(&self, id: &ContainerId) -> Result<WatchKey, ModuleError> {
        let control = self.layout.control("memory", id)?;
        let is_v2 = self.layout.is_v2();
        let watch = if is_v2 {
            v2::Memory::new(control.clone()).watch_oom()
        } else {
            v1::Memory::new(control.clone()).watch_oom()
        };
        let (name, containers, host) =
            (display(id), Arc::clone(&self.containers), self.host.clone());
        self.watcher.add(watch.map_err(broken)?, move || {
            let limitation = if is_v2 { v2_limitation(&control) } else { v1_limitation(&control) };
            host.info(format!(
                "container `{name}`: {}",
                limitation.message().lines().next().unwrap_or_default()
            ));
            host.count("out_of_memory", 1);
            let waiting = {
                let mut containers = lock(&containers);
                let Some(container) = containers.get_mut(&name) else { return };
                container.oom = None;
                let waiting = container.waiting.take();
                if waiting.is_none() {
                    container.happened = Some(limitation.clone());
                }
                waiting
            };
            if let Some(done) = waiting {
                done.complete(Ok(WatchResponse { limitation: Some(limitation) }));
            }
        })
    }

    fn statistics(
        &self,
        id: &ContainerId,
        amount: Option<Amount>,
    ) -> Result<ResourceStatistics, ModuleError> {
        let control = self.layout.control("memory", id)?;
        let mut statistics = if self.layout.is_v2() {
            v2_statistics(control)?
        } else {
            v1_statistics(control, self.settings.limit_swap)?
        };
        if let Some(request) = amount.and_then(|amount| amount.request) {
            statistics.mem_soft_limit_bytes = Some(bytes(request));
            statistics.mem_limit_bytes = match amount.and_then(|amount| amount.limit) {
                Some(f64::INFINITY) => self.procfs.meminfo().ok().map(|memory| memory.total),
                Some(limit) => Some(bytes(limit)),
                None => Some(bytes(request)),
            };
        }
        Ok(statistics)
    }
}

impl Drop for MemIsolator {
    /// Containers outlive an agent; the root goes with the last of them.
    fn drop(&mut self) {
        self.layout.remove_root();
    }
}

impl Isolator for MemIsolator {
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(true), standalone: Some(true) })
    }

    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        for id in request.states.iter().map(|state| &state.container_id) {
            let exists = self.layout.control("memory", id)?.exists();
            let shared = !exists && id.parent.is_some();
            let oom = if exists { Some(self.arm(id)?) } else { None };
            if !exists && !shared {
                self.host
                    .warn(format!("container `{}` has no memory cgroup any more", display(id)));
            }
            // The first update after a recovery must not lower what the container lives with.
            let container = Container { shared, limited: true, oom, ..Container::default() };
            self.containers().insert(display(id), container);
        }
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        let config = request.config.clone().unwrap_or_default();
        if shares_cgroups(&id, &config) {
            self.containers()
                .insert(display(&id), Container { shared: true, ..Container::default() });
            return Ok(PrepareResponse::default());
        }
        self.layout.create(&id, &config)?;
        let amount =
            Asked::of_prepare(&request).map(|asked| asked.amount("mem")).unwrap_or_default();
        self.apply(&id, amount, true)?;
        let expendable = config.task_info.is_some() || id.parent.is_some();
        let container =
            Container { amount: Some(amount), limited: true, expendable, ..Container::default() };
        self.containers().insert(display(&id), container);
        // After the entry is there: the alarm looks for it.
        let oom = self.arm(&id)?;
        if let Some(container) = self.containers().get_mut(&display(&id)) {
            container.oom = Some(oom);
        }
        Ok(PrepareResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let id = request.container_id.unwrap_or_default();
        let happened = {
            let mut containers = self.containers();
            match containers.get_mut(&display(&id)) {
                Some(container) if !container.shared => match container.happened.take() {
                    Some(limitation) => limitation,
                    None => {
                        container.waiting = Some(done);
                        return;
                    }
                },
                _ => return done.never(),
            }
        };
        done.complete(Ok(WatchResponse { limitation: Some(happened) }));
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        let known = self
            .containers()
            .get(&display(&id))
            .map(|container| (container.shared, container.expendable, container.amount));
        let Some((shared, expendable, amount)) = known else {
            return Err(ModuleError::not_found(format!(
                "container `{}` was not prepared",
                display(&id)
            )));
        };
        if let Some(amount) = amount.filter(|_| expendable && !shared && !self.layout.is_v2()) {
            let soft = memory_bytes(amount.request.map_or(0, bytes));
            let hard = hard_limit(amount, soft);
            if hard > MemoryLimit::Bytes(soft) {
                let total = self.procfs.meminfo().map_err(broken)?.total;
                let pid = i32::try_from(request.pid.unwrap_or_default()).unwrap_or_default();
                self.procfs.set_oom_score_adj(pid, oom_score_adj(soft, total)).map_err(broken)?;
            }
        }
        self.layout.attach(if shared { root_of(&id) } else { &id }, &request)?;
        Ok(IsolateResponse::default())
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        let known = self
            .containers()
            .get(&display(&id))
            .filter(|container| !container.shared)
            .map(|container| container.limited);
        if let Some(limited) = known {
            let amount = Asked::of_update(&request).amount("mem");
            self.apply(&id, amount, !limited)?;
            if let Some(container) = self.containers().get_mut(&display(&id)) {
                container.amount = Some(amount);
            }
        }
        Ok(UpdateResponse::default())
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let known = self
            .containers()
            .get(&display(&id))
            .map(|container| (container.shared, container.amount));
        match known {
            Some((true, _)) => Ok(UsageResponse::default()),
            Some((false, amount)) => {
                Ok(UsageResponse { statistics: Some(self.statistics(&id, amount)?) })
            }
            None => Err(ModuleError::not_found(format!("container `{}` is unknown", display(&id)))),
        }
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let container = self.containers().remove(&display(&id)).unwrap_or_default();
        if let Some(key) = container.oom {
            self.watcher.remove(key);
        }
        if let Some(done) = container.waiting {
            done.never();
        }
        if !container.shared {
            self.layout.remove(&id)?;
        }
        Ok(CleanupResponse::default())
    }
}

/// The limit that ends a container: its limit, else its request.
fn hard_limit(amount: Amount, soft: u64) -> MemoryLimit {
    match amount.limit {
        Some(f64::INFINITY) => MemoryLimit::Unlimited,
        // Limits are whole megabytes.
        Some(limit) => MemoryLimit::Bytes(bytes(limit.floor())),
        None => MemoryLimit::Bytes(soft),
    }
}

fn v1_statistics(control: Cgroup, swap: bool) -> Result<ResourceStatistics, ModuleError> {
    let memory = v1::Memory::new(control);
    let stat = memory.stat().map_err(broken)?;
    let (anonymous, file) = (stat.get("total_rss"), stat.get("total_cache"));
    Ok(ResourceStatistics {
        mem_total_bytes: Some(memory.usage().map_err(broken)?),
        mem_total_memsw_bytes: if swap { memory.memsw_usage().map_err(broken)? } else { None },
        mem_rss_bytes: anonymous,
        mem_anon_bytes: anonymous,
        mem_cache_bytes: file,
        mem_file_bytes: file,
        mem_mapped_file_bytes: stat.get("total_mapped_file"),
        mem_swap_bytes: stat.get("total_swap"),
        mem_unevictable_bytes: stat.get("total_unevictable"),
        mem_kmem_usage_bytes: memory.kmem_usage().map_err(broken)?,
        mem_kmem_tcp_usage_bytes: memory.kmem_tcp_usage().map_err(broken)?,
        ..ResourceStatistics::default()
    })
}

fn v2_statistics(control: Cgroup) -> Result<ResourceStatistics, ModuleError> {
    let memory = v2::Memory::new(control);
    let stat = memory.stat().map_err(broken)?;
    Ok(ResourceStatistics {
        mem_total_bytes: Some(memory.current().map_err(broken)?),
        mem_rss_bytes: stat.get("anon"),
        mem_anon_bytes: stat.get("anon"),
        mem_cache_bytes: stat.get("file"),
        mem_file_bytes: stat.get("file"),
        mem_mapped_file_bytes: stat.get("file_mapped"),
        mem_unevictable_bytes: stat.get("unevictable"),
        mem_kmem_usage_bytes: stat.get("kernel"),
        mem_kmem_tcp_usage_bytes: stat.get("sock"),
        ..ResourceStatistics::default()
    })
}

/// What is told of a container that has run out of memory. What cannot be read is left out: the event itself is certain.
fn v1_limitation(control: &Cgroup) -> ContainerLimitation {
    let memory = v1::Memory::new(control.clone());
    let limit = match memory.hard_limit() {
        Ok(MemoryLimit::Bytes(limit)) => megabytes(limit),
        Ok(MemoryLimit::Unlimited) => "unlimited".to_owned(),
        Err(_) => "unknown".to_owned(),
    };
    let used = memory.max_usage().unwrap_or(0);
    let mut message = format!(
        "Memory limit exceeded: Requested: {limit} Maximum Used: {}\n\nMEMORY STATISTICS: \n",
        megabytes(used)
    );
    for (key, value) in
        memory.stat().unwrap_or_default().iter().filter(|(key, _)| !key.starts_with("hierarchical"))
    {
        let _ = writeln!(message, "{key} {value}");
    }
    limitation(used, message)
}

fn v2_limitation(control: &Cgroup) -> ContainerLimitation {
    let memory = v2::Memory::new(control.clone());
    let limit = match memory.max() {
        Ok(MemoryLimit::Bytes(limit)) => limit,
        _ => memory.peak().ok().flatten().or_else(|| memory.current().ok()).unwrap_or(0),
    };
    let stat = memory.stat().unwrap_or_default();
    let part = |key| megabytes(stat.get(key).unwrap_or(0));
    let peak = memory
        .peak()
        .ok()
        .flatten()
        .map_or_else(String::new, |peak| format!(" Maximum Used: {}", megabytes(peak)));
    let message = format!(
        "Memory limit exceeded: Requested: {}{peak}\n\nAfter the event: anonymous {}, file {}, kernel {}\n",
        megabytes(limit),
        part("anon"),
        part("file"),
        part("kernel"),
    );
    limitation(limit, message)
}

fn limitation(used: u64, message: String) -> ContainerLimitation {
    #[allow(
        clippy::cast_precision_loss,
        reason = "megabytes with three decimals are exact far beyond any machine"
    )]
    let megabytes = used as f64 / MEGABYTE as f64;
    let resource = Resource {
        name: "mem".to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(Scalar { value: megabytes }),
        ..Resource::default()
    };
    ContainerLimitation {
        resources: vec![resource],
        message: Some(message),
        reason: Some(Reason::ContainerLimitationMemory.into()),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}MB", bytes / MEGABYTE)
}

fn lock(containers: &Mutex<Containers>) -> MutexGuard<'_, Containers> {
    containers.lock().unwrap_or_else(PoisonError::into_inner)
}
