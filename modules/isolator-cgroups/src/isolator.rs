//! The isolator behind every `cgroups/…`: makes cgroups, puts processes in, asks its subsystems, removes cgroups.

use std::sync::Arc;

use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, ContainerState, IsolateRequest, IsolateResponse,
    IsolatorCapabilitiesRequest, IsolatorCapabilitiesResponse, PrepareRequest, PrepareResponse,
    RecoverRequest, RecoverResponse, StatusRequest, StatusResponse, UpdateRequest, UpdateResponse,
    UsageRequest, UsageResponse, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Code, Completion, Host, Isolator, ModuleError, Parameters};
use mezzo_proto::v1::{ContainerId, ContainerStatus, ResourceStatistics};

use crate::alarm::{Containers, Known};
use crate::amount::{Asked, display};
use crate::container::Container;
use crate::layout::{Layout, shares_cgroups};
use crate::settings::Settings;
use crate::subsystem::{KINDS, Kind, Setup, Subsystem};
use crate::watcher::Watcher;

/// Containers in control groups, with one or several subsystems.
pub struct CgroupsIsolator {
    host: Host,
    layout: Layout,
    containers: Containers,
    subsystems: Vec<Part>,
}

/// A subsystem and what it is.
type Part = (&'static Kind, Box<dyn Subsystem>);

/// One constructor for each subsystem.
macro_rules! isolators_of_one_subsystem {
    ($($(#[$doc:meta])* $name:ident)+) => {
        impl CgroupsIsolator {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// When a parameter is wrong or the machine has not got the controller.
                pub fn $name(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
                    let settings = Settings::new(&parameters)?;
                    Self::new(host, &parameters, settings, vec![Kind::named(stringify!($name))?])
                }
            )+
        }
    };
}

isolators_of_one_subsystem! {
    /// `cgroups/cpu`: shares, quotas and statistics of CPUs.
    cpu
    /// `cgroups/mem`: limits and statistics of memory.
    mem
    /// `cgroups/pids`: a limit on the number of processes.
    pids
    /// `cgroups/cpuset`: containers in the controller, with all CPUs and memory nodes.
    cpuset
    /// `cgroups/devices`: which device nodes may be used.
    devices
    /// `cgroups/blkio`: statistics of block devices.
    blkio
    /// `cgroups/net_cls`: a number on every packet.
    net_cls
    /// `cgroups/perf_event`: performance counters.
    perf_event
    /// `cgroups/hugetlb`: containers in the controller.
    hugetlb
}

impl CgroupsIsolator {
    /// `cgroups/all`: every subsystem that this machine has.
    ///
    /// # Errors
    /// When a parameter is wrong, or asks for a subsystem that this machine has not got.
    pub fn all(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        let settings = Settings::new(&parameters)?;
        let mut kinds = Vec::new();
        for kind in KINDS {
            match kind.controllers(&settings.hierarchies) {
                Ok(_) => kinds.push(kind),
                Err(error) => not_here(&host, &parameters, kind, error)?,
            }
        }
        Self::new(host, &parameters, settings, kinds)
    }

    /// With several kinds, those that turn out not to work here are left out.
    fn new(
        host: Host,
        parameters: &Parameters,
        settings: Settings,
        kinds: Vec<&'static Kind>,
    ) -> Result<Self, ModuleError> {
        let layout = Layout::new(settings, &kinds)?;
        let watcher = Arc::new(Watcher::new(host.clone())?);
        let setup = Setup { host: &host, parameters, layout: &layout, watcher: &watcher };
        let mut subsystems = Vec::new();
        for kind in &kinds {
            match kind.make(&setup) {
                Ok(subsystem) => subsystems.push((*kind, subsystem)),
                Err(error) if kinds.len() > 1 && error.code == Code::Unavailable => {
                    not_here(&host, parameters, kind, error)?;
                }
                Err(error) => return Err(error),
            }
        }
        if subsystems.is_empty() {
            return Err(ModuleError::internal("this machine has no cgroup controller to use"));
        }
        Ok(Self { host, layout, containers: Containers::default(), subsystems })
    }

    fn container<'a>(&'a self, id: &'a ContainerId) -> Container<'a> {
        Container::new(id, self.containers.alarm(&display(id)), &self.layout)
    }

    /// Whether the container shares its ancestor's cgroups, and the subsystems that hold it. `None` when it is unknown.
    fn known(&self, id: &ContainerId) -> Option<(bool, Vec<&Part>)> {
        let containers = self.containers.lock();
        let known = containers.get(&display(id))?;
        let held = |(kind, _): &&Part| !known.without.contains(kind.name);
        Some((known.shared, self.subsystems.iter().filter(held).collect()))
    }

    /// The container or the nearest ancestor that has cgroups of its own.
    fn owner<'a>(&self, id: &'a ContainerId) -> &'a ContainerId {
        let containers = self.containers.lock();
        let mut id = id;
        while let Some(parent) = &id.parent
            && containers.get(&display(id)).is_none_or(|known| known.shared)
        {
            id = parent;
        }
        id
    }

    fn recover_one(&self, state: &ContainerState) -> Result<(), ModuleError> {
        let id = &state.container_id;
        let name = display(id);
        let may_share = shares_cgroups(id, state.container_info.as_ref());
        if may_share && (self.layout.is_v2() || !self.layout.exists(id)?) {
            self.containers.lock().insert(name, Known::new(true));
            return Ok(());
        }
        let mut known = Known::new(false);
        if self.layout.exists(id)? {
            // Subsystems of this life may be more than those of the one that started the container.
            if let Err(error) = self.layout.switch_on(id) {
                self.host.warn(format!("container `{name}`: {error}"));
            }
        }
        for (kind, _) in &self.subsystems {
            if !self.layout.holds(kind, id)? {
                self.host.warn(format!(
                    "container `{name}` has no `{}` cgroup: it lives without",
                    kind.name
                ));
                known.without.insert(kind.name);
            }
        }
        self.containers.lock().insert(name.clone(), known);
        let container = self.container(id);
        for (kind, subsystem) in self.known(id).map(|(_, held)| held).unwrap_or_default() {
            if let Err(error) = subsystem.recover(&container) {
                self.host.warn(format!(
                    "container `{name}` lives without `{}`, which cannot be recovered: {error}",
                    kind.name
                ));
                subsystem.cleanup(&container);
                if let Some(known) = self.containers.lock().get_mut(&name) {
                    known.without.insert(kind.name);
                }
            }
        }
        Ok(())
    }
}

