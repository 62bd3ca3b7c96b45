//! Real cgroups of version 1. Wants root and a machine with that version; fails loudly without either. Version 2 is tested by
//! `cgroup_v2.rs`, in a virtual machine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod support;

use std::fs;
use std::time::Duration;

use mezzo_linux::cgroup::{self, Cgroup, CpuQuota, Hierarchies, OomEvent, V1Hierarchies, v1};
use mezzo_linux::launch;
use mezzo_linux::process::WaitStatus;

use support::{PATIENCE, RemovedAtEnd, Scene, contained, finish, need_root, wait_until};

/// Cgroups of one test.
struct TestCgroups {
    hierarchies: V1Hierarchies,
    made: RemovedAtEnd,
    name: String,
}

impl TestCgroups {
    fn new(test: &str) -> Self {
        need_root();
        let Some(Hierarchies::V1(hierarchies)) = cgroup::detect().unwrap() else {
            panic!("this test needs cgroup version 1 under /sys/fs/cgroup");
        };
        Self {
            hierarchies,
            made: RemovedAtEnd::default(),
            name: format!("mezzo-test-{}-{test}", std::process::id()),
        }
    }

    fn make(&mut self, controller: &str) -> Cgroup {
        let made = self.hierarchies.cgroup(controller, &self.name).unwrap();
        made.create().unwrap();
        self.made.0.push(made.clone());
        made
    }
}

#[test]
fn limits_are_taken_by_the_kernel_and_use_is_counted() {
    let mut cgroups = TestCgroups::new("limits");
    let cpu = v1::Cpu::new(cgroups.make("cpu"));
    let cpuacct = v1::Cpuacct::new(cgroups.make("cpuacct"));
    let memory = v1::Memory::new(cgroups.make("memory"));
    let pids = v1::Pids::new(cgroups.make("pids"));
    cpu.set_shares(0.5).unwrap();
    cpu.set_quota(0.25).unwrap();
    assert_eq!(cpu.shares().unwrap(), 512);
    assert_eq!(cpu.quota().unwrap(), CpuQuota::At(Duration::from_millis(25)));
    memory.set_soft_limit(40 << 20).unwrap();
    memory.set_hard_limit(v1::MemoryLimit::Bytes(64 << 20), true).unwrap();
    assert_eq!(memory.soft_limit().unwrap(), v1::MemoryLimit::Bytes(40 << 20));
    assert!(!memory.raise_hard_limit(v1::MemoryLimit::Bytes(48 << 20), true).unwrap());
    assert!(memory.raise_hard_limit(v1::MemoryLimit::Bytes(96 << 20), true).unwrap());
    assert_eq!(memory.hard_limit().unwrap(), v1::MemoryLimit::Bytes(96 << 20));
    pids.set_max(Some(50)).unwrap();
    assert_eq!(pids.max().unwrap(), Some(50));

    let scene = Scene::new();
    let spawned = scene.spawn(&contained(&scene, "cat /proc/self/cgroup; while :; do :; done"));
    for cgroup in &cgroups.made.0 {
        cgroup.attach(spawned.pid()).unwrap();
    }
    let process = spawned.go().unwrap();
    // Burns CPU beyond its quota, which is a quarter of one.
    wait_until("throttling", || cpu.stat().unwrap().nr_throttled > 2);
    wait_until("throttled time", || cpu.stat().unwrap().throttled_time > Duration::ZERO);
    wait_until("CPU time", || cpuacct.stat().unwrap().user > Duration::ZERO);
    assert!(cpuacct.usage().unwrap() > Duration::ZERO);
    assert!(memory.usage().unwrap() > 0);
    assert!(memory.max_usage().unwrap() >= memory.usage().unwrap());
    assert!(memory.stat().unwrap().get("total_rss").is_some());
    assert_eq!(pids.current().unwrap(), 2);
    assert_eq!(cpu.cgroup().procs().unwrap().len(), 2, "launcher and program");
    assert!(scene.text("stdout").contains(&format!("cpu:/{}\n", cgroups.name)));

    cgroup::kill_and_remove(&cgroups.made.0, PATIENCE).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    assert!(cgroups.made.0.iter().all(|cgroup| !cgroup.exists()));
    assert!(cpu.cgroup().attach(1).unwrap_err().is_not_found());
}

