//! Tasks start as they were asked for, and end with the words that Mesos frameworks know.

use std::sync::Arc;
use std::time::Duration;

use mezzo_integration_tests::Cluster;
use mezzo_sdk::scheduler::Event;
use mezzo_sdk::v1::TaskState::{TaskDropped, TaskFailed, TaskFinished, TaskRunning, TaskStarting};
use mezzo_sdk::v1::agent::call::ListFiles;
use mezzo_sdk::v1::task_status::{Reason, Source};
use mezzo_sdk::v1::{CommandInfo, TaskState};
use mezzo_sdk::{Framework, SchedulerDriver, Task};

use crate::Done;
use crate::framework::TestFramework;
use crate::shared::Shared;

static CLUSTER: Shared = Shared::new();

async fn cluster() -> anyhow::Result<Arc<Cluster>> {
    CLUSTER.get(Cluster::quick()).await
}

#[tokio::test]
async fn a_task_runs_and_says_so() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let end = framework.run(&Task::shell("exit 0").id("t")).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    assert_eq!(end.message(), "Command exited with status 0");
    assert_eq!(end.source(), Source::Executor);
    assert_eq!(end.executor_id.as_ref().map(|id| id.value.as_str()), Some("t"));
    assert_eq!(end.uuid.as_ref().map(|uuid| uuid.len()), Some(16));
    assert!(end.timestamp.is_some());
    let container = end.container_status.unwrap_or_default();
    assert!(container.container_id.is_some());
    let address = container.network_infos.first().and_then(|info| info.ip_addresses.first());
    assert_eq!(address.and_then(|a| a.ip_address.as_deref()), Some("127.0.0.1"));
    assert_eq!(framework.states("t"), [TaskStarting, TaskRunning, TaskFinished]);
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_command_decides_state_and_message() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let shell = Task::shell;
    let cases: [(Task, TaskState, &str); 7] = [
        (shell("exit 3"), TaskFailed, "Command exited with status 3"),
        (shell("kill -KILL $$"), TaskFailed, "Command terminated with signal Killed"),
        (shell("kill -SEGV $$"), TaskFailed, "Command terminated with signal Segmentation fault"),
        (shell("/no/such/program"), TaskFailed, "Command exited with status 127"),
        (Task::command(["/no/such/program"]), TaskFailed, "/no/such/program"),
        (Task::command(["/"]), TaskFailed, "Failed to start command"),
        (Task::of_command(CommandInfo::default()), TaskFailed, "'command.value' is empty"),
    ];
    for (n, (task, state, words)) in cases.into_iter().enumerate() {
        let end = framework.run(&task.id(format!("t{n}"))).await?;
        assert_eq!(end.state(), state, "{n}: {end:?}");
        assert!(end.message().contains(words), "{n}: {end:?}");
        assert!(end.agent_id.is_some());
    }
    Ok(())
}

#[tokio::test]
async fn a_user_who_does_not_exist_fails_the_task_with_his_name() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let end = framework.run(&Task::shell("true").id("t").user("no-such-user")).await?;
    assert!([TaskFailed, TaskDropped].contains(&end.state()), "{end:?}");
    assert!(end.message().contains("no-such-user"), "{end:?}");
    assert_eq!(end.source(), Source::Agent);
    assert!(end.uuid.is_some(), "the agent made it, so it is acknowledged: {end:?}");
    assert_eq!(framework.run(&Task::shell("true").id("after")).await?.state(), TaskFinished);
    Ok(())
}

#[tokio::test]
async fn what_a_task_writes_is_read_through_the_agent() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let script = "echo out; echo err >&2; echo kept > file; mkdir d; echo deep > d/inner";
    let end = framework.run(&Task::shell(script).id("t")).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    assert_eq!(framework.read(&cluster, "t", "stdout").await?, "out\n");
    assert!(framework.read(&cluster, "t", "stderr").await?.contains("err\n"));
    assert_eq!(framework.read(&cluster, "t", "file").await?, "kept\n");
    assert_eq!(framework.read(&cluster, "t", "d/inner").await?, "deep\n");

    let path = format!("/frameworks/{}/executors/t/runs/latest", framework.id());
    let files = cluster.agent(0).await?.list_files(ListFiles { path: path.clone() }).await?;
    let mut names: Vec<String> =
        files.into_inner().file_infos.into_iter().map(|file| file.path).collect();
    names.sort();
    let expected = ["d", "file", "stderr", "stdout"].map(|name| format!("{path}/{name}"));
    assert_eq!(names, expected);
    for outside in ["../../../../../../../../etc/passwd", "d/../../x", "no-such-file"] {
        assert!(framework.read(&cluster, "t", outside).await.is_err(), "{outside}");
    }
    Ok(())
}

