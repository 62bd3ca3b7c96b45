//! The tasks of this repository as a program of it: nothing to install, the same on every machine.
//!
//! * `cargo xtask demo`: a real cluster does a real job, and stops;
//! * `cargo xtask test`: all tests, and a check that nothing was left behind;
//! * `cargo xtask vm-test`: the tests that need another kernel than this machine's, in a virtual machine;
//! * `cargo xtask bench NAME --json`: one JSON object per measurement.
//!
//! Built on little more than the standard library, so that it starts at once on a fresh clone.

mod bench;
mod cargo;
mod demo;
mod leftovers;
mod signals;
mod test;
mod vm;

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo                 build in release, run a cluster with a real job, show what happened
  test [ARGS]          build everything, run `cargo test --workspace ARGS`, check that nothing is left behind
  vm-test [FILTER]     in a virtual machine: what needs cgroup version 2, XFS or another thing that this kernel has not
  bench NAME [--json]  measure: launch, throughput, idle, demo, abi, isolator or all
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match command.as_str() {
        "demo" => demo::run(&rest),
        "test" => test::run(&rest),
        "vm-test" => vm::run(&rest),
        "bench" => bench::run(&rest),
        "help" | "--help" | "-h" => {
            say(USAGE.trim_end());
            return ExitCode::SUCCESS;
        }
        other => {
            Err(Failure::usage(format!("got {other:?}, expected demo, test, vm-test or bench")))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when even this fails.
            let _ = writeln!(std::io::stderr(), "xtask: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// Why a task failed, and the exit code that says so.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The task was asked for in a wrong way.
    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// The task did not succeed.
    fn task(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A line for the person who waits.
fn say(line: impl fmt::Display) {
    // A closed stdout is no reason to fail a task.
    let _ = writeln!(std::io::stdout(), "{line}");
}
