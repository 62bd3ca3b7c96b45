//! A whole cluster in one thread of virtual time: a master, agents with their executors, frameworks, and everything between
//! them that is late, breaks or dies. One seed is one story; the same seed is the same story.
//!
//! After every step what must always hold is checked (`witness.rs`), and at the end of a story, when everything is whole
//! again and nothing new is started, what must hold then (`ending.rs`).
//!
//! * `MEZZO_SIM_SEED=7` plays one seed. One that fails tells what happened last: `MEZZO_SIM_LINES=100000` for all of it.
//! * `MEZZO_SIM_SEEDS=10000` plays so many, `MEZZO_SIM_STEPS=20000` makes each so long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "a test that meets the unexpected should stop"
)]

mod agent;
mod agent_link;
mod allocator;
mod container;
mod disk;
mod ending;
mod executor;
mod framework;
mod links;
mod master;
mod plan;
mod script;
mod stories;
mod witness;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use world::World;

/// Steps until everything is made whole.
const STEPS: usize = 3000;
/// Seeds of one ordinary run of all tests together.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// How much has happened in a story.
struct Played {
    steps: usize,
    /// Tasks that ran.
    tasks: usize,
    /// Updates that came to frameworks.
    updates: usize,
}

/// Plays one seed to its end, or gives what happened last.
fn play(seed: u64, told: bool) -> Result<Played, String> {
    let steps = number("MEZZO_SIM_STEPS").map_or(STEPS, |n| usize::try_from(n).unwrap());
    let mut world = World::new(seed, told);
    let played = catch_unwind(AssertUnwindSafe(|| {
        while world.steps < steps {
            world.step();
        }
        world.come_to_an_end();
    }));
    let (tasks, updates) = (world.witness.started, world.witness.updates);
    played.map(|()| Played { steps: world.steps, tasks, updates }).map_err(|_| world.story())
}

/// Plays every `of`th seed from `first` on.
fn play_some(first: u64, of: u64) {
    let began = Instant::now();
    let (from, to) = match number("MEZZO_SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("MEZZO_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let (mut steps, mut tasks, mut updates) = (0, 0, 0);
    for seed in (from..to).filter(|seed| seed % of == first) {
        let Ok(played) = play(seed, false) else {
            // The same again, now with the story.
            let story = play(seed, true).err().unwrap_or_default();
            panic!("{story}\nseed {seed} fails; play it again with MEZZO_SIM_SEED={seed}");
        };
        steps += played.steps;
        tasks += played.tasks;
        updates += played.updates;
    }
    eprintln!("{steps} steps, {tasks} tasks started, {updates} updates in {:.1?}", began.elapsed());
    assert!(to - from < 50 || tasks as u64 > 10 * (to - from), "the stories are about nothing");
}

#[test]
fn nothing_is_lost_and_nothing_runs_twice_whatever_breaks() {
    play_some(0, 2);
}

#[test]
fn nothing_is_lost_and_nothing_runs_twice_whatever_breaks_in_other_stories() {
    play_some(1, 2);
}

#[test]
fn the_same_seed_is_the_same_story() {
    let tell = || {
        let mut world = World::new(11, true);
        while world.steps < 600 {
            world.step();
        }
        world.story()
    };
    assert_eq!(tell(), tell());
}
