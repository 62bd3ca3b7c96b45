//! The program itself: what it says and how it exits when it cannot start.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mezzo-agent")).args(args).output().unwrap()
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_work_dir_that_cannot_be_written_is_exit_code_1_and_one_line() {
    let output = run(&["--master=127.0.0.1:5050", "--work_dir=/proc/mezzo", "--quiet"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.starts_with("mezzo-agent: flag --work_dir: cannot write in /proc/mezzo: "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_master_that_is_no_address_is_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let work_dir = format!("--work_dir={}", dir.path().display());
    let output = run(&["--master=nowhere", &work_dir]);
    assert_eq!(output.status.code(), Some(1));
    let line = last_line(&output);
    assert_eq!(
        line,
        "mezzo-agent: flag --master: got \"nowhere\", expected host:port, as 127.0.0.1:5050"
    );
}

#[test]
fn wrong_flags_are_exit_code_2() {
    for (args, expected) in
        [(&["--master=m:1"][..], "work_dir"), (&["--nonsense=1"][..], "nonsense")]
    {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2));
        assert!(last_line(&output).contains(expected), "{output:?}");
    }
}

#[test]
fn the_version_is_told() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}
