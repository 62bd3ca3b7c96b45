//! A stand-in for an allocator. It proposes what the books say is free, to whoever is there, and keeps account of what it is
//! told as a real one would: its account and the master's books must agree at any time.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_master_core::{Agent, Books, Effect, Framework, Proposal};
use mezzo_model::{Format, Resources, Role};
use mezzo_proto::module::v1::Holding;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1;

use crate::world::World;

/// Thousandths by resource name.
pub type Amounts = BTreeMap<String, i64>;

/// What an allocator knows.
#[derive(Default)]
pub struct Allocator {
    agents: BTreeSet<u64>,
    /// By agent and framework. A proposal counts from the moment it is made.
    held: BTreeMap<(u64, u64), Amounts>,
    /// Of proposals that the master has not heard yet.
    on_the_way: BTreeMap<(u64, u64), Amounts>,
}

/// How much there is of everything.
pub fn amounts(resources: &[v1::Resource]) -> Amounts {
    let mut amounts = Amounts::new();
    for resource in resources {
        let scalar = resource.scalar.as_ref().map_or(0, |s| thousandths(s.value));
        let ranges = resource.ranges.iter().flat_map(|r| &r.range);
        let counted: i64 = ranges.map(|r| 1000 * i64::try_from(r.end - r.begin + 1).unwrap()).sum();
        *amounts.entry(resource.name.clone()).or_default() += scalar + counted;
    }
    amounts
}

#[expect(clippy::cast_possible_truncation, reason = "amounts are small")]
fn thousandths(value: f64) -> i64 {
    (value * 1000.0).round() as i64
}

fn add(
    held: &mut BTreeMap<(u64, u64), Amounts>,
    key: (u64, u64),
    what: &[v1::Resource],
    sign: i64,
) {
    let entry = held.entry(key).or_default();
    for (name, amount) in amounts(what) {
        *entry.entry(name).or_default() += sign * amount;
    }
    entry.retain(|_, amount| *amount != 0);
    if entry.is_empty() {
        held.remove(&key);
    }
}

impl Allocator {
    /// Takes note of what the master tells.
    pub fn hear(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Allocator(event) = effect {
                self.note(event.event.as_ref().expect("an event says what happened"));
            }
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::AgentAdded(added) => {
                let agent = added.agent.unwrap();
                assert!(self.agents.insert(agent), "agent {agent} is added to the allocator twice");
                for holding in &added.used {
                    self.hold(holding, 1);
                }
            }
            Event::AgentRemoved(removed) => {
                let agent = removed.agent.unwrap();
                assert!(
                    self.agents.remove(&agent),
                    "agent {agent} is removed from the allocator, which has no such"
                );
                self.held.retain(|(of, _), _| *of != agent);
                self.on_the_way.retain(|(of, _), _| *of != agent);
            }
            Event::FrameworkAdded(added) => {
                added.used.iter().for_each(|holding| self.hold(holding, 1))
            }
            Event::Allocated(allocated) => self.hold(allocated.holding.as_ref().unwrap(), 1),
            Event::Recovered(recovered) => self.hold(recovered.holding.as_ref().unwrap(), -1),
            _ => {}
        }
    }

    fn hold(&mut self, holding: &Holding, sign: i64) {
        let agent = holding.agent.unwrap();
        if self.agents.contains(&agent) {
            add(&mut self.held, (agent, holding.framework.unwrap()), &holding.resources, sign);
        }
    }

    /// Proposals are made: they count as held from now on.
    pub fn proposed(&mut self, proposals: &[Proposal]) {
        for p in proposals.iter().filter(|p| self.agents.contains(&p.agent)) {
            add(&mut self.held, (p.agent, p.framework), &p.resources, 1);
            add(&mut self.on_the_way, (p.agent, p.framework), &p.resources, 1);
        }
    }

    /// The master is about to hear of them.
    pub fn delivered(&mut self, proposals: &[Proposal]) {
        for p in proposals.iter().filter(|p| self.agents.contains(&p.agent)) {
            add(&mut self.on_the_way, (p.agent, p.framework), &p.resources, -1);
        }
    }

    /// Whether what the allocator believes is held on an agent is what the books say.
    pub fn check(&self, books: &Books, agent: &Agent) {
        assert!(
            self.agents.contains(&agent.key),
            "the allocator has not been told of agent {}",
            agent.id
        );
        let mut held: BTreeMap<(u64, u64), Amounts> = BTreeMap::new();
        for ((of, framework), amounts) in self.held.range((agent.key, 0)..=(agent.key, u64::MAX)) {
            held.insert((*of, *framework), amounts.clone());
        }
        for ((of, framework), amounts) in
            self.on_the_way.range((agent.key, 0)..=(agent.key, u64::MAX))
        {
            let entry = held.entry((*of, *framework)).or_default();
            for (name, amount) in amounts {
                *entry.entry(name.clone()).or_default() -= amount;
            }
            entry.retain(|_, amount| *amount != 0);
        }
        held.retain(|_, amounts| !amounts.is_empty());
        let mut booked: BTreeMap<(u64, u64), Amounts> = BTreeMap::new();
        for framework in books.frameworks.values() {
            for resources in on(books, framework, agent) {
                let wire = resources.to_proto(Format::PostRefinement);
                add(&mut booked, (agent.key, framework.key), &wire, 1);
            }
        }
        assert_eq!(
            held, booked,
            "allocator (left) and books (right) differ about agent {}",
            agent.id
        );
    }
}

