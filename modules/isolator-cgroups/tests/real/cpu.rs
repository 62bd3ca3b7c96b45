//! `cgroups/cpu`.

use std::os::unix::process::ExitStatusExt;

use mezzo_isolator_cgroups::CgroupsIsolator;
use mezzo_proto::v1::resource::RevocableInfo;

use crate::calls::{asking, cleanup, config, prepare, scalar, update, usage};
use crate::machine::{Machine, Task, wait_until};

#[test]
fn shares_and_quota_follow_requests_and_limits() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::cpu, &[]);
    prepare(&isolator, "c", config(0.5, 64.0, &[("cpus", 1.5)])).unwrap();
    let shares = || machine.read("cpu", "c", "cpu.shares", "cpu.weight");
    let quota = || machine.read("cpu", "c", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(shares(), if machine.is_v2() { "50" } else { "512" });
    assert_eq!(quota(), if machine.is_v2() { "150000 100000" } else { "150000" });
    update(&isolator, "c", &config(2.0, 64.0, &[("cpus", f64::INFINITY)])).unwrap();
    assert_eq!(shares(), if machine.is_v2() { "200" } else { "2048" });
    assert_eq!(quota(), if machine.is_v2() { "max 100000" } else { "-1" });
    cleanup(&isolator, "c");
    assert!(!machine.dir("cpu", "c").exists());
}

#[test]
fn without_a_limit_only_cfs_makes_a_quota_and_it_shows_in_the_statistics() {
    let machine = Machine::new();
    let isolator = machine.isolator(
        CgroupsIsolator::cpu,
        &[("cgroups_enable_cfs", "true"), ("cgroups_cpu_enable_pids_and_tids_count", "true")],
    );
    prepare(&isolator, "c", config(0.2, 64.0, &[])).unwrap();
    let mut task = Task::start("while :; do :; done");
    task.isolate(&isolator, "c");
    task.go();
    // The time is counted when it is over.
    wait_until("throttling", || usage(&isolator, "c").cpus_throttled_time_secs() > 0.0);
    let used = usage(&isolator, "c");
    assert_eq!((used.cpus_soft_limit(), used.cpus_limit()), (0.2, 0.2));
    assert_eq!((used.processes(), used.threads()), (1, 1));
    assert!(used.cpus_nr_throttled() > 0 && used.cpus_nr_periods() > 0);
    wait_until("used time", || {
        let used = usage(&isolator, "c");
        used.cpus_user_time_secs() + used.cpus_system_time_secs() > 0.0
    });
    cleanup(&isolator, "c");
    assert_eq!(task.wait().signal(), Some(9), "cleanup kills what is left");
}

#[test]
fn revocable_cpus_come_last_unless_that_is_switched_off() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::cpu, &[]);
    let mut cpus = scalar("cpus", 2.0);
    cpus.revocable = Some(RevocableInfo::default());
    let shares = |container| machine.read("cpu", container, "cpu.shares", "cpu.weight");
    prepare(&isolator, "low", asking(vec![cpus.clone()], &[])).unwrap();
    assert_eq!(shares("low"), if machine.is_v2() { "2" } else { "20" });
    cleanup(&isolator, "low");
    let isolator =
        machine.isolator(CgroupsIsolator::cpu, &[("revocable_cpu_low_priority", "false")]);
    prepare(&isolator, "c", asking(vec![cpus], &[])).unwrap();
    assert_eq!(shares("c"), if machine.is_v2() { "200" } else { "2048" });
    cleanup(&isolator, "c");
}