#[tokio::test]
async fn a_sandbox_is_never_left_through_a_link() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let script = "ln -s /etc/passwd out; ln -s / root; mkfifo pipe; echo done";
    assert_eq!(framework.run(&Task::shell(script).id("t")).await?.state(), TaskFinished);
    for outside in ["out", "root/etc/passwd", "pipe"] {
        let read = framework.read(&cluster, "t", outside).await;
        assert!(read.is_err(), "{outside}: {read:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_task_finds_what_it_needs_to_know_in_its_environment() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("env; pwd").id("t").env("MINE", "two words").cpus(0.2);
    let end = framework.run(&task).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    let said = framework.read(&cluster, "t", "stdout").await?;
    let variable = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(str::to_owned)
    };
    let agent = end.agent_id.map(|id| id.value);
    assert_eq!(variable("MINE").as_deref(), Some("two words"));
    assert_eq!(variable("MESOS_FRAMEWORK_ID"), Some(framework.id()));
    assert_eq!(variable("MESOS_EXECUTOR_ID").as_deref(), Some("t"));
    assert_eq!(variable("MESOS_SLAVE_ID"), agent);
    assert_eq!(variable("MESOS_AGENT_ENDPOINT"), Some(cluster.agent_address(0)?.to_string()));
    assert_eq!(variable("MESOS_CHECKPOINT").as_deref(), Some("1"));
    let directory = said.lines().last().map(str::to_owned);
    assert_eq!(variable("MESOS_SANDBOX"), directory, "{said}");
    assert!(variable("MESOS_RECOVERY_TIMEOUT").is_some(), "{said}");
    assert_eq!(variable("MEZZO_WORK_DIR"), None, "the agent's own environment stays its own");
    Ok(())
}

#[tokio::test]
async fn an_update_that_nobody_acknowledges_comes_again() -> Done {
    let cluster = cluster().await?;
    let driver = SchedulerDriver::new(cluster.master_address(), Framework::new("explicit"));
    let mut framework = TestFramework::of(driver.explicit_acknowledgements()).await?;
    framework.launch(&Task::shell("exit 0").id("t")).await?;
    let first = framework.reaches("t", TaskStarting).await?;
    framework.updates.clear();
    // The agent waits ten seconds before it sends an update again. Nothing overtakes it.
    let again = framework.update(|status| status.task_id.value == "t").await?;
    assert_eq!((again.state(), &again.uuid), (TaskStarting, &first.uuid));
    framework.handle.acknowledge(&again);
    let running = framework.reaches("t", TaskRunning).await?;
    framework.handle.acknowledge(&running);
    let end = framework.ended("t").await?;
    framework.handle.acknowledge(&end);
    assert_eq!(end.state(), TaskFinished);
    Ok(())
}

#[tokio::test]
async fn a_task_that_is_not_there_is_reconciled_as_such() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.kill("no-such-task");
    let status = framework.update(|status| status.task_id.value == "no-such-task").await?;
    assert_eq!(status.reason(), Reason::Reconciliation, "{status:?}");
    assert_eq!(status.source(), Source::Master);
    assert!(status.uuid.is_none());

    framework.start(&Task::shell("exec sleep 1000").id("t")).await?;
    framework.updates.clear();
    framework.handle.reconcile([]);
    let status = framework.update(|status| status.task_id.value == "t").await?;
    assert_eq!((status.state(), status.reason()), (TaskRunning, Reason::Reconciliation));
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_may_not_run_longer_than_it_was_given() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("exec sleep 1000").id("t");
    let end = framework.run(&task.max_completion_time(Duration::from_millis(300))).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::MaxCompletionTimeReached, "{end:?}");
    Ok(())
}

#[tokio::test]
async fn many_tasks_at_once_all_end_once() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let tasks: Vec<Task> = (0..12)
        .map(|n| Task::shell(format!("exit {}", n % 2)).id(format!("many-{n}")).cpus(0.05))
        .collect();
    for task in &tasks {
        framework.launch(task).await?;
    }
    for n in 0..12 {
        let end = framework.ended(&format!("many-{n}")).await?;
        assert_eq!(end.state(), if n % 2 == 0 { TaskFinished } else { TaskFailed }, "{end:?}");
    }
    for n in 0..12 {
        let ends = framework.states(&format!("many-{n}"));
        assert_eq!(ends.into_iter().filter(|s| mezzo_sdk::is_terminal(*s)).count(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn an_offer_is_rescinded_when_its_agent_is_lost() -> Done {
    let mut cluster = Cluster::builder()
        .master_flag("--agent_ping_timeout=1secs")
        .master_flag("--max_agent_ping_timeouts=2")
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    while framework.offers.is_empty() {
        framework.step().await?;
    }
    let id = framework.offers[0].id.clone();
    cluster.kill_agent(0)?;
    loop {
        if let Event::Rescinded(rescinded) = framework.step().await? {
            assert_eq!(rescinded, id);
            return Ok(());
        }
    }
}
