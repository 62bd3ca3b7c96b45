//! The agent as a process part: real connections, real files, containers in memory.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod world;

use mezzo_containerizer::{ExitStatus, FakeContainerizer, Termination};
use mezzo_proto::v1::agent::call::{GetContainers, GetMetrics, KillContainer, ListFiles, ReadFile};
use mezzo_proto::v1::executor::event::Type as Heard;
use mezzo_proto::v1::link::{self, from_agent, from_master};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{self, TaskState};
use world::{Executor, Master, flags, framework, soon, start, task, try_start};

#[tokio::test]
async fn a_task_goes_from_the_master_to_its_executor_and_its_updates_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let mut link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    assert!(launched.directory.starts_with(dir.path().canonicalize().unwrap()));

    let mut executor = Executor::subscribe(agent.address, "t1").await;
    executor.expect(Heard::Subscribed).await;
    let launch = executor.expect(Heard::Launch).await.launch.unwrap();
    assert_eq!(launch.task.task_id.value, "t1");
    let running = executor.update("t1", TaskState::TaskRunning).await;
    assert_eq!(
        executor.expect(Heard::Acknowledged).await.acknowledged.unwrap().uuid,
        running.uuid.clone().unwrap()
    );
    let update = link.update().await;
    assert_eq!(
        (update.status.state(), update.status.uuid.clone()),
        (TaskState::TaskRunning, running.uuid)
    );
    link.acknowledge(&update.status).await;

    executor.update("t1", TaskState::TaskFinished).await;
    executor.expect(Heard::Acknowledged).await;
    let update = link.update().await;
    assert_eq!(update.status.state(), TaskState::TaskFinished);
    link.acknowledge(&update.status).await;
    agent.containers.finish(
        &launched.container,
        Termination { exit: Some(ExitStatus::Exited(0)), ..Termination::default() },
    );
    assert!(executor.next().await.unwrap().is_none(), "the connection ends with the container");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_agent_registers_with_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let more =
        ["--attributes=rack:r1", "--hostname=box", "--resources=cpus:3;mem:99;disk:1;ports:[7-8]"];
    let agent = start(flags(dir.path(), &master, &more), &FakeContainerizer::new()).await;
    let from_agent::Message::Register(register) = master.agent().await.next().await else {
        panic!("not a registration")
    };
    let info = register.agent_info;
    assert_eq!((info.hostname.as_str(), info.port), ("box", Some(i32::from(agent.address.port()))));
    assert_eq!(info.attributes[0].name, "rack");
    let names: Vec<&str> = info.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names.len(), 4);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_executor_that_dies_before_it_registers_fails_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let mut link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    let termination =
        Termination { exit: Some(ExitStatus::Signaled(11)), ..Termination::default() };
    agent.containers.finish(&launched.container, termination);
    let update = link.update().await;
    assert_eq!(update.status.state(), TaskState::TaskFailed);
    assert_eq!(update.status.reason(), Reason::ExecutorTerminated);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_container_that_cannot_be_launched_fails_its_task_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let containers = FakeContainerizer::new();
    containers.fail_next_launch("the disk is on fire");
    let agent = start(flags(dir.path(), &master, &[]), &containers).await;
    let mut link = master.registered("a1").await;
    link.run(task("t1")).await;
    let update = link.update().await;
    assert_eq!(update.status.reason(), Reason::ContainerLaunchFailed);
    assert!(update.status.message().contains("the disk is on fire"), "{}", update.status.message());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_restarted_agent_takes_its_executor_over_and_tells_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let mut link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    let executor = Executor::subscribe(agent.address, "t1").await;
    let running = executor.update("t1", TaskState::TaskRunning).await;
    link.update().await;
    agent.stop().await.unwrap();
    drop(executor);

    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let executor = Executor::subscribe(agent.address, "t1").await;
    let mut link = master.agent().await;
    let from_agent::Message::Reregister(again) = link.next().await else {
        panic!("not a re-registration")
    };
    assert_eq!(again.agent_info.id.unwrap().value, "a1");
    assert_eq!(again.tasks[0].state(), TaskState::TaskRunning);
    assert_eq!(again.frameworks[0].name, "test");
    link.register("a1").await;
    assert_eq!(link.update().await.status.uuid, running.uuid);
    executor.update("t1", TaskState::TaskFinished).await;
    let known = agent.containers.destroyed();
    assert!(known.is_empty(), "{known:?} was destroyed, {} should live", launched.container);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_executor_that_does_not_come_back_is_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    agent.stop().await.unwrap();

    let more = ["--executor_reregistration_timeout=50ms"];
    let agent = start(flags(dir.path(), &master, &more), &FakeContainerizer::new()).await;
    let mut link = master.registered("a1").await;
    let update = link.update().await;
    assert_eq!(update.status.state(), TaskState::TaskLost);
    assert_eq!(update.status.reason(), Reason::ExecutorReregistrationTimeout);
    assert_eq!(agent.containers.destroyed(), [launched.container]);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_on_disk_of_a_task_that_is_over_and_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let mut link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    let frameworks = dir.path().join("meta/agents/a1/frameworks");
    assert!(
        frameworks.join(format!("f1/executors/t1/runs/{}/journal", launched.container)).is_file()
    );
    agent.containers.finish(&launched.container, Termination::default());
    let update = link.update().await;
    link.acknowledge(&update.status).await;
    // The operator sees it only after the acknowledgement was applied; the stop waits for the disk.
    let mut operator = agent.operator().await;
    soon("the framework is forgotten", async {
        while !operator.get_frameworks(()).await.unwrap().into_inner().frameworks.is_empty() {}
    })
    .await;
    agent.stop().await.unwrap();
    assert_eq!(std::fs::read_dir(&frameworks).unwrap().count(), 0);
}

