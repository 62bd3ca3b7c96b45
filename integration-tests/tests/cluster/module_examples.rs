//! The modules of `examples/modules`, in the processes that they are made for.

use mezzo_integration_tests::{Cluster, manifest, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished, TaskRunning};

use crate::Done;
use crate::framework::TestFramework;

const POOL: (&str, &str) = ("pool", "AAA-1,AAA-2");

#[tokio::test]
async fn the_fifo_allocator_serves_a_framework() -> Done {
    let cluster = Cluster::quick()
        .master_flag("--allocator=example/fifo")
        .master_flag(manifest("example_fifo_allocator", &[("example/fifo", &[])]))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    for n in 0..3 {
        let task = Task::shell("exit 0").id(format!("t{n}"));
        assert_eq!(framework.run(&task).await?.state(), TaskFinished);
    }
    assert!(cluster.master_log().contains("first come, first served"), "its lines are in the log");
    Ok(())
}

#[tokio::test]
async fn a_task_that_asks_for_licences_gets_the_keys() -> Done {
    let cluster = Cluster::quick()
        .resources("cpus:4;mem:1024;licences:2")
        .agent_flag("--isolation=posix/cpu,example/licences")
        .agent_flag(manifest("example_licence_isolator", &[("example/licences", &[POOL])]))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let both = Task::shell("echo $LICENCE_KEYS").id("both").resource("licences", 2.0);
    assert_eq!(framework.run(&both).await?.state(), TaskFinished);
    assert_eq!(framework.read(&cluster, "both", "stdout").await?, "AAA-1,AAA-2\n");
    let none = Task::shell("echo none: $LICENCE_KEYS").id("none");
    assert_eq!(framework.run(&none).await?.state(), TaskFinished);
    assert_eq!(framework.read(&cluster, "none", "stdout").await?, "none:\n");
    let half = Task::shell("exit 0").id("half").resource("licences", 0.5);
    let end = framework.run(&half).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert!(end.message().contains("expected a whole number"), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_stays_with_its_task_while_the_agent_is_away() -> Done {
    let mut cluster = Cluster::quick()
        .resources("cpus:4;mem:1024;licences:2")
        .agent_flag("--isolation=posix/cpu,example/licences")
        .agent_flag(manifest("example_licence_isolator", &[("example/licences", &[POOL])]))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let first = Task::shell("exec sleep 600").id("first").resource("licences", 1.0);
    assert_eq!(framework.start(&first).await?.state(), TaskRunning);
    cluster.kill_agent(0)?;
    cluster.start_agent(0).await?;
    let second = Task::shell("echo $LICENCE_KEYS").id("second").resource("licences", 1.0);
    assert_eq!(framework.run(&second).await?.state(), TaskFinished);
    assert_eq!(framework.read(&cluster, "second", "stdout").await?, "AAA-2\n", "not the first's");
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn the_audit_hook_writes_down_a_tasks_life() -> Done {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("audit.jsonl");
    let path = file.display().to_string();
    let modules = manifest("example_audit_hook", &[("example/audit", &[("file", &path)])]);
    let cluster = Cluster::quick()
        .master_flag("--hooks=example/audit")
        .master_flag(modules.clone())
        .agent_flag("--hooks=example/audit")
        .agent_flag(modules)
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    assert_eq!(framework.run(&Task::shell("exit 0").id("t")).await?.state(), TaskFinished);
    until("the whole of a life is written", async || {
        let text = std::fs::read_to_string(&file)?;
        let told = |process: &str, event: &str| {
            text.lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .any(|line| {
                    line.get("process").is_some_and(|is| is == process)
                        && line.get("event").is_some_and(|is| is == event)
                })
        };
        let agent = ["task_received", "container_starts", "task_status", "executor_removed"];
        let all = told("mezzo-master", "task_sent")
            && agent.iter().all(|event| told("mezzo-agent", event));
        Ok(all.then_some(()))
    })
    .await
}
