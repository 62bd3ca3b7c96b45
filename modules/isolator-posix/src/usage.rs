//! `posix/cpu` and `posix/mem`: the same book of containers, two things measured.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mezzo_linux::process::ProcessId;
use mezzo_linux::procfs::{Procfs, Stat, online_cpus};
use mezzo_model::ContainerId;
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, IsolateRequest, IsolateResponse, PrepareRequest,
    PrepareResponse, RecoverRequest, RecoverResponse, UpdateRequest, UpdateResponse, UsageRequest,
    UsageResponse,
};
use mezzo_module_api::{Code, Host, Isolator, ModuleError, Parameters, megabytes_to_bytes};
use mezzo_proto::v1::{self, ResourceStatistics};

use crate::asked::Asked;
use crate::table;

/// `posix/cpu`.
pub type CpuIsolator = UsageIsolator<Cpu>;
/// `posix/mem`.
pub type MemIsolator = UsageIsolator<Mem>;

/// What is measured of a container's processes.
pub trait Measure: Send + Sync + 'static {
    /// What is remembered from one time to the next.
    type Memory: Clone + Default + Send + Sync;
    /// The resource.
    const RESOURCE: &'static str;

    /// Puts what the processes use into the statistics.
    fn measure(processes: &[&Stat], memory: &mut Self::Memory, into: &mut ResourceStatistics);

    /// Puts what was asked for into the statistics.
    fn limits(asked: Asked, into: &mut ResourceStatistics);
}

/// CPU time.
#[derive(Debug)]
pub enum Cpu {}

/// Resident memory.
#[derive(Debug)]
pub enum Mem {}

impl Measure for Cpu {
    /// User and system time as last told.
    type Memory = (Duration, Duration);
    const RESOURCE: &'static str = "cpus";

    fn measure(
        processes: &[&Stat],
        (user, system): &mut Self::Memory,
        into: &mut ResourceStatistics,
    ) {
        // A process that its parent did not wait for takes its time with it. What was told once stays told.
        *user = sum(processes, |stat| stat.user_time + stat.children_user_time).max(*user);
        *system = sum(processes, |stat| stat.system_time + stat.children_system_time).max(*system);
        into.cpus_user_time_secs = Some(user.as_secs_f64());
        into.cpus_system_time_secs = Some(system.as_secs_f64());
    }

    fn limits(asked: Asked, into: &mut ResourceStatistics) {
        into.cpus_soft_limit = asked.request;
        into.cpus_limit = asked.limit_of(|| online_cpus().ok().map(f64::from));
    }
}

impl Measure for Mem {
    type Memory = ();
    const RESOURCE: &'static str = "mem";

    fn measure(processes: &[&Stat], (): &mut (), into: &mut ResourceStatistics) {
        let rss = processes.iter().fold(0_u64, |all, stat| all.saturating_add(stat.rss_bytes));
        into.mem_rss_bytes = Some(rss);
    }

    fn limits(asked: Asked, into: &mut ResourceStatistics) {
        into.mem_soft_limit_bytes = asked.request.map(megabytes_to_bytes);
        into.mem_limit_bytes = match asked.limit {
            Some(limit) if limit.is_infinite() => {
                Procfs::default().meminfo().ok().map(|memory| memory.total)
            }
            limit => limit.or(asked.request).map(megabytes_to_bytes),
        };
    }
}

fn sum(processes: &[&Stat], time: impl Fn(&Stat) -> Duration) -> Duration {
    processes.iter().fold(Duration::ZERO, |all, stat| all.saturating_add(time(stat)))
}

/// Knows the first process of every container and measures its tree.
pub struct UsageIsolator<M: Measure> {
    containers: Mutex<HashMap<ContainerId, Container<M::Memory>>>,
    measure: PhantomData<fn() -> M>,
}

#[derive(Clone, Debug, Default)]
struct Container<T> {
    /// Its first process. `None` before `isolate`.
    root: Option<ProcessId>,
    asked: Asked,
    memory: T,
}

impl<M: Measure> UsageIsolator<M> {
    /// The isolator. There are no parameters.
    ///
    /// # Errors
    /// When there are.
    pub fn new(_: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&[])?;
        Ok(Self { containers: Mutex::default(), measure: PhantomData })
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<ContainerId, Container<M::Memory>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Measure> Isolator for UsageIsolator<M> {
    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        for state in request.states {
            let id = known(Some(&state.container_id))?;
            // A process that has ended meanwhile is told by whoever waits for it.
            let root = process(state.pid).ok().flatten();
            self.containers().insert(id, Container { root, ..Container::default() });
        }
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = known(request.container_id.as_ref())?;
        let config = request.config.unwrap_or_default();
        let asked = Asked::of(M::RESOURCE, &config.resources, &config.limits);
        let mut containers = self.containers();
        if containers.contains_key(&id) {
            let message = format!("container `{id}` has been prepared already");
            return Err(ModuleError::new(Code::AlreadyExists, message));
        }
        containers.insert(id, Container { asked, ..Container::default() });
        Ok(PrepareResponse::default())
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let id = known(request.container_id.as_ref())?;
        let root = process(request.pid.unwrap_or_default())?;
        match self.containers().get_mut(&id) {
            Some(container) => container.root = root,
            None => {
                return Err(ModuleError::not_found(format!("container `{id}` was not prepared")));
            }
        }
        Ok(IsolateResponse::default())
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let asked = Asked::of(M::RESOURCE, &request.requests, &request.limits);
        if let Ok(id) = known(request.container_id.as_ref())
            && let Some(container) = self.containers().get_mut(&id)
        {
            container.asked = asked;
        }
        Ok(UpdateResponse::default())
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let id = known(request.container_id.as_ref())?;
        let unknown = || ModuleError::not_found(format!("container `{id}` is unknown"));
        let (root, asked) = {
            let containers = self.containers();
            let container = containers.get(&id).ok_or_else(unknown)?;
            (container.root, container.asked)
        };
        let mut statistics = ResourceStatistics::default();
        M::limits(asked, &mut statistics);
        if let Some(root) = root {
            let table = table::with(root.pid)?;
            // The pid may be another process's by now.
            if table.get(root.pid).is_none_or(|stat| stat.start_time != root.start_time) {
                let message = format!("process {} of container `{id}` has ended", root.pid);
                return Err(ModuleError::not_found(message));
            }
            let mut containers = self.containers();
            let container = containers.get_mut(&id).ok_or_else(unknown)?;
            M::measure(&table.tree([root.pid]), &mut container.memory, &mut statistics);
        }
        Ok(UsageResponse { statistics: Some(statistics) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        if let Ok(id) = known(request.container_id.as_ref()) {
            self.containers().remove(&id);
        }
        Ok(CleanupResponse::default())
    }
}

impl<M: Measure> std::fmt::Debug for UsageIsolator<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let containers = self.containers().len();
        f.debug_struct("UsageIsolator")
            .field("of", &M::RESOURCE)
            .field("containers", &containers)
            .finish()
    }
}

fn known(id: Option<&v1::ContainerId>) -> Result<ContainerId, ModuleError> {
    let id = id.ok_or_else(|| ModuleError::invalid("container_id is missing"))?;
    ContainerId::from_proto(id).map_err(|error| ModuleError::invalid(error.to_string()))
}

/// The process of this pid, if it is still there.
fn process(pid: u64) -> Result<Option<ProcessId>, ModuleError> {
    let wrong = || ModuleError::invalid(format!("pid is {pid}, expected a process id above 0"));
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(wrong)?;
    ProcessId::of(pid).map_err(|error| ModuleError::internal(error.to_string()))
}
