//! The world: virtual time, one random number generator, a queue of what happens next, and everybody who lives in it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use mezzo_model::ContainerId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::agent::{self, AgentHost};
use crate::container;
use crate::framework::{self, FrameworkHost};
use crate::links::{ConnId, End, Links, Packet};
use crate::master::{self, MasterHost};
use crate::plan::Plan;
use crate::witness::Witness;

/// The last lines that are kept of a run that is told.
const LINES: usize = 400;
/// What is kept of each.
const LINE: usize = 700;

/// Something that happens at some time.
#[derive(Debug)]
pub enum Event {
    Arrive { conn: ConnId, to: End, packet: Packet },
    Lost { conn: ConnId, end: End },
    Master { life: u32, due: master::Due },
    Agent { agent: usize, life: u32, due: agent::Due },
    Container { agent: usize, container: ContainerId, due: container::Due },
    Framework { framework: usize, life: u32, due: framework::Due },
    Fault,
}

/// Everything.
pub struct World {
    pub now: Duration,
    /// By how many seconds the clocks that people read are wrong.
    pub clock_error: f64,
    pub plan: Plan,
    /// Nothing breaks any more and nothing new is started.
    pub calm: bool,
    pub steps: usize,
    pub links: Links,
    pub master: MasterHost,
    pub agents: Vec<AgentHost>,
    pub frameworks: Vec<FrameworkHost>,
    pub witness: Witness,
    rng: SmallRng,
    queue: BTreeMap<(Duration, u64), Event>,
    queued: u64,
    told: Option<VecDeque<String>>,
    lines: usize,
}

impl World {
    /// A world in which everything is about to start. With `told`, it remembers what happened last.
    pub fn new(seed: u64, told: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let plan = Plan::draw(&mut rng);
        Self::with(plan, rng, told)
    }

    pub fn with(plan: Plan, mut rng: SmallRng, told: bool) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1),
            clock_error: 0.0,
            calm: false,
            steps: 0,
            links: Links::default(),
            master: MasterHost::default(),
            agents: (0..plan.agents).map(AgentHost::new).collect(),
            frameworks: (0..plan.frameworks)
                .map(|index| FrameworkHost::new(index, &mut rng))
                .collect(),
            witness: Witness::default(),
            plan,
            rng,
            queue: BTreeMap::new(),
            queued: 0,
            told: told.then(VecDeque::new),
            lines: crate::number("MEZZO_SIM_LINES").map_or(LINES, |n| usize::try_from(n).unwrap()),
        };
        world.start_everybody();
        world
    }

    fn start_everybody(&mut self) {
        self.start_master_in(Duration::ZERO);
        for agent in 0..self.agents.len() {
            let wait = self.between(0, 500);
            self.start_agent_in(agent, wait);
        }
        for framework in 0..self.frameworks.len() {
            let wait = self.between(0, 500);
            self.start_framework_in(framework, wait);
        }
        self.next_fault();
    }

    /// Does what is next in the queue.
    pub fn step(&mut self) {
        let Some(((at, _), event)) = self.queue.pop_first() else { return };
        self.now = at;
        self.steps += 1;
        self.tell(|| format!("{event:?}"));
        match event {
            Event::Arrive { conn, to, packet } => self.arrive(conn, to, packet),
            Event::Lost { conn, end } => self.lost(conn, end),
            Event::Master { life, due } => self.master_due(life, due),
            Event::Agent { agent, life, due } => self.agent_due(agent, life, due),
            Event::Container { agent, container, due } => {
                self.container_due(agent, &container, due)
            }
            Event::Framework { framework, life, due } => self.framework_due(framework, life, due),
            Event::Fault => self.fault(),
        }
    }

    /// Queues an event for a time.
    pub fn at(&mut self, at: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    /// Seconds since the epoch, as the clocks of the machines have it.
    pub fn wall(&self) -> f64 {
        1.7e9 + self.now.as_secs_f64() + self.clock_error
    }

    /// Queues an event for a time from now.
    pub fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    // ---- chance ----

    pub fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// Chance of something that goes wrong: nothing does when it is calm.
    pub fn mishap(&mut self, probability: f64) -> bool {
        !self.calm && self.rng.random_bool(probability)
    }

    pub fn pick(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below.max(1))
    }

    /// Milliseconds.
    pub fn between(&mut self, from: u64, to: u64) -> Duration {
        self.micros(from * 1000, to * 1000)
    }

    pub fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.rng.random_range(from..=to))
    }

    pub fn bits(&mut self) -> u64 {
        self.rng.random()
    }

    /// Sixteen bytes for a status update.
    pub fn uuid(&mut self) -> bytes::Bytes {
        let bytes: [u8; 16] = self.rng.random();
        bytes::Bytes::copy_from_slice(&bytes)
    }

    // ---- the story ----

    /// Remembers a line, if anybody wants to hear it.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        let (now, steps) = (self.now, self.steps);
        if let Some(told) = &mut self.told {
            if told.len() >= self.lines {
                told.pop_front();
            }
            told.push_back(format!("{steps:>6} {now:>12.6?} {}", line()));
        }
    }

    /// What happened last.
    pub fn story(&self) -> String {
        let mut story = String::new();
        for line in self.told.iter().flatten() {
            let _ = writeln!(story, "{}", shortened(line));
        }
        story
    }
}

/// A line without what is not set.
fn shortened(line: &str) -> String {
    let says_something = |part: &&str| {
        let (_, value) = part.split_once(": ").unwrap_or(("", part));
        !matches!(value.trim_end_matches([' ', '}', ')', ']']), "None" | "[")
    };
    let parts: Vec<&str> = line.split(", ").filter(says_something).collect();
    parts.join(", ").chars().take(LINE).collect()
}