#[test]
fn out_of_memory_is_told_and_the_launcher_lives_to_tell_the_status() {
    let mut cgroups = TestCgroups::new("oom");
    let memory = v1::Memory::new(cgroups.make("memory"));
    memory.set_hard_limit(v1::MemoryLimit::Bytes(32 << 20), true).unwrap();
    let mut watch = memory.watch_oom().unwrap();
    assert_eq!(watch.check().unwrap(), OomEvent::Nothing);

    let scene = Scene::new();
    // A file without a line break is held in memory as a whole.
    let mut spec = contained(&scene, "exec tail /dev/zero");
    spec.oom_score_adj = Some(0);
    let spawned = scene.spawn(&spec);
    memory.cgroup().attach(spawned.pid()).unwrap();
    let process = spawned.go().unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    assert_eq!(
        launch::read_status_file(&scene.path("status")).unwrap(),
        Some(WaitStatus::signalled(9))
    );
    let mut event = OomEvent::Nothing;
    wait_until("the event", || {
        event = watch.check().unwrap();
        event != OomEvent::Nothing
    });
    assert!(matches!(event, OomEvent::OutOfMemory { .. }), "{event:?}");
    wait_until("the kill to be counted", || {
        !matches!(watch.check(), Ok(OomEvent::Nothing)) || memory.max_usage().unwrap() >= 32 << 20
    });
    assert!(memory.max_usage().unwrap() > 31 << 20);
}

#[test]
fn removal_of_the_cgroup_wakes_the_watcher() {
    let mut cgroups = TestCgroups::new("removed");
    let memory = v1::Memory::new(cgroups.make("memory"));
    let mut watch = memory.watch_oom().unwrap();
    memory.cgroup().remove(PATIENCE).unwrap();
    wait_until("the news", || watch.check().unwrap() == OomEvent::Removed);
}

#[test]
fn a_fork_bomb_is_killed_without_the_freezer() {
    let mut cgroups = TestCgroups::new("bomb");
    let pids = v1::Pids::new(cgroups.make("pids"));
    pids.set_max(Some(100)).unwrap();
    let scene = Scene::new();
    // No namespaces: the kernel does not help by killing all with pid 1.
    // A shell that cannot fork gives up; this one starts anew in its own place, so the bomb never burns out.
    let bomb = "trap 'exec sh ./bomb' EXIT; while :; do sh ./bomb & done";
    fs::write(scene.path("bomb"), bomb).unwrap();
    let mut spec = scene.shell("sh ./bomb & exec sleep 600");
    spec.stderr = launch::Stream::Null;
    let spawned = scene.spawn(&spec);
    pids.cgroup().attach(spawned.pid()).unwrap();
    let process = spawned.go().unwrap();
    wait_until("the bomb to grow", || pids.current().unwrap() > 60);
    pids.cgroup().kill(PATIENCE).unwrap();
    assert_eq!(pids.cgroup().procs().unwrap(), Vec::<i32>::new());
    finish(&process);
}

#[test]
fn nested_cgroups_go_bottom_up_with_everything_in_them() {
    let mut cgroups = TestCgroups::new("nested");
    let root = cgroups.make("cpu");
    let nested = root.child("mezzo/nested").unwrap();
    nested.create_all().unwrap();
    let scene = Scene::new();
    let spawned = scene.spawn(&scene.shell("exec sleep 600"));
    nested.attach(spawned.pid()).unwrap();
    let process = spawned.go().unwrap();
    assert!(
        root.remove(Duration::ZERO).unwrap_err().to_string().contains(&process.pid().to_string())
    );
    assert_eq!(root.procs().unwrap(), Vec::<i32>::new());
    assert!(root.procs_recursive().unwrap().contains(&process.pid()));
    cgroup::kill_and_remove(&[root], PATIENCE).unwrap();
    finish(&process);
}

#[test]
fn cpuset_and_devices_can_be_entered() {
    let mut cgroups = TestCgroups::new("cpuset");
    let cpuset = v1::Cpuset::new(cgroups.make("cpuset"));
    let devices = v1::Devices::new(cgroups.make("devices"));
    cpuset.inherit().unwrap();
    devices.allow_only(v1::DEFAULT_DEVICES).unwrap();
    assert!(
        devices.list().unwrap().iter().any(|entry| entry == "c 1:3 rwm"),
        "{:?}",
        devices.list().unwrap()
    );
    let scene = Scene::new();
    let spawned = scene
        .spawn(&scene.shell("echo x > /dev/null && (: < /dev/vda) 2>/dev/null || echo refused"));
    for cgroup in &cgroups.made.0 {
        cgroup.attach(spawned.pid()).unwrap();
    }
    assert_eq!(finish(&spawned.go().unwrap()), WaitStatus::exited(0));
    assert_eq!(scene.text("stdout"), "refused\n");
}
