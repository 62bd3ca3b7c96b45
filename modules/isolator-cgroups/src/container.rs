//! One container as a subsystem sees it, and what a subsystem keeps per container.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mezzo_linux::cgroup::{Cgroup, v2};
use mezzo_module_api::ModuleError;
use mezzo_proto::v1::ContainerId;

use crate::alarm::Alarm;
use crate::amount::display;
use crate::layout::Layout;

/// A container that has cgroups of its own.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) id: &'a ContainerId,
    /// The text of its id.
    pub(crate) name: String,
    pub(crate) alarm: Alarm,
    layout: &'a Layout,
}

impl<'a> Container<'a> {
    pub(crate) fn new(id: &'a ContainerId, alarm: Alarm, layout: &'a Layout) -> Self {
        Self { id, name: display(id), alarm, layout }
    }

    /// The cgroup with a controller's files.
    pub(crate) fn cgroup(&self, controller: &str) -> Result<Cgroup, ModuleError> {
        self.layout.control(controller, self.id)
    }

    /// The cgroup with its processes.
    pub(crate) fn inside(&self, controller: &str) -> Result<Cgroup, ModuleError> {
        let cgroup = self.cgroup(controller)?;
        Ok(if self.layout.is_v2() { v2::leaf(&cgroup) } else { cgroup })
    }

    /// Where a controller's hierarchy is mounted.
    pub(crate) fn mount(&self, controller: &str) -> Result<&Path, ModuleError> {
        self.layout.mount(controller)
    }

    /// The path below the hierarchy.
    pub(crate) fn path(&self) -> Result<String, ModuleError> {
        self.layout.path(self.id)
    }
}

/// Something for each container, by its name.
#[derive(Debug)]
pub(crate) struct PerContainer<T>(Mutex<HashMap<String, T>>);

impl<T> PerContainer<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, container: &Container<'_>, value: T) {
        self.lock().insert(container.name.clone(), value);
    }

    /// Looks at or changes the container's; `None` when it has none.
    pub(crate) fn with<R>(
        &self,
        container: &Container<'_>,
        look: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        self.lock().get_mut(&container.name).map(look)
    }

    pub(crate) fn take(&self, name: &str) -> Option<T> {
        self.lock().remove(name)
    }
}

impl<T> Default for PerContainer<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
