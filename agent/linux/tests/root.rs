//! What only root can do: namespaces, mounts, switching the user, real cgroups. Fails loudly when it is not root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mezzo_linux::cgroup::{self, Cgroup, CpuQuota, Hierarchies, OomEvent, V1Hierarchies, v1};
use mezzo_linux::launch::{self, LaunchSpec, MountSpec, Namespaces};
use mezzo_linux::process::{ProcessHandle, Signal, WaitStatus, members_of_tree};
use mezzo_linux::user::{self, Credentials, User};

use support::{PATIENCE, Scene, finish, launcher, wait_until};

fn need_root() {
    assert!(user::is_root(), "this test needs root; run it as root, or leave out --test root");
}

/// A container's namespaces, as the agent asks for them when it is root.
fn contained(scene: &Scene, script: &str) -> LaunchSpec {
    need_root();
    let mut spec = scene.shell(script);
    spec.namespaces = Namespaces::PID_AND_MOUNT;
    spec.mount_proc = true;
    spec
}

#[test]
fn in_a_pid_namespace_the_program_is_pid_1_and_sees_nobody_else() {
    let scene = Scene::new();
    let spec = contained(&scene, "echo $$; echo /proc/[0-9]*; readlink /proc/self/ns/pid; exit 4");
    assert_eq!(scene.run(&spec), WaitStatus::exited(4));
    let output = scene.text("stdout");
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.first(), Some(&"1"));
    assert_eq!(lines.get(1), Some(&"/proc/1"));
    assert_ne!(lines.get(2).map(Path::new), fs::read_link("/proc/self/ns/pid").ok().as_deref());
    assert_eq!(scene.text("status"), "1024\n");
}

#[test]
fn mounts_of_the_container_do_not_show_on_the_host() {
    let scene = Scene::new();
    for name in ["tmp", "shown", "hidden"] {
        fs::create_dir(scene.path(name)).unwrap();
    }
    fs::write(scene.path("shown/file"), "text").unwrap();
    let mut spec = contained(
        &scene,
        "echo x > tmp/inside; cat hidden/file; echo; (echo y > hidden/file) 2>/dev/null && echo written; df --output=fstype tmp | tail -1",
    );
    let source = scene.path("shown").display().to_string();
    spec.mounts = vec![
        MountSpec::tmpfs(scene.path("tmp"), 1 << 20),
        MountSpec::bind_read_only(source, scene.path("hidden")),
    ];
    assert_eq!(scene.run(&spec), WaitStatus::exited(0), "{}", scene.text("stderr"));
    assert_eq!(scene.text("stdout"), "text\ntmpfs\n");
    assert!(!scene.path("tmp/inside").exists());
    assert!(!scene.path("hidden/file").exists());
    assert_eq!(scene.text("shown/file"), "text");
}

#[test]
fn a_mount_target_that_is_a_symbolic_link_is_refused() {
    let scene = Scene::new();
    std::os::unix::fs::symlink("/etc", scene.path("link")).unwrap();
    let mut spec = contained(&scene, "touch ran");
    spec.mounts = vec![MountSpec::tmpfs(scene.path("link"), 4096)];
    assert_eq!(scene.run(&spec), WaitStatus::exited(launch::EXIT_SETUP_FAILED));
    assert!(
        scene.text("stderr").contains("may not pass a symbolic link"),
        "{}",
        scene.text("stderr")
    );
    assert!(!scene.path("ran").exists());
}

#[test]
fn the_host_name_is_the_containers_own() {
    let scene = Scene::new();
    let mut spec = contained(&scene, "hostname; readlink /proc/self/ns/ipc");
    spec.namespaces =
        Namespaces { uts: true, ipc: true, network: true, cgroup: true, ..spec.namespaces };
    spec.hostname = Some("inside".to_owned());
    assert_eq!(scene.run(&spec), WaitStatus::exited(0), "{}", scene.text("stderr"));
    let output = scene.text("stdout");
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("inside"));
    assert_ne!(lines.next().map(Path::new), fs::read_link("/proc/self/ns/ipc").ok().as_deref());
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "inside");
}

#[test]
fn the_user_is_switched_with_his_groups_and_cannot_come_back() {
    let scene = Scene::new();
    let nobody = User::by_name("nobody").unwrap().credentials;
    let mut spec =
        contained(&scene, "id -u; id -g; id -G; cat /etc/shadow 2>/dev/null || echo refused");
    spec.user = Some(Credentials { groups: vec![nobody.gid, 12345], ..nobody.clone() });
    spec.no_new_privs = true;
    assert_eq!(scene.run(&spec), WaitStatus::exited(0), "{}", scene.text("stderr"));
    let (uid, gid) = (nobody.uid, nobody.gid);
    assert_eq!(scene.text("stdout"), format!("{uid}\n{gid}\n{gid} 12345\nrefused\n"));
}

#[test]
fn killing_the_launcher_kills_all_in_the_pid_namespace_also_of_another_user() {
    let scene = Scene::new();
    let mut spec = contained(&scene, "setsid sleep 600 & sleep 600 & echo ready; wait");
    spec.user = Some(User::by_name("nobody").unwrap().credentials);
    let process = scene.start(&spec);
    scene.line("stdout");
    wait_until("both children", || members_of_tree(process.pid()).unwrap().len() == 4);
    let members = members_of_tree(process.pid()).unwrap();
    process.signal(Signal::KILL).unwrap();
    finish(&process);
    for member in members {
        wait_until("the whole tree to end", || !member.is_alive().unwrap());
    }
}

