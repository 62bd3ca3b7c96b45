//! `memory`: a hard limit, which ends the container that hits it, and a softer one at the request.

use std::sync::Arc;

use mezzo_linux::cgroup::v1::{MemoryLimit, PressureCounter, PressureLevel};
use mezzo_linux::cgroup::{Cgroup, memory_bytes, oom_score_adj, v1, v2};
use mezzo_linux::procfs::Procfs;
use mezzo_module_api::v1::ContainerConfig;
use mezzo_module_api::{Host, ModuleError};
use mezzo_proto::v1::ResourceStatistics;

use super::oom::OutOfMemory;
use crate::amount::{Amount, Asked, bytes};
use crate::container::{Container, PerContainer};
use crate::layout::broken;
use crate::subsystem::{Setup, Subsystem};
use crate::watcher::{WatchKey, Watcher};

/// The controller.
#[derive(Debug)]
struct Mem {
    host: Host,
    is_v2: bool,
    limit_swap: bool,
    watcher: Arc<Watcher>,
    procfs: Procfs,
    states: PerContainer<State>,
}

#[derive(Debug)]
struct State {
    /// Unknown between recovery and the first update.
    amount: Option<Amount>,
    /// A hard limit has been written once; from then on it only rises.
    limited: bool,
    /// A command task or a nested container: with less memory requested than allowed it is the first to go.
    expendable: bool,
    oom: WatchKey,
    pressure: Option<Pressure>,
}

#[derive(Debug)]
struct Pressure {
    low: PressureCounter,
    medium: PressureCounter,
    critical: PressureCounter,
}

pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    let (is_v2, limit_swap) = (setup.layout.is_v2(), setup.flag("cgroups_limit_swap", false)?);
    if limit_swap && is_v2 {
        return Err(ModuleError::invalid(
            "parameter `cgroups_limit_swap` is `true`, which cgroup version 2 does not have",
        ));
    }
    Ok(Box::new(Mem {
        host: setup.host.clone(),
        is_v2,
        limit_swap,
        watcher: Arc::clone(setup.watcher),
        procfs: Procfs::default(),
        states: PerContainer::default(),
    }))
}

impl Mem {
    /// Begins to watch the container's cgroup.
    fn arm(
        &self,
        container: &Container<'_>,
        limited: bool,
        expendable: bool,
    ) -> Result<(), ModuleError> {
        let cgroup = container.cgroup("memory")?;
        let watch = if self.is_v2 {
            v2::Memory::new(cgroup.clone()).watch_oom()
        } else {
            v1::Memory::new(cgroup.clone()).watch_oom()
        };
        let pressure = if self.is_v2 { None } else { self.count_pressure(container, &cgroup) };
        let source = OutOfMemory {
            watch: watch.map_err(broken)?,
            cgroup,
            is_v2: self.is_v2,
            host: self.host.clone(),
            name: container.name.clone(),
            alarm: container.alarm.clone(),
        };
        let oom = self.watcher.add(source)?;
        self.states.insert(container, State { amount: None, limited, expendable, oom, pressure });
        Ok(())
    }

    /// A kernel may do without: then the counters are missing from the statistics.
    fn count_pressure(&self, container: &Container<'_>, cgroup: &Cgroup) -> Option<Pressure> {
        let memory = v1::Memory::new(cgroup.clone());
        let counters = || {
            Ok::<_, mezzo_linux::Error>(Pressure {
                low: memory.count_pressure(PressureLevel::Low)?,
                medium: memory.count_pressure(PressureLevel::Medium)?,
                critical: memory.count_pressure(PressureLevel::Critical)?,
            })
        };
        counters()
            .inspect_err(|error| {
                self.host.warn(format!(
                    "container `{}`: memory pressure is not counted: {error}",
                    container.name
                ));
            })
            .ok()
    }
}

impl Subsystem for Mem {
    fn prepare(
        &self,
        container: &Container<'_>,
        config: &ContainerConfig,
    ) -> Result<(), ModuleError> {
        let expendable = config.task_info.is_some() || container.id.parent.is_some();
        self.arm(container, false, expendable)?;
        if self.is_v2 {
            // All of it goes, or an executor that is left tells of a task that was killed before we tell why.
            let memory = v2::Memory::new(container.cgroup("memory")?);
            memory.kill_as_group().map_err(broken)?;
        }
        Ok(())
    }

    /// The first update after a recovery must not lower what the container lives with.
    fn recover(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        self.arm(container, true, false)
    }

