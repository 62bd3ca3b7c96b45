//! `cgroups/all`: what a task may do, and what is known of it, when an agent uses every controller it has. Wants root.

use mezzo_integration_tests::{Builder, Cluster, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::TaskFailed;
use mezzo_sdk::v1::agent::call::GetContainers;
use mezzo_sdk::v1::task_status::Reason;

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;

fn everything() -> anyhow::Result<Builder> {
    kernel::needs_root()?;
    Ok(Cluster::quick().agent_flag("--isolation=cgroups/all"))
}

#[tokio::test]
async fn a_task_has_no_more_processes_than_it_asked_for() -> Done {
    let cluster = everything()?.resources("cpus:4;mem:4096;disk:4096;pids:500").start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    // The one in the parentheses ends when it cannot fork.
    let bomb = "(i=0; while [ $i -lt 200 ]; do sleep 34001 & i=$((i+1)); done; echo unlimited); \
                echo tried; exec sleep 34002";
    let task = Task::shell(bomb).id("t").resource("pids", 100.0);
    framework.start(&task).await?;
    let said = framework.read_until(&cluster, "t", "stdout", "tried").await?;
    assert!(!said.contains("unlimited"), "{said}");
    // Its executor is among them.
    let sleeping = kernel::processes_called(&["sleep", "34001"]).len();
    assert!((80..100).contains(&sleeping), "{sleeping}");
    until("the agent says so", async || {
        Ok(cluster.agent_log(0).contains("has all the processes it may have").then_some(()))
    })
    .await?;
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_uses_the_usual_devices_and_is_measured_and_ended_by_one_isolator() -> Done {
    let cluster = everything()?.start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let devices = "echo > /dev/null; (: < /dev/kmsg) 2> /dev/null && echo open || echo refused; \
                   exec sleep 34003";
    framework.start(&Task::shell(devices).id("t")).await?;
    let said = framework.read_until(&cluster, "t", "stdout", "\n").await?;
    assert!(said.contains("refused"), "{said}");

    let mut agent = cluster.agent(0).await?;
    until("all statistics", async || {
        let containers = agent.get_containers(GetContainers::default()).await?.into_inner();
        let container = containers.containers.into_iter().next();
        let found = container.and_then(|container| container.resource_statistics);
        Ok(found.filter(|found| {
            found.mem_total_bytes() > 0
                && found.cpus_user_time_secs.is_some()
                && found.blkio_statistics.is_some()
        }))
    })
    .await?;

    let end = framework.run(&Task::shell("tail /dev/zero").id("greedy").mem(32.0)).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ContainerLimitationMemory, "{end:?}");
    framework.teardown().await;
    Ok(())
}
