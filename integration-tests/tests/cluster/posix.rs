//! What an agent can do without cgroups: measure processes, and set the limits that the kernel has for each of them.

use mezzo_integration_tests::{Cluster, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::ContainerInfo;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished};
use mezzo_sdk::v1::agent::call::GetContainers;
use mezzo_sdk::v1::container_info::Type::Mesos;
use mezzo_sdk::v1::r_limit_info::RLimit;
use mezzo_sdk::v1::r_limit_info::r_limit::Type::{self, RlmtCore, RlmtNofile};
use mezzo_sdk::v1::task_status::Reason;

use crate::Done;
use crate::framework::TestFramework;

#[tokio::test]
async fn a_task_runs_under_the_resource_limits_it_asks_for() -> Done {
    let cluster =
        Cluster::quick().agent_flag("--isolation=posix/cpu,posix/rlimits").start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let command = "ulimit -S -n; ulimit -H -n; ulimit -S -c; ulimit -H -c";
    let limits = [limit(RlmtNofile, Some(300), Some(400)), limit(RlmtCore, None, None)];
    let end = framework.run(&limited("t", command, &limits)).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    let said = framework.read(&cluster, "t", "stdout").await?;
    assert_eq!(said, "300\n400\nunlimited\nunlimited\n");

    let half = limited("half", "true", &[limit(RlmtNofile, Some(300), None)]);
    let end = framework.run(&half).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ContainerLaunchFailed, "{end:?}");
    assert!(end.message().contains("RLMT_NOFILE has soft but no hard"), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn the_processes_of_a_task_are_measured_without_cgroups() -> Done {
    let cluster = Cluster::quick().agent_flag("--isolation=posix/cpu,posix/mem").start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let command = "setsid sh -c 'while :; do :; done' & wait";
    framework.start(&Task::shell(command).id("busy").cpus(0.5).mem(64.0)).await?;
    let mut agent = cluster.agent(0).await?;
    let statistics = until("the task has used some cpu time", async || {
        let containers = agent.get_containers(GetContainers::default()).await?.into_inner();
        let container = containers.containers.into_iter().next();
        let found = container.and_then(|container| container.resource_statistics);
        Ok(found.filter(|found| found.cpus_user_time_secs() > 0.1))
    })
    .await?;
    assert!(statistics.mem_rss_bytes() > 1 << 20, "{statistics:?}");
    assert_eq!(statistics.mem_limit_bytes(), 96 << 20, "{statistics:?}");
    assert!((statistics.cpus_soft_limit() - 0.6).abs() < 1e-9, "{statistics:?}");
    framework.teardown().await;
    Ok(())
}

fn limit(kind: Type, soft: Option<u64>, hard: Option<u64>) -> RLimit {
    RLimit { r#type: Some(kind.into()), soft, hard }
}

fn limited(id: &str, command: &str, limits: &[RLimit]) -> Task {
    let mut container = ContainerInfo { r#type: Mesos.into(), ..ContainerInfo::default() };
    container.rlimit_info.get_or_insert_default().rlimits = limits.to_vec();
    Task::shell(command).id(id).container(container)
}
