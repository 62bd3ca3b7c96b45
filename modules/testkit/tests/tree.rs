//! Every module of this tree, loaded from its library, through the whole of its suite; whoever adds a module adds a line.
//!
//! Isolators of cgroups need root and say so. What a machine has not got (a controller that is not mounted, a file system with
//! project quotas) has a test with two sides: there the suite has to pass, elsewhere the module has to refuse and say
//! what is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use mezzo_module_testkit::{Report, Subject, isolator};

/// `name: suite!(subject)`, each in a module of its own.
macro_rules! modules {
    ($($name:ident: $suite:ident($subject:expr);)*) => {
        $(mod $name {
            mezzo_module_testkit::$suite!($subject);
        })*
    };
}

modules! {
    allocator_hierarchical: allocator_tests(super::of("mezzo_allocator_hierarchical", "hierarchical"));
    allocator_fifo: allocator_tests(super::of("example_fifo_allocator", "example/fifo"));

    posix_cpu: isolator_tests(super::of("mezzo_isolator_posix", "posix/cpu"));
    posix_mem: isolator_tests(super::of("mezzo_isolator_posix", "posix/mem"));
    posix_rlimits: isolator_tests(super::of("mezzo_isolator_posix", "posix/rlimits"));
    network_ports: isolator_tests(super::of("mezzo_isolator_network", "network/ports"));
    network_ports_enforced: isolator_tests(
        super::of("mezzo_isolator_network", "network/ports")
            .parameter("enforce_container_ports", true)
            .parameter("container_ports_watch_interval", "100ms")
    );
    mem_procfs: isolator_tests(super::of("mezzo_isolator_procfs", "mem/procfs"));
    mem_procfs_often: isolator_tests(
        super::of("mezzo_isolator_procfs", "mem/procfs").parameter("interval", "50ms")
    );
    disk_du: isolator_tests(super::of("mezzo_isolator_disk", "disk/du"));
    disk_du_enforced: isolator_tests(
        super::of("mezzo_isolator_disk", "disk/du")
            .parameter("enforce_container_disk_quota", true)
            .parameter("container_disk_watch_interval", "100ms")
    );
    cgroups_cpu: isolator_tests(super::cgroups("cpu").parameter("cgroups_enable_cfs", true));
    cgroups_mem: isolator_tests(super::cgroups("mem"));
    cgroups_pids: isolator_tests(super::cgroups("pids").parameter("pids_max", 100));
    cgroups_cpuset: isolator_tests(super::cgroups("cpuset"));
    cgroups_devices: isolator_tests(super::cgroups("devices"));
    cgroups_blkio: isolator_tests(super::cgroups("blkio"));
    cgroups_all: isolator_tests(super::cgroups("all"));
    licences: isolator_tests(
        super::of("example_licence_isolator", "example/licences")
            .parameter("pool", super::keys())
            .asking("licences:1")
    );

    environment: hook_tests(
        super::of("mezzo_hook_decorators", "environment")
            .parameter("variable", "SITE=north")
            .parameter("task_variable", "RACK=7")
    );
    labels: hook_tests(
        super::of("mezzo_hook_decorators", "labels")
            .parameter("label", "site=north")
            .parameter("remove", "team")
            .parameter("at", "task")
            .parameter("at", "status")
    );
    prelaunch: hook_tests(super::of("mezzo_hook_prelaunch", "prelaunch"));
    prelaunch_that_refuses: hook_tests(
        super::of("mezzo_hook_prelaunch", "prelaunch").parameter("require_label", "owner")
    );
    remove_executor: hook_tests(
        super::of("mezzo_hook_remove_executor", "remove-executor").directory("archive_dir", "archives")
    );
    audit: hook_tests(super::of("example_audit_hook", "example/audit").directory("file", "audit.jsonl"));
}

fn of(crate_name: &str, module: &str) -> Subject {
    Subject::built(crate_name, module)
}

/// More licences than the suite has containers at one time.
fn keys() -> String {
    (1..=64).map(|number| format!("key-{number}")).collect::<Vec<_>>().join(",")
}

