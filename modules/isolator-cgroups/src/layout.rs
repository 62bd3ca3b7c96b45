//! Where a container's cgroups are, and making and removing them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mezzo_linux::cgroup::{Cgroup, Hierarchies, kill_and_remove, v2};
use mezzo_linux::user::User;
use mezzo_module_api::v1::{ContainerConfig, IsolateRequest};
use mezzo_module_api::{Code, ModuleError};
use mezzo_proto::v1::ContainerId;

use crate::amount::display;
use crate::settings::Settings;

/// How long the kernel may take to let go of a cgroup.
const PATIENCE: Duration = Duration::from_secs(60);
/// The cgroup in a container's cgroup under which its nested ones live.
const NESTED: &str = "mezzo";

/// In version 2 both isolators of this library use one directory per container. The first makes it, and it must not exist
/// then (a leftover would bring its limits with it); the second finds it here.
static SHARED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// Maps containers to cgroups, for some controllers.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    hierarchies: Hierarchies,
    root: String,
    controllers: &'static [&'static str],
}

impl Layout {
    /// The layout for controllers by their version-1 names. (`cpuacct` is a part of `cpu` in version 2.)
    pub(crate) fn new(
        settings: &Settings,
        controllers: &'static [&'static str],
    ) -> Result<Self, ModuleError> {
        let layout = Self {
            hierarchies: settings.hierarchies.clone(),
            root: settings.root.clone(),
            controllers,
        };
        match &layout.hierarchies {
            Hierarchies::V1(found) => found.distinct(controllers).map(|_| ()).map_err(broken)?,
            Hierarchies::V2(found) => {
                let wanted = layout.v2_controllers();
                if let Some(missing) =
                    wanted.iter().find(|wanted| !found.controllers.iter().any(|has| has == *wanted))
                {
                    let has = found.controllers.join(", ");
                    return Err(ModuleError::internal(format!(
                        "the cgroup controller `{missing}` is not available, only {has}"
                    )));
                }
            }
        }
        Ok(layout)
    }

    pub(crate) fn is_v2(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::V2(_))
    }

    /// The cgroup with a controller's files.
    pub(crate) fn control(
        &self,
        controller: &str,
        id: &ContainerId,
    ) -> Result<Cgroup, ModuleError> {
        let path = self.path(id)?;
        match &self.hierarchies {
            Hierarchies::V1(found) => found.cgroup(controller, &path).map_err(broken),
            Hierarchies::V2(found) => found.cgroup(&path).map_err(broken),
        }
    }

    /// The container's cgroups, one per hierarchy.
    fn cgroups(&self, id: &ContainerId) -> Result<Vec<Cgroup>, ModuleError> {
        let path = self.path(id)?;
        match &self.hierarchies {
            Hierarchies::V1(found) => {
                let mounts = found.distinct(self.controllers).map_err(broken)?;
                mounts
                    .into_iter()
                    .map(|mount| Cgroup::below(mount, &path).map_err(broken))
                    .collect()
            }
            Hierarchies::V2(found) => Ok(vec![found.cgroup(&path).map_err(broken)?]),
        }
    }

    /// Makes the container's cgroups; the task's user may make cgroups inside.
    pub(crate) fn create(
        &self,
        id: &ContainerId,
        config: &ContainerConfig,
    ) -> Result<(), ModuleError> {
        for cgroup in self.cgroups(id)? {
            self.make_parents(&cgroup)?;
            if let Err(error) = self.make(&cgroup) {
                if error.code != Code::NotFound {
                    return Err(error);
                }
                // Another agent on this machine that is going away has just removed the root, which was empty for a moment.
                self.make_parents(&cgroup)?;
                self.make(&cgroup)?;
            }
            if let Some(user) = &config.user
                && mezzo_linux::user::is_root()
            {
                let user =
                    User::by_name(user).map_err(|error| ModuleError::invalid(error.to_string()))?;
                let owned = if self.is_v2() { v2::leaf(&cgroup) } else { cgroup };
                owned.chown(user.credentials.uid, user.credentials.gid).map_err(broken)?;
            }
        }
        Ok(())
    }

    /// Puts a process into the container's cgroups.
    pub(crate) fn attach(
        &self,
        id: &ContainerId,
        request: &IsolateRequest,
    ) -> Result<(), ModuleError> {
        let pid = request.pid.unwrap_or_default();
        let pid = i32::try_from(pid)
            .map_err(|_| ModuleError::invalid(format!("pid {pid} is no process id")))?;
        for cgroup in self.cgroups(id)? {
            let cgroup = if self.is_v2() { v2::leaf(&cgroup) } else { cgroup };
            cgroup.attach(pid).map_err(broken)?;
        }
        Ok(())
    }

    /// Kills what is left in the container's cgroups and removes them; those that are gone are fine.
    pub(crate) fn remove(&self, id: &ContainerId) -> Result<(), ModuleError> {
        let cgroups = self.cgroups(id)?;
        kill_and_remove(&cgroups, PATIENCE).map_err(broken)?;
        if self.is_v2()
            && let Some(shared) = SHARED.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            cgroups.iter().for_each(|cgroup| {
                shared.remove(cgroup.path());
            });
        }
        Ok(())
    }

    /// Removes the root if nothing is in it.
    pub(crate) fn remove_root(&self) {
        let mounts = match &self.hierarchies {
            Hierarchies::V1(found) => found.distinct(self.controllers).unwrap_or_default(),
            Hierarchies::V2(found) => vec![found.mount.as_path()],
        };
        for mount in mounts {
            // Not empty, not there, not ours: all the same, it stays as it is.
            let _ = std::fs::remove_dir(mount.join(&self.root));
        }
    }

    fn make(&self, cgroup: &Cgroup) -> Result<(), ModuleError> {
        if self.is_v2() {
            create_shared(cgroup)?;
            return v2::leaf(cgroup).create_all().map_err(broken);
        }
        cgroup.create().map_err(broken)
    }

    /// Makes what is above a container's cgroup; in version 2 controllers are switched on from the top down.
    fn make_parents(&self, cgroup: &Cgroup) -> Result<(), ModuleError> {
        let Some(parent) = cgroup.path().parent().map(Cgroup::new) else { return Ok(()) };
        parent.create_all().map_err(broken)?;
        if let Hierarchies::V2(found) = &self.hierarchies {
            let below = parent.path().strip_prefix(&found.mount).unwrap_or(parent.path());
            let mut path = found.mount.clone();
            v2::enable_controllers(&Cgroup::new(&path), &self.v2_controllers()).map_err(broken)?;
            for part in below.components() {
                path.push(part);
                v2::enable_controllers(&Cgroup::new(&path), &self.v2_controllers())
                    .map_err(broken)?;
            }
        }
        Ok(())
    }

    fn v2_controllers(&self) -> Vec<&'static str> {
        self.controllers.iter().copied().filter(|controller| *controller != "cpuacct").collect()
    }

    /// The path below the hierarchy.
    fn path(&self, id: &ContainerId) -> Result<String, ModuleError> {
        if id.value.is_empty() || id.value.contains('/') {
            return Err(ModuleError::invalid(format!(
                "container id `{}` cannot name a cgroup",
                display(id)
            )));
        }
        match &id.parent {
            Some(parent) => Ok(format!("{}/{NESTED}/{}", self.path(parent)?, id.value)),
            None => Ok(format!("{}/{}", self.root, id.value)),
        }
    }
}

/// True when a nested container lives in its parent's cgroups.
pub(crate) fn shares_cgroups(id: &ContainerId, config: &ContainerConfig) -> bool {
    let linux = config.container_info.as_ref().and_then(|info| info.linux_info.as_ref());
    id.parent.is_some() && linux.and_then(|linux| linux.share_cgroups).unwrap_or(true)
}

/// The outermost container.
pub(crate) fn root_of(id: &ContainerId) -> &ContainerId {
    let mut id = id;
    while let Some(parent) = &id.parent {
        id = parent;
    }
    id
}

fn create_shared(cgroup: &Cgroup) -> Result<(), ModuleError> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = shared.get_or_insert_default();
    if !shared.contains(cgroup.path()) {
        cgroup.create().map_err(broken)?;
        shared.insert(cgroup.path().to_owned());
    }
    Ok(())
}

/// An error of the kernel's files, as a module's.
pub(crate) fn broken(error: mezzo_linux::Error) -> ModuleError {
    let code = if error.is_not_found() { Code::NotFound } else { Code::Internal };
    ModuleError::new(code, error.to_string())
}
