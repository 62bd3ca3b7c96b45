//! What any tool finds on the ports of a master and an agent: reflection, health, metrics, state,
//! events, and honest words about what is not there yet.

use std::sync::Arc;

use anyhow::Context as _;
use mezzo_integration_tests::{Cluster, http_get};
use mezzo_proto::v1::master::event::Type as EventType;
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::TaskFinished;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Done;
use crate::framework::TestFramework;
use crate::raw;
use crate::shared::Shared;

static CLUSTER: Shared = Shared::new();

async fn cluster() -> anyhow::Result<Arc<Cluster>> {
    CLUSTER.get(Cluster::quick()).await
}

/// The services that reflection of one version lists.
macro_rules! services {
    ($version:ident, $address:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(raw::channel($address).await?);
        let stream = client.server_reflection_info(tokio_stream::once(request)).await?;
        let answer = stream.into_inner().message().await?.context("no answer")?;
        match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            other => anyhow::bail!("not a list: {other:?}"),
        }
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_list_the_services() -> Done {
    let cluster = cluster().await?;
    let (master, agent) = (cluster.master_address(), cluster.agent_address(0)?.to_string());
    for list in [services!(v1, &master), services!(v1alpha, &master)] {
        for name in ["mezzo.v1.master.MasterService", "mezzo.v1.scheduler.SchedulerService"] {
            assert!(list.iter().any(|service| service == name), "{name}: {list:?}");
        }
    }
    for list in [services!(v1, &agent), services!(v1alpha, &agent)] {
        for name in ["mezzo.v1.agent.AgentService", "mezzo.v1.executor.ExecutorService"] {
            assert!(list.iter().any(|service| service == name), "{name}: {list:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn health_is_told_over_grpc_and_over_http() -> Done {
    let cluster = cluster().await?;
    let services = [
        (cluster.master_address(), "mezzo.v1.master.MasterService"),
        (cluster.agent_address(0)?.to_string(), "mezzo.v1.agent.AgentService"),
    ];
    for (address, service) in services {
        for name in ["", service] {
            let mut client = HealthClient::new(raw::channel(&address).await?);
            let request = HealthCheckRequest { service: name.to_owned() };
            let answer = client.check(request).await?.into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{address} {name}");
        }
        assert_eq!(http_get(address.parse()?, "/healthz").await?.0, 200);
        assert_eq!(http_get(address.parse()?, "/no-such-page").await?.0, 404);
    }
    assert!(cluster.master().await?.get_health(()).await?.into_inner().healthy);
    assert!(cluster.agent(0).await?.get_health(()).await?.into_inner().healthy);
    Ok(())
}

#[tokio::test]
async fn modules_are_listed_where_they_are_loaded() -> Done {
    let cluster = cluster().await?;
    let master = cluster.master().await?.get_modules(()).await?.into_inner();
    let names: Vec<&str> = master.modules.iter().map(|module| module.name()).collect();
    assert!(names.contains(&"hierarchical"), "{names:?}");
    let agent = cluster.agent(0).await?.get_modules(()).await?.into_inner();
    let names: Vec<&str> = agent.modules.iter().map(|module| module.name()).collect();
    crate::kernel::needs_root()?;
    assert!(names.contains(&"cgroups/cpu") && names.contains(&"cgroups/mem"), "{names:?}");
    Ok(())
}

#[tokio::test]
async fn the_state_of_the_cluster_holds_its_parts() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 60001").id("there")).await?;
    let state = cluster.master().await?.get_state(()).await?.into_inner();
    let (agents, frameworks, tasks) = (state.get_agents, state.get_frameworks, state.get_tasks);
    assert_eq!(agents.map(|a| a.agents.len()), Some(1));
    let ids = frameworks.unwrap_or_default().frameworks;
    let ids: Vec<_> =
        ids.into_iter().filter_map(|f| f.framework_info.id).map(|id| id.value).collect();
    assert!(ids.contains(&framework.id()), "{ids:?}");
    let tasks = tasks.unwrap_or_default().tasks;
    assert!(tasks.iter().any(|task| task.task_id.value == "there"), "{tasks:?}");
    let agent = cluster.agent(0).await?.get_state(()).await?.into_inner();
    let tasks = agent.get_tasks.unwrap_or_default().launched_tasks;
    assert!(tasks.iter().any(|task| task.task_id.value == "there"), "{tasks:?}");
    Ok(())
}

#[tokio::test]
async fn a_watcher_sees_the_cluster_as_it_is_and_every_change() -> Done {
    let cluster = Cluster::quick().start().await?;
    let mut events = cluster.master().await?.watch_events(()).await?.into_inner();
    let first = events.message().await?.context("no first event")?;
    assert_eq!(first.r#type(), EventType::Subscribed, "{first:?}");
    let state = first.subscribed.and_then(|s| s.get_state).context("no state")?;
    assert_eq!(state.get_agents.map(|a| a.agents.len()), Some(1));

    let mut framework = TestFramework::connect(&cluster).await?;
    assert_eq!(framework.run(&Task::shell("exit 0").id("t")).await?.state(), TaskFinished);
    framework.teardown().await;
    let mut seen = Vec::new();
    let mut finished = false;
    while !seen.contains(&EventType::FrameworkRemoved) {
        let event = events.message().await?.context("the stream ended")?;
        if let Some(updated) = &event.task_updated {
            assert_eq!(updated.status.task_id.value, "t");
            finished |= updated.state() == TaskFinished;
        }
        seen.push(event.r#type());
    }
    for kind in [EventType::FrameworkAdded, EventType::TaskAdded, EventType::TaskUpdated] {
        assert!(seen.contains(&kind), "{kind:?} in {seen:?}");
    }
    assert!(finished, "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn every_documented_metric_is_there() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let end = framework.run(&Task::shell("exit 0").id("counted")).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    // Numbers with labels are there from their first value on.
    cluster.agent(0).await?.get_health(()).await?;
    let document = include_str!("../../../docs/metrics.md");
    for (address, prefix) in [
        (cluster.master_address().parse()?, "mezzo_master_"),
        (cluster.agent_address(0)?, "mezzo_agent_"),
    ] {
        // Requests are counted once they are answered.
        http_get(address, "/metrics").await?;
        let (code, text) = http_get(address, "/metrics").await?;
        assert_eq!(code, 200);
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        for name in rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`')) {
            let name = name
                .split('{')
                .next()
                .unwrap_or_default()
                .replace('…', prefix.trim_end_matches('_'));
            let ours = name.starts_with(prefix) || name.starts_with("process_");
            // Labels appear with their first value, and nothing has failed here.
            let first_value_missing = name.contains("errors") || name.contains("panics");
            if ours && !first_value_missing {
                let family = name.trim_end_matches("_total");
                assert!(text.contains(family), "{name} is not in\n{text}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_yet_says_so_in_a_sentence() -> Done {
    let cluster = cluster().await?;
    let master = cluster.master().await?.get_quota(()).await;
    let agent = cluster.agent(0).await?.get_resource_providers(()).await;
    for status in [master.err(), agent.err()] {
        // A later version has them, and then this test has to find others.
        let status = status.context("this call works now")?;
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        assert!(status.message().split(' ').count() > 4, "{status:?}");
    }
    Ok(())
}