#[test]
fn the_end_of_pid_1_ends_its_daemons() {
    let scene = Scene::new();
    let process = scene.start(&contained(
        &scene,
        "setsid sleep 600 & echo ready; read never < /dev/null; exec sleep 600",
    ));
    scene.line("stdout");
    wait_until("the daemon", || members_of_tree(process.pid()).unwrap().len() == 3);
    let members = members_of_tree(process.pid()).unwrap();
    let program = members.get(1).unwrap();
    ProcessHandle::open_expected(*program).unwrap().unwrap().signal(Signal::KILL).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    for member in members {
        assert!(!member.is_alive().unwrap());
    }
}

#[test]
fn with_an_init_the_program_is_pid_2_and_sigterm_and_orphans_are_taken_care_of() {
    let scene = Scene::new();
    let mut spec = contained(&scene, "(sleep 0 & exec sleep 0) & echo $$; exec sleep 600");
    spec.init = true;
    let process = scene.start(&spec);
    assert_eq!(scene.line("stdout"), "2");
    // Only launcher, init and program are left when the orphans were reaped.
    wait_until("the orphans to be reaped", || members_of_tree(process.pid()).unwrap().len() == 3);
    process.signal(Signal::TERM).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(15));
    assert_eq!(
        launch::read_status_file(&scene.path("status")).unwrap(),
        Some(WaitStatus::signalled(15))
    );
}

#[test]
fn without_root_nothing_is_asked_for_and_everything_works() {
    need_root();
    let scene = Scene::new();
    // The build directory may be closed to others; the launcher needs nothing but itself.
    let copy = scene.path("launcher");
    fs::copy(launcher(), &copy).unwrap();
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let nobody = User::by_name("nobody").unwrap().credentials;
    let mut spec = scene.shell("id -u; exit 6");
    spec.user = Some(nobody.clone());
    let message = framed(&spec);
    // `setpriv` stands in for an agent that runs as an ordinary user.
    let mut child = std::process::Command::new("setpriv")
        .args([
            format!("--reuid={}", nobody.uid),
            format!("--regid={}", nobody.gid),
            "--clear-groups".to_owned(),
        ])
        .arg(&copy)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &message).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), nobody.uid.to_string());
    assert_eq!(scene.text("status"), "1536\n");
}

fn framed(spec: &LaunchSpec) -> Vec<u8> {
    let json = serde_json::to_vec(spec).unwrap();
    let mut message = u32::try_from(json.len()).unwrap().to_le_bytes().to_vec();
    message.extend(json);
    message.push(b'G');
    message
}

/// Cgroups of one test, killed and removed whatever happens.
struct TestCgroups {
    hierarchies: V1Hierarchies,
    made: Vec<Cgroup>,
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
            made: Vec::new(),
            name: format!("mezzo-test-{}-{test}", std::process::id()),
        }
    }

    fn make(&mut self, controller: &str) -> Cgroup {
        let made = self.hierarchies.cgroup(controller, &self.name).unwrap();
        made.create().unwrap();
        self.made.push(made.clone());
        made
    }
}

impl Drop for TestCgroups {
    fn drop(&mut self) {
        let cleaned = cgroup::kill_and_remove(&self.made, PATIENCE);
        if !std::thread::panicking() {
            cleaned.expect("test cgroups are removed");
        }
    }
}

#[test]
fn v1_limits_are_taken_by_the_kernel_and_use_is_counted() {
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
    for cgroup in &cgroups.made {
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

    cgroup::kill_and_remove(&cgroups.made, PATIENCE).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    assert!(cgroups.made.iter().all(|cgroup| !cgroup.exists()));
    assert!(cpu.cgroup().attach(1).unwrap_err().is_not_found());
}

#[test]
fn v1_out_of_memory_is_told_and_the_launcher_lives_to_tell_the_status() {
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
fn v1_removal_of_the_cgroup_wakes_the_watcher() {
    let mut cgroups = TestCgroups::new("removed");
    let memory = v1::Memory::new(cgroups.make("memory"));
    let mut watch = memory.watch_oom().unwrap();
    memory.cgroup().remove(PATIENCE).unwrap();
    wait_until("the news", || watch.check().unwrap() == OomEvent::Removed);
}

#[test]
fn v1_a_fork_bomb_is_killed_without_the_freezer() {
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
fn v1_nested_cgroups_go_bottom_up_with_everything_in_them() {
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
fn v1_cpuset_and_devices_can_be_entered() {
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
    for cgroup in &cgroups.made {
        cgroup.attach(spawned.pid()).unwrap();
    }
    assert_eq!(finish(&spawned.go().unwrap()), WaitStatus::exited(0));
    assert_eq!(scene.text("stdout"), "refused\n");
}

#[test]
fn v2_kill_file_takes_everything_and_the_cgroup_can_be_removed() {
    need_root();
    let Some(mount) =
        fs::read_to_string("/proc/self/mountinfo").unwrap().lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4).map(str::to_owned))?
        })
    else {
        panic!("this test needs a mounted cgroup2 (it may be one without controllers)");
    };
    let container =
        Cgroup::below(Path::new(&mount), &format!("mezzo-test-{}-v2", std::process::id())).unwrap();
    let cleaner = TestCgroups {
        hierarchies: V1Hierarchies::default(),
        made: vec![container.clone()],
        name: String::new(),
    };
    let leaf = cgroup::v2::leaf(&container);
    leaf.create_all().unwrap();
    let scene = Scene::new();
    let spawned = scene.spawn(&scene.shell("setsid sleep 600 & sleep 600 & echo ready; wait"));
    leaf.attach(spawned.pid()).unwrap();
    let process = spawned.go().unwrap();
    scene.line("stdout");
    assert!(cgroup::v2::is_populated(&container).unwrap());
    container.kill(PATIENCE).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    wait_until("the cgroup to be empty", || !cgroup::v2::is_populated(&container).unwrap());
    container.remove(PATIENCE).unwrap();
    drop(cleaner);
}
