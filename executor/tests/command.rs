//! The real `mezzo-executor` against an agent made for the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a test may panic, and has a stack to itself"
)]

mod fake_agent;

use std::time::{Duration, Instant};

use fake_agent::{FakeAgent, gone, shell, task_id};
use mezzo_proto::v1::environment::Variable;
use mezzo_proto::v1::executor::Event;
use mezzo_proto::v1::executor::event::{self, Type};
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::task_status::{Reason, Source};
use mezzo_proto::v1::{CommandInfo, DurationInfo, Environment, TaskId, TaskInfo, TaskState};

#[tokio::test]
async fn a_command_runs_and_its_updates_are_complete() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (mut connection, subscribe) = agent.subscribed().await;
    assert!(
        subscribe.unacknowledged_tasks.is_empty() && subscribe.unacknowledged_updates.is_empty()
    );
    connection.launch(shell("echo out; echo err >&2; pwd > where; exit 0")).await;
    let starting = connection.update(TaskState::TaskStarting).await;
    let running = connection.update(TaskState::TaskRunning).await;
    let finished = connection.update(TaskState::TaskFinished).await;
    assert_eq!(finished.message.as_deref(), Some("Command exited with status 0"));
    for status in [&starting, &running, &finished] {
        assert_eq!(status.uuid.as_ref().unwrap().len(), 16);
        assert_eq!(status.source(), Source::Executor);
        assert_eq!(status.executor_id.as_ref().unwrap().value, "task");
        assert_eq!(status.agent_id.as_ref().unwrap().value, "agent");
        assert!(status.timestamp.unwrap() > 1e9);
    }
    assert_ne!(starting.uuid, running.uuid);
    assert_eq!(executor.line("stdout").await, "out");
    assert_eq!(executor.line("stderr").await, "err");
    assert_eq!(
        executor.line("where").await,
        executor.sandbox.path().canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(executor.exit_code().await, Some(0), "ends when its last update is acknowledged");
}

#[tokio::test]
async fn exit_codes_and_signals_are_told() {
    for (command, message) in [
        ("exit 3", "Command exited with status 3"),
        ("kill -SEGV $$", "Command terminated with signal Segmentation fault"),
        ("no-such-program-here", "Command exited with status 127"),
    ] {
        let mut agent = FakeAgent::start().await;
        let executor = agent.executor(&[]);
        let (mut connection, _) = agent.subscribed().await;
        connection.run(shell(command)).await;
        let failed = connection.update(TaskState::TaskFailed).await;
        assert!(failed.message.as_deref().unwrap().starts_with(message), "{:?}", failed.message);
        assert_eq!(executor.exit_code().await, Some(0));
    }
}

#[tokio::test]
async fn a_command_that_cannot_start_fails_with_the_reason() {
    let direct = |value: &str| TaskInfo {
        command: Some(CommandInfo {
            shell: Some(false),
            value: Some(value.to_owned()),
            ..CommandInfo::default()
        }),
        ..shell("")
    };
    for (task, message) in [
        (
            direct("/no/such/program"),
            "Failed to start command '/no/such/program': No such file or directory",
        ),
        (shell(""), "Failed to start command: 'command.value' is empty"),
        (
            TaskInfo { command: None, ..shell("") },
            "Failed to start command: 'command.value' is empty",
        ),
    ] {
        let mut agent = FakeAgent::start().await;
        let executor = agent.executor(&[]);
        let (mut connection, _) = agent.subscribed().await;
        connection.launch(task).await;
        connection.update(TaskState::TaskStarting).await;
        let failed = connection.update(TaskState::TaskFailed).await;
        assert!(failed.message.as_deref().unwrap().starts_with(message), "{:?}", failed.message);
        assert_eq!(executor.exit_code().await, Some(0));
    }
}

