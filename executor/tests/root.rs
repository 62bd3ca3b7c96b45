//! The executor as process 1 of a pid namespace. Needs root, and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a test may panic, and has a stack to itself"
)]

mod fake_agent;

use std::time::Duration;

use fake_agent::{FakeAgent, shell};
use mezzo_proto::v1::TaskState;

fn require_root() {
    let root = mezzo_linux::user::is_root();
    assert!(
        root,
        "these tests make a pid namespace: run them as root, or leave them out (`--test command`)"
    );
}

#[tokio::test]
async fn as_process_one_it_reaps_orphans_and_kills_the_whole_namespace() {
    require_root();
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor_in_pid_namespace(&[]);
    let (mut connection, _) = agent.subscribed().await;
    // The daemon has left session and tree; the orphan ends at once. Both belong to process 1, which shows in their parent.
    let script = "(setsid sh -c 'trap \"\" TERM; while :; do sleep 600; done' &); (sh -c 'exit 0' &); \
                  trap 'exit 0' TERM; echo $PPID > parent; \
                  while ps -eo stat= | grep -q Z; do sleep 0.01; done; echo clean > reaped; \
                  while :; do sleep 0.05; done";
    connection.run(shell(script)).await;
    assert_eq!(executor.line("parent").await, "1");
    assert_eq!(executor.line("reaped").await, "clean");
    connection.kill(Some(Duration::from_secs(600))).await;
    let killed = connection.update(TaskState::TaskKilled).await;
    assert_eq!(killed.message.as_deref(), Some("Command exited with status 0"));
    assert_eq!(executor.exit_code().await, Some(0));
}

#[tokio::test]
async fn sigterm_from_outside_is_a_shutdown() {
    require_root();
    let mut agent = FakeAgent::start().await;
    let executor =
        agent.executor_in_pid_namespace(&[("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "2100ms")]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("echo up > up; exec sleep 600")).await;
    executor.line("up").await;
    // The executor is the only child of `unshare`.
    let outer = i32::try_from(executor.pid()).unwrap();
    let inner = mezzo_linux::procfs::Procfs::default().children(outer).unwrap()[0];
    let inner = mezzo_linux::process::ProcessHandle::open(inner).unwrap().unwrap();
    inner.signal(mezzo_linux::process::Signal::TERM).unwrap();
    let killed = connection.update(TaskState::TaskKilled).await;
    assert_eq!(killed.message.as_deref(), Some("Command terminated with signal Terminated"));
    assert_eq!(executor.exit_code().await, Some(0));
}
