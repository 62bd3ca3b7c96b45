//! What kind of world a seed makes: how many live in it, and how much of what goes wrong.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use crate::links::End;
use crate::world::{Event, World};

/// The kind of a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub agents: usize,
    pub frameworks: usize,
    /// Mean milliseconds between faults; none for a world without.
    pub faults: Option<u64>,
    /// Machines are wiped or restarted, too.
    pub machines_die: bool,
    /// Frameworks say good-bye for ever. A master that comes after another does not know of it, so there is only one then.
    pub farewells: bool,
    /// Processes die in the middle of what they are doing.
    pub sudden_deaths: f64,
    /// Agents have hooks that want to see tasks and updates.
    pub hooks: bool,
    pub offer_timeout: Option<Duration>,
    /// The longest that a task runs, in milliseconds.
    pub longest_task: u64,
}

impl Plan {
    /// A world in which nothing goes wrong by itself.
    pub fn quiet(agents: usize, longest_task: u64) -> Self {
        Self {
            agents,
            frameworks: 1,
            faults: None,
            machines_die: false,
            farewells: false,
            sudden_deaths: 0.0,
            hooks: false,
            offer_timeout: None,
            longest_task,
        }
    }

    /// Draws a plan. Every fourth world or so is without faults, so that plain mistakes are seen as such.
    pub fn draw(rng: &mut SmallRng) -> Self {
        let faults = match rng.random_range(0..8) {
            0 => None,
            1..4 => Some(8000),
            4..7 => Some(2500),
            _ => Some(600),
        };
        let farewells = rng.random_bool(0.25);
        Self {
            agents: rng.random_range(1..=4),
            frameworks: rng.random_range(1..=3),
            faults,
            machines_die: faults.is_some() && rng.random_bool(0.3),
            farewells,
            sudden_deaths: if faults.is_some() { 0.0007 } else { 0.0 },
            hooks: rng.random_bool(0.3),
            offer_timeout: rng.random_bool(0.3).then_some(Duration::from_secs(3)),
            longest_task: [2_000, 20_000, 60_000][rng.random_range(0..3)],
        }
    }
}

impl World {
    pub fn next_fault(&mut self) {
        let Some(mean) = self.plan.faults else { return };
        let wait = self.between(0, 2 * mean);
        self.after(wait, Event::Fault);
    }

    /// Something goes wrong.
    pub fn fault(&mut self) {
        if self.calm {
            return;
        }
        self.next_fault();
        let agent = self.pick(self.agents.len());
        let framework = self.pick(self.frameworks.len());
        match self.pick(22) {
            0..9 => {
                let sound = self.links.sound();
                if let Some(conn) = sound.get(self.pick(sound.len())) {
                    self.cut(*conn);
                }
            }
            9..12 => self.agent_dies(agent),
            12..14 => self.framework_dies(framework),
            14..16 if !self.plan.farewells => self.master_dies(),
            14 => self.framework_is_over(framework),
            15 => self.clocks_jump(),
            16 => {
                let time = self.between(1000, 60_000);
                self.goes_dark(agent, time);
            }
            17 => self.framework_leaves(framework),
            18 if self.plan.machines_die => self.machine_restarts(agent),
            19 if self.plan.machines_die && self.chance(0.3) => self.machine_is_replaced(agent),
            20 => self.clocks_jump(),
            21 => self.agent_leaves(agent),
            _ => {}
        }
    }

    /// The clocks that people read go wrong by up to an hour. Nothing may depend on them.
    fn clocks_jump(&mut self) {
        let jump = self.between(0, 7_200_000);
        self.clock_error = jump.as_secs_f64() - 3600.0;
    }

    /// A framework's connection ends in an orderly way, and it comes back.
    fn framework_leaves(&mut self, framework: usize) {
        if let Some(conn) = self.frameworks[framework].conn {
            self.close(conn, End::Client);
            self.framework_loses_master(framework, conn);
        }
    }
}
