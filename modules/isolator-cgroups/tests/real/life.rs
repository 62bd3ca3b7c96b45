//! What all isolators have in common: making and removing cgroups, nesting, recovery, refusals.

use std::fs;
use std::path::Path;

use mezzo_isolator_cgroups::CgroupsIsolator;
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerState, IsolateRequest, PrepareRequest,
    RecoverRequest, StatusRequest, UsageRequest,
};
use mezzo_module_api::{Code, Isolator};
use mezzo_proto::v1::{ContainerId, ContainerStatus};

use crate::calls::{cleanup, config, id, prepare, scalar, update, watch};
use crate::machine::{Machine, PATIENCE, Task};

#[test]
fn both_isolators_hold_one_container() {
    let machine = Machine::new();
    let (cpu, mem) =
        (machine.isolator(CgroupsIsolator::cpu, &[]), machine.isolator(CgroupsIsolator::mem, &[]));
    let both: [&dyn Isolator; 2] = [&cpu, &mem];
    for isolator in both {
        prepare(isolator, "c", config(0.1, 64.0, &[])).unwrap();
    }
    let task = Task::start("read end");
    both.iter().for_each(|isolator| task.isolate(*isolator, "c"));
    let cgroups =
        fs::read_to_string(Path::new("/proc").join(task.pid().to_string()).join("cgroup")).unwrap();
    let ours = cgroups.lines().filter(|line| line.contains(&machine.root)).count();
    assert_eq!(ours, if machine.is_v2() { 1 } else { 3 }, "{cgroups}");
    drop(task);
    both.iter().rev().for_each(|isolator| cleanup(*isolator, "c"));
    assert!(!machine.dir("cpu", "c").exists() && !machine.dir("memory", "c").exists());
}

fn nested(parent: ContainerId, name: &str) -> ContainerId {
    ContainerId { value: name.into(), parent: Some(Box::new(parent)) }
}

fn prepare_nested(isolator: &dyn Isolator, id: &ContainerId, share: Option<bool>) {
    let mut config = config(0.1, 40.0, &[]);
    let info = config.container_info.get_or_insert_default();
    info.linux_info.get_or_insert_default().share_cgroups = share;
    let request = PrepareRequest { container_id: Some(id.clone()), config: Some(config) };
    isolator.prepare(request).unwrap();
}

#[test]
fn a_nested_container_shares_its_parents_limits_unless_it_wants_its_own() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    let own = nested(id("c"), "own");
    let (shared, deeper) = (nested(id("c"), "shared"), nested(own.clone(), "deeper"));
    prepare_nested(&isolator, &own, Some(false));
    prepare_nested(&isolator, &shared, None);
    prepare_nested(&isolator, &deeper, Some(true));
    let limit =
        |container| machine.read("memory", container, "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit("c/mezzo/own"), (40 << 20).to_string());

    // Version 1: in the cgroup of the nearest ancestor that has one. Version 2: in one below, without a limit.
    let places = if machine.is_v2() {
        ["c/mezzo/shared/leaf", "c/mezzo/own/mezzo/deeper/leaf"]
    } else {
        ["c", "c/mezzo/own"]
    };
    let tasks = [&shared, &deeper].map(|id| {
        let task = Task::start("read end");
        let pid = Some(task.pid().into());
        isolator.isolate(IsolateRequest { container_id: Some(id.clone()), pid }).unwrap();
        task
    });
    for (place, task) in places.iter().zip(&tasks) {
        let procs = machine.read("memory", place, "cgroup.procs", "cgroup.procs");
        assert_eq!(procs, task.pid().to_string(), "{place}");
    }
    for id in [&shared, &deeper] {
        let used = isolator.usage(UsageRequest { container_id: Some(id.clone()) }).unwrap();
        assert_eq!(used.statistics, None, "what is shared is the parent's");
    }
    let status = isolator.status(StatusRequest { container_id: Some(deeper.clone()) }).unwrap();
    assert_eq!(status.status, Some(ContainerStatus::default()));
    drop(tasks);
    for id in [deeper, own, shared] {
        isolator.cleanup(CleanupRequest { container_id: Some(id) }).unwrap();
    }
    assert!(machine.dir("memory", "c").exists());
    cleanup(&isolator, "c");
}

