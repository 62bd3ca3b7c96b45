//! Which isolators there are, in which order they come, and which flags each of them is told.

use mezzo_linux::cgroup::{self, Hierarchies};
use mezzo_module_host::ParameterDefaults;

use crate::flags::IsolationFlags;

/// Our isolators in the order in which they depend on each other, whatever the order of `--isolation`: who measures and limits
/// comes before who only looks.
const ORDER: [&str; 17] = [
    "posix/cpu",
    "posix/mem",
    "posix/rlimits",
    "cgroups/all",
    "cgroups/cpu",
    "cgroups/mem",
    "cgroups/pids",
    "cgroups/cpuset",
    "cgroups/devices",
    "cgroups/blkio",
    "cgroups/net_cls",
    "cgroups/perf_event",
    "cgroups/hugetlb",
    "mem/procfs",
    "disk/du",
    "disk/xfs",
    "network/ports",
];

/// What Mesos called whole sets of isolators before they had names of their own.
const SETS: [(&str, &[&str]); 2] =
    [("process", &["posix/cpu", "posix/mem"]), ("cgroups", &["cgroups/cpu", "cgroups/mem"])];

/// Everything in cgroups at once: it goes into the same cgroups as each of the others would.
const ALL_CGROUPS: &str = "cgroups/all";

/// A flag's value as a parameter; none if the module's default is to be.
type Value = fn(&IsolationFlags) -> Option<String>;

