//! Stories that are told on purpose: one thing goes wrong, at the worst time.

use std::collections::BTreeSet;
use std::time::Duration;

use mezzo_proto::v1::TaskState::{TaskRunning, TaskUnreachable};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::plan::Plan;
use crate::world::World;

impl World {
    /// A world in which nothing goes wrong by itself, with a framework that knows partitions.
    fn quiet(agents: usize, longest_task: u64) -> Self {
        let plan = Plan::quiet(agents, longest_task);
        let mut world = Self::with(plan, SmallRng::seed_from_u64(1), false);
        world.frameworks[0].aware = true;
        world.frameworks[0].checkpoint = true;
        world
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    /// The tasks that run on a machine.
    fn running_on(&self, agent: usize) -> BTreeSet<String> {
        let containers = self.agents[agent].containers.values();
        let tasks = containers.flat_map(|c| &c.tasks).filter(|(_, over)| !**over);
        tasks.map(|(task, _)| task.clone()).collect()
    }
}

#[test]
fn an_agent_that_is_cut_off_for_five_minutes_comes_back_with_its_tasks() {
    let mut world = World::quiet(1, 3_600_000);
    world.pass(Duration::from_secs(30));
    // Nothing is killed any more.
    world.calm = true;
    world.pass(Duration::from_secs(20));
    let tasks = world.running_on(0);
    assert!(tasks.len() > 2, "{tasks:?}");

    world.goes_dark(0, Duration::from_secs(300));
    world.pass(Duration::from_secs(60));
    let heard = |world: &World, task: &String| world.frameworks[0].tasks[task].last;
    assert!(tasks.iter().all(|t| heard(&world, t) == Some(TaskUnreachable)));

    world.pass(Duration::from_secs(300));
    let still = world.running_on(0);
    assert!(still.len() > 1 && still.is_subset(&tasks));
    assert!(still.iter().all(|t| heard(&world, t) == Some(TaskRunning)));
}

#[test]
fn of_tasks_that_are_launched_while_the_master_dies_each_runs_once_or_is_reported() {
    for seed in 0..20 {
        let mut world = World::quiet(3, 5000);
        // As soon as the launch of some task is on its way, and a little later in each round.
        while world.witness.sent() < 3 {
            world.step();
        }
        for _ in 0..seed {
            world.step();
        }
        world.master_dies();
        world.come_to_an_end();
        assert!(world.frameworks[0].tasks.values().all(|note| note.settled));
    }
}
