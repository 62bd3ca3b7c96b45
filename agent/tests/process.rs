//! The program itself: what it says when it cannot start, and how it ends.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod world;

use std::path::Path;
use std::process::{Command, Output};

use mezzo_proto::v1::link::{self, from_agent, from_master};
use world::Master;

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

/// The program, running; killed if the test ends before it does.
struct Program(std::process::Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Starts it with helpers that only exist: nothing is launched here.
    fn start(dir: &Path, master: &Master) -> Self {
        for helper in ["mezzo-launcher", "mezzo-executor"] {
            std::fs::write(dir.join(helper), "").unwrap();
        }
        let child = Command::new(env!("CARGO_BIN_EXE_mezzo-agent"))
            .arg(format!("--master={}", master.address))
            .arg(format!("--work_dir={}", dir.join("work").display()))
            .arg(format!("--launcher_dir={}", dir.display()))
            .args(["--port=0", "--isolation=", "--resources=cpus:1;mem:64;disk:64", "--quiet"])
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    async fn exit_code(mut self) -> Option<i32> {
        let wait = tokio::task::spawn_blocking(move || self.0.wait().unwrap().code());
        world::soon("the program ends", wait).await.unwrap()
    }
}

async fn id_on_disk(dir: &Path) {
    world::soon("the id is on disk", async {
        while !dir.join("work/meta/agents/latest").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn sigterm_stops_the_agent_and_the_next_one_is_the_same_agent() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let program = Program::start(dir.path(), &master);
    let mut link = master.registered("a1").await;
    id_on_disk(dir.path()).await;
    program.signal(rustix::process::Signal::TERM);
    assert!(link.next_or_end().await.is_none(), "it leaves without unregistering");
    assert_eq!(program.exit_code().await, Some(0));

    let _program = Program::start(dir.path(), &master);
    let first = master.agent().await.next().await;
    assert!(matches!(first, from_agent::Message::Reregister(_)), "{first:?}");
}

#[tokio::test]
async fn sigusr1_unregisters_the_agent_and_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let program = Program::start(dir.path(), &master);
    let mut link = master.registered("a1").await;
    // The answer to the registration has been applied when the agent answers what comes after it.
    link.say(from_master::Message::Ping(link::Ping {})).await;
    assert!(matches!(link.next().await, from_agent::Message::Pong(_)));
    program.signal(rustix::process::Signal::USR1);
    assert!(matches!(link.next().await, from_agent::Message::Unregister(_)));
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn an_agent_that_was_killed_leaves_a_work_dir_that_the_next_one_can_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let program = Program::start(dir.path(), &master);
    let _link = master.registered("a1").await;
    id_on_disk(dir.path()).await;
    program.signal(rustix::process::Signal::KILL);
    assert_eq!(program.exit_code().await, None);
    let _program = Program::start(dir.path(), &master);
    let first = master.agent().await.next().await;
    assert!(matches!(first, from_agent::Message::Reregister(_)), "{first:?}");
}