    /// The request is the soft limit (version 1: where reclaim aims at; version 2: what is protected).
    fn update(&self, container: &Container<'_>, asked: &Asked<'_>) -> Result<(), ModuleError> {
        let amount = asked.amount("mem");
        let Some(request) = amount.request else {
            return Err(ModuleError::invalid(format!(
                "container `{}` requests no mem",
                container.name
            )));
        };
        let first = !self.states.with(container, |state| state.limited).unwrap_or(true);
        let soft = bytes(request);
        let hard = hard_limit(amount, soft);
        let cgroup = container.cgroup("memory")?;
        if self.is_v2 {
            let memory = v2::Memory::new(cgroup);
            memory.set_low(soft).map_err(broken)?;
            let written =
                if first { memory.set_max(hard) } else { memory.raise_max(hard).map(drop) };
            written.map_err(broken)?;
        } else {
            let memory = v1::Memory::new(cgroup);
            memory.set_soft_limit(soft).map_err(broken)?;
            let written = if first {
                memory.set_hard_limit(hard, self.limit_swap)
            } else {
                memory.raise_hard_limit(hard, self.limit_swap).map(drop)
            };
            written.map_err(broken)?;
        }
        self.states.with(container, |state| {
            state.amount = Some(amount);
            state.limited = true;
        });
        Ok(())
    }

    fn isolate(&self, container: &Container<'_>, pid: i32) -> Result<(), ModuleError> {
        let known = self.states.with(container, |state| (state.expendable, state.amount));
        if let Some((true, Some(amount))) = known
            && !self.is_v2
        {
            let soft = memory_bytes(amount.request.map_or(0, bytes));
            if hard_limit(amount, soft) > MemoryLimit::Bytes(soft) {
                let total = self.procfs.meminfo().map_err(broken)?.total;
                self.procfs.set_oom_score_adj(pid, oom_score_adj(soft, total)).map_err(broken)?;
            }
        }
        Ok(())
    }

    fn usage(
        &self,
        container: &Container<'_>,
        statistics: &mut ResourceStatistics,
    ) -> Result<(), ModuleError> {
        let cgroup = container.cgroup("memory")?;
        if self.is_v2 {
            measure_v2(cgroup, statistics)?;
        } else {
            measure_v1(cgroup, self.limit_swap, statistics)?;
        }
        let amount = self.states.with(container, |state| {
            if let Some(Pressure { low, medium, critical }) = &state.pressure {
                statistics.mem_low_pressure_counter = Some(low.count());
                statistics.mem_medium_pressure_counter = Some(medium.count());
                statistics.mem_critical_pressure_counter = Some(critical.count());
            }
            state.amount
        });
        let amount = amount.flatten().unwrap_or_default();
        if let Some(request) = amount.request {
            statistics.mem_soft_limit_bytes = Some(bytes(request));
            statistics.mem_limit_bytes = match amount.limit {
                Some(f64::INFINITY) => self.procfs.meminfo().ok().map(|memory| memory.total),
                Some(limit) => Some(bytes(limit)),
                None => Some(bytes(request)),
            };
        }
        Ok(())
    }

    fn cleanup(&self, container: &Container<'_>) {
        if let Some(state) = self.states.take(&container.name) {
            self.watcher.remove(state.oom);
        }
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

fn measure_v1(
    cgroup: Cgroup,
    swap: bool,
    statistics: &mut ResourceStatistics,
) -> Result<(), ModuleError> {
    let memory = v1::Memory::new(cgroup);
    let stat = memory.stat().map_err(broken)?;
    let (anonymous, file) = (stat.get("total_rss"), stat.get("total_cache"));
    statistics.mem_total_bytes = Some(memory.usage().map_err(broken)?);
    if swap {
        statistics.mem_total_memsw_bytes = memory.memsw_usage().map_err(broken)?;
    }
    statistics.mem_rss_bytes = anonymous;
    statistics.mem_anon_bytes = anonymous;
    statistics.mem_cache_bytes = file;
    statistics.mem_file_bytes = file;
    statistics.mem_mapped_file_bytes = stat.get("total_mapped_file");
    statistics.mem_swap_bytes = stat.get("total_swap");
    statistics.mem_unevictable_bytes = stat.get("total_unevictable");
    statistics.mem_kmem_usage_bytes = memory.kmem_usage().map_err(broken)?;
    statistics.mem_kmem_tcp_usage_bytes = memory.kmem_tcp_usage().map_err(broken)?;
    Ok(())
}

fn measure_v2(cgroup: Cgroup, statistics: &mut ResourceStatistics) -> Result<(), ModuleError> {
    let memory = v2::Memory::new(cgroup);
    let stat = memory.stat().map_err(broken)?;
    statistics.mem_total_bytes = Some(memory.current().map_err(broken)?);
    statistics.mem_rss_bytes = stat.get("anon");
    statistics.mem_anon_bytes = stat.get("anon");
    statistics.mem_cache_bytes = stat.get("file");
    statistics.mem_file_bytes = stat.get("file");
    statistics.mem_mapped_file_bytes = stat.get("file_mapped");
    statistics.mem_unevictable_bytes = stat.get("unevictable");
    statistics.mem_kmem_usage_bytes = stat.get("kernel");
    statistics.mem_kmem_tcp_usage_bytes = stat.get("sock");
    Ok(())
}
