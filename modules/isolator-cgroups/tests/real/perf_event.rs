//! `cgroups/perf_event`, with the program `perf` of this machine. Version 2, where the controller is always there.

use mezzo_isolator_cgroups::CgroupsIsolator;

use crate::calls::{asking, cleanup, prepare, usage};
use crate::machine::{Machine, Task, wait_until};

#[test]
fn the_last_sample_of_a_container_is_in_its_statistics() {
    let machine = Machine::unified();
    let parameters = [
        ("perf_events", "task-clock,context-switches"),
        ("perf_interval", "600ms"),
        ("perf_duration", "300ms"),
    ];
    let isolator = machine.isolator(CgroupsIsolator::perf_event, &parameters);
    for container in ["busy", "idle"] {
        prepare(&isolator, container, asking(vec![], &[])).unwrap();
    }
    assert_eq!(usage(&isolator, "busy").perf, None, "not yet");
    let mut task = Task::start("while :; do :; done");
    task.isolate(&isolator, "busy");
    task.go();
    let sample = |container| usage(&isolator, container).perf.unwrap_or_default();
    wait_until("a sample", || sample("busy").task_clock() > 0.0);
    wait_until("a sample of nothing", || sample("idle").timestamp > 0.0);
    let (busy, idle) = (sample("busy"), sample("idle"));
    assert!(busy.duration > 0.0 && busy.timestamp > 1.7e9, "{busy:?}");
    assert_eq!((idle.task_clock, idle.context_switches), (Some(0.0), Some(0)));
    assert_eq!(busy.cycles, None, "nobody asked for it");
    let first = busy.timestamp;
    wait_until("the next sample", || sample("busy").timestamp > first);
    for container in ["busy", "idle"] {
        cleanup(&isolator, container);
    }
}

#[test]
fn a_sample_that_fails_is_counted_and_tried_again() {
    let machine = Machine::unified();
    let parameters =
        [("perf_events", "task-clock"), ("perf_interval", "200ms"), ("perf_duration", "100ms")];
    let isolator = machine.isolator(CgroupsIsolator::perf_event, &parameters);
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    // As when a container goes between the list and the program.
    std::fs::remove_dir(machine.dir("", "c/leaf")).unwrap();
    std::fs::remove_dir(machine.dir("", "c")).unwrap();
    wait_until("two failures", || machine.counted("perf_samples_failed") >= 2);
    assert!(machine.logged(&["performance counters cannot be read"]));
    std::fs::create_dir_all(machine.dir("", "c/leaf")).unwrap();
    wait_until("a sample", || usage(&isolator, "c").perf.is_some());
    cleanup(&isolator, "c");
}

#[test]
fn what_perf_does_not_know_is_refused_at_the_start_and_the_end_does_not_wait() {
    let machine = Machine::unified();
    let make = |events: &str| {
        machine.try_isolator(CgroupsIsolator::perf_event, &[("perf_events", events)])
    };
    let error = make("coffees").unwrap_err();
    assert!(error.message.contains("`perf_events` is `coffees`"), "{error}");
    // Its field exists, its event does not on any kernel of today.
    let error = make("l1-icache-prefetches-x").unwrap_err();
    assert!(error.message.contains("no field"), "{error}");

    let isolator = make("task-clock").unwrap();
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    cleanup(&isolator, "c");
    let begin = std::time::Instant::now();
    drop(isolator);
    assert!(begin.elapsed() < std::time::Duration::from_secs(9), "a sample takes 10 seconds");
}
