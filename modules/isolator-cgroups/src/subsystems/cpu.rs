//! `cpu` (with `cpuacct` in version 1): a share by request, a quota by limit, CPU time and throttling.

use mezzo_linux::cgroup::{v1, v2};
use mezzo_linux::procfs::online_cpus;
use mezzo_module_api::ModuleError;
use mezzo_module_api::v1::ContainerConfig;
use mezzo_proto::v1::ResourceStatistics;

use crate::amount::{Amount, Asked};
use crate::container::{Container, PerContainer};
use crate::layout::broken;
use crate::subsystem::{Setup, Subsystem};

/// Revocable CPUs count for a hundredth: 10 shares of 1024, weight 1 of 100.
const LOW_PRIORITY: f64 = 0.01;

/// The controller.
#[derive(Debug)]
struct Cpu {
    is_v2: bool,
    enable_cfs: bool,
    low_priority: bool,
    count_processes: bool,
    /// Unknown between recovery and the first update.
    amounts: PerContainer<Option<Amount>>,
}

pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    Ok(Box::new(Cpu {
        is_v2: setup.layout.is_v2(),
        enable_cfs: setup.flag("cgroups_enable_cfs", false)?,
        low_priority: setup.flag("revocable_cpu_low_priority", true)?,
        count_processes: setup.flag("cgroups_cpu_enable_pids_and_tids_count", false)?,
        amounts: PerContainer::default(),
    }))
}

impl Subsystem for Cpu {
    fn prepare(&self, container: &Container<'_>, _: &ContainerConfig) -> Result<(), ModuleError> {
        self.recover(container)
    }

    fn recover(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        self.amounts.insert(container, None);
        Ok(())
    }

    fn update(&self, container: &Container<'_>, asked: &Asked<'_>) -> Result<(), ModuleError> {
        let amount = asked.amount("cpus");
        let Some(request) = amount.request else {
            return Err(ModuleError::invalid(format!(
                "container `{}` requests no cpus",
                container.name
            )));
        };
        let share =
            if amount.revocable && self.low_priority { request * LOW_PRIORITY } else { request };
        let quota = amount.limit.or(self.enable_cfs.then_some(request));
        let cgroup = container.cgroup("cpu")?;
        if self.is_v2 {
            let cpu = v2::Cpu::new(cgroup);
            cpu.set_weight(share).map_err(broken)?;
            // Written every time: without a limit it says "no limit".
            cpu.set_quota(quota).map_err(broken)?;
        } else {
            let cpu = v1::Cpu::new(cgroup);
            cpu.set_shares(share).map_err(broken)?;
            quota.map_or(Ok(()), |quota| cpu.set_quota(quota)).map_err(broken)?;
        }
        self.amounts.with(container, |known| *known = Some(amount));
        Ok(())
    }

    fn usage(
        &self,
        container: &Container<'_>,
        statistics: &mut ResourceStatistics,
    ) -> Result<(), ModuleError> {
        if self.is_v2 {
            let stat = v2::Cpu::new(container.cgroup("cpu")?).stat().map_err(broken)?;
            statistics.cpus_user_time_secs = Some(stat.user.as_secs_f64());
            statistics.cpus_system_time_secs = Some(stat.system.as_secs_f64());
            set_throttling(statistics, stat.nr_periods, stat.nr_throttled, stat.throttled_time);
        } else {
            let cpuacct = v1::Cpuacct::new(container.cgroup("cpuacct")?);
            let time = cpuacct.stat().map_err(broken)?;
            statistics.cpus_user_time_secs = Some(time.user.as_secs_f64());
            statistics.cpus_system_time_secs = Some(time.system.as_secs_f64());
            // Without quotas the kernel's numbers stay 0 and would only puzzle.
            if self.enable_cfs {
                let stat = v1::Cpu::new(container.cgroup("cpu")?).stat().map_err(broken)?;
                set_throttling(statistics, stat.nr_periods, stat.nr_throttled, stat.throttled_time);
            }
        }
        if self.count_processes {
            let inside = container.inside("cpu")?;
            let count = |pids: Vec<i32>| u32::try_from(pids.len()).unwrap_or(u32::MAX);
            statistics.processes = Some(count(inside.procs().map_err(broken)?));
            statistics.threads = Some(count(inside.threads().map_err(broken)?));
        }
        if let Some(amount) = self.amounts.with(container, |amount| *amount).flatten() {
            statistics.cpus_soft_limit = amount.request;
            statistics.cpus_limit = match amount.limit {
                Some(f64::INFINITY) => online_cpus().ok().map(f64::from),
                Some(limit) => Some(limit),
                None => amount.request.filter(|_| self.enable_cfs),
            };
        }
        Ok(())
    }

    fn cleanup(&self, container: &Container<'_>) {
        self.amounts.take(&container.name);
    }
}

fn set_throttling(
    statistics: &mut ResourceStatistics,
    periods: u64,
    throttled: u64,
    time: std::time::Duration,
) {
    statistics.cpus_nr_periods = Some(u32::try_from(periods).unwrap_or(u32::MAX));
    statistics.cpus_nr_throttled = Some(u32::try_from(throttled).unwrap_or(u32::MAX));
    statistics.cpus_throttled_time_secs = Some(time.as_secs_f64());
}
