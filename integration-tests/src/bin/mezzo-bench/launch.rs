//! How long from accepting an offer until the framework hears TASK_RUNNING, on a cluster that does nothing else.

use anyhow::Context as _;
use mezzo_sdk::Task;
use serde_json::json;

use crate::baseline;
use crate::cluster::Cluster;
use crate::framework::Bench;
use crate::measurement::Measurement;

const RUNS: usize = 200;
const RESOURCES: &str = "cpus:4;mem:4096;disk:10000";

/// One task at a time.
pub(crate) async fn run() -> anyhow::Result<Vec<Measurement>> {
    let baseline = baseline::spawn_time(RUNS)?;
    let cluster = Cluster::start(RESOURCES).await?;
    let mut bench = Bench::connect(cluster.master_address()).await?;
    let (mut to_running, mut to_finished) = (Vec::new(), Vec::new());
    for number in 0..RUNS {
        let task = Task::shell("true").id(format!("launch-{number:04}")).cpus(0.1).mem(32.0);
        for times in bench.run(vec![task], false).await? {
            let running = times.running.context("a task ended without TASK_RUNNING")?;
            let ended = times.ended.context("a task did not end")?;
            to_running.push((running - times.accepted).as_secs_f64() * 1e3);
            to_finished.push((ended - times.accepted).as_secs_f64() * 1e3);
        }
    }
    bench.teardown().await;
    let measure = |name, values| Measurement {
        name,
        parameters: json!({"command": "true", "cpus": 0.1, "mem": 32, "agents": 1, "in_flight": 1}),
        unit: "ms",
        values,
        baseline: Some(Box::new(baseline.clone())),
    };
    Ok(vec![
        measure("launch/accept_to_running", to_running),
        measure("launch/accept_to_finished", to_finished),
    ])
}
