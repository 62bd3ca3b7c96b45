//! The program as a person runs it: what it says to wrong flags, and what it does with a cluster
//! that this test plays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

use std::io::Write;
use std::process::Output;

use mezzo_sdk::testing::{FakeMaster, offer, update};
use mezzo_sdk::v1::{TaskInfo, TaskState};
use tokio::process::Command;

fn mezzo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mezzo"));
    command.env_remove("MEZZO_MASTER").kill_on_drop(true);
    command
}

async fn says(arguments: &[&str]) -> (Option<i32>, String) {
    let output = mezzo().args(arguments).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[tokio::test]
async fn wrong_flags_are_told_in_one_line_that_says_what_was_expected() {
    for (arguments, words) in [
        (&["run", "--cpuz", "2", "--", "true"][..], "cpus"),
        (&["run", "--cpus", "-1", "--", "true"], "expected"),
        (&["run", "--cpus=NaN", "--", "true"], "expected"),
        (&["run", "--env", "X", "--", "true"], "NAME=VALUE"),
        (&["run", "--instances", "0", "--", "true"], "1..=1000000"),
        (&["local", "--agents", "1000"], "0..=100"),
        (&["local", "--port", "x"], "expected"),
        (&["tasks", "--al"], "all"),
        (&["logs"], "TASK"),
        (&["modules", "inspect"], "FILE.so"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let (code, said) = says(arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn help_tells_every_command() {
    let output = mezzo().arg("--help").output().await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for command in [
        "local",
        "run",
        "agents",
        "frameworks",
        "tasks",
        "offers",
        "logs",
        "kill",
        "modules",
        "version",
    ] {
        assert!(help.contains(command), "{command} in {help}");
    }
}

#[tokio::test]
async fn a_master_that_is_not_there_is_told_in_one_line() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = free.to_string();
    for command in [
        &["agents"][..],
        &["tasks"],
        &["offers"],
        &["modules", "list"],
        &["kill", "t"],
        &["logs", "t"],
        &["run", "--", "true"],
    ] {
        let arguments = [&["--master", &address], command].concat();
        let (code, said) = says(&arguments).await;
        assert_eq!(code, Some(125), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains(&address) && said.contains("refused"), "{said}");
    }
}

#[tokio::test]
async fn the_master_may_come_from_the_environment() {
    let output = mezzo().env("MEZZO_MASTER", "127.0.0.1:1").arg("agents").output().await.unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("127.0.0.1:1"));
}

#[tokio::test]
async fn nothing_to_run_is_told_before_any_master_is_looked_for() {
    let (code, said) = says(&["--master", "127.0.0.1:1", "run"]).await;
    assert_eq!(code, Some(125));
    assert!(said.contains("nothing to run"), "{said}");
    let (code, said) = says(&["run", "--tasks", "/does/not/exist"]).await;
    assert_eq!(code, Some(125));
    assert!(said.contains("/does/not/exist"), "{said}");
}

#[tokio::test]
async fn a_wrong_line_of_a_file_of_tasks_is_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "true\n{{\"cpus\": 1}}").unwrap();
    let (code, said) = says(&["run", "--tasks", file.path().to_str().unwrap()]).await;
    assert_eq!(code, Some(125));
    assert!(said.contains(":2: "), "{said}");
}

/// Runs `mezzo run` with `arguments` while this test plays the master.
#[allow(clippy::disallowed_methods, reason = "a test with one task")]
async fn run(arguments: &[&str], play: impl AsyncFnOnce(&FakeMaster)) -> Output {
    let master = FakeMaster::start().await.unwrap();
    let mut command = mezzo();
    command.args(["--master", &master.address()]).args(arguments);
    let program = tokio::spawn(async move { command.output().await.unwrap() });
    play(&master).await;
    let output = program.await.unwrap();
    master.gone().await;
    output
}

fn ends(master: &FakeMaster, task: &TaskInfo, state: TaskState, message: &str) {
    let mut status = update(task, state);
    status.message = Some(message.to_owned());
    master.status(status);
}

#[tokio::test]
async fn the_exit_code_is_that_of_the_task() {
    for (state, message, code) in [
        (TaskState::TaskFinished, "Command exited with status 0", 0),
        (TaskState::TaskFailed, "Command exited with status 3", 3),
        (TaskState::TaskFailed, "Command terminated with signal Killed", 137),
    ] {
        let arguments = ["run", "--cpus=0.5", "--env", "A=b c", "--", "sh", "-c", "x"];
        let output = run(&arguments, async |master| {
            master.subscription().await;
            master.offer([offer("o1", "a1", &[("cpus", 1.0), ("mem", 64.0)])]);
            let task = master.launched().await;
            let command = task.command.as_ref().unwrap();
            assert_eq!(command.arguments, ["sh", "-c", "x"]);
            assert_eq!(command.environment.as_ref().unwrap().variables[0].value(), "b c");
            master.update(&task, TaskState::TaskRunning);
            ends(master, &task, state, message);
        })
        .await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}

#[tokio::test]
async fn many_tasks_end_well_only_if_all_do() {
    for (last, code) in [(TaskState::TaskFinished, 0), (TaskState::TaskFailed, 1)] {
        let arguments = ["--json", "run", "--name", "n", "--instances", "3", "--", "true"];
        let output = run(&arguments, async |master| {
            master.subscription().await;
            master.offer([offer("o1", "a1", &[("cpus", 1.0), ("mem", 640.0)])]);
            let accept = master.accepted().await;
            let tasks = &accept.operations[0].launch.as_ref().unwrap().task_infos;
            assert_eq!(tasks.len(), 3);
            assert_eq!(tasks[2].task_id.value, "n-3");
            for (index, task) in tasks.iter().enumerate() {
                let state = if index == 2 { last } else { TaskState::TaskFinished };
                ends(master, task, state, "");
            }
        })
        .await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let answer = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answer.lines().count(), 3, "{answer}");
        let line: serde_json::Value = serde_json::from_str(answer.lines().next().unwrap()).unwrap();
        assert_eq!(line["state"], "TASK_FINISHED");
    }
}

#[tokio::test]
async fn a_dropped_task_is_launched_again() {
    let output = run(&["run", "--", "true"], async |master| {
        master.subscription().await;
        master.offer([offer("o1", "a1", &[("cpus", 1.0), ("mem", 64.0)])]);
        let first = master.launched().await;
        ends(master, &first, TaskState::TaskDropped, "the agent went away");
        master.offer([offer("o2", "a2", &[("cpus", 1.0), ("mem", 64.0)])]);
        let second = master.launched().await;
        assert_ne!(first.task_id, second.task_id);
        ends(master, &second, TaskState::TaskFinished, "");
    })
    .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn a_refusal_of_the_master_is_told() {
    let output = run(&["run", "--role", "x", "--", "true"], async |master| {
        let subscribe = master.subscription().await;
        assert_eq!(subscribe.framework_info.roles, ["x"]);
        master.error("role x is not allowed");
    })
    .await;
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8(output.stderr).unwrap().contains("role x is not allowed"));
}
