//! Agents and masters are killed at a bad moment and come back: nothing is lost, nothing runs twice.

use std::time::Duration;

use mezzo_integration_tests::{Cluster, until};
use mezzo_sdk::scheduler::Event;
use mezzo_sdk::v1::TaskState::{TaskFinished, TaskKilled, TaskRunning, TaskStarting};
use mezzo_sdk::v1::task_status::Reason;
use mezzo_sdk::{Framework, SchedulerDriver, Task};

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;

/// A framework that outlives a master.
fn lasting() -> Framework {
    Framework::new("lasting").failover_timeout(Duration::from_secs(3600))
}

async fn agent_id(cluster: &Cluster) -> anyhow::Result<String> {
    let agents = cluster.master().await?.get_agents(()).await?.into_inner().agents;
    let ids: Vec<String> =
        agents.into_iter().filter_map(|a| a.agent_info.id).map(|id| id.value).collect();
    anyhow::ensure!(ids.len() == 1, "one agent, not {ids:?}");
    Ok(ids.concat())
}

#[tokio::test]
async fn tasks_survive_a_killed_agent_and_what_happened_meanwhile_is_told() -> Done {
    let mut cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::with(&cluster, lasting()).await?;
    framework.start(&Task::shell("exec sleep 40001").id("stays")).await?;
    let waits = "until test -e go; do sleep 0.05; done; exec sleep 0";
    framework.start(&Task::shell(waits).id("ends")).await?;
    framework.start(&Task::shell("pwd; exec sleep 40002").id("dies")).await?;
    let before = agent_id(&cluster).await?;
    let sandbox = framework.read_until(&cluster, "dies", "stdout", "/").await?;
    let pid = kernel::sleeper("40001").await?;
    let doomed = kernel::sleeper("40002").await?;

    cluster.kill_agent(0)?;
    let go = sandbox.trim().replace("executors/dies/", "executors/ends/");
    let runs = std::path::Path::new(&go).parent().map(|runs| runs.join("latest/go"));
    std::fs::write(runs.unwrap_or_default(), "")?;
    kernel::kill(doomed)?;
    until("both have ended", async || {
        let waiting = kernel::processes_with("until test -e go; do");
        let gone = waiting.is_empty() && kernel::processes_called(&["sleep", "40002"]).is_empty();
        Ok(gone.then_some(()))
    })
    .await?;
    cluster.start_agent(0).await?;

    let ended = framework.ended("ends").await?;
    assert_eq!(ended.state(), TaskFinished, "{ended:?}");
    let died = framework.ended("dies").await?;
    assert_eq!(died.message(), "Command terminated with signal Killed", "{died:?}");
    cluster.agents_are_active(1).await?;
    assert_eq!(agent_id(&cluster).await?, before);
    assert_eq!(kernel::processes_called(&["sleep", "40001"]), [pid], "the same process, once");
    assert_eq!(framework.states("stays").last(), Some(&TaskRunning));
    framework.kill("stays");
    assert_eq!(framework.ended("stays").await?.state(), TaskKilled);
    Ok(())
}

#[tokio::test]
async fn an_agent_killed_between_update_and_acknowledgement_sends_it_again() -> Done {
    let mut cluster = Cluster::quick().start().await?;
    let driver = SchedulerDriver::new(cluster.master_address(), lasting());
    let mut framework = TestFramework::of(driver.explicit_acknowledgements()).await?;
    framework.launch(&Task::shell("exit 0").id("t")).await?;
    let first = framework.reaches("t", TaskStarting).await?;
    cluster.kill_agent(0)?;
    framework.updates.clear();
    cluster.start_agent(0).await?;
    let again = framework.reaches("t", TaskStarting).await?;
    assert_eq!(again.uuid, first.uuid, "the same update, not another");
    framework.handle.acknowledge(&again);
    for state in [TaskRunning, TaskFinished] {
        let next = framework.update(|status| status.state() == state).await?;
        framework.handle.acknowledge(&next);
    }
    Ok(())
}

#[tokio::test]
async fn a_master_that_comes_back_finds_its_agents_its_frameworks_and_their_tasks() -> Done {
    let mut cluster = Cluster::quick().agents(2).start().await?;
    let mut framework = TestFramework::with(&cluster, lasting()).await?;
    framework.start(&Task::shell("exec sleep 40003").id("t")).await?;
    let (id, pid) = (framework.id(), kernel::sleeper("40003").await?);
    cluster.kill_master()?;
    while !matches!(framework.step().await?, Event::Disconnected) {}
    cluster.start_master().await?;
    while !matches!(framework.step().await?, Event::Reregistered(_)) {}
    assert_eq!(framework.id(), id);
    cluster.agents_are_active(2).await?;

    let tasks = until("the master knows the task again", async || {
        let tasks = cluster.master().await?.get_tasks(()).await?.into_inner().tasks;
        Ok((!tasks.is_empty()).then_some(tasks))
    })
    .await?;
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    assert_eq!(tasks[0].framework_id.value, id);
    framework.updates.clear();
    framework.handle.reconcile([]);
    let answer = framework.update(|status| status.reason() == Reason::Reconciliation).await?;
    assert_eq!((answer.task_id.value.as_str(), answer.state()), ("t", TaskRunning));
    assert_eq!(kernel::processes_called(&["sleep", "40003"]), [pid], "the same process, once");

    assert_eq!(framework.run(&Task::shell("exit 0").id("next")).await?.state(), TaskFinished);
    framework.kill("t");
    assert_eq!(framework.ended("t").await?.state(), TaskKilled);
    Ok(())
}

#[tokio::test]
async fn a_task_that_ends_while_no_master_is_there_is_told_when_one_is() -> Done {
    let mut cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::with(&cluster, lasting()).await?;
    framework.start(&Task::shell("exec sleep 40004").id("t")).await?;
    let pid = kernel::sleeper("40004").await?;
    cluster.kill_master()?;
    kernel::kill(pid)?;
    until("it has ended", async || {
        Ok(kernel::processes_called(&["sleep", "40004"]).is_empty().then_some(()))
    })
    .await?;
    cluster.start_master().await?;
    let end = framework.ended("t").await?;
    assert_eq!(end.message(), "Command terminated with signal Killed", "{end:?}");
    let ends = framework.states("t").into_iter().filter(|s| mezzo_sdk::is_terminal(*s)).count();
    assert_eq!(ends, 1);
    Ok(())
}

#[tokio::test]
async fn a_second_agent_on_one_directory_and_a_second_master_on_one_registry_are_refused() -> Done {
    let cluster = Cluster::quick().start().await?;
    let work_dir = format!("--work_dir={}", cluster.agent_work_dir(0).display());
    let master = format!("--master={}", cluster.master_address());
    let agent = crate::refusals::refused("mezzo-agent", &[&work_dir, &master, "--port=0"]).await?;
    let pid = cluster.agent_pid(0).unwrap_or_default().to_string();
    assert!(agent.contains("--work_dir") && agent.contains(&pid), "{agent}");

    let work_dir = format!("--work_dir={}", cluster.folder().join("master").display());
    let master = crate::refusals::refused("mezzo-master", &[&work_dir, "--port=0"]).await?;
    let pid = cluster.master_pid().unwrap_or_default().to_string();
    assert!(master.contains("--work_dir") && master.contains(&pid), "{master}");

    cluster.agents_are_active(1).await
}