/// A flag by its name, and who is told of it: names, or all of a family (`cgroups/`).
type Row = (&'static str, &'static [&'static str], Value);

#[rustfmt::skip]
const TOLD: &[Row] = &[
    ("cgroups_root", &["cgroups/"], |f| Some(f.cgroups_root.clone())),
    ("cgroups_hierarchy", &["cgroups/"], |f| f.cgroups_hierarchy.clone()),
    ("cgroups_destroy_timeout", &["cgroups/"], |f| text(f.cgroups_destroy_timeout)),
    ("cgroups_enable_cfs", &["cgroups/cpu", ALL_CGROUPS], |f| on(f.cgroups_enable_cfs)),
    ("cgroups_cpu_enable_pids_and_tids_count", &["cgroups/cpu", ALL_CGROUPS], |f| on(f.cgroups_cpu_enable_pids_and_tids_count)),
    ("revocable_cpu_low_priority", &["cgroups/cpu", ALL_CGROUPS], |f| text(f.revocable_cpu_low_priority)),
    ("cgroups_limit_swap", &["cgroups/mem", ALL_CGROUPS], |f| on(f.cgroups_limit_swap)),
    ("pids_max", &["cgroups/pids", ALL_CGROUPS], |f| text(f.pids_max)),
    ("allowed_devices", &["cgroups/devices", ALL_CGROUPS], |f| f.allowed_devices.clone()),
    ("cgroups_net_cls_primary_handle", &["cgroups/net_cls", ALL_CGROUPS], |f| f.cgroups_net_cls_primary_handle.clone()),
    ("cgroups_net_cls_secondary_handles", &["cgroups/net_cls", ALL_CGROUPS], |f| f.cgroups_net_cls_secondary_handles.clone()),
    ("perf_events", &["cgroups/perf_event", ALL_CGROUPS], |f| f.perf_events.clone()),
    ("perf_interval", &["cgroups/perf_event", ALL_CGROUPS], |f| text(f.perf_interval)),
    ("perf_duration", &["cgroups/perf_event", ALL_CGROUPS], |f| text(f.perf_duration)),
    ("container_disk_watch_interval", &["disk/du", "disk/xfs"], |f| text(f.container_disk_watch_interval)),
    ("enforce_container_disk_quota", &["disk/du", "disk/xfs"], |f| on(f.enforce_container_disk_quota)),
    ("disk_watch_interval", &["disk/xfs"], |f| text(f.disk_watch_interval)),
    ("xfs_project_range", &["disk/xfs"], |f| f.xfs_project_range.clone()),
    ("xfs_kill_containers", &["disk/xfs"], |f| on(f.xfs_kill_containers)),
    ("xfs_quota_headroom", &["disk/xfs"], |f| f.xfs_quota_headroom.clone()),
    ("enforce_container_ports", &["network/ports"], |f| on(f.enforce_container_ports)),
    ("container_ports_watch_interval", &["network/ports"], |f| text(f.container_ports_watch_interval)),
    ("check_agent_port_range_only", &["network/ports"], |f| on(f.check_agent_port_range_only)),
    ("container_ports_isolated_range", &["network/ports"], |f| f.container_ports_isolated_range.clone()),
];

/// Hands the flags on to those who know them.
pub(crate) fn add_flags(parameters: &mut ParameterDefaults, flags: &IsolationFlags) {
    for (key, told, value) in TOLD {
        let Some(value) = value(flags) else { continue };
        for module in ORDER.iter().filter(|module| told.iter().any(|told| is_of(module, told))) {
            parameters.add(module, key, &value);
        }
    }
}

fn is_of(module: &str, told: &str) -> bool {
    if told.ends_with('/') { module.starts_with(told) } else { module == told }
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn on(flag: bool) -> Option<String> {
    flag.then(|| "true".to_owned())
}

/// The isolators of `--isolation`, each once, as the list that modules are chosen by: ours in their order, then those of
/// others in the order of the flag.
///
/// A name that comes twice stays twice, so that it is refused with everything else that is wrong with the list.
pub(crate) fn in_order(isolation: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in isolation.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match SETS.iter().find(|(set, _)| *set == name) {
            Some((_, members)) => names.extend(*members),
            None => names.push(name),
        }
    }
    if names.contains(&ALL_CGROUPS) {
        names.retain(|name| *name == ALL_CGROUPS || !name.starts_with("cgroups/"));
    }
    // Stable: those that are not ours stay as they are, behind.
    names.sort_by_key(|name| ORDER.iter().position(|of| of == name).unwrap_or(ORDER.len()));
    names.join(",")
}

/// What an agent isolates with that was not told: control groups where this machine has them for us, else what can be
/// measured without.
pub(crate) fn default_isolation(root: bool) -> &'static str {
    const CGROUPS: &str = "cgroups/cpu,cgroups/mem";
    const POSIX: &str = "posix/cpu,posix/mem";
    if !root {
        tracing::warn!(
            "this agent is not root: tasks run without limits, in the agent's own namespaces; their use is measured"
        );
        return POSIX;
    }
    let usable = match cgroup::detect() {
        Ok(Some(Hierarchies::V1(v1))) => v1.has("cpu") && v1.has("cpuacct") && v1.has("memory"),
        Ok(Some(Hierarchies::V2(v2))) => {
            ["cpu", "memory"].iter().all(|c| v2.controllers.iter().any(|have| have == c))
        }
        Ok(None) | Err(_) => false,
    };
    if usable {
        return CGROUPS;
    }
    tracing::warn!(
        "this machine has no usable cgroups: tasks run without limits; their use is measured"
    );
    POSIX
}

#[cfg(test)]
mod tests {
    use mezzo_module_api::Kind;
    use mezzo_module_host::builtin_names;

    use super::*;

    #[test]
    fn isolators_come_in_the_order_they_depend_on_each_other() {
        assert_eq!(
            in_order("network/ports, strange/b,cgroups/mem,strange/a ,,posix/rlimits,cgroups/cpu"),
            "posix/rlimits,cgroups/cpu,cgroups/mem,network/ports,strange/b,strange/a"
        );
        assert_eq!(in_order(" , "), "");
    }

    #[test]
    fn every_isolator_of_ours_has_its_place_in_the_order() {
        let mut known: Vec<_> = builtin_names(Kind::Isolator).collect();
        let mut ordered = ORDER.to_vec();
        known.sort_unstable();
        ordered.sort_unstable();
        assert_eq!(ordered, known);
    }

    #[test]
    fn names_of_sets_are_understood() {
        assert_eq!(in_order("process"), "posix/cpu,posix/mem");
        assert_eq!(in_order("disk/du,cgroups"), "cgroups/cpu,cgroups/mem,disk/du");
        assert_eq!(in_order("cgroups/mem,disk/du,cgroups/all,cgroups/cpu"), "cgroups/all,disk/du");
    }

    #[test]
    fn a_name_that_comes_twice_is_left_to_be_refused() {
        assert_eq!(in_order("a,b,a"), "a,b,a");
    }

    #[test]
    fn every_row_of_the_table_tells_somebody() {
        for (key, told, _) in TOLD {
            for one in *told {
                assert!(ORDER.iter().any(|module| is_of(module, one)), "{key}: {one}");
            }
        }
    }
}
