//! What the operator chose, out of the parameters.

use std::path::Path;

use mezzo_linux::cgroup::{Hierarchies, V1Hierarchies, V2Hierarchy, detect};
use mezzo_module_api::{ModuleError, Parameters};

/// The settings that both isolators share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) root: String,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) enable_cfs: bool,
    pub(crate) limit_swap: bool,
    pub(crate) count_processes: bool,
    pub(crate) low_priority: bool,
}

const KNOWN: &[&str] = &[
    "cgroups_root",
    "cgroups_hierarchy",
    "cgroups_enable_cfs",
    "cgroups_limit_swap",
    "cgroups_cpu_enable_pids_and_tids_count",
    "revocable_cpu_low_priority",
];

impl Settings {
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(KNOWN)?;
        let root = parameters.get("cgroups_root").unwrap_or("mezzo").trim_matches('/').to_owned();
        if root.is_empty() {
            return Err(ModuleError::invalid(
                "parameter `cgroups_root` is empty, expected the name of a cgroup",
            ));
        }
        let flag = |key, default| Ok::<_, ModuleError>(parameters.parse(key)?.unwrap_or(default));
        let settings = Self {
            root,
            hierarchies: hierarchies(parameters.get("cgroups_hierarchy"))?,
            enable_cfs: flag("cgroups_enable_cfs", false)?,
            limit_swap: flag("cgroups_limit_swap", false)?,
            count_processes: flag("cgroups_cpu_enable_pids_and_tids_count", false)?,
            low_priority: flag("revocable_cpu_low_priority", true)?,
        };
        if settings.limit_swap && matches!(settings.hierarchies, Hierarchies::V2(_)) {
            return Err(ModuleError::invalid(
                "parameter `cgroups_limit_swap` is `true`, which cgroup version 2 does not have",
            ));
        }
        Ok(settings)
    }
}

fn hierarchies(place: Option<&str>) -> Result<Hierarchies, ModuleError> {
    let Some(place) = place else {
        return detect()
            .map_err(|error| {
                ModuleError::internal(format!(
                    "cannot tell which cgroups this machine has: {error}"
                ))
            })?
            .ok_or_else(|| ModuleError::internal("this machine has no cgroups mounted"));
    };
    let place = Path::new(place);
    if place.join("cgroup.controllers").exists() {
        let found =
            V2Hierarchy::at(place).map_err(|error| ModuleError::invalid(error.to_string()))?;
        return Ok(Hierarchies::V2(found));
    }
    let mounts = ["cpu", "cpuacct", "memory"]
        .map(|controller| (controller.to_owned(), place.join(controller)));
    if let Some((controller, dir)) = mounts.iter().find(|(_, dir)| !dir.is_dir()) {
        return Err(ModuleError::invalid(format!(
            "parameter `cgroups_hierarchy` is `{}`, but there is no `{}` for the controller `{controller}`",
            place.display(),
            dir.display()
        )));
    }
    Ok(Hierarchies::V1(V1Hierarchies::at(mounts)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn message(pairs: &[(&str, &str)]) -> String {
        Settings::new(&Parameters::from_pairs(pairs)).unwrap_err().message
    }

    #[test]
    fn wrong_parameters_name_themselves() {
        assert!(message(&[("cgroup_root", "x")]).starts_with("unknown parameter `cgroup_root`"));
        assert!(message(&[("cgroups_root", "/")]).contains("`cgroups_root` is empty"));
        assert!(
            message(&[("cgroups_hierarchy", "/does/not/exist")])
                .contains("no `/does/not/exist/cpu`")
        );
    }

    #[test]
    fn swap_cannot_be_limited_in_version_2() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        let place = dir.path().to_str().unwrap();
        assert!(
            message(&[("cgroups_hierarchy", place), ("cgroups_limit_swap", "true")])
                .contains("version 2")
        );
        assert!(
            message(&[("cgroups_hierarchy", place), ("cgroups_enable_cfs", "yes")])
                .contains("`cgroups_enable_cfs` is `yes`")
        );
    }
}
