//! Real cgroups of version 2. Wants root and a machine with that version and nothing else, which is why plain `cargo test` leaves
//! it out: `cargo xtask vm-test` runs it in a virtual machine. Fails loudly anywhere else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod support;

use std::fs;
use std::time::Duration;

use mezzo_linux::cgroup::v1::MemoryLimit;
use mezzo_linux::cgroup::{self, Cgroup, CpuQuota, Hierarchies, OomEvent, OomWatch, Readiness, v2};
use mezzo_linux::launch::{self, LaunchSpec};
use mezzo_linux::process::{ProcessHandle, ProcessId, WaitStatus};
use rustix::event::PollFlags;

use support::{PATIENCE, RemovedAtEnd, Scene, contained, finish, need_root, wait_until};

/// The controllers that a container's cgroup has.
const CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];

/// A container's cgroup below a root of its own, as the agent makes them: `<root>/c` has the limits, `<root>/c/leaf` the processes.
struct Container {
    root: Cgroup,
    cgroup: Cgroup,
    leaf: Cgroup,
    _cleaner: RemovedAtEnd,
}

impl Container {
    fn new(test: &str) -> Self {
        need_root();
        let Some(Hierarchies::V2(hierarchy)) = cgroup::detect().unwrap() else {
            panic!("this test needs cgroup version 2 at /sys/fs/cgroup: cargo xtask vm-test");
        };
        v2::enable_controllers(&Cgroup::new(&hierarchy.mount), CONTROLLERS).unwrap();
        let name = format!("mezzo-test-{}-{test}", std::process::id());
        let root = hierarchy.cgroup(&name).unwrap();
        root.create().unwrap();
        let cleaner = RemovedAtEnd(vec![root.clone()]);
        v2::enable_controllers(&root, CONTROLLERS).unwrap();
        let cgroup = root.child("c").unwrap();
        cgroup.create().unwrap();
        let leaf = v2::leaf(&cgroup);
        leaf.create().unwrap();
        Self { root, cgroup, leaf, _cleaner: cleaner }
    }

    fn start(&self, scene: &Scene, spec: &LaunchSpec) -> ProcessHandle {
        let spawned = scene.spawn(spec);
        self.leaf.attach(spawned.pid()).unwrap();
        spawned.go().unwrap()
    }
}

/// Waits for the descriptor as the thread of an isolator does, which asks `check` only then.
fn is_woken(watch: &OomWatch) -> bool {
    let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    let flags = match watch.readiness() {
        Readiness::Readable => PollFlags::IN,
        Readiness::Priority => PollFlags::PRI,
    };
    let mut wanted = [rustix::event::PollFd::new(watch, flags)];
    rustix::event::poll(&mut wanted, Some(&patience)).unwrap() == 1
}

#[test]
fn limits_are_taken_by_the_kernel_and_use_is_counted() {
    let container = Container::new("limits");
    let cpu = v2::Cpu::new(container.cgroup.clone());
    let memory = v2::Memory::new(container.cgroup.clone());
    let pids = v2::Pids::new(container.cgroup.clone());
    cpu.set_weight(0.5).unwrap();
    cpu.set_quota(Some(0.25)).unwrap();
    assert_eq!(cpu.weight().unwrap(), 50);
    assert_eq!(cpu.quota().unwrap(), CpuQuota::At(Duration::from_millis(25)));
    memory.set_low(40 << 20).unwrap();
    memory.set_max(MemoryLimit::Bytes(64 << 20)).unwrap();
    assert_eq!(memory.low().unwrap(), MemoryLimit::Bytes(40 << 20));
    assert!(!memory.raise_max(MemoryLimit::Bytes(48 << 20)).unwrap());
    assert!(memory.raise_max(MemoryLimit::Bytes(96 << 20)).unwrap());
    assert_eq!(memory.max().unwrap(), MemoryLimit::Bytes(96 << 20));
    pids.set_max(Some(50)).unwrap();
    assert_eq!(pids.max().unwrap(), Some(50));

    let scene = Scene::new();
    let script = "cat /proc/self/cgroup; while :; do :; done";
    let process = container.start(&scene, &contained(&scene, script));
    let leaf = format!("0::/{}/c/leaf", container.root.name());
    assert_eq!(scene.line("stdout"), leaf);
    // Burns CPU beyond its quota, which is a quarter of one.
    wait_until("throttling", || cpu.stat().unwrap().nr_throttled > 2);
    wait_until("throttled time", || cpu.stat().unwrap().throttled_time > Duration::ZERO);
    wait_until("CPU time", || cpu.stat().unwrap().user > Duration::ZERO);
    assert!(memory.current().unwrap() > 0);
    // Since 5.19; the kernel that these tests bring along has it.
    assert!(memory.peak().unwrap().is_some_and(|peak| peak > 0));
    assert!(memory.stat().unwrap().get("anon").is_some());
    wait_until("the end of cat", || pids.current().unwrap() == 2);
    assert_eq!(container.leaf.procs().unwrap().len(), 2, "launcher and program");
    assert_eq!(container.cgroup.procs().unwrap(), Vec::<i32>::new());

    cgroup::kill_and_remove(std::slice::from_ref(&container.cgroup), PATIENCE).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    assert!(!container.cgroup.exists());
    assert!(container.leaf.attach(1).unwrap_err().is_not_found());
}

