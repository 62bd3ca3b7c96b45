//! A task that is to end does: asked first, then made to, with everything that it has started.
//! Wants root, for only then is there a container that nothing escapes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mezzo_integration_tests::{Cluster, until};
use mezzo_sdk::v1::TaskState::{TaskFinished, TaskKilled, TaskKilling, TaskRunning};
use mezzo_sdk::v1::framework_info::capability::Type as Capability;
use mezzo_sdk::v1::master::KillTaskRequest;
use mezzo_sdk::v1::{FrameworkId, TaskId};
use mezzo_sdk::{Framework, Task};

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;
use crate::shared::Shared;

static CLUSTER: Shared = Shared::new();

async fn cluster() -> anyhow::Result<Arc<Cluster>> {
    kernel::needs_root()?;
    CLUSTER.get(Cluster::quick()).await
}

async fn nobody_sleeps(seconds: &str) -> anyhow::Result<()> {
    until(&format!("nobody sleeps for {seconds}"), async || {
        Ok(kernel::processes_called(&["sleep", seconds]).is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_killed_task_is_asked_first_and_may_tidy_up() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let script = "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    framework.start(&Task::shell(script).id("t")).await?;
    framework.read_until(&cluster, "t", "stdout", "ready").await?;
    framework.kill("t");
    let end = framework.ended("t").await?;
    assert_eq!(end.state(), TaskKilled, "{end:?}");
    assert!(framework.read(&cluster, "t", "stdout").await?.contains("tidied"));
    assert!(!framework.states("t").contains(&TaskKilling), "it did not say it knows that state");
    Ok(())
}

#[tokio::test]
async fn a_task_that_ignores_sigterm_is_made_to_end_after_its_grace_with_all_its_children() -> Done
{
    let cluster = cluster().await?;
    let info = Framework::new("killing").capability(Capability::TaskKillingState);
    let mut framework = TestFramework::with(&cluster, info).await?;
    // Children in the background, in a session of their own, and orphaned twice over.
    let script = "trap '' TERM; sleep 20001 & setsid sleep 20001 & \
                  (setsid sh -c 'trap \"\" TERM; sleep 20001 & sleep 20001' & ) ; \
                  echo ready; while :; do sleep 0.05; done";
    let task = Task::shell(script).id("t").kill_grace(Duration::from_secs(1));
    framework.start(&task).await?;
    framework.read_until(&cluster, "t", "stdout", "ready").await?;
    until("its children are there", async || {
        Ok((kernel::processes_called(&["sleep", "20001"]).len() == 4).then_some(()))
    })
    .await?;
    let asked = Instant::now();
    framework.kill("t");
    let end = framework.ended("t").await?;
    assert_eq!(end.state(), TaskKilled, "{end:?}");
    assert!(asked.elapsed() >= Duration::from_millis(900), "its grace was cut short");
    let states = framework.states("t");
    assert_eq!(states[states.len() - 3..], [TaskRunning, TaskKilling, TaskKilled]);
    nobody_sleeps("20001").await
}

#[tokio::test]
async fn a_daemon_that_outlives_its_task_is_cleaned_up() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("(setsid sleep 20002 >/dev/null 2>&1 &); exit 0").id("t");
    let end = framework.run(&task).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    nobody_sleeps("20002").await
}

#[tokio::test]
async fn a_fork_bomb_is_over_when_it_is_killed() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    // Every process ignores SIGTERM and starts new ones, up to what the shell is allowed.
    let script = "trap '' TERM; n=0; while [ $n -lt 150 ]; do sh -c \
                  'trap \"\" TERM; sleep 20003 & wait' & n=$((n+1)); done; echo ready; wait";
    let task = Task::shell(script).id("t").mem(512.0).kill_grace(Duration::from_millis(100));
    framework.start(&task).await?;
    framework.read_until(&cluster, "t", "stdout", "ready").await?;
    framework.kill("t");
    assert_eq!(framework.ended("t").await?.state(), TaskKilled);
    nobody_sleeps("20003").await
}

#[tokio::test]
async fn an_operator_may_kill_a_task() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 20004").id("t")).await?;
    kernel::sleeper("20004").await?;
    let mut master = cluster.master().await?;
    let request = |task: &str, framework: String| KillTaskRequest {
        task_id: TaskId { value: task.to_owned() },
        framework_id: Some(FrameworkId { value: framework }),
    };
    let unknown = master.kill_task(request("no-such-task", framework.id())).await;
    let unknown = unknown.expect_err("there is no such task");
    assert_eq!(unknown.code(), tonic::Code::NotFound, "{unknown:?}");
    assert!(unknown.message().contains("no-such-task"), "{unknown:?}");
    master.kill_task(request("t", framework.id())).await?;
    assert_eq!(framework.ended("t").await?.state(), TaskKilled);
    nobody_sleeps("20004").await
}

#[tokio::test]
async fn a_framework_that_is_torn_down_takes_its_tasks_along() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 20005").id("t")).await?;
    kernel::sleeper("20005").await?;
    let id = framework.id();
    framework.teardown().await;
    nobody_sleeps("20005").await?;
    let again =
        TestFramework::with(&cluster, Framework::new("again").id(FrameworkId { value: id })).await;
    let error = again.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("Framework has been removed"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_framework_that_leaves_without_failover_timeout_is_gone_with_its_tasks() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 20006").id("t")).await?;
    kernel::sleeper("20006").await?;
    framework.handle.stop();
    while framework.step().await.is_ok() {}
    nobody_sleeps("20006").await
}
