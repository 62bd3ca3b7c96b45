//! Our own modules: which library has which. They are libraries like any other; only the manifest is built in.

use mezzo_module_api::Kind;

/// Library name (`x` of `libx.so`), the kind of its modules, and their names.
const LIBRARIES: &[(&str, Kind, &[&str])] = &[
    ("mezzo_allocator_hierarchical", Kind::Allocator, &["hierarchical"]),
    (
        "mezzo_isolator_cgroups",
        Kind::Isolator,
        &[
            "cgroups/all",
            "cgroups/blkio",
            "cgroups/cpu",
            "cgroups/cpuset",
            "cgroups/devices",
            "cgroups/hugetlb",
            "cgroups/mem",
            "cgroups/net_cls",
            "cgroups/perf_event",
            "cgroups/pids",
        ],
    ),
    ("mezzo_isolator_disk", Kind::Isolator, &["disk/du", "disk/xfs"]),
    ("mezzo_isolator_network", Kind::Isolator, &["network/ports"]),
    ("mezzo_isolator_posix", Kind::Isolator, &["posix/cpu", "posix/mem", "posix/rlimits"]),
    ("mezzo_isolator_procfs", Kind::Isolator, &["mem/procfs"]),
    ("mezzo_hook_decorators", Kind::Hook, &["environment", "labels"]),
    ("mezzo_hook_prelaunch", Kind::Hook, &["prelaunch"]),
    ("mezzo_hook_remove_executor", Kind::Hook, &["remove-executor"]),
];

/// The library that has this module.
pub(crate) fn library_of(module: &str) -> Option<&'static str> {
    LIBRARIES
        .iter()
        .find(|(_, _, modules)| modules.contains(&module))
        .map(|(library, _, _)| *library)
}

/// The names of our own modules of one kind, which need no manifest.
pub fn builtin_names(kind: Kind) -> impl Iterator<Item = &'static str> {
    LIBRARIES
        .iter()
        .filter(move |(_, of, _)| *of == kind)
        .flat_map(|(_, _, modules)| modules.iter().copied())
}