#[tokio::test]
async fn damaged_checkpoints_never_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    link.run(task("t1")).await;
    link.run(task("t2")).await;
    let launched = agent.launched(2).await;
    agent.stop().await.unwrap();

    let meta = dir.path().join("meta/agents/a1");
    std::fs::write(
        meta.join(format!("frameworks/f1/executors/t2/runs/{}/journal", launched.container)),
        "junk",
    )
    .unwrap();
    std::fs::create_dir_all(meta.join("frameworks/f2/executors/x/runs/c9")).unwrap();
    std::fs::write(meta.join("frameworks/f2/framework.info"), "").unwrap();
    std::fs::write(meta.join("frameworks/stray"), "a file").unwrap();
    std::fs::write(meta.join("agent.info"), [0xff, 0xff]).unwrap();

    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let _executor = Executor::subscribe(agent.address, "t1").await;
    let mut link = master.agent().await;
    let from_agent::Message::Reregister(again) = link.next().await else {
        panic!("not a re-registration")
    };
    let tasks: Vec<&str> = again.tasks.iter().map(|t| t.task_id.value.as_str()).collect();
    assert_eq!(tasks, ["t1"]);
    assert!(!meta.join("frameworks/f2").exists());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_reboot_every_task_is_told_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    link.run(task("t1")).await;
    agent.launched(1).await;
    agent.stop().await.unwrap();
    std::fs::write(dir.path().join("meta/boot_id"), "another boot").unwrap();

    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let mut link = master.registered("a1").await;
    let update = link.update().await;
    assert_eq!(
        (update.status.state(), update.status.reason()),
        (TaskState::TaskLost, Reason::AgentRestarted)
    );
    assert!(agent.containers.destroyed().is_empty());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_master_that_goes_away_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    drop(link);
    let mut link = master.agent().await;
    assert!(matches!(link.next().await, from_agent::Message::Reregister(_)));
    link.register("a1").await;
    link.say(from_master::Message::Ping(link::Ping {})).await;
    assert!(matches!(link.next().await, from_agent::Message::Pong(_)));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_master_that_stops_pinging_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let mut link = master.agent().await;
    link.next().await;
    link.say(from_master::Message::Registered(link::Registered {
        agent_id: v1::AgentId { value: "a1".to_owned() },
        ping_timeout_ms: 50,
        reconcile: Vec::new(),
    }))
    .await;
    assert!(link.next_or_end().await.is_none());
    assert!(matches!(master.agent().await.next().await, from_agent::Message::Reregister(_)));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_called_by_another_id_stops_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    drop(master.registered("a1").await);
    let _link = master.registered("a2").await;
    let why = agent.ended().await.unwrap_err();
    assert!(why.contains("a1") && why.contains("a2"), "{why}");
}