#[test]
fn nested_containers_are_recovered_as_they_were() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    let (own, shared) = (nested(id("c"), "own"), nested(id("c"), "shared"));
    prepare_nested(&isolator, &own, Some(false));
    prepare_nested(&isolator, &shared, None);
    drop(isolator);

    let reborn = machine.isolator(CgroupsIsolator::mem, &[]);
    let state = |id: &ContainerId, share| {
        let mut state = ContainerState { container_id: id.clone(), ..ContainerState::default() };
        let info = state.container_info.get_or_insert_default();
        info.linux_info.get_or_insert_default().share_cgroups = share;
        state
    };
    // In no order.
    let states = vec![state(&own, Some(false)), state(&shared, None), state(&id("c"), None)];
    reborn.recover(RecoverRequest { states, orphans: vec![] }).unwrap();
    let measured = |id: &ContainerId| {
        let used = reborn.usage(UsageRequest { container_id: Some(id.clone()) }).unwrap();
        used.statistics.is_some_and(|used| used.mem_total_bytes.is_some())
    };
    assert!(measured(&own) && measured(&id("c")) && !measured(&shared));
    for id in [own, shared] {
        reborn.cleanup(CleanupRequest { container_id: Some(id) }).unwrap();
    }
    cleanup(&reborn, "c");
}

#[test]
fn a_leftover_is_not_adopted_and_cleanup_takes_what_it_finds() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::cpu, &[]);
    fs::create_dir_all(machine.dir("cpu", "left")).unwrap();
    let error = prepare(&isolator, "left", config(0.1, 64.0, &[])).unwrap_err();
    assert!(error.message.contains("left"), "{error}");
    cleanup(&isolator, "left");
    assert!(!machine.dir("cpu", "left").exists());
    cleanup(&isolator, "never-heard-of");
    let unknown = UsageRequest { container_id: Some(id("never-heard-of")) };
    assert_eq!(isolator.usage(unknown).unwrap_err().code, Code::NotFound);
    let unknown = StatusRequest { container_id: Some(id("never-heard-of")) };
    assert_eq!(isolator.status(unknown).unwrap_err().code, Code::NotFound);
    let unknown = IsolateRequest { container_id: Some(id("never-heard-of")), pid: Some(1) };
    assert_eq!(isolator.isolate(unknown).unwrap_err().code, Code::NotFound);
    watch(&isolator, "never-heard-of").recv_timeout(PATIENCE).unwrap_err();
    update(&isolator, "never-heard-of", &config(0.1, 64.0, &[])).unwrap();
}

#[test]
fn a_container_is_prepared_once_and_its_name_is_no_path() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    let error = prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap_err();
    assert_eq!(error.code, Code::AlreadyExists, "{error}");
    cleanup(&isolator, "c");
    for name in ["", "a/b", "/etc", "..", "a\nb"] {
        assert!(prepare(&isolator, name, config(0.1, 64.0, &[])).is_err(), "{name:?}");
    }
}

#[test]
fn cleanup_gives_up_after_the_time_it_was_given_and_can_be_repeated() {
    let machine = Machine::posing("hugetlb");
    let isolator =
        machine.isolator(CgroupsIsolator::hugetlb, &[("cgroups_destroy_timeout", "20ms")]);
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    let procs = machine.dir("hugetlb", "c").join("cgroup.procs");
    // A process that cannot be killed: no kernel gives out this pid.
    fs::write(&procs, "2147483647\n").unwrap();
    let request = || CleanupRequest { container_id: Some(id("c")) };
    let error = isolator.cleanup(request()).unwrap_err();
    assert!(error.message.contains("did not finish within"), "{error}");
    fs::remove_file(procs).unwrap();
    isolator.cleanup(request()).unwrap();
}

#[test]
fn a_recovered_container_without_a_cgroup_is_no_error() {
    let machine = Machine::new();
    let state = || ContainerState { container_id: id("gone"), ..ContainerState::default() };
    let request = || RecoverRequest { states: vec![state()], orphans: vec![id("orphan")] };
    machine.isolator(CgroupsIsolator::mem, &[]).recover(request()).unwrap();
    machine.isolator(CgroupsIsolator::cpu, &[]).recover(request()).unwrap();
}

#[test]
fn requests_without_the_resource_are_refused_by_name() {
    let machine = Machine::new();
    let only = |name: &str| ContainerConfig {
        resources: vec![scalar(name, 64.0)],
        ..ContainerConfig::default()
    };
    let (cpu, mem) =
        (machine.isolator(CgroupsIsolator::cpu, &[]), machine.isolator(CgroupsIsolator::mem, &[]));
    assert_eq!(
        prepare(&cpu, "c", only("mem")).unwrap_err().message,
        "container `c` requests no cpus"
    );
    assert_eq!(
        prepare(&mem, "c", only("cpus")).unwrap_err().message,
        "container `c` requests no mem"
    );
    cleanup(&cpu, "c");
    cleanup(&mem, "c");
}