/// An isolator of cgroups, under a root of its own, which it has to remove.
fn cgroups(subsystem: &str) -> Subject {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(fs::read_dir("/proc/1/fd").is_ok(), "this test makes cgroups: run it as root");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let root = format!("mezzo-test-kit-{}-{number}", std::process::id());
    of("mezzo_isolator_cgroups", &format!("cgroups/{subsystem}"))
        .parameter("cgroups_root", &root)
        .afterwards(move || {
            let left: Vec<_> = mounts()
                .into_iter()
                .map(|mount| mount.join(&root))
                .filter(|dir| dir.exists())
                .collect();
            left.iter().for_each(|dir| remove(dir));
            if left.is_empty() { Ok(()) } else { Err(format!("cgroups {left:?}")) }
        })
}

/// Where cgroups are mounted, of either version.
fn mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup")))
        .filter_map(|fields| fields.get(1).map(PathBuf::from))
        .collect()
}

/// Cgroups go from the inside out. One with a process in it stays; the test has failed by then.
fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// Whether this machine has the controller where an isolator looks for it.
fn has_controller(name: &str) -> bool {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    if let Ok(controllers) = unified {
        // In version 2 perf_event is always there, and in no list; net_cls is in none because it does not exist there.
        return controllers.split_whitespace().any(|found| found == name) || name == "perf_event";
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().filter(|line| line.contains(" cgroup ")).any(|line| {
        line.split(' ').nth(3).is_some_and(|options| options.split(',').any(|found| found == name))
    })
}

/// Where `has`, the suite; elsewhere a refusal that names `what`.
fn two_sided(subject: &Subject, has: bool, what: &str) {
    let report = isolator::conformance(subject);
    if has {
        assert!(report.passed(), "{report}");
        return;
    }
    let made = report.lines.iter().find(|line| line.must.id == "G.1").unwrap();
    let failure = made.verdict.clone().expect_err("made without what it needs");
    assert!(failure.found.contains(what), "{failure}");
}

#[test]
fn cgroups_hugetlb_needs_its_controller() {
    two_sided(&cgroups("hugetlb"), has_controller("hugetlb"), "hugetlb");
}

#[test]
fn cgroups_perf_event_needs_its_controller() {
    two_sided(&cgroups("perf_event"), has_controller("perf_event"), "perf_event");
}

#[test]
fn cgroups_net_cls_needs_its_controller() {
    let subject = cgroups("net_cls").parameter("cgroups_net_cls_primary_handle", "0x0012");
    two_sided(&subject, has_controller("net_cls"), "net_cls");
}

#[test]
fn disk_xfs_needs_project_quotas() {
    let subject = of("mezzo_isolator_disk", "disk/xfs");
    let output =
        Command::new("stat").args(["-f", "-c", "%T"]).arg(std::env::temp_dir()).output().unwrap();
    two_sided(&subject, String::from_utf8_lossy(&output.stdout).trim() == "xfs", "XFS");
}

/// A host that knows more modules than there are tests here is told so.
#[test]
fn every_built_in_module_is_here() {
    let this = include_str!("tree.rs");
    for library in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap() {
        let source = library.unwrap().path().join("src/lib.rs");
        let Ok(text) = fs::read_to_string(&source) else { continue };
        let Some((_, exported)) = text.split_once("\nexport_module! {") else { continue };
        for line in exported.lines().map(str::trim) {
            let mut parts = line.split('"');
            let kind = parts.next().unwrap_or_default().trim();
            if !["allocator", "isolator", "hook"].contains(&kind) {
                continue;
            }
            let name = parts.next().unwrap();
            let short = name.strip_prefix("cgroups/").unwrap_or(name);
            assert!(
                this.contains(&format!("\"{name}\""))
                    || this.contains(&format!("cgroups(\"{short}\")")),
                "{}: module `{name}` is in no test",
                source.display()
            );
        }
    }
}

/// All MUSTs as one report, for people.
#[test]
fn a_report_has_a_line_for_each_must() {
    let report: Report = isolator::conformance(&of("mezzo_isolator_posix", "posix/cpu"));
    assert!(report.passed(), "{report}");
    assert_eq!(report.to_string().lines().count(), report.lines.len() + 1);
}
