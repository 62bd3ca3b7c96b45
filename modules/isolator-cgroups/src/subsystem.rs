//! What one controller does for a container, and which controllers there are.

use std::sync::Arc;

use mezzo_linux::cgroup::Hierarchies;
use mezzo_module_api::v1::ContainerConfig;
use mezzo_module_api::{Host, ModuleError, Parameters};
use mezzo_proto::v1::{ContainerStatus, ResourceStatistics};

use crate::amount::Asked;
use crate::container::Container;
use crate::layout::Layout;
use crate::subsystems::{blkio, cpu, cpuset, devices, hugetlb, mem, net_cls, perf_event, pids};
use crate::watcher::Watcher;

/// One controller: limits and measures containers in cgroups that the isolator has made for it.
///
/// Called for containers with cgroups of their own only. Every method has a default that does nothing.
pub(crate) trait Subsystem: Send + Sync {
    /// The container's cgroups are new and empty. `update` follows.
    fn prepare(&self, _: &Container<'_>, _: &ContainerConfig) -> Result<(), ModuleError> {
        Ok(())
    }

    /// The container lives on from an earlier life of the agent. What it asked for is not known until `update`.
    fn recover(&self, _: &Container<'_>) -> Result<(), ModuleError> {
        Ok(())
    }

    /// A process is about to be put into the container's cgroups.
    fn isolate(&self, _: &Container<'_>, _pid: i32) -> Result<(), ModuleError> {
        Ok(())
    }

    /// What the container asks for.
    fn update(&self, _: &Container<'_>, _: &Asked<'_>) -> Result<(), ModuleError> {
        Ok(())
    }

    /// Adds what it measures.
    fn usage(&self, _: &Container<'_>, _: &mut ResourceStatistics) -> Result<(), ModuleError> {
        Ok(())
    }

    /// Adds what can be seen from outside.
    fn status(&self, _: &Container<'_>, _: &mut ContainerStatus) -> Result<(), ModuleError> {
        Ok(())
    }

    /// The container's cgroups are about to be removed. Comes also for containers that it never heard of.
    fn cleanup(&self, _: &Container<'_>) {}
}

/// What a subsystem is made of.
pub(crate) struct Setup<'a> {
    pub(crate) host: &'a Host,
    pub(crate) parameters: &'a Parameters,
    pub(crate) layout: &'a Layout,
    pub(crate) watcher: &'a Arc<Watcher>,
}

impl Setup<'_> {
    /// A parameter that is `true` or `false`.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, ModuleError> {
        Ok(self.parameters.parse(key)?.unwrap_or(default))
    }
}

/// A subsystem that can be chosen.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The module is `cgroups/<name>`.
    pub(crate) name: &'static str,
    /// Its controllers in version 1.
    pub(crate) v1: &'static [&'static str],
    /// Those in version 2 that have to be switched on; `None` when there is no such thing.
    v2: Option<&'static [&'static str]>,
    /// The parameter by which an operator asks for it.
    pub(crate) parameter: Option<&'static str>,
    make: Make,
}

/// All of them, in the order in which `cgroups/all` asks them.
pub(crate) const KINDS: &[Kind] = &[
    Kind { v2: Some(&["cpu"]), ..kind("cpu", &["cpu", "cpuacct"], cpu::make) },
    Kind { v2: Some(&["memory"]), ..kind("mem", &["memory"], mem::make) },
    Kind {
        v2: Some(&["pids"]),
        parameter: Some("pids_max"),
        ..kind("pids", &["pids"], pids::make)
    },
    Kind { v2: Some(&["cpuset"]), ..kind("cpuset", &["cpuset"], cpuset::make) },
    // A program in version 2, which no controller has to be switched on for; nor has perf_event.
    Kind {
        v2: Some(&[]),
        parameter: Some("allowed_devices"),
        ..kind("devices", &["devices"], devices::make)
    },
    Kind { v2: Some(&["io"]), ..kind("blkio", &["blkio"], blkio::make) },
    Kind {
        parameter: Some("cgroups_net_cls_primary_handle"),
        ..kind("net_cls", &["net_cls"], net_cls::make)
    },
    Kind {
        v2: Some(&[]),
        parameter: Some("perf_events"),
        ..kind("perf_event", &["perf_event"], perf_event::make)
    },
    Kind { v2: Some(&["hugetlb"]), ..kind("hugetlb", &["hugetlb"], hugetlb::make) },
];

type Make = fn(&Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError>;

/// One that is in version 1 only and needs no parameter.
const fn kind(name: &'static str, v1: &'static [&'static str], make: Make) -> Kind {
    Kind { name, v1, v2: None, parameter: None, make }
}

impl Kind {
    /// The subsystem. `Unavailable` when this machine cannot do it.
    pub(crate) fn make(&self, setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
        (self.make)(setup)
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Result<&'static Self, ModuleError> {
        KINDS
            .iter()
            .find(|kind| kind.name == name)
            .ok_or_else(|| ModuleError::internal(format!("there is no subsystem `{name}`")))
    }

    /// Its controllers in these hierarchies, which all exist there.
    pub(crate) fn controllers(
        &self,
        hierarchies: &Hierarchies,
    ) -> Result<&'static [&'static str], ModuleError> {
        let (controllers, available) = match hierarchies {
            Hierarchies::V1(found) => (self.v1, found.controllers().collect::<Vec<_>>()),
            Hierarchies::V2(found) => {
                let Some(controllers) = self.v2 else {
                    return Err(ModuleError::internal(format!(
                        "isolator `cgroups/{}` needs cgroup version 1, this machine has version 2",
                        self.name
                    )));
                };
                (controllers, found.controllers.iter().map(String::as_str).collect())
            }
        };
        match controllers.iter().find(|controller| !available.contains(*controller)) {
            None => Ok(controllers),
            Some(missing) => Err(ModuleError::internal(format!(
                "isolator `cgroups/{}` needs the cgroup controller `{missing}`, this machine has only {}",
                self.name,
                available.join(", ")
            ))),
        }
    }
}