#[test]
fn a_cgroup_with_controllers_for_its_children_takes_no_processes() {
    let container = Container::new("leaves");
    v2::enable_controllers(&container.cgroup, CONTROLLERS).unwrap();
    let scene = Scene::new();
    let spawned = scene.spawn(&scene.shell("exit 0"));
    let refused = container.cgroup.attach(spawned.pid()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(nix::libc::EBUSY), "{refused}");
    container.leaf.attach(spawned.pid()).unwrap();
    assert_eq!(finish(&spawned.go().unwrap()), WaitStatus::exited(0));
    // The other way round: processes first, then no controllers.
    let process = container.start(&scene, &scene.shell("exec sleep 600"));
    let refused = v2::enable_controllers(&container.leaf, &["memory"]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(nix::libc::EBUSY), "{refused}");
    container.cgroup.kill(PATIENCE).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
}

#[test]
fn out_of_memory_is_told_and_the_launcher_lives_to_tell_the_status() {
    let container = Container::new("oom");
    let memory = v2::Memory::new(container.cgroup.clone());
    memory.set_max(MemoryLimit::Bytes(32 << 20)).unwrap();
    let mut watch = memory.watch_oom().unwrap();
    assert_eq!(watch.check().unwrap(), OomEvent::Nothing);
    let scene = Scene::new();
    // A file without a line break is held in memory as a whole.
    let mut spec = contained(&scene, "exec tail /dev/zero");
    spec.oom_score_adj = Some(0);
    let process = container.start(&scene, &spec);
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
    wait_until("the kill to be counted", || memory.events().unwrap().oom_kill == 1);
    assert!(memory.events().unwrap().max > 0);
    assert!(memory.peak().unwrap() > Some(31 << 20));
}

#[test]
fn the_wake_up_of_an_oom_comes_through_the_descriptor() {
    let container = Container::new("wakeup");
    let memory = v2::Memory::new(container.cgroup.clone());
    memory.set_max(MemoryLimit::Bytes(32 << 20)).unwrap();
    let mut watch = memory.watch_oom().unwrap();
    let scene = Scene::new();
    let process = container.start(&scene, &contained(&scene, "exec tail /dev/zero"));
    loop {
        assert!(is_woken(&watch), "no wake-up");
        match watch.check().unwrap() {
            OomEvent::Nothing => {}
            event => break assert!(matches!(event, OomEvent::OutOfMemory { .. }), "{event:?}"),
        }
    }
    finish(&process);
}

#[test]
fn a_group_that_is_killed_as_one_leaves_no_torso_and_spares_the_launcher() {
    let container = Container::new("group");
    let memory = v2::Memory::new(container.cgroup.clone());
    memory.set_max(MemoryLimit::Bytes(48 << 20)).unwrap();
    memory.kill_as_group().unwrap();
    let scene = Scene::new();
    // No pid namespace: the kernel does not end the sleeper because its parent ends.
    let mut spec = scene.shell("sleep 600 & echo $!; tail /dev/zero; exec sleep 600");
    spec.oom_score_adj = Some(0);
    let process = container.start(&scene, &spec);
    let sleeper: i32 = scene.line("stdout").parse().unwrap();
    let sleeper = ProcessId::of(sleeper).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    assert_eq!(
        launch::read_status_file(&scene.path("status")).unwrap(),
        Some(WaitStatus::signalled(9))
    );
    wait_until("the sleeper to end", || sleeper.is_none_or(|id| !id.is_alive().unwrap()));
    assert!(memory.events().unwrap().oom_kill >= 3, "shell, sleeper and tail");
}

#[test]
fn after_removal_of_the_cgroup_the_watch_says_so_when_asked() {
    let container = Container::new("removed");
    let mut watch = v2::Memory::new(container.cgroup.clone()).watch_oom().unwrap();
    container.cgroup.remove(PATIENCE).unwrap();
    // Nobody is woken for it: the kernel tells of changed files only.
    assert_eq!(watch.check().unwrap(), OomEvent::Removed);
}

#[test]
fn a_fork_bomb_is_killed_with_one_write() {
    let container = Container::new("bomb");
    let pids = v2::Pids::new(container.cgroup.clone());
    pids.set_max(Some(100)).unwrap();
    let scene = Scene::new();
    // No namespaces: the kernel does not help by killing all with pid 1. The shells that cannot fork start anew.
    let bomb = "trap 'exec sh ./bomb' EXIT; while :; do sh ./bomb & done";
    fs::write(scene.path("bomb"), bomb).unwrap();
    let mut spec = scene.shell("sh ./bomb & exec sleep 600");
    spec.stderr = launch::Stream::Null;
    let process = container.start(&scene, &spec);
    wait_until("the bomb to grow", || pids.current().unwrap() > 60);
    container.cgroup.kill(PATIENCE).unwrap();
    assert_eq!(container.cgroup.procs_recursive().unwrap(), Vec::<i32>::new());
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    assert!(!v2::is_populated(&container.cgroup).unwrap());
}

#[test]
fn nested_cgroups_go_bottom_up_with_everything_in_them() {
    let container = Container::new("nested");
    let nested = container.cgroup.child("mezzo/nested").unwrap();
    let leaf = v2::leaf(&nested);
    leaf.create_all().unwrap();
    let scene = Scene::new();
    let spawned = scene.spawn(&scene.shell("exec sleep 600"));
    leaf.attach(spawned.pid()).unwrap();
    let process = spawned.go().unwrap();
    let busy = container.cgroup.remove(Duration::ZERO).unwrap_err().to_string();
    assert!(busy.contains(&process.pid().to_string()), "{busy}");
    assert!(container.cgroup.procs_recursive().unwrap().contains(&process.pid()));
    cgroup::kill_and_remove(std::slice::from_ref(&container.cgroup), PATIENCE).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
}
