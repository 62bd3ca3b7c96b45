//! The launcher as any user: no namespaces, no cgroups.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use mezzo_linux::launch::{self, LaunchSpec, Rlimit, RlimitKind, Stream};
use mezzo_linux::process::{ProcessHandle, ProcessId, Signal, WaitStatus, members_of_tree};

use support::{Scene, finish, launcher, wait_until};

#[test]
fn an_exit_code_comes_back_by_the_status_file_and_by_the_launcher() {
    let scene = Scene::new();
    let status = scene.run(&scene.shell("echo out; echo err >&2; exit 3"));
    assert_eq!(status, WaitStatus::exited(3));
    assert_eq!(
        launch::read_status_file(&scene.path("status")).unwrap(),
        Some(WaitStatus::exited(3))
    );
    assert_eq!(scene.text("status"), "768\n");
    assert_eq!((scene.text("stdout").as_str(), scene.text("stderr").as_str()), ("out\n", "err\n"));
}

#[test]
fn a_death_by_signal_is_told_as_such() {
    for signal in [9, 15, 6, 11] {
        let scene = Scene::new();
        let status = scene.run(&scene.shell(&format!("ulimit -c 0; kill -{signal} $$")));
        assert_eq!(status, WaitStatus::signalled(signal));
        assert_eq!(launch::read_status_file(&scene.path("status")).unwrap(), Some(status));
    }
}

