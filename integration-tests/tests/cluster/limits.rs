//! Tasks that are ended by somebody who looks from time to time: at the disk they fill, at the memory of their processes.

use std::time::{Duration, Instant};

use mezzo_integration_tests::{Cluster, manifest, slowness, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskRunning};
use mezzo_sdk::v1::TaskStatus;
use mezzo_sdk::v1::agent::call::GetContainers;
use mezzo_sdk::v1::task_status::Reason;

use crate::Done;
use crate::framework::TestFramework;

/// How much of a resource the limitation is about.
fn limited(end: &TaskStatus, name: &str) -> f64 {
    let resources = end.limitation.iter().flat_map(|limitation| &limitation.resources);
    let mut found = resources.filter(|resource| resource.name == name);
    found.next().and_then(|found| found.scalar.as_ref()).map_or(0.0, |scalar| scalar.value)
}

#[tokio::test]
async fn a_task_that_fills_its_disk_is_ended_within_two_intervals_and_its_neighbour_goes_on() -> Done
{
    let interval = Duration::from_secs(2) * slowness();
    let cluster = Cluster::quick()
        .agent_flag("--isolation=posix/cpu,posix/mem,disk/du")
        .agent_flag("--enforce_container_disk_quota")
        .agent_flag(format!("--container_disk_watch_interval={}secs", interval.as_secs()))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let modest = "head -c 2M /dev/zero > file; echo written; exec sleep 32001";
    framework.start(&Task::shell(modest).id("modest").disk(4.0)).await?;
    let greedy = "head -c 4M /dev/zero > file; echo written; exec sleep 32002";
    framework.start(&Task::shell(greedy).id("greedy").disk(3.0)).await?;
    framework.read_until(&cluster, "greedy", "stdout", "written").await?;
    let written = Instant::now();
    let end = framework.ended("greedy").await?;
    let took = written.elapsed();
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ContainerLimitationDisk, "{end:?}");
    assert!(end.message().starts_with("Disk usage ("), "{end:?}");
    assert!(end.message().ends_with(") exceeds quota (3MB)"), "{end:?}");
    assert!((limited(&end, "disk") - 3.0).abs() < 1e-9, "{end:?}");
    assert!(took < interval * 2, "it took {took:?} with an interval of {interval:?}");

    assert_eq!(framework.states("modest").last(), Some(&TaskRunning));
    let mut agent = cluster.agent(0).await?;
    until("the disk usage of the other is known", async || {
        let containers = agent.get_containers(GetContainers::default()).await?.into_inner();
        let mut found = containers.containers.iter().filter_map(|c| c.resource_statistics.as_ref());
        let known = found.find(|found| found.disk_used_bytes() > 2 << 20);
        Ok(known.filter(|found| found.disk_limit_bytes() == 4 << 20).map(drop))
    })
    .await?;
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_that_outgrows_its_memory_without_cgroups_is_ended_with_a_list_of_its_processes()
-> Done {
    let parameters = [("interval", "300ms"), ("vmem_check_enabled", "false")];
    let cluster = Cluster::quick()
        .agent_flag(manifest("mezzo_isolator_procfs", &[("mem/procfs", &parameters)]))
        .agent_flag("--isolation=mem/procfs")
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    // `tail` keeps the last line, which does not end.
    let hold = |megabytes: u32, seconds: u32| {
        format!("(head -c {megabytes}M /dev/zero; exec sleep {seconds}) | tail > /dev/null")
    };
    framework.start(&Task::shell(hold(50, 32003)).id("modest").mem(128.0)).await?;
    let end = framework.run(&Task::shell(hold(150, 32004)).id("greedy").mem(64.0)).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ContainerLimitationMemory, "{end:?}");
    let message = end.message();
    assert!(message.starts_with("Container [pid="), "{message}");
    assert!(message.contains("B beyond the 'PHYSICAL' memory limit. Current usage: "), "{message}");
    // Of the task, and 32 MB of its executor.
    assert!(message.contains(" of 96 MB physical memory used; "), "{message}");
    assert!(message.contains("Killing container.\nDump of the process-tree for "), "{message}");
    for process in ["(tail)", "(mezzo-executor)", "sleep 32004"] {
        assert!(message.contains(process), "{process} is not in it: {message}");
    }
    assert!(!message.contains("32003"), "only its own processes: {message}");
    assert!(limited(&end, "mem") > 96.0, "{end:?}");
    assert_eq!(framework.states("modest").last(), Some(&TaskRunning));
    framework.teardown().await;
    Ok(())
}
