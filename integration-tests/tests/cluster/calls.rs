//! Calls that make no sense are refused with a code and a sentence, and harm nobody else.

use std::sync::Arc;

use anyhow::Context as _;
use mezzo_integration_tests::Cluster;
use mezzo_proto::v1::link::{self, agent_link_client::AgentLinkClient};
use mezzo_sdk::v1::TaskState::{TaskError, TaskFinished};
use mezzo_sdk::v1::scheduler::{Call, call};
use mezzo_sdk::v1::{CommandInfo, FrameworkInfo, Offer, Resource, TaskId, TaskInfo, value};
use mezzo_sdk::{Framework, Task};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::Done;
use crate::framework::TestFramework;
use crate::raw;
use crate::shared::Shared;

static CLUSTER: Shared = Shared::new();

async fn cluster() -> anyhow::Result<Arc<Cluster>> {
    CLUSTER.get(Cluster::quick()).await
}

/// A task runs: nothing was harmed.
async fn still_works(cluster: &Cluster) -> Done {
    let mut framework = TestFramework::connect(cluster).await?;
    assert_eq!(framework.run(&Task::shell("exit 0")).await?.state(), TaskFinished);
    Ok(())
}

/// The resource as it was offered.
fn allocated(resource: Resource, offer: &Offer) -> Resource {
    Resource { allocation_info: offer.allocation_info.clone(), ..resource }
}

/// What the master says to a framework that it does not want.
async fn unwanted(cluster: &Cluster, info: FrameworkInfo) -> anyhow::Result<String> {
    let refused = TestFramework::with(cluster, info).await;
    let error = refused.err().context("the master took this framework")?;
    Ok(error.to_string())
}

#[tokio::test]
async fn a_framework_that_makes_no_sense_is_told_why() -> Done {
    let cluster = cluster().await?;
    let good = || Framework::new("good").into_info();
    let cases: [(FrameworkInfo, &[&str]); 5] = [
        (FrameworkInfo { name: String::new(), ..good() }, &["name"]),
        (FrameworkInfo { failover_timeout: Some(f64::NAN), ..good() }, &["failover_timeout"]),
        (FrameworkInfo { failover_timeout: Some(1e30), ..good() }, &["failover_timeout"]),
        (FrameworkInfo { roles: vec!["a b".to_owned()], ..good() }, &["role"]),
        (FrameworkInfo { roles: vec!["/a".to_owned()], ..good() }, &["role"]),
    ];
    for (info, words) in cases {
        let told = unwanted(&cluster, info.clone()).await?;
        for word in words {
            assert!(told.contains(word), "{info:?}: {told}");
        }
    }
    still_works(&cluster).await
}

#[tokio::test]
async fn tasks_that_make_no_sense_end_as_errors_and_the_offer_is_not_lost() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let scalar = |value: f64| Resource {
        name: "cpus".to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value }),
        ..Default::default()
    };
    let cases: [(&str, Vec<Resource>); 6] = [
        ("nan", vec![scalar(f64::NAN)]),
        ("infinite", vec![scalar(f64::INFINITY)]),
        ("negative", vec![scalar(-1.0)]),
        ("too-much", vec![scalar(1e6)]),
        ("nothing", Vec::new()),
        ("tiny", vec![scalar(0.0001)]),
    ];
    for (id, resources) in cases {
        while framework.offers.is_empty() {
            framework.step().await?;
        }
        let offer = framework.offers.remove(0);
        let info = TaskInfo {
            name: id.to_owned(),
            task_id: TaskId { value: id.to_owned() },
            agent_id: offer.agent_id.clone(),
            resources: resources.into_iter().map(|r| allocated(r, &offer)).collect(),
            command: Some(CommandInfo { value: Some("exit 0".to_owned()), ..Default::default() }),
            ..Default::default()
        };
        let filters = mezzo_sdk::v1::Filters { refuse_seconds: Some(0.0) };
        let launch = mezzo_sdk::scheduler::launch(vec![info]);
        framework.handle.accept([offer.id], vec![launch], Some(filters));
        let end = framework.ended(id).await?;
        assert_eq!(end.state(), TaskError, "{id}: {end:?}");
        assert!(end.message().len() > 10, "{id}: {end:?}");
    }
    assert_eq!(framework.run(&Task::shell("exit 0").id("good")).await?.state(), TaskFinished);
    Ok(())
}

#[tokio::test]
async fn a_label_of_five_megabytes_harms_nobody() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("exit 0").id("t").label("large", "x".repeat(5 << 20));
    framework.launch(&task).await?;
    let end = framework.ended("t").await?;
    assert!(!end.message().contains(&"x".repeat(1000)), "the label is not echoed");
    framework.teardown().await;
    still_works(&cluster).await
}