#[test]
fn the_end_of_the_input_before_go_never_executes() {
    let scene = Scene::new();
    let spec = scene.shell("touch ran");
    let message = {
        let json = serde_json::to_vec(&spec).unwrap();
        let mut message = u32::try_from(json.len()).unwrap().to_le_bytes().to_vec();
        message.extend(json);
        message
    };
    // An agent that dies after the spec, in the middle of it, and before it.
    for written in [message.len(), message.len() / 2, 3, 0] {
        let mut child =
            Command::new(launcher()).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(message.get(..written).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    let spawned = scene.spawn(&spec);
    let pid = spawned.pid();
    drop(spawned);
    assert!(
        ProcessHandle::open(pid).unwrap().is_none(),
        "dropping leaves no launcher and no zombie"
    );
    assert!(!scene.path("ran").exists());
    assert!(!scene.path("status").exists());
}

#[test]
fn a_program_that_cannot_run_is_told_in_one_sentence() {
    let scene = Scene::new();
    fs::write(scene.path("data"), "x").unwrap();
    fs::write(scene.path("script"), "#!/no/such/interpreter\n").unwrap();
    fs::write(scene.path("garbage"), "\u{1}\u{2}\u{3}").unwrap();
    for name in ["script", "garbage"] {
        fs::set_permissions(scene.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let cases = [
        ("no-such-program", 127, "cannot run \"no-such-program\": not found in PATH"),
        ("/no/such/program", 127, "cannot run \"/no/such/program\": there is no such file"),
        ("./data", 126, "cannot run \"./data\": permission denied (is it an executable file?)"),
        ("/", 126, "cannot run \"/\": permission denied (is it an executable file?)"),
        ("./script", 126, "cannot run \"./script\": the interpreter that it names was not found"),
        (
            "./garbage",
            126,
            "cannot run \"./garbage\": not a program of this machine (is a #! line missing?)",
        ),
    ];
    for (program, code, sentence) in cases {
        let mut spec = scene.shell("");
        spec.program = program.to_owned();
        assert_eq!(scene.run(&spec), WaitStatus::exited(code), "{program}");
        assert_eq!(scene.text("stderr"), format!("mezzo-launcher: {sentence}\n"));
        assert_eq!(
            launch::read_status_file(&scene.path("status")).unwrap(),
            Some(WaitStatus::exited(code))
        );
    }
}

#[test]
fn a_working_directory_that_is_missing_is_a_setup_failure() {
    let scene = Scene::new();
    let mut spec = scene.shell("touch ran");
    spec.cwd = Some("/no/such/dir".into());
    assert_eq!(scene.run(&spec), WaitStatus::exited(launch::EXIT_SETUP_FAILED));
    assert!(
        scene.text("stderr").contains("cannot start in /no/such/dir"),
        "{}",
        scene.text("stderr")
    );
}

#[test]
fn the_environment_is_exactly_the_one_given_and_programs_are_found_in_its_path() {
    let scene = Scene::new();
    fs::create_dir(scene.path("bin")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/env", scene.path("bin/show")).unwrap();
    let mut spec = LaunchSpec::new("show", ["show"]);
    spec.env = [("A", "1"), ("PATH", "/nowhere"), ("B", "x y\nz"), ("A", "2"), ("PATH", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    spec.env.push(("PATH".into(), format!("/nowhere:{}", scene.path("bin").display())));
    assert_eq!(scene.run(&spec), WaitStatus::exited(0));
    assert_eq!(
        scene.text("stdout"),
        format!("B=x y\nz\nA=2\nPATH=/nowhere:{}\n", scene.path("bin").display())
    );
}

#[test]
fn the_program_gets_clean_signals_and_no_foreign_descriptors() {
    let scene = Scene::new();
    let _something_open = fs::File::open("/dev/null").unwrap();
    let status = scene.run(&scene.shell(
        "grep -E 'Sig(Ign|Blk)' /proc/self/status; readlink /proc/$$/fd/0; exec ls /proc/self/fd",
    ));
    assert_eq!(status, WaitStatus::exited(0));
    // The fourth is the directory that `ls` is reading.
    let zero = "0".repeat(16);
    assert_eq!(
        scene.text("stdout"),
        format!("SigBlk:\t{zero}\nSigIgn:\t{zero}\n/dev/null\n0\n1\n2\n3\n")
    );
}

#[test]
fn sigterm_is_passed_on_to_the_program() {
    let scene = Scene::new();
    let process =
        scene.start(&scene.shell("trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done"));
    scene.line("stdout");
    assert!(process.signal(Signal::TERM).unwrap());
    assert_eq!(finish(&process), WaitStatus::exited(42));
}

#[test]
fn the_pid_file_names_the_program_and_its_session_is_its_own() {
    let scene = Scene::new();
    let process = scene.start(&scene.shell("echo $$; exec sleep 600"));
    let pid: i32 = scene.line("stdout").parse().unwrap();
    wait_until("the pid file", || scene.path("pid").exists());
    let id = launch::read_pid_file(&scene.path("pid")).unwrap().unwrap();
    assert_eq!(Some(id), ProcessId::of(pid).unwrap());
    let stat = mezzo_linux::procfs::Procfs::default().stat(pid).unwrap().unwrap();
    assert_eq!((stat.session, stat.pgrp, stat.ppid), (pid, pid, process.pid()));
    let launcher = mezzo_linux::procfs::Procfs::default().stat(process.pid()).unwrap().unwrap();
    assert_eq!(launcher.session, process.pid());
    let members: Vec<_> = members_of_tree(process.pid()).unwrap().iter().map(|id| id.pid).collect();
    assert_eq!(members, [process.pid(), pid]);
    assert_eq!(mezzo_linux::process::signal_session(pid, Signal::KILL).unwrap(), 1);
    assert_eq!(finish(&process), WaitStatus::signalled(9));
}

#[test]
fn kill_to_its_own_group_does_not_reach_the_launcher() {
    let scene = Scene::new();
    assert_eq!(scene.run(&scene.shell("kill -9 0")), WaitStatus::signalled(9));
    assert_eq!(
        launch::read_status_file(&scene.path("status")).unwrap(),
        Some(WaitStatus::signalled(9))
    );
}

#[test]
fn a_daemon_that_left_the_session_ends_with_the_program() {
    let scene = Scene::new();
    let script = "setsid sh -c 'setsid sleep 600 & echo $! > daemon; echo $$ >> daemon; exec sleep 600' & \
                  while [ \"$(wc -l < daemon 2>/dev/null)\" != 2 ]; do sleep 0.01; done; exit 5";
    assert_eq!(scene.run(&scene.shell(script)), WaitStatus::exited(5));
    for pid in scene.text("daemon").lines() {
        let pid: i32 = pid.parse().unwrap();
        assert!(
            ProcessId::of(pid).unwrap().is_none_or(|id| !id.is_alive().unwrap()),
            "{pid} is still there"
        );
    }
}

#[test]
fn when_the_launcher_is_killed_the_program_dies_too() {
    let scene = Scene::new();
    let process = scene.start(&scene.shell("echo $$; exec sleep 600"));
    let pid: i32 = scene.line("stdout").parse().unwrap();
    let program = ProcessHandle::open(pid).unwrap().unwrap();
    process.signal(Signal::KILL).unwrap();
    assert_eq!(finish(&process), WaitStatus::signalled(9));
    assert!(program.wait_ended(Some(support::PATIENCE)).unwrap());
    assert_eq!(launch::read_status_file(&scene.path("status")).unwrap(), None);
}

#[test]
fn limits_mask_and_oom_score_are_those_of_the_spec() {
    let scene = Scene::new();
    let mut spec = scene.shell("ulimit -S -n; ulimit -H -n; ulimit -c; umask; cat /proc/$$/oom_score_adj; grep NoNewPrivs /proc/$$/status");
    spec.rlimits = vec![
        Rlimit { kind: RlimitKind::Nofile, soft: Some(64), hard: Some(128) },
        Rlimit { kind: RlimitKind::Core, soft: Some(0), hard: Some(0) },
    ];
    spec.umask = Some(0o27);
    spec.oom_score_adj = Some(500);
    spec.no_new_privs = true;
    assert_eq!(scene.run(&spec), WaitStatus::exited(0));
    assert_eq!(scene.text("stdout"), "64\n128\n0\n0027\n500\nNoNewPrivs:\t1\n");
}

#[test]
fn streams_can_be_files_and_links_and_fifos_are_refused() {
    let scene = Scene::new();
    fs::write(scene.path("in"), "hello\n").unwrap();
    fs::write(scene.path("log"), "before\n").unwrap();
    let mut spec = scene.shell("cat; echo oops >&2");
    spec.stdin = Stream::File(scene.path("in"));
    spec.stdout = Stream::File(scene.path("log"));
    spec.stderr = Stream::Null;
    assert_eq!(scene.run(&spec), WaitStatus::exited(0));
    assert_eq!(scene.text("log"), "before\nhello\n");
    assert_eq!(scene.text("stderr"), "");

    std::os::unix::fs::symlink(scene.path("log"), scene.path("link")).unwrap();
    nix::unistd::mkfifo(&scene.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["link", "fifo"] {
        spec.stderr = Stream::Inherit;
        spec.stdout = Stream::File(scene.path(name));
        assert_eq!(scene.run(&spec), WaitStatus::exited(launch::EXIT_SETUP_FAILED), "{name}");
        assert!(scene.text("stderr").contains(name), "{}", scene.text("stderr"));
    }
}

#[test]
fn a_launcher_that_is_missing_or_wrong_is_named() {
    let scene = Scene::new();
    let file = || fs::File::create(scene.path("x")).unwrap();
    let error =
        launch::spawn(&scene.path("nothing"), &scene.shell("true"), file(), file()).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    let wrong = LaunchSpec::new("", ["x"]);
    let error = launch::spawn(launcher(), &wrong, file(), file()).unwrap_err();
    assert_eq!(error.to_string(), r#"launch spec: program is "", expected a path or a name"#);
}

#[test]
fn a_launcher_killed_before_go_is_an_error_and_leaves_no_zombie() {
    let scene = Scene::new();
    let spawned = scene.spawn(&scene.shell("touch ran"));
    let process = ProcessHandle::open(spawned.pid()).unwrap().unwrap();
    process.signal(Signal::KILL).unwrap();
    assert!(process.wait_ended(Some(support::PATIENCE)).unwrap());
    let error = spawned.go().unwrap_err();
    assert!(error.to_string().ends_with("does not take its go"), "{error}");
    assert!(ProcessHandle::open(process.pid()).unwrap().is_none());
    assert!(!scene.path("ran").exists());
}
