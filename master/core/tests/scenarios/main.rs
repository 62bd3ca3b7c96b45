//! What a master decides, told as stories: commands in, effects out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test that meets the unexpected should stop"
)]

mod admission;
mod agents;
mod allocator_lies;
mod bad_input;
mod frameworks;
mod invariants;
mod offers;
mod reconciliation;
mod tasks;
mod world;
