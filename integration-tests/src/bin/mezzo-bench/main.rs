//! Measures a real cluster: release binaries, separate processes, real gRPC over loopback.
//!
//! `mezzo-bench launch|throughput|idle|demo|abi|isolator [--json]`, usually through `cargo xtask bench`. Each measurement is one JSON
//! object (or one line for people): name, parameters, unit, p50, p99, runs, and the baseline that was measured in the same
//! run: what the machine does with no cluster in between.

mod abi;
mod baseline;
mod cluster;
mod crowd;
mod demo;
#[expect(unreachable_pub, reason = "the same code that the library of test modules has")]
#[path = "../../../fixtures/modules/src/echo.rs"]
mod echo;
mod framework;
mod idle;
mod isolator;
mod launch;
mod measurement;
mod modules;
mod options;
mod throughput;

use std::process::ExitCode;

use measurement::{Measurement, write_line};
use options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::from_command_line();
    let measured = match options.name() {
        "launch" => launch::run().await,
        "throughput" => throughput::run().await,
        "idle" => idle::run().await,
        "demo" => demo::run().await,
        "abi" => abi::run(&options),
        "isolator" => isolator::run(&options),
        other => Err(anyhow::anyhow!(
            "got {other:?}, expected launch, throughput, idle, demo, abi or isolator"
        )),
    };
    match measured {
        Ok(all) => {
            for measurement in &all {
                tell(measurement, options.json());
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
