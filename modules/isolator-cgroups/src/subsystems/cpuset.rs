//! `cpuset`: containers are in the controller, with all the CPUs and memory nodes that there are.

use mezzo_linux::cgroup::v1;
use mezzo_module_api::ModuleError;
use mezzo_module_api::v1::ContainerConfig;

use crate::container::Container;
use crate::layout::broken;
use crate::subsystem::{Setup, Subsystem};

/// The controller.
#[derive(Debug)]
struct Cpuset {
    is_v2: bool,
}

pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    Ok(Box::new(Cpuset { is_v2: setup.layout.is_v2() }))
}

impl Subsystem for Cpuset {
    /// Version 1 gives a new cgroup no CPUs and refuses every process; in version 2 it has its parent's.
    fn prepare(&self, container: &Container<'_>, _: &ContainerConfig) -> Result<(), ModuleError> {
        if self.is_v2 {
            return Ok(());
        }
        let mount = container.mount("cpuset")?;
        v1::Cpuset::new(container.cgroup("cpuset")?).inherit_below(mount).map_err(broken)
    }
}
