//! `cargo xtask test`: everything is built, everything is tested, nothing is left behind.
//!
//! The binaries and the module libraries are built first: `cargo test` alone builds neither the binaries of other crates
//! nor their `.so` files where a running process looks for them.

use crate::cargo::{self, cargo};
use crate::leftovers::Watch;
use crate::{Failure, say};

/// Runs all tests; `args` go to `cargo test` (a filter, `-- --nocapture`).
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    cargo::run(&mut cargo(&["build", "--workspace"]))?;
    let watch = Watch::start()?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    tests.args(args);
    watch.mark(&mut tests);
    say("$ cargo test --workspace");
    let status = cargo::status(&mut tests)?;
    let left = watch.finish();
    for line in &left {
        say(format_args!("left behind: {line}"));
    }
    if !status.success() {
        return Err(Failure::task(format!("tests failed: {status}")));
    }
    if !left.is_empty() {
        return Err(Failure::task(format!("{} thing(s) left behind", left.len())));
    }
    say("all tests passed; nothing is left behind (process, cgroup, mount, file)");
    Ok(())
}
