//! `cargo xtask demo`: a real cluster does a real job and stops.

use crate::Failure;

/// Runs the demo.
pub(crate) fn run(_args: &[String]) -> Result<(), Failure> {
    Err(Failure::task(
        "the demo needs a master, an agent and an SDK; this tree does not have all of them yet",
    ))
}
