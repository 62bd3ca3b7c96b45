//! `cgroups/all`.

use std::fs;

use mezzo_isolator_cgroups::CgroupsIsolator;
use mezzo_module_api::Isolator;
use mezzo_module_api::v1::{CleanupRequest, ContainerConfig, IsolateRequest, PrepareRequest};
use mezzo_proto::v1::ContainerId;

use crate::calls::{asking, cleanup, id, prepare, recover, scalar, update, usage, watch};
use crate::machine::{Machine, PATIENCE, Task, wait_until};

fn asked() -> ContainerConfig {
    asking(vec![scalar("cpus", 0.5), scalar("mem", 64.0), scalar("pids", 50.0)], &[("cpus", 1.0)])
}

#[test]
fn one_isolator_does_it_all() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::all, &[]);
    prepare(&isolator, "c", asked()).unwrap();
    assert_eq!(
        machine.read("cpu", "c", "cpu.shares", "cpu.weight"),
        if machine.is_v2() { "50" } else { "512" }
    );
    assert_eq!(machine.read("pids", "c", "pids.max", "pids.max"), "50");
    let limit = || machine.read("memory", "c", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit(), (64 << 20).to_string());

    let mut task = Task::start("(: < /dev/kmsg) 2> /dev/null || echo refused; read end");
    task.isolate(&isolator, "c");
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", task.pid())).unwrap();
    let ours = cgroups.lines().filter(|line| line.contains(&machine.root)).count();
    let hierarchies = machine.roots().iter().filter(|root| root.exists()).count();
    assert_eq!(ours, hierarchies, "{cgroups}");
    if !machine.is_v2() {
        assert!(ours > 5, "{cgroups}");
    }
    task.go();
    wait_until("the refusal", || task.output().contains("refused"));
    let used = usage(&isolator, "c");
    assert!(used.mem_total_bytes.is_some() && used.cpus_user_time_secs.is_some());
    assert!(used.blkio_statistics.is_some());
    assert_eq!((used.cpus_limit(), used.mem_limit_bytes()), (1.0, 64 << 20));

    let wider = asking(vec![scalar("cpus", 1.0), scalar("mem", 96.0)], &[]);
    update(&isolator, "c", &wider).unwrap();
    assert_eq!(limit(), (96 << 20).to_string());
    assert_eq!(machine.read("pids", "c", "pids.max", "pids.max"), "max");
    let error = update(&isolator, "c", &asking(vec![scalar("cpus", 2.0)], &[])).unwrap_err();
    assert!(error.message.contains("requests no mem"), "{error}");
    assert_eq!(
        machine.read("cpu", "c", "cpu.shares", "cpu.weight"),
        if machine.is_v2() { "200" } else { "2048" },
        "the others are told all the same"
    );
    cleanup(&isolator, "c");
    assert!(machine.roots().iter().all(|root| !root.join("c").exists()));
}

#[test]
fn it_takes_over_a_container_that_was_started_with_less() {
    let machine = Machine::new();
    let small = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&small, "c", asking(vec![scalar("mem", 40.0)], &[])).unwrap();
    let mut task = Task::start("exec tail /dev/zero");
    task.isolate(&small, "c");
    drop(small);

    let isolator = machine.isolator(CgroupsIsolator::all, &[]);
    recover(&isolator, "c");
    if !machine.is_v2() {
        assert!(machine.logged(&["container `c`", "no `cpu` cgroup"]));
    }
    update(&isolator, "c", &asked()).unwrap();
    assert!(usage(&isolator, "c").mem_total_bytes.is_some());
    let limitation = watch(&isolator, "c");
    task.go();
    let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(limitation.message().contains("Requested: 64MB"), "{}", limitation.message());
    cleanup(&isolator, "c");
}

#[test]
fn three_hundred_containers_at_once_are_all_watched_over() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::all, &[]);
    let names: Vec<_> = (0..300).map(|number| format!("c{number}")).collect();
    let prepare_some = |names: &[String]| {
        let small = || asking(vec![scalar("cpus", 0.1), scalar("mem", 32.0)], &[]);
        names.iter().for_each(|name| prepare(&isolator, name, small()).unwrap());
    };
    std::thread::scope(|scope| {
        names.chunks(100).for_each(|some| drop(scope.spawn(|| prepare_some(some))));
    });
    let watches: Vec<_> = names.iter().map(|name| watch(&isolator, name)).collect();
    let unlucky = [0, 150, 299];
    let tasks = unlucky.map(|number: usize| {
        let mut task = Task::start("exec tail /dev/zero");
        task.isolate(&isolator, &names[number]);
        task.go();
        task
    });
    for number in unlucky {
        let limitation = watches[number].recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(limitation.message().contains("Requested: 32MB"), "{}", limitation.message());
    }
    drop(tasks);
    let clean_some = |names: &[String]| names.iter().for_each(|name| cleanup(&isolator, name));
    std::thread::scope(|scope| {
        names.chunks(100).for_each(|some| drop(scope.spawn(|| clean_some(some))));
    });
    for (number, watch) in watches.iter().enumerate() {
        assert!(watch.try_recv().is_err(), "c{number} is limited by another's memory");
    }
}

#[test]
fn nested_containers_are_in_every_hierarchy_that_their_parent_is_in() {
    let machine = Machine::new();
    // The parent is of a time with less.
    let small = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&small, "c", asking(vec![scalar("mem", 64.0)], &[])).unwrap();
    drop(small);
    let isolator = machine.isolator(CgroupsIsolator::all, &[]);
    recover(&isolator, "c");
    let child = |name: &str| ContainerId { value: name.into(), parent: Some(Box::new(id("c"))) };
    let start = |name: &str, share| {
        let mut config = asked();
        let info = config.container_info.get_or_insert_default();
        info.linux_info.get_or_insert_default().share_cgroups = Some(share);
        let id = Some(child(name));
        isolator
            .prepare(PrepareRequest { container_id: id.clone(), config: Some(config) })
            .unwrap();
        let task = Task::start("read end");
        let pid = Some(task.pid().into());
        isolator.isolate(IsolateRequest { container_id: id, pid }).unwrap();
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", task.pid())).unwrap();
        (task, cgroups.lines().filter(|line| line.contains(&machine.root)).count())
    };
    let (_shared, in_how_many) = start("shared", true);
    assert_eq!(in_how_many, 1, "where its parent is");
    let (_own, in_how_many) = start("own", false);
    let hierarchies = machine.roots().iter().filter(|root| root.exists()).count();
    assert_eq!(in_how_many, hierarchies);
    assert_eq!(machine.read("pids", "c/mezzo/own", "pids.max", "pids.max"), "50");
    for name in ["own", "shared"] {
        isolator.cleanup(CleanupRequest { container_id: Some(child(name)) }).unwrap();
    }
    cleanup(&isolator, "c");
}