#[tokio::test]
async fn a_message_without_a_required_field_is_refused_with_its_path() -> Done {
    let cluster = cluster().await?;
    let master = cluster.master_address();
    // Call { type: SUBSCRIBE, subscribe: { framework_info: { user: "u" } } }: no name.
    let call = [&[0x10, 1, 0x1a, 5, 0x0a, 3, 0x0a, 1, b'u'][..]].concat();
    let status = raw::call(&master, "/mezzo.v1.scheduler.SchedulerService/Call", call).await;
    let status = status.expect_err("a required field is missing");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("subscribe.framework_info.name"), "{status:?}");
    // ReadFile {}: no path.
    let agent = cluster.agent_address(0)?.to_string();
    let status = raw::call(&agent, "/mezzo.v1.agent.AgentService/ReadFile", Vec::new()).await;
    let status = status.expect_err("a required field is missing");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("path"), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() -> Done {
    let cluster = cluster().await?;
    let master = cluster.master_address();
    let groups = vec![0x1b; 100_000];
    let too_long = vec![0x1a, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for bytes in [vec![0xff; 64], too_long, groups, b"GET / HTTP/1.1".to_vec()] {
        let path = "/mezzo.v1.scheduler.SchedulerService/Call";
        let status = raw::call(&master, path, bytes).await;
        let status = status.expect_err("this is no call");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    // A string that is not UTF-8: KillTaskRequest { task_id: { value: "\xff" } }.
    let path = "/mezzo.v1.master.MasterService/KillTask";
    let status = raw::call(&master, path, vec![0x12, 3, 0x0a, 1, 0xff]).await;
    assert_eq!(status.expect_err("not UTF-8").code(), Code::InvalidArgument);
    let status = raw::call(&master, "/mezzo.v1.master.MasterService/NoSuchCall", Vec::new()).await;
    assert_eq!(status.expect_err("no such call").code(), Code::Unimplemented);
    let status = raw::call(&master, "/no.such.Service/Call", Vec::new()).await;
    assert_eq!(status.expect_err("no such service").code(), Code::Unimplemented);
    still_works(&cluster).await
}

#[tokio::test]
async fn garbage_on_the_port_is_no_reason_to_end() -> Done {
    let cluster = cluster().await?;
    let addresses = [cluster.master_address(), cluster.agent_address(0)?.to_string()];
    for address in &addresses {
        for garbage in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
            b"\0\0\0\0\0\0\0\0",
            &[0xff; 70_000],
            b"GET /\r\n\r\n",
        ] {
            let mut stream = tokio::net::TcpStream::connect(address).await?;
            // Either may fail: the other side may have closed already.
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
        }
    }
    still_works(&cluster).await
}

#[tokio::test]
async fn a_message_of_64_megabytes_is_refused_or_taken_but_never_fatal() -> Done {
    let cluster = cluster().await?;
    let master = cluster.master_address();
    let path = "/mezzo.v1.scheduler.SchedulerService/Call";
    // Field 15 does not exist; its content is skipped by whoever reads that far.
    let length = 64_u32 << 20;
    let mut bytes = vec![0x7a, 0x80, 0x80, 0x80, 0x20];
    bytes.resize(bytes.len() + length as usize, 0);
    let status = raw::call(&master, path, bytes).await.expect_err("there is no call in it");
    let refused = [Code::OutOfRange, Code::ResourceExhausted, Code::InvalidArgument];
    assert!(refused.contains(&status.code()), "{status:?}");
    still_works(&cluster).await
}

#[tokio::test]
async fn calls_of_a_framework_that_nobody_knows_are_refused() -> Done {
    let cluster = cluster().await?;
    let channel = raw::channel(&cluster.master_address()).await?;
    let mut client =
        mezzo_proto::v1::scheduler::scheduler_service_client::SchedulerServiceClient::new(channel);
    let kill =
        call::Kill { task_id: TaskId { value: "t".to_owned() }, agent_id: None, kill_policy: None };
    for framework in [None, Some("nobody".to_owned())] {
        let call = Call {
            framework_id: framework.map(|value| mezzo_sdk::v1::FrameworkId { value }),
            r#type: Some(call::Type::Kill.into()),
            kill: Some(kill.clone()),
            ..Default::default()
        };
        let status = client.call(call.clone()).await.expect_err("nobody knows it");
        assert!(!status.message().is_empty(), "{call:?}: {status:?}");
        assert_ne!(status.code(), Code::Internal, "{call:?}: {status:?}");
        assert_ne!(status.code(), Code::Unknown, "{call:?}: {status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_that_claims_the_id_of_another_does_not_get_it() -> Done {
    let cluster = cluster().await?;
    let agents = cluster.master().await?.get_agents(()).await?.into_inner().agents;
    let mut info = agents[0].agent_info.clone();
    info.hostname = "impostor".to_owned();
    let claim =
        link::Reregister { agent_info: info, version: "0.1.0".to_owned(), ..Default::default() };
    let claim = link::FromAgent { message: Some(link::from_agent::Message::Reregister(claim)) };
    let mut link = AgentLinkClient::new(raw::channel(&cluster.master_address()).await?);
    let claim = tokio_stream::once(claim).chain(tokio_stream::pending());
    let mut answer = link.connect(claim).await?.into_inner();
    let told = answer.message().await?.and_then(|told| told.message);
    let Some(link::from_master::Message::Shutdown(away)) = told else {
        anyhow::bail!("the impostor was told {told:?}");
    };
    assert!(away.message.contains("agent_info.id"), "{away:?}");
    let agents = cluster.master().await?.get_agents(()).await?.into_inner().agents;
    assert_eq!(agents[0].agent_info.hostname, "127.0.0.1");
    assert!(agents[0].active);
    still_works(&cluster).await
}

#[tokio::test]
async fn data_of_frameworks_passes_through_unchanged() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let odd = "ä\u{1F600}\"\\ \t'";
    let task = Task::shell("printf %s \"$ODD\"").id("t").env("ODD", odd).label(odd, odd);
    assert_eq!(framework.run(&task).await?.state(), TaskFinished);
    assert_eq!(framework.read(&cluster, "t", "stdout").await?, odd);
    Ok(())
}
