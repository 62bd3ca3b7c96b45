//! Measures a real cluster: release binaries, separate processes, real gRPC over loopback.
//!
//! `mezzo-bench launch|throughput|idle|demo [--json]`, usually through `cargo xtask bench`. Each measurement is one JSON
//! object (or one line for people): name, parameters, unit, p50, p99, runs, and the baseline that was measured in the same
//! run: what the machine does with no cluster in between.

mod baseline;
mod cluster;
mod demo;
mod framework;
mod idle;
mod launch;
mod measurement;
mod throughput;

use std::process::ExitCode;

use measurement::{Measurement, write_line};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let json = args.iter().any(|arg| arg == "--json");
    let name = args.iter().find(|arg| !arg.starts_with("--"));
    let measured = match name.map(String::as_str) {
        Some("launch") => launch::run().await,
        Some("throughput") => throughput::run().await,
        Some("idle") => idle::run().await,
        Some("demo") => demo::run().await,
        other => Err(anyhow::anyhow!(
            "got {:?}, expected launch, throughput, idle or demo",
            other.unwrap_or_default()
        )),
    };
    match measured {
        Ok(all) => {
            for measurement in &all {
                tell(measurement, json);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            write_line(&mut std::io::stderr(), &format!("mezzo-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn tell(measurement: &Measurement, json: bool) {
    let line = if json { measurement.json().to_string() } else { measurement.line() };
    write_line(&mut std::io::stdout(), &line);
}