#[tokio::test]
async fn arguments_and_environment_reach_the_program() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[
        ("INHERITED", "i"),
        ("OVER", "i"),
        ("MEZZO_TASK_ENVIRONMENT", r#"{"TASK":"t","OVER":"t"}"#),
    ]);
    let (mut connection, _) = agent.subscribed().await;
    let variable = |name: &str, value: &str| Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Variable::default()
    };
    let command = CommandInfo {
        shell: Some(false),
        value: Some("/bin/sh".to_owned()),
        arguments: ["mysh", "-c", "echo $0 $1 $INHERITED $TASK $OVER $OWN $MESOS_FRAMEWORK_ID ${MEZZO_TASK_ENVIRONMENT-unset}", "-c0", "one"]
            .map(str::to_owned)
            .into(),
        environment: Some(Environment { variables: vec![variable("OVER", "o"), variable("OWN", "w")] }),
        ..CommandInfo::default()
    };
    connection.run(TaskInfo { command: Some(command), ..shell("") }).await;
    connection.update(TaskState::TaskFinished).await;
    assert_eq!(executor.line("stdout").await, "-c0 one i t o w framework unset");
}

#[tokio::test]
async fn a_kill_ends_the_whole_tree_with_sigterm() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("sleep 600 & echo $! > child; (setsid sh -c 'echo $$ > daemon; exec sleep 600' &); wait")).await;
    let (child, daemon) = (executor.line("child").await, executor.line("daemon").await);
    connection.kill(None).await;
    let killed = connection.update(TaskState::TaskKilled).await;
    assert_eq!(killed.message.as_deref(), Some("Command terminated with signal Terminated"));
    gone(child.parse().unwrap()).await;
    gone(daemon.parse().unwrap()).await;
    assert_eq!(executor.exit_code().await, Some(0));
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed_after_the_grace() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (mut connection, _) = agent.subscribed().await;
    connection
        .run(shell("trap '' TERM; sh -c 'echo $$ > child; while :; do sleep 600; done' & echo $$ > self; while :; do sleep 600; done"))
        .await;
    let pids = [executor.line("child").await, executor.line("self").await];
    let asked = Instant::now();
    connection.kill(Some(Duration::from_millis(300))).await;
    let killed = connection.update(TaskState::TaskKilled).await;
    assert!(asked.elapsed() >= Duration::from_millis(300), "not before its grace is over");
    assert_eq!(killed.message.as_deref(), Some("Command terminated with signal Killed"));
    for pid in pids {
        gone(pid.parse().unwrap()).await;
    }
}

#[tokio::test]
async fn a_second_kill_shortens_the_grace() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("trap '' TERM; echo ready > ready; while :; do sleep 600; done")).await;
    executor.line("ready").await;
    connection.kill(Some(Duration::from_secs(600))).await;
    connection.kill(Some(Duration::ZERO)).await;
    connection.update(TaskState::TaskKilled).await;
}

#[tokio::test]
async fn killing_is_announced_to_frameworks_that_know_the_state() {
    let mut agent = FakeAgent::start().await;
    let _executor = agent.executor(&[]);
    let mut connection = agent.accept().await;
    connection.next_call().await;
    connection.welcome(&[Capability::TaskKillingState]).await;
    connection.run(shell("exec sleep 600")).await;
    connection.kill(None).await;
    connection.update(TaskState::TaskKilling).await;
    connection.update(TaskState::TaskKilled).await;
}

#[tokio::test]
async fn a_task_that_runs_longer_than_allowed_fails() {
    let mut agent = FakeAgent::start().await;
    let _executor = agent.executor(&[]);
    let (mut connection, _) = agent.subscribed().await;
    let limited = TaskInfo {
        max_completion_time: Some(DurationInfo { nanoseconds: 200_000_000 }),
        ..shell("exec sleep 600")
    };
    connection.run(limited).await;
    let failed = connection.update(TaskState::TaskFailed).await;
    assert_eq!(failed.reason(), Reason::MaxCompletionTimeReached);
}

#[tokio::test]
async fn shutdown_kills_the_task_and_ends_the_executor() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "2100ms")]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("trap '' TERM; echo ready > ready; while :; do sleep 600; done")).await;
    executor.line("ready").await;
    connection.shutdown().await;
    connection.unacknowledged(TaskState::TaskKilled).await;
    assert_eq!(
        executor.exit_code().await,
        Some(0),
        "does not wait for an acknowledgement that may never come"
    );
}

#[tokio::test]
async fn an_executor_without_a_task_ends_at_shutdown() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (connection, _) = agent.subscribed().await;
    connection.shutdown().await;
    assert_eq!(executor.exit_code().await, Some(0));
}

