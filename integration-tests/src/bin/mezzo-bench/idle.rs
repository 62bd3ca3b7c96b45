//! What a cluster costs that does nothing: memory and CPU of the master, the agent and one executor whose task sleeps.

use std::time::Duration;

use anyhow::Context as _;
use mezzo_sdk::Task;
use serde_json::{Value, json};

use crate::cluster::{Cluster, cpu_seconds, resident_mib};
use crate::framework::Bench;
use crate::measurement::Measurement;

const RUNS: usize = 3;
const REST: Duration = Duration::from_secs(10);
const RESOURCES: &str = "cpus:4;mem:4096;disk:10000";

/// Looks at the three processes after a while of rest.
pub(crate) async fn run() -> anyhow::Result<Vec<Measurement>> {
    let mut rss: [Vec<f64>; 4] = Default::default();
    let mut cpu: [Vec<f64>; 3] = Default::default();
    let mut active = Vec::new();
    for run in 0..RUNS {
        let cluster = Cluster::start(RESOURCES).await?;
        let mut bench = Bench::connect(cluster.master_address()).await?;
        active.push(cluster.agent_started().elapsed().as_secs_f64() * 1e3);
        let task = Task::shell("sleep 1000").id(format!("idle-{run}")).cpus(0.1).mem(32.0);
        bench.run(vec![task], true).await?;
        let executor = executor_of(&cluster.agent_address()).context("no executor is running")?;
        let pids = [cluster.master_pid(), cluster.agent_pid(), executor];
        let before = pids.map(cpu_seconds);
        tokio::time::sleep(REST).await;
        for ((pid, before), (rss, cpu)) in
            pids.into_iter().zip(before).zip(rss.iter_mut().zip(&mut cpu))
        {
            rss.push(resident_mib(pid)?);
            cpu.push((cpu_seconds(pid)? - before?) / REST.as_secs_f64() * 100.0);
        }
        let [.., bare] = &mut rss;
        bare.push(bare_process_mib().await?);
        bench.teardown().await;
    }
    let [master, agent, executor, bare] = rss;
    let [master_cpu, agent_cpu, executor_cpu] = cpu;
    let parameters = json!({"agents": 1, "tasks": 1, "rest_seconds": REST.as_secs()});
    let measure = |name, unit, values, baseline: Option<&Measurement>| Measurement {
        name,
        parameters: parameters.clone(),
        unit,
        values,
        baseline: baseline.cloned().map(Box::new),
    };
    let bare = measure("RSS of a bare sleep", "MiB", bare, None);
    Ok(vec![
        measure("idle/master_rss", "MiB", master, Some(&bare)),
        measure("idle/agent_rss", "MiB", agent, Some(&bare)),
        measure("idle/executor_rss", "MiB", executor, Some(&bare)),
        measure("idle/master_cpu", "%", master_cpu, None),
        measure("idle/agent_cpu", "%", agent_cpu, None),
        measure("idle/executor_cpu", "%", executor_cpu, None),
        Measurement {
            parameters: Value::Null,
            ..measure("idle/agent_start_to_first_offer", "ms", active, None)
        },
    ])
}

/// The process of an executor that belongs to the agent at this address.
fn executor_of(agent: &str) -> Option<u32> {
    let wanted = format!("MESOS_AGENT_ENDPOINT={agent}");
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let has_it = environment.split(|byte| *byte == 0).any(|v| v == wanted.as_bytes());
        (has_it && name.trim() == "mezzo-executor").then_some(pid)
    })
}

/// What the smallest ordinary process takes.
async fn bare_process_mib() -> anyhow::Result<f64> {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn()?;
    // Long enough for the dynamic linker to be done.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mib = resident_mib(child.id());
    child.kill()?;
    child.wait()?;
    mib
}
