//! What the machine does with no cluster in between: processes spawned directly, as fast as one thread can.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;

use crate::measurement::Measurement;

/// Time until a process spawned directly has begun.
pub(crate) fn spawn_time(runs: usize) -> anyhow::Result<Measurement> {
    let mut values = Vec::with_capacity(runs);
    for _ in 0..runs {
        let begun = Instant::now();
        let mut child = bare().spawn().context("cannot run true")?;
        values.push(begun.elapsed().as_secs_f64() * 1e3);
        child.wait()?;
    }
    Ok(Measurement {
        name: "bare posix_spawn",
        parameters: json!({"command": "true"}),
        unit: "ms",
        values,
        baseline: None,
    })
}

/// Processes spawned directly and waited for, one after the other, in a second.
pub(crate) fn spawn_rate(processes: u32, runs: usize) -> anyhow::Result<Measurement> {
    let mut values = Vec::with_capacity(runs);
    for _ in 0..runs {
        let begun = Instant::now();
        for _ in 0..processes {
            bare().status().context("cannot run true")?;
        }
        values.push(f64::from(processes) / begun.elapsed().as_secs_f64());
    }
    Ok(Measurement {
        name: "bare posix_spawn and wait, one at a time",
        parameters: json!({"command": "true", "processes": processes}),
        unit: "processes/s",
        values,
        baseline: None,
    })
}

fn bare() -> Command {
    let mut command = Command::new("true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