#[tokio::test]
async fn after_a_broken_stream_everything_unacknowledged_is_sent_again() {
    let mut agent = FakeAgent::start().await;
    let executor =
        agent.executor(&[("MESOS_CHECKPOINT", "1"), ("MESOS_RECOVERY_TIMEOUT", "10mins")]);
    let (mut connection, _) = agent.subscribed().await;
    connection.launch(shell("while [ ! -e go ]; do sleep 0.01; done; exit 5")).await;
    let starting = connection.unacknowledged(TaskState::TaskStarting).await;
    let running = connection.unacknowledged(TaskState::TaskRunning).await;
    drop(connection);

    let (mut connection, subscribe) = agent.subscribed().await;
    assert_eq!(subscribe.unacknowledged_tasks.len(), 1);
    let sent: Vec<_> =
        subscribe.unacknowledged_updates.iter().map(|u| u.status.uuid.clone()).collect();
    assert_eq!(
        sent,
        [starting.uuid.clone(), running.uuid.clone()],
        "in order, with the same uuids"
    );
    // The agent launches again what it is not sure about; it runs once.
    connection.launch(shell("exit 1")).await;
    connection.acknowledge(&starting).await;
    std::fs::write(executor.path("go"), "").unwrap();
    let failed = connection.unacknowledged(TaskState::TaskFailed).await;
    assert_eq!(failed.message.as_deref(), Some("Command exited with status 5"));
    drop(connection);

    let (connection, subscribe) = agent.subscribed().await;
    assert!(subscribe.unacknowledged_tasks.is_empty());
    assert_eq!(subscribe.unacknowledged_updates.len(), 2);
    connection.acknowledge(&running).await;
    connection.acknowledge(&failed).await;
    assert_eq!(executor.exit_code().await, Some(0));
}

#[tokio::test]
async fn without_checkpointing_the_task_ends_with_the_connection() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("echo $$ > pid; exec sleep 600")).await;
    let pid = executor.line("pid").await;
    drop(connection);
    gone(pid.parse().unwrap()).await;
}

#[tokio::test]
async fn a_recovery_timeout_ends_the_task() {
    let mut agent = FakeAgent::start().await;
    let executor =
        agent.executor(&[("MESOS_CHECKPOINT", "1"), ("MESOS_RECOVERY_TIMEOUT", "300ms")]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("echo $$ > pid; exec sleep 600")).await;
    let pid = executor.line("pid").await;
    drop(connection);
    // It connects, but nobody tells it that it is subscribed.
    let _silent = agent.accept().await;
    gone(pid.parse().unwrap()).await;
    assert_eq!(executor.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_task_is_refused() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("exec sleep 600")).await;
    connection
        .launch(TaskInfo { task_id: TaskId { value: "other".to_owned() }, ..shell("true") })
        .await;
    let refused = connection.update(TaskState::TaskFailed).await;
    assert_eq!(refused.task_id.value, "other");
    connection.kill(None).await;
    let killed = connection.update(TaskState::TaskKilled).await;
    assert_eq!(killed.task_id, task_id());
    assert_eq!(executor.exit_code().await, Some(0));
}

#[tokio::test]
async fn orphans_of_the_task_are_reaped() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (mut connection, _) = agent.subscribed().await;
    connection.run(shell("(sh -c 'echo $$ > orphan; sleep 0.1' &); exec sleep 600")).await;
    let orphan = executor.line("orphan").await;
    gone(orphan.parse().unwrap()).await;
    connection.kill(None).await;
    connection.update(TaskState::TaskKilled).await;
}

#[tokio::test]
async fn an_error_of_the_agent_ends_the_executor() {
    let mut agent = FakeAgent::start().await;
    let executor = agent.executor(&[]);
    let (connection, _) = agent.subscribed().await;
    let error = Some(event::Error { message: "not you".to_owned() });
    connection.send(Event { r#type: Some(Type::Error.into()), error, ..Event::default() }).await;
    assert_eq!(
        executor.line("stderr").await,
        "mezzo-executor: the agent ends this executor: not you"
    );
    assert_eq!(executor.exit_code().await, Some(0));
}

#[tokio::test]
async fn without_an_agent_it_says_what_is_missing() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mezzo-executor"))
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("MESOS_AGENT_ENDPOINT is not set"), "{text}");
}
