//! What the isolator knows, shared by the calls and the thread that looks.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mezzo_linux::project_quota::{self, ProjectQuotas};
use mezzo_module_api::{Host, LimitWatch, ModuleError};
use mezzo_proto::v1::Resource;

use super::broken;
use super::places::{Account, Metered, directory_of, label};
use super::projects::Projects;
use super::settings::Settings;
use crate::places::{Place, Quota, places};

pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) settings: Settings,
    pub(crate) work_dir: PathBuf,
    pub(crate) file_systems: Vec<ProjectQuotas>,
    /// The isolator goes.
    pub(crate) stopped: Condvar,
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) containers: HashMap<String, Container>,
    pub(crate) projects: Projects,
    pub(crate) stopping: bool,
}

pub(crate) struct Container {
    /// The sandbox always, whether or not it has a quota.
    pub(crate) places: BTreeMap<Place, Metered>,
    pub(crate) limit: Arc<LimitWatch>,
}

impl Container {
    /// Whose sandbox belongs to this project.
    pub(crate) fn new(sandbox: Account) -> Self {
        let sandbox = Metered { account: sandbox, quota: None };
        Self { places: BTreeMap::from([(Place::Sandbox, sandbox)]), limit: Arc::default() }
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The quotas of the file system that a directory is on.
    pub(crate) fn quotas_of(
        &self,
        directory: &std::path::Path,
    ) -> Result<ProjectQuotas, ModuleError> {
        for quotas in &self.file_systems {
            if quotas.cover(directory).map_err(broken)? {
                return Ok(quotas.clone());
            }
        }
        let known: Vec<_> =
            self.file_systems.iter().map(|q| q.mount_point().display().to_string()).collect();
        Err(ModuleError::invalid(format!(
            "{} is on none of the file systems that disk/xfs knows: {}",
            directory.display(),
            known.join(", ")
        )))
    }

    /// The container's disk resources are these now; one that is unknown has ended meanwhile.
    pub(crate) fn set_resources(
        &self,
        name: &str,
        resources: &[Resource],
    ) -> Result<(), ModuleError> {
        let mut wanted = places(resources);
        let mut state = self.state();
        let State { containers, projects, .. } = &mut *state;
        let Some(container) = containers.get_mut(name) else { return Ok(()) };
        container.places.retain(|place, metered| {
            let stays = *place == Place::Sandbox || wanted.contains_key(place);
            if let (false, Account::Project { number, .. }) = (stays, &metered.account) {
                projects.release(*number);
            }
            stays
        });
        if let Some(sandbox) = container.places.get_mut(&Place::Sandbox) {
            sandbox.quota = wanted.remove(&Place::Sandbox);
            self.limit(sandbox)?;
        }
        for (place, quota) in wanted {
            match container.places.get_mut(&place) {
                Some(metered) => {
                    metered.quota = Some(quota);
                    self.limit(metered)?;
                }
                None => {
                    let Some(account) = self.account_of(&quota, projects)? else { continue };
                    let metered = Metered { account, quota: Some(quota) };
                    let limited = self.limit(&metered);
                    // Known even so: what has been taken is given back with the container.
                    container.places.insert(place, metered);
                    limited?;
                }
            }
        }
        Ok(())
    }

    /// The project of a volume: the one that it has, or a new one. `None` for what is nobody's quota.
    fn account_of(
        &self,
        quota: &Quota,
        projects: &mut Projects,
    ) -> Result<Option<Account>, ModuleError> {
        let Some(directory) = directory_of(quota, &self.work_dir) else { return Ok(None) };
        if quota.is_whole_disk() {
            return Ok(Some(Account::WholeDisk(directory)));
        }
        let quotas = self.quotas_of(&directory)?;
        let has = project_quota::project_of(&directory).map_err(broken)?;
        if let Some(number) = has.filter(|number| projects.is_ours(*number)) {
            projects.hold(number);
            return Ok(Some(Account::Project { number, quotas }));
        }
        let number = projects.take(&self.file_systems)?;
        if let Err(error) = label(&directory, number, &self.host) {
            projects.release(number);
            return Err(error);
        }
        Ok(Some(Account::Project { number, quotas }))
    }

    fn limit(&self, metered: &Metered) -> Result<(), ModuleError> {
        let Account::Project { number, quotas } = &metered.account else { return Ok(()) };
        let limits = self.settings.policy.limits(metered.quota.as_ref().map(Quota::bytes));
        quotas.set_limits(*number, limits).map_err(broken)
    }
}

impl State {
    /// Forgets a container; its projects stay with its files.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Container> {
        let container = self.containers.remove(name)?;
        for metered in container.places.values() {
            if let Account::Project { number, .. } = metered.account {
                self.projects.release(number);
            }
        }
        Some(container)
    }
}
