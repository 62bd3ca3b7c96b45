//! Where a container's cgroups are, and making and removing them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mezzo_linux::cgroup::{Cgroup, Hierarchies, kill_and_remove, v2};
use mezzo_linux::user::User;
use mezzo_module_api::v1::ContainerConfig;
use mezzo_module_api::{Code, ModuleError};
use mezzo_proto::v1::{ContainerId, ContainerInfo};

use crate::amount::display;
use crate::settings::Settings;
use crate::subsystem::Kind;

/// The cgroup in a container's cgroup under which its nested ones live.
const NESTED: &str = "mezzo";

/// Isolators of this library may use one directory together: all of them in version 2, those of controllers that are mounted
/// together in version 1. The first makes it, and it must not exist then (a leftover would bring its limits with it); the
/// others find it here.
static MADE: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// Maps containers to cgroups, for some controllers.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    settings: Settings,
    /// Those of the hierarchies' version, of all subsystems together.
    controllers: Vec<&'static str>,
}

impl Layout {
    /// The layout for these kinds of subsystems.
    pub(crate) fn new(settings: Settings, kinds: &[&Kind]) -> Result<Self, ModuleError> {
        let mut controllers = Vec::new();
        for kind in kinds {
            controllers.extend(kind.controllers(&settings.hierarchies)?);
        }
        Ok(Self { settings, controllers })
    }

    pub(crate) fn is_v2(&self) -> bool {
        matches!(self.settings.hierarchies, Hierarchies::V2(_))
    }

    /// The cgroup with a controller's files.
    pub(crate) fn control(
        &self,
        controller: &str,
        id: &ContainerId,
    ) -> Result<Cgroup, ModuleError> {
        let path = self.path(id)?;
        match &self.settings.hierarchies {
            Hierarchies::V1(found) => found.cgroup(controller, &path).map_err(broken),
            Hierarchies::V2(found) => found.cgroup(&path).map_err(broken),
        }
    }

    /// Where a controller's hierarchy is mounted.
    pub(crate) fn mount(&self, controller: &str) -> Result<&Path, ModuleError> {
        match &self.settings.hierarchies {
            Hierarchies::V1(found) => found.mount_of(controller).map_err(broken),
            Hierarchies::V2(found) => Ok(&found.mount),
        }
    }

    /// The container's cgroups, one per hierarchy.
    fn cgroups(&self, id: &ContainerId) -> Result<Vec<Cgroup>, ModuleError> {
        let path = self.path(id)?;
        match &self.settings.hierarchies {
            Hierarchies::V1(found) => {
                let mounts = found.distinct(&self.controllers).map_err(broken)?;
                mounts
                    .into_iter()
                    .map(|mount| Cgroup::below(mount, &path).map_err(broken))
                    .collect()
            }
            Hierarchies::V2(found) => Ok(vec![found.cgroup(&path).map_err(broken)?]),
        }
    }

    /// True when the container has a cgroup in any hierarchy.
    pub(crate) fn exists(&self, id: &ContainerId) -> Result<bool, ModuleError> {
        Ok(self.cgroups(id)?.iter().any(Cgroup::exists))
    }

