//! `cargo xtask bench NAME --json`: the numbers of this project, measured on release binaries as separate processes.
//! `abi` takes sizes: `--calls`, `--runs`, `--agents`, `--frameworks`, `--cycles`; `isolator` takes `--containers`.
//!
//! The measuring itself is `mezzo-bench` (integration-tests/src/bin/mezzo-bench), built in release with everything else,
//! so that what measures is not slower than what is measured.

use std::process::Command;

use crate::Failure;
use crate::cargo::{self, cargo, target_dir};

/// What can be measured.
const NAMES: [&str; 6] = ["launch", "throughput", "idle", "demo", "abi", "isolator"];

/// Builds in release and measures.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let mut named = args.iter().filter(|arg| !arg.starts_with("--"));
    let name = named.next().map_or("", String::as_str);
    let chosen: Vec<&str> = match name {
        "all" => NAMES.to_vec(),
        known if NAMES.contains(&known) => vec![known],
        other => {
            return Err(Failure::usage(format!(
                "bench: got {other:?}, expected one of {}, all",
                NAMES.join(", ")
            )));
        }
    };
    // To stderr: stdout holds the measurements and nothing else.
    let mut build = cargo(&["build", "--release", "--workspace", "--quiet"]);
    cargo::run_quietly(&mut build)?;
    for name in chosen {
        let mut bench = Command::new(target_dir().join("release/mezzo-bench"));
        // With `--json`, and sizes if there are any.
        bench.arg(name).args(args.iter().filter(|arg| arg.starts_with("--")));
        cargo::run_quietly(&mut bench)?;
    }
    Ok(())
}
