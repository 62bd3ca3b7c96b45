//! What the operator chose, out of the parameters.

use std::path::Path;
use std::time::Duration;

use mezzo_linux::cgroup::{Hierarchies, V1Hierarchies, V2Hierarchy, detect};
use mezzo_module_api::{ModuleError, Parameters};

use crate::subsystem::KINDS;

/// What all isolators of this library have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) root: String,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) destroy_timeout: Duration,
}

/// Every parameter of every subsystem: an agent gives all of them to each isolator.
const KNOWN: &[&str] = &[
    "allowed_devices",
    "cgroups_cpu_enable_pids_and_tids_count",
    "cgroups_destroy_timeout",
    "cgroups_enable_cfs",
    "cgroups_hierarchy",
    "cgroups_limit_swap",
    "cgroups_net_cls_primary_handle",
    "cgroups_net_cls_secondary_handles",
    "cgroups_root",
    "perf_duration",
    "perf_events",
    "perf_interval",
    "pids_max",
    "revocable_cpu_low_priority",
];

/// How long the kernel may take to let go of a container.
const DESTROY_TIMEOUT: Duration = Duration::from_secs(60);

impl Settings {
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(KNOWN)?;
        let root = parameters.get("cgroups_root").unwrap_or("mezzo").trim_matches('/').to_owned();
        if root.is_empty() {
            return Err(ModuleError::invalid(
                "parameter `cgroups_root` is empty, expected the name of a cgroup",
            ));
        }
        Ok(Self {
            root,
            hierarchies: hierarchies(parameters.get("cgroups_hierarchy"))?,
            destroy_timeout: parameters
                .duration("cgroups_destroy_timeout")?
                .unwrap_or(DESTROY_TIMEOUT),
        })
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
    // Controllers that are mounted together are links to one directory.
    let mounts: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| kind.v1)
        .filter_map(|name| Some(((*name).to_owned(), place.join(name).canonicalize().ok()?)))
        .filter(|(_, dir)| dir.is_dir())
        .collect();
    if mounts.is_empty() {
        return Err(ModuleError::invalid(format!(
            "parameter `cgroups_hierarchy` is `{0}`, expected a directory with one for each controller, such as `{0}/cpu`",
            place.display(),
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
                .contains("such as `/does/not/exist/cpu`")
        );
        assert!(message(&[("cgroups_destroy_timeout", "60")]).contains("such as 5secs"));
    }

    #[test]
    fn a_place_tells_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let found = || {
            let parameters = Parameters::from_pairs(&[("cgroups_hierarchy", place)]);
            Settings::new(&parameters).unwrap().hierarchies
        };
        std::fs::create_dir(dir.path().join("cpu,cpuacct")).unwrap();
        for name in ["cpu", "cpuacct"] {
            std::os::unix::fs::symlink("cpu,cpuacct", dir.path().join(name)).unwrap();
        }
        let Hierarchies::V1(v1) = found() else { unreachable!() };
        assert_eq!(v1.controllers().collect::<Vec<_>>(), ["cpu", "cpuacct"]);
        assert_eq!(v1.distinct(&["cpu", "cpuacct"]).unwrap().len(), 1, "mounted together");
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert!(matches!(found(), Hierarchies::V2(_)));
    }
}
