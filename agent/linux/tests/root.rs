//! What only root can do: namespaces, mounts, switching the user. Fails loudly when it is not root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mezzo_linux::cgroup::{self, Cgroup};
use mezzo_linux::launch::{self, LaunchSpec, MountSpec, Namespaces};
use mezzo_linux::process::{ProcessHandle, Signal, WaitStatus, members_of_tree};
use mezzo_linux::user::{Credentials, User};

use support::{PATIENCE, RemovedAtEnd, Scene, contained, finish, launcher, need_root, wait_until};

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
    let cleaner = RemovedAtEnd(vec![container.clone()]);
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
