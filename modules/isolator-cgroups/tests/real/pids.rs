//! `cgroups/pids`.

use mezzo_isolator_cgroups::CgroupsIsolator;

use crate::calls::{asking, cleanup, prepare, recover, scalar, update};
use crate::machine::{Machine, Task, wait_until};

#[test]
fn who_asks_gets_a_limit_and_who_does_not_the_default() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::pids, &[("pids_max", "77")]);
    let max = || machine.read("pids", "c", "pids.max", "pids.max");
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    assert_eq!(max(), "77");
    update(&isolator, "c", &asking(vec![scalar("pids", 20.0)], &[])).unwrap();
    assert_eq!(max(), "20");
    update(&isolator, "c", &asking(vec![scalar("pids", 20.0)], &[("pids", 30.0)])).unwrap();
    assert_eq!(max(), "30");
    update(&isolator, "c", &asking(vec![], &[("pids", f64::INFINITY)])).unwrap();
    assert_eq!(max(), "max");
    update(&isolator, "c", &asking(vec![], &[("pids", 1e18)])).unwrap();
    assert_ne!(max(), "max");
    cleanup(&isolator, "c");

    let isolator = machine.isolator(CgroupsIsolator::pids, &[]);
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    assert_eq!(max(), "max");
    cleanup(&isolator, "c");
    let error = machine.try_isolator(CgroupsIsolator::pids, &[("pids_max", "0")]).unwrap_err();
    assert!(error.message.contains("`pids_max` is `0`"), "{error}");
}

#[test]
fn beyond_the_limit_fork_fails_and_the_host_is_told() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::pids, &[]);
    prepare(&isolator, "c", asking(vec![scalar("pids", 3.0)], &[])).unwrap();
    let mut task = Task::start("sleep 600 & sleep 600 & echo two; sleep 600 & echo never");
    task.isolate(&isolator, "c");
    task.go();
    wait_until("the refusal", || machine.counted("forks_refused") > 0);
    assert!(machine.logged(&["container `c`", "refused"]));
    task.wait();
    let output = task.output();
    assert!(output.starts_with("two\n") && !output.contains("never"), "{output}");
    let current = machine.read("pids", "c", "pids.current", "pids.current");
    assert_eq!(current, "2", "the two that were allowed");
    cleanup(&isolator, "c");
    assert!(!machine.dir("pids", "c").exists());
}

#[test]
fn after_a_recovery_forks_are_still_counted() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::pids, &[]);
    prepare(&isolator, "c", asking(vec![scalar("pids", 2.0)], &[])).unwrap();
    let mut task = Task::start("sleep 600 & sleep 600 &");
    task.isolate(&isolator, "c");
    drop(isolator);
    let reborn = machine.isolator(CgroupsIsolator::pids, &[]);
    recover(&reborn, "c");
    task.go();
    wait_until("the refusal", || machine.counted("forks_refused") > 0);
    cleanup(&reborn, "c");
}