#[tokio::test]
async fn an_agent_that_is_told_to_shut_down_ends_its_executors_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    let mut executor = Executor::subscribe(agent.address, "t1").await;
    executor.expect(Heard::Subscribed).await;
    executor.expect(Heard::Launch).await;
    link.say(from_master::Message::Shutdown(link::Shutdown { message: "gone".to_owned() })).await;
    executor.expect(Heard::Shutdown).await;
    agent.containers.finish(&launched.container, Termination::default());
    agent.ended().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_started_says_why_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start().await;
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let agent =
        start(flags(&dir.path().join("one"), &master, &[]), &FakeContainerizer::new()).await;
    let port = format!("--port={}", agent.address.port());
    let cases = [
        (flags(&file, &master, &[]), "flag --work_dir: cannot write in"),
        (flags(&dir.path().join("one"), &master, &[]), "is in use by another agent (pid "),
        (flags(&dir.path().join("two"), &master, &[&port]), "the port is in use"),
        (
            flags(&dir.path().join("two"), &master, &["--isolation=cgroups/time"]),
            "flag --isolation: ",
        ),
        (flags(&dir.path().join("two"), &master, &["--hooks=crook"]), "flag --hooks: "),
        (
            flags(
                &dir.path().join("two"),
                &master,
                &["--modules={\"libraries\":[{\"file\":\"/no/lib.so\"}]}"],
            ),
            "/no/lib.so",
        ),
        (
            flags(&dir.path().join("two"), &master, &["--master=zk://host/mezzo"]),
            "flag --master: got",
        ),
        (
            flags(&dir.path().join("two"), &master, &["--executor_reregistration_timeout=16secs"]),
            "at most 15secs",
        ),
    ];
    for (flags, expected) in cases {
        let error = try_start(flags, &FakeContainerizer::new()).await.err().unwrap();
        let line = mezzo_runtime::errors::one_line(&error);
        assert!(line.contains(expected), "expected {expected:?} in {line:?}");
        assert_eq!(line.lines().count(), 1);
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_with_less_than_before_is_refused_with_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    link.run(task("t1")).await;
    agent.launched(1).await;
    agent.stop().await.unwrap();
    let less = ["--resources=cpus:1;mem:1024;disk:1024", "--reconfiguration_policy=additive"];
    let error = try_start(flags(dir.path(), &master, &less), &FakeContainerizer::new())
        .await
        .err()
        .unwrap();
    let line = mezzo_runtime::errors::one_line(&error);
    assert!(line.contains("resources were cpus:2;") && line.contains("and are cpus:1;"), "{line}");
    let more = ["--resources=cpus:3;mem:1024;disk:1024", "--reconfiguration_policy=additive"];
    start(flags(dir.path(), &master, &more), &FakeContainerizer::new()).await.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_cannot_write_its_checkpoints_stops_and_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    let mut operator = agent.operator().await;
    soon("the id is on disk", async {
        while operator.get_agent(()).await.unwrap().into_inner().agent_info.unwrap().id.is_none() {}
        while !dir.path().join("meta/agents/latest").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    std::fs::write(dir.path().join("meta/agents/a1/frameworks"), "in the way").unwrap();
    link.run(task("t1")).await;
    let why = agent.ended().await.unwrap_err();
    assert!(
        why.starts_with("cannot write the checkpoint ") && why.contains("framework.info"),
        "{why}"
    );
}

#[tokio::test]
async fn operators_see_what_the_agent_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    let mut executor = Executor::subscribe(agent.address, "t1").await;
    executor.expect(Heard::Subscribed).await;

    let mut operator = agent.operator().await;
    assert!(operator.get_health(()).await.unwrap().into_inner().healthy);
    assert_eq!(
        operator.get_agent(()).await.unwrap().into_inner().agent_info.unwrap().id.unwrap().value,
        "a1"
    );
    let state = operator.get_state(()).await.unwrap().into_inner();
    assert_eq!(state.get_tasks.unwrap().launched_tasks[0].task_id.value, "t1");
    assert_eq!(state.get_frameworks.unwrap().frameworks[0].framework_info, framework());
    assert_eq!(state.get_executors.unwrap().executors[0].executor_info.executor_id.value, "t1");
    let containers =
        operator.get_containers(GetContainers::default()).await.unwrap().into_inner().containers;
    assert_eq!(containers[0].container_id.value, launched.container.as_str());
    let flags = operator.get_flags(()).await.unwrap().into_inner().flags;
    assert!(
        flags.iter().any(|f| f.name == "executor_registration_timeout" && f.value() == "1mins"),
        "{flags:?}"
    );
    let metrics = operator.get_metrics(GetMetrics::default()).await.unwrap().into_inner().metrics;
    let staging = metrics.iter().find(|m| m.name == "mezzo_agent_tasks{state=\"TASK_STAGING\"}");
    assert_eq!(staging.and_then(|m| m.value), Some(1.0), "{metrics:?}");
    let kill = KillContainer { container_id: launched.container.into(), signal: None };
    let refused = operator.kill_container(kill).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    assert!(
        refused.message().starts_with("KillContainer is not available yet"),
        "{}",
        refused.message()
    );

    let statistics = agent.get("/monitor/statistics").await;
    assert!(
        statistics.contains("\"executor_id\":\"t1\"") && statistics.contains("\"statistics\":{"),
        "{statistics}"
    );
    assert!(agent.get("/containers").await.contains("\"container_id\":"));
    assert!(agent.get("/metrics").await.contains("mezzo_agent_registered 1"));
    assert!(agent.get("/healthz").await.starts_with("HTTP/1.1 200"));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn sandboxes_are_read_by_name_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let link = master.registered("a1").await;
    link.run(task("t1")).await;
    let launched = agent.launched(1).await;
    // The fake makes no sandbox.
    std::fs::create_dir_all(&launched.directory).unwrap();
    std::fs::write(launched.directory.join("stdout"), "hello world").unwrap();
    let by_id = format!("/frameworks/f1/executors/t1/runs/{}", launched.container);

    let mut operator = agent.operator().await;
    let mut read = async |path: String, offset, length| {
        operator
            .read_file(ReadFile { path, offset, length })
            .await
            .map(|r| r.into_inner())
            .map_err(|s| s.code())
    };
    let part = read(format!("{by_id}/stdout"), 6, Some(3)).await.unwrap();
    assert_eq!((part.size, part.data.as_ref()), (11, &b"wor"[..]));
    let real = launched.directory.join("stdout").to_string_lossy().into_owned();
    assert_eq!(read(real, 0, None).await.unwrap().data.as_ref(), b"hello world");
    assert_eq!(
        read(format!("{by_id}/../../../../../../../meta/lock"), 0, None).await,
        Err(tonic::Code::PermissionDenied)
    );
    assert_eq!(read("/etc/passwd".to_owned(), 0, None).await, Err(tonic::Code::InvalidArgument));
    assert_eq!(read(format!("{by_id}/nothing"), 0, None).await, Err(tonic::Code::NotFound));
    let files = operator
        .list_files(ListFiles { path: by_id.clone() })
        .await
        .unwrap()
        .into_inner()
        .file_infos;
    assert_eq!(files[0].path, format!("{by_id}/stdout"));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_executor_nobody_knows_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let agent = start(flags(dir.path(), &master, &[]), &FakeContainerizer::new()).await;
    let _link = master.registered("a1").await;
    let mut executor = Executor::subscribe(agent.address, "stranger").await;
    let status = executor.next().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert!(status.message().contains("f1"), "{}", status.message());
    agent.stop().await.unwrap();
}
