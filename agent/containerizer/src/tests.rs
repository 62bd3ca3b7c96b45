//! The pipeline with every process, isolator and hook faked: each of them can fail or ask for the end of the container at
//! any moment, and whatever happens, what was done is undone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod limits;
mod recovery;
mod steps;
mod stuck;
mod world;