/// What a framework holds on an agent by the books.
fn on<'b>(books: &'b Books, framework: &'b Framework, agent: &'b Agent) -> Vec<&'b Resources> {
    let offered =
        agent.offers.iter().map(|id| &books.offers[id]).filter(|o| o.framework == framework.id);
    let tasks = agent.tasks.iter().filter(|(owner, _)| *owner == framework.id);
    let tasks = tasks.map(|(_, task)| &framework.tasks[task]).filter(|t| !t.freed);
    let executors = framework.executors.iter().filter(|((on, _), _)| *on == agent.id);
    offered
        .map(|o| &o.resources)
        .chain(tasks.map(|t| &t.resources))
        .chain(executors.map(|(_, e)| &e.resources))
        .collect()
}

impl World {
    /// Splits what is free among frameworks at random; sometimes proposes what makes no sense.
    pub fn propose(&mut self, books: &Books) -> Vec<Proposal> {
        let frameworks: Vec<_> = books.frameworks.values().filter(|f| f.connected()).collect();
        let mut proposals = Vec::new();
        for agent in books.agents.values() {
            let mut free = agent.available.clone();
            while !free.is_empty() && !frameworks.is_empty() && self.chance(0.7) {
                let framework = frameworks[self.pick(frameworks.len())];
                let roles: Vec<_> = framework.roles.iter().collect();
                let role = books.roles[roles[self.pick(roles.len())]];
                let share = if self.chance(0.5) { free.clone() } else { half(&free) };
                if share.is_empty() {
                    break;
                }
                let senseless = self.chance(0.02);
                proposals.push(Proposal {
                    framework: if senseless && self.chance(0.5) {
                        framework.key + 1
                    } else {
                        framework.key
                    },
                    role,
                    agent: agent.key,
                    resources: share.to_proto(Format::PostRefinement),
                });
                if !senseless {
                    free = free.checked_sub(&share).expect("a share is a part");
                }
            }
        }
        proposals
    }
}

/// Half of the scalars, in whole tenths.
fn half(free: &Resources) -> Resources {
    let tenths = |value: f64| (value * 5.0).floor() / 10.0;
    let (cpus, mem) = (tenths(free.cpus().to_f64()), tenths(free.mem().to_f64()));
    if cpus <= 0.0 || mem <= 0.0 {
        return free.clone();
    }
    Resources::parse(&format!("cpus:{cpus};mem:{mem}"), &Role::star())
        .expect("amounts are resources")
}
