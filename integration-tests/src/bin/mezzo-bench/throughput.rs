//! How many command tasks one agent runs in a second: 1,000 times `true`, 128 at a time, each in a container of its own.
//! The parameters are those by which Mesos was measured (19 tasks/s on this kind of machine).

use anyhow::Context as _;
use mezzo_sdk::Task;
use serde_json::json;

use crate::baseline;
use crate::cluster::Cluster;
use crate::framework::Bench;
use crate::measurement::Measurement;

const TASKS: u32 = 1000;
const SLOTS: u32 = 128;
const RUNS: usize = 3;

/// The rate from the first accept to the last end, as the framework sees both.
pub(crate) async fn run() -> anyhow::Result<Vec<Measurement>> {
    let baseline = baseline::spawn_rate(TASKS, RUNS)?;
    let resources = format!("cpus:{};mem:{};disk:100000", f64::from(SLOTS) / 10.0, SLOTS * 32);
    let cluster = Cluster::start(&resources).await?;
    let mut bench = Bench::connect(cluster.master_address()).await?;
    let mut values = Vec::new();
    for run in 0..RUNS {
        let tasks = (0..TASKS)
            .map(|number| {
                Task::shell("true").id(format!("run-{run}-{number:04}")).cpus(0.1).mem(32.0)
            })
            .collect();
        let times = bench.run(tasks, false).await?;
        let begun = times.iter().map(|times| times.accepted).min().context("no task")?;
        let ended = times.iter().filter_map(|times| times.ended).max().context("no task ended")?;
        values.push(f64::from(TASKS) / (ended - begun).as_secs_f64());
    }
    bench.teardown().await;
    Ok(vec![Measurement {
        name: "throughput/command_tasks",
        parameters: json!({
            "command": "true", "tasks": TASKS, "slots": SLOTS, "cpus": 0.1, "mem": 32, "agents": 1,
        }),
        unit: "tasks/s",
        values,
        baseline: Some(Box::new(baseline)),
    }])
}
