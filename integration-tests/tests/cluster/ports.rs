//! A task that listens on a port it was not given ends; one that keeps to its own goes on.
//!
//! The tasks are masters: programs of ours that listen where they are told.

use std::net::{TcpListener, TcpStream};

use mezzo_integration_tests::{Cluster, binary, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskRunning};
use mezzo_sdk::v1::task_status::Reason;

use crate::Done;
use crate::framework::TestFramework;

#[tokio::test]
async fn a_task_that_listens_on_a_port_it_was_not_given_ends_and_says_which() -> Done {
    let port = free_port()?;
    let cluster = Cluster::quick()
        .resources(&format!("cpus:4;mem:2048;ports:[{port}-{port}]"))
        .agent_flag("--isolation=cgroups/cpu,cgroups/mem,network/ports")
        .agent_flag("--enforce_container_ports")
        .agent_flag("--container_ports_watch_interval=100ms")
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&listener("honest", "$PORT0")?.port(port)).await?;
    until("the honest task listens", async || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))
        .await?;

    let wrong = free_port()?;
    let end = framework.run(&listener("greedy", &wrong.to_string())?).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ContainerLimitation, "{end:?}");
    let words = format!("is listening on unallocated port(s): [{wrong}-{wrong}]");
    assert!(end.message().contains(&words), "{end:?}");
    let limitation = end.limitation.unwrap_or_default();
    let ports = limitation.resources.iter().find(|resource| resource.name == "ports");
    let range = ports.and_then(|ports| ports.ranges.as_ref()?.range.first().copied());
    assert_eq!(range.map(|range| (range.begin, range.end)), Some((wrong.into(), wrong.into())));

    assert_eq!(framework.states("honest").last(), Some(&TaskRunning));
    TcpStream::connect(("127.0.0.1", port))?;
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn without_enforcement_the_agent_only_says_so() -> Done {
    let cluster = Cluster::quick()
        .agent_flag("--isolation=cgroups/cpu,cgroups/mem,network/ports")
        .agent_flag("--container_ports_watch_interval=100ms")
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let port = free_port()?;
    framework.start(&listener("greedy", &port.to_string())?).await?;
    let words = format!("is listening on unallocated port(s): [{port}-{port}]");
    until("the agent says so", async || Ok(cluster.agent_log(0).contains(&words).then_some(())))
        .await?;
    TcpStream::connect(("127.0.0.1", port))?;
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_that_an_agent_found_again_is_held_to_its_ports() -> Done {
    let mut cluster = Cluster::quick()
        .agent_flag("--isolation=cgroups/cpu,cgroups/mem,network/ports")
        .agent_flag("--enforce_container_ports")
        .agent_flag("--container_ports_watch_interval=100ms")
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let port = free_port()?;
    let starts = tempfile::tempdir()?;
    let go = starts.path().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
    let command = format!("{wait}; {}", listening(&port.to_string())?);
    framework.start(&Task::shell(command).id("late").cpus(0.5).mem(256.0)).await?;
    cluster.kill_agent(0)?;
    cluster.start_agent(0).await?;
    std::fs::write(go, "")?;
    let end = framework.ended("late").await?;
    assert_eq!(end.reason(), Reason::ContainerLimitation, "{end:?}");
    assert!(end.message().contains(&format!("port(s): [{port}-{port}]")), "{end:?}");
    Ok(())
}

/// A task that listens on this port of loopback.
fn listener(id: &str, port: &str) -> anyhow::Result<Task> {
    Ok(Task::shell(listening(port)?).id(id).cpus(0.5).mem(256.0))
}

/// The command that does.
fn listening(port: &str) -> anyhow::Result<String> {
    let master = binary("mezzo-master")?;
    Ok(format!(
        "exec {} --ip=127.0.0.1 --port={port} --registry=in_memory --work_dir=$PWD/work",
        master.display()
    ))
}

/// A port that nobody listens on.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
