//! `cgroups/cpu`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mezzo_linux::cgroup::{v1, v2};
use mezzo_linux::procfs::online_cpus;
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, IsolateRequest, IsolateResponse, IsolatorCapabilitiesRequest,
    IsolatorCapabilitiesResponse, PrepareRequest, PrepareResponse, RecoverRequest, RecoverResponse,
    UpdateRequest, UpdateResponse, UsageRequest, UsageResponse,
};
use mezzo_module_api::{Host, Isolator, ModuleError, Parameters};
use mezzo_proto::v1::{ContainerId, ResourceStatistics};

use crate::amount::{Amount, Asked, display};
use crate::layout::{Layout, broken, root_of, shares_cgroups};
use crate::settings::Settings;

/// Revocable CPUs count for a hundredth: 10 shares of 1024, weight 1 of 100.
const LOW_PRIORITY: f64 = 0.01;

/// Shares, quotas and statistics of CPUs.
#[derive(Debug)]
pub struct CpuIsolator {
    host: Host,
    settings: Settings,
    layout: Layout,
    containers: Mutex<HashMap<String, Container>>,
}

#[derive(Clone, Debug)]
enum Container {
    /// In cgroups of its own. The amount is unknown between recovery and the first update.
    Own(Option<Amount>),
    /// In its root's.
    Shared,
}

impl CpuIsolator {
    /// The isolator for these parameters.
    ///
    /// # Errors
    /// When a parameter is wrong or the machine has not got the controllers.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        let settings = Settings::new(&parameters)?;
        let layout = Layout::new(&settings, &["cpu", "cpuacct"])?;
        Ok(Self { host, settings, layout, containers: Mutex::default() })
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<String, Container>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes share and quota.
    fn apply(&self, id: &ContainerId, amount: Amount) -> Result<(), ModuleError> {
        let Some(request) = amount.request else {
            return Err(ModuleError::invalid(format!(
                "container `{}` requests no cpus",
                display(id)
            )));
        };
        let share = if amount.revocable && self.settings.low_priority {
            request * LOW_PRIORITY
        } else {
            request
        };
        let quota = amount.limit.or(self.settings.enable_cfs.then_some(request));
        let control = self.layout.control("cpu", id)?;
        if self.layout.is_v2() {
            let cpu = v2::Cpu::new(control);
            cpu.set_weight(share).map_err(broken)?;
            // Written every time: without a limit it says "no limit".
            return cpu.set_quota(quota).map_err(broken);
        }
        let cpu = v1::Cpu::new(control);
        cpu.set_shares(share).map_err(broken)?;
        quota.map_or(Ok(()), |quota| cpu.set_quota(quota)).map_err(broken)
    }

    fn statistics(
        &self,
        id: &ContainerId,
        amount: Option<Amount>,
    ) -> Result<ResourceStatistics, ModuleError> {
        let control = self.layout.control("cpu", id)?;
        let mut statistics = ResourceStatistics::default();
        let throttling = if self.layout.is_v2() {
            let stat = v2::Cpu::new(control.clone()).stat().map_err(broken)?;
            statistics.cpus_user_time_secs = Some(stat.user.as_secs_f64());
            statistics.cpus_system_time_secs = Some(stat.system.as_secs_f64());
            Some((stat.nr_periods, stat.nr_throttled, stat.throttled_time))
        } else {
            let time =
                v1::Cpuacct::new(self.layout.control("cpuacct", id)?).stat().map_err(broken)?;
            statistics.cpus_user_time_secs = Some(time.user.as_secs_f64());
            statistics.cpus_system_time_secs = Some(time.system.as_secs_f64());
            // Without quotas the kernel's numbers stay 0 and would only puzzle.
            let stat = self
                .settings
                .enable_cfs
                .then(|| v1::Cpu::new(control.clone()).stat())
                .transpose()
                .map_err(broken)?;
            stat.map(|stat| (stat.nr_periods, stat.nr_throttled, stat.throttled_time))
        };
        if let Some((periods, throttled, time)) = throttling {
            statistics.cpus_nr_periods = Some(u32::try_from(periods).unwrap_or(u32::MAX));
            statistics.cpus_nr_throttled = Some(u32::try_from(throttled).unwrap_or(u32::MAX));
            statistics.cpus_throttled_time_secs = Some(time.as_secs_f64());
        }
        if self.settings.count_processes {
            let inside = if self.layout.is_v2() { v2::leaf(&control) } else { control };
            let count = |pids: Vec<i32>| u32::try_from(pids.len()).unwrap_or(u32::MAX);
            statistics.processes = Some(count(inside.procs().map_err(broken)?));
            statistics.threads = Some(count(inside.threads().map_err(broken)?));
        }
        if let Some(amount) = amount {
            statistics.cpus_soft_limit = amount.request;
            statistics.cpus_limit = match amount.limit {
                Some(f64::INFINITY) => online_cpus().ok().map(f64::from),
                Some(limit) => Some(limit),
                None => amount.request.filter(|_| self.settings.enable_cfs),
            };
        }
        Ok(statistics)
    }
}

impl Drop for CpuIsolator {
    /// Containers outlive an agent; the root goes with the last of them.
    fn drop(&mut self) {
        self.layout.remove_root();
    }
}

impl Isolator for CpuIsolator {
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(true), standalone: Some(true) })
    }

    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        for id in request.states.iter().map(|state| &state.container_id) {
            let own = self.layout.control("cpu", id)?.exists();
            if !own && id.parent.is_none() {
                self.host.warn(format!("container `{}` has no cpu cgroup any more", display(id)));
            }
            let container =
                if own || id.parent.is_none() { Container::Own(None) } else { Container::Shared };
            self.containers().insert(display(id), container);
        }
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        let config = request.config.clone().unwrap_or_default();
        if shares_cgroups(&id, &config) {
            self.containers().insert(display(&id), Container::Shared);
            return Ok(PrepareResponse::default());
        }
        self.layout.create(&id, &config)?;
        let amount =
            Asked::of_prepare(&request).map(|asked| asked.amount("cpus")).unwrap_or_default();
        self.apply(&id, amount)?;
        self.containers().insert(display(&id), Container::Own(Some(amount)));
        Ok(PrepareResponse::default())
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        let container = self.containers().get(&display(&id)).cloned();
        match container {
            Some(Container::Own(_)) => self.layout.attach(&id, &request)?,
            Some(Container::Shared) => self.layout.attach(root_of(&id), &request)?,
            None => {
                return Err(ModuleError::not_found(format!(
                    "container `{}` was not prepared",
                    display(&id)
                )));
            }
        }
        Ok(IsolateResponse::default())
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let id = request.container_id.clone().unwrap_or_default();
        if matches!(self.containers().get(&display(&id)), Some(Container::Own(_))) {
            let amount = Asked::of_update(&request).amount("cpus");
            self.apply(&id, amount)?;
            if let Some(container) = self.containers().get_mut(&display(&id)) {
                *container = Container::Own(Some(amount));
            }
        }
        Ok(UpdateResponse::default())
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let container = self.containers().get(&display(&id)).cloned();
        match container {
            Some(Container::Own(amount)) => {
                Ok(UsageResponse { statistics: Some(self.statistics(&id, amount)?) })
            }
            Some(Container::Shared) => Ok(UsageResponse::default()),
            None => Err(ModuleError::not_found(format!("container `{}` is unknown", display(&id)))),
        }
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let container = self.containers().remove(&display(&id));
        if !matches!(container, Some(Container::Shared)) {
            self.layout.remove(&id)?;
        }
        Ok(CleanupResponse::default())
    }
}
