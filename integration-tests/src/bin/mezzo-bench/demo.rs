//! How long the demo takes on binaries that are built.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::measurement::Measurement;

const RUNS: usize = 3;

/// Runs `cargo xtask demo` several times; the first run warms the page cache and does not count.
pub(crate) async fn run() -> anyhow::Result<Vec<Measurement>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mut values = Vec::new();
    for run in 0..=RUNS {
        let begun = Instant::now();
        let status = Command::new("cargo")
            .args(["xtask", "demo", "--built"])
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "cargo xtask demo failed: {status}");
        if run > 0 {
            values.push(begun.elapsed().as_secs_f64());
        }
    }
    Ok(vec![Measurement {
        name: "demo/wall",
        parameters: json!({"command": "cargo xtask demo --built"}),
        unit: "s",
        values,
        baseline: None,
    }])
}