impl Drop for CgroupsIsolator {
    /// Containers outlive an agent; the root goes with the last of them.
    fn drop(&mut self) {
        self.layout.remove_root();
    }
}

impl std::fmt::Debug for CgroupsIsolator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.subsystems.iter().map(|(kind, _)| kind.name).collect();
        f.debug_struct("CgroupsIsolator").field("subsystems", &names).finish_non_exhaustive()
    }
}

impl Isolator for CgroupsIsolator {
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(true), standalone: Some(true) })
    }

    /// Orphans need nothing: their cleanup finds them by their id.
    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        // Parents before their children, who may share with them.
        let mut states: Vec<_> = request.states.iter().collect();
        states.sort_by_key(|state| ancestors(&state.container_id));
        states.into_iter().try_for_each(|state| self.recover_one(state))?;
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        let config = request.config.clone().unwrap_or_default();
        let name = display(&id);
        if self.containers.lock().contains_key(&name) {
            return Err(ModuleError::new(
                Code::AlreadyExists,
                format!("container `{name}` was prepared already"),
            ));
        }
        let shared = shares_cgroups(&id, config.container_info.as_ref());
        if shared {
            self.layout.create_for_shared(&id)?;
        } else {
            self.layout.create(&id, &config)?;
        }
        self.containers.lock().insert(name, Known::new(shared));
        if !shared {
            let container = self.container(&id);
            let asked = Asked::of_config(&config);
            for (_, subsystem) in &self.subsystems {
                subsystem.prepare(&container, &config)?;
                subsystem.update(&container, &asked)?;
            }
        }
        Ok(PrepareResponse::default())
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let pid = request.pid.unwrap_or_default();
        let pid = i32::try_from(pid)
            .map_err(|_| ModuleError::invalid(format!("pid {pid} is no process id")))?;
        let Some((shared, subsystems)) = self.known(&id) else {
            return Err(ModuleError::not_found(format!(
                "container `{}` was not prepared",
                display(&id)
            )));
        };
        if shared && !self.layout.is_v2() {
            // The ancestor may have been started when there were fewer subsystems.
            self.layout.attach(self.owner(&id), pid, true)?;
            return Ok(IsolateResponse::default());
        }
        if !shared {
            let container = self.container(&id);
            for (_, subsystem) in subsystems {
                subsystem.isolate(&container, pid)?;
            }
        }
        self.layout.attach(&id, pid, false)?;
        Ok(IsolateResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        self.containers.watch(&display(&request.container_id.unwrap_or_default()), done);
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        let mut outcome = Ok(UpdateResponse::default());
        if let Some((false, subsystems)) = self.known(&id) {
            let container = self.container(&id);
            let asked = Asked::of_update(&request);
            for (_, subsystem) in subsystems {
                // All are told, the first refusal is the outcome.
                if let Err(error) = subsystem.update(&container, &asked) {
                    outcome = outcome.and(Err(error));
                }
            }
            if self.known(&id).is_none() {
                // It ended meanwhile, and its files with it.
                return Ok(UpdateResponse::default());
            }
        }
        outcome
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let Some((shared, subsystems)) = self.known(&id) else { return Err(unknown(&id)) };
        if shared {
            return Ok(UsageResponse::default());
        }
        let container = self.container(&id);
        let mut statistics = ResourceStatistics::default();
        let mut failure = None;
        let all = subsystems.len();
        let mut failed = 0;
        for (_, subsystem) in subsystems {
            // What one cannot measure is left out, unless there is nothing else.
            if let Err(error) = subsystem.usage(&container, &mut statistics) {
                failed += 1;
                failure.get_or_insert(error);
            }
        }
        match failure {
            Some(error) if failed == all => Err(error),
            _ => Ok(UsageResponse { statistics: Some(statistics) }),
        }
    }

    fn status(&self, request: StatusRequest) -> Result<StatusResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        if self.known(&id).is_none() {
            return Err(unknown(&id));
        }
        let owner = self.owner(&id);
        let container = self.container(owner);
        let mut status = ContainerStatus::default();
        for (_, subsystem) in self.known(owner).map(|(_, held)| held).unwrap_or_default() {
            subsystem.status(&container, &mut status)?;
        }
        Ok(StatusResponse { status: Some(status) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let shared = self.containers.forget(&display(&id)).is_some_and(|known| known.shared);
        if !shared {
            let container = self.container(&id);
            self.subsystems.iter().rev().for_each(|(_, subsystem)| subsystem.cleanup(&container));
        }
        if !shared || self.layout.is_v2() {
            self.layout.remove(&id)?;
        }
        Ok(CleanupResponse::default())
    }
}

/// `cgroups/all` does without a kind that this machine has not got, unless the operator asks for it.
fn not_here(
    host: &Host,
    parameters: &Parameters,
    kind: &Kind,
    error: ModuleError,
) -> Result<(), ModuleError> {
    match kind.parameter.filter(|key| parameters.get(key).is_some()) {
        Some(key) => {
            Err(ModuleError::invalid(format!("parameter `{key}` is set, but {}", error.message)))
        }
        None => {
            host.info(format!("cgroups/all does without `{}`: {}", kind.name, error.message));
            Ok(())
        }
    }
}

fn unknown(id: &ContainerId) -> ModuleError {
    ModuleError::not_found(format!("container `{}` is unknown", display(id)))
}

fn ancestors(id: &ContainerId) -> usize {
    id.parent.as_ref().map_or(0, |parent| 1 + ancestors(parent))
}