    /// True when the container has the cgroups of a kind of subsystem.
    pub(crate) fn holds(&self, kind: &Kind, id: &ContainerId) -> Result<bool, ModuleError> {
        match &self.settings.hierarchies {
            Hierarchies::V1(_) => kind
                .controllers(&self.settings.hierarchies)?
                .iter()
                .try_fold(true, |held, controller| {
                    Ok(held && self.control(controller, id)?.exists())
                }),
            Hierarchies::V2(_) => self.exists(id),
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
                let owned = self.inside(cgroup);
                owned.chown(user.credentials.uid, user.credentials.gid).map_err(broken)?;
            }
        }
        Ok(())
    }

    /// What a container that shares its ancestor's cgroups has: nothing in version 1; in version 2 a cgroup in which it can
    /// be found and killed, without controllers.
    pub(crate) fn create_for_shared(&self, id: &ContainerId) -> Result<(), ModuleError> {
        let Hierarchies::V2(found) = &self.settings.hierarchies else { return Ok(()) };
        let cgroup = found.cgroup(&self.path(id)?).map_err(broken)?;
        if let Some(parent) = cgroup.path().parent() {
            Cgroup::new(parent).create_all().map_err(broken)?;
        }
        self.make(&cgroup)
    }

    /// Switches the controllers on for a container that exists (version 2).
    pub(crate) fn switch_on(&self, id: &ContainerId) -> Result<(), ModuleError> {
        if self.is_v2() {
            self.cgroups(id)?.iter().try_for_each(|cgroup| self.make_parents(cgroup))?;
        }
        Ok(())
    }

    /// Puts a process into the container's cgroups; `present` only: those that exist.
    ///
    /// One after the other: the kernel makes the first move wait (a millisecond, or ten under load), the next ones pass.
    pub(crate) fn attach(
        &self,
        id: &ContainerId,
        pid: i32,
        present: bool,
    ) -> Result<(), ModuleError> {
        for cgroup in self.cgroups(id)? {
            if present && !cgroup.exists() {
                continue;
            }
            let cgroup = self.inside(cgroup);
            // In version 2 another isolator of this library may have been here first: spares the wait.
            let is_inside = || cgroup.procs().is_ok_and(|inside| inside.contains(&pid));
            if !(self.is_v2() && is_inside()) {
                cgroup.attach(pid).map_err(broken)?;
            }
        }
        Ok(())
    }

    /// Kills what is left in the container's cgroups and removes them; those that are gone are fine.
    pub(crate) fn remove(&self, id: &ContainerId) -> Result<(), ModuleError> {
        let cgroups = self.cgroups(id)?;
        kill_and_remove(&cgroups, self.settings.destroy_timeout).map_err(broken)?;
        if let Some(made) = MADE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            for cgroup in &cgroups {
                made.retain(|path| !path.starts_with(cgroup.path()));
            }
        }
        Ok(())
    }

    /// Removes the root if nothing is in it.
    pub(crate) fn remove_root(&self) {
        let mounts = match &self.settings.hierarchies {
            Hierarchies::V1(found) => found.distinct(&self.controllers).unwrap_or_default(),
            Hierarchies::V2(found) => vec![found.mount.as_path()],
        };
        for mount in mounts {
            // Not empty, not there, not ours: all the same, it stays as it is.
            let _ = std::fs::remove_dir(mount.join(&self.settings.root));
        }
    }

    /// Where the processes of a container are.
    fn inside(&self, cgroup: Cgroup) -> Cgroup {
        if self.is_v2() { v2::leaf(&cgroup) } else { cgroup }
    }

    fn make(&self, cgroup: &Cgroup) -> Result<(), ModuleError> {
        create_once(cgroup)?;
        if self.is_v2() { v2::leaf(cgroup).create_all().map_err(broken) } else { Ok(()) }
    }

    /// Makes what is above a container's cgroup; in version 2 controllers are switched on from the top down.
    fn make_parents(&self, cgroup: &Cgroup) -> Result<(), ModuleError> {
        let Some(parent) = cgroup.path().parent().map(Cgroup::new) else { return Ok(()) };
        parent.create_all().map_err(broken)?;
        if let Hierarchies::V2(found) = &self.settings.hierarchies {
            let below = parent.path().strip_prefix(&found.mount).unwrap_or(parent.path());
            let mut path = found.mount.clone();
            v2::enable_controllers(&Cgroup::new(&path), &self.controllers).map_err(broken)?;
            for part in below.components() {
                path.push(part);
                v2::enable_controllers(&Cgroup::new(&path), &self.controllers).map_err(broken)?;
            }
        }
        Ok(())
    }

    /// The path below the hierarchy.
    pub(crate) fn path(&self, id: &ContainerId) -> Result<String, ModuleError> {
        if id.value.is_empty() || id.value.contains('/') {
            return Err(ModuleError::invalid(format!(
                "container id `{}` cannot name a cgroup",
                display(id)
            )));
        }
        match &id.parent {
            Some(parent) => Ok(format!("{}/{NESTED}/{}", self.path(parent)?, id.value)),
            None => Ok(format!("{}/{}", self.settings.root, id.value)),
        }
    }
}

/// True when a nested container lives in its parent's cgroups.
pub(crate) fn shares_cgroups(id: &ContainerId, info: Option<&ContainerInfo>) -> bool {
    let linux = info.and_then(|info| info.linux_info.as_ref());
    id.parent.is_some() && linux.and_then(|linux| linux.share_cgroups).unwrap_or(true)
}

fn create_once(cgroup: &Cgroup) -> Result<(), ModuleError> {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    if !made.contains(cgroup.path()) {
        cgroup.create().map_err(broken)?;
        made.insert(cgroup.path().to_owned());
    }
    Ok(())
}

/// An error of the kernel's files, as a module's.
pub(crate) fn broken(error: mezzo_linux::Error) -> ModuleError {
    let code = if error.is_not_found() { Code::NotFound } else { Code::Internal };
    ModuleError::new(code, error.to_string())
}
