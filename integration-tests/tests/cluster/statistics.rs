//! What containers use is told over gRPC and over HTTP. Wants root, for cgroups do the counting.

use mezzo_integration_tests::{Cluster, http_get, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::agent::call::GetContainers;

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;

#[tokio::test]
async fn statistics_tell_limits_of_task_and_executor_and_usage_of_the_cgroup() -> Done {
    kernel::needs_root()?;
    let cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("while :; do :; done").id("busy").cpus(0.5).mem(64.0);
    framework.start(&task).await?;

    let mut agent = cluster.agent(0).await?;
    let statistics = until("the task has used some cpu time", async || {
        let containers = agent.get_containers(GetContainers::default()).await?.into_inner();
        let container = containers.containers.into_iter().next();
        let Some(container) = container else { return Ok(None) };
        assert_eq!(container.framework_id.map(|id| id.value), Some(framework.id()));
        assert_eq!(container.executor_id.map(|id| id.value).as_deref(), Some("busy"));
        let statistics = container.resource_statistics.unwrap_or_default();
        Ok((statistics.cpus_user_time_secs() > 0.05).then_some(statistics))
    })
    .await?;
    assert!((statistics.cpus_soft_limit() - 0.6).abs() < 1e-9, "{statistics:?}");
    assert_eq!(statistics.mem_limit_bytes(), 96 << 20, "{statistics:?}");
    assert!(statistics.mem_total_bytes() > 0, "{statistics:?}");
    assert!(statistics.mem_rss_bytes() < 96 << 20, "{statistics:?}");
    assert!(statistics.timestamp > 1e9, "{statistics:?}");

    let address = cluster.agent_address(0)?;
    let (code, body) = http_get(address, "/monitor/statistics").await?;
    assert_eq!(code, 200, "{body}");
    let list: serde_json::Value = serde_json::from_str(&body)?;
    let first = &list[0];
    assert_eq!(first["executor_id"], "busy", "{body}");
    assert_eq!(first["framework_id"], framework.id(), "{body}");
    assert_eq!(first["source"], "busy", "{body}");
    let numbers = &first["statistics"];
    assert_eq!(numbers["mem_limit_bytes"], 96 << 20, "{body}");
    for name in [
        "timestamp",
        "cpus_soft_limit",
        "cpus_user_time_secs",
        "cpus_system_time_secs",
        "mem_rss_bytes",
    ] {
        assert!(numbers[name].is_number(), "{name}: {body}");
    }
    let (code, body) = http_get(address, "/containers").await?;
    assert_eq!(code, 200, "{body}");
    let list: serde_json::Value = serde_json::from_str(&body)?;
    assert!(list[0]["container_id"].is_string(), "{body}");

    framework.kill("busy");
    framework.ended("busy").await?;
    until("the container is gone from the statistics", async || {
        let containers = agent.get_containers(GetContainers::default()).await?.into_inner();
        Ok(containers.containers.is_empty().then_some(()))
    })
    .await
}
