//! Whatever happens, in whatever order: the books add up, no offer is used twice, nothing panics.
//! [`World::check`](crate::world::World::check) runs after every command.

use std::collections::BTreeSet;

use mezzo_master_core::{Command, SessionId};
use mezzo_proto::v1;
use mezzo_proto::v1::TaskState::{TaskFailed, TaskFinished, TaskKilled, TaskRunning};
use mezzo_proto::v1::scheduler::{self, call};
use proptest::prelude::*;

use crate::world::{Story, World, accept, framework, of, task};

#[derive(Debug, Clone)]
enum Step {
    Subscribe(u8),
    LoseFramework(u8),
    Teardown(u8),
    Register(u8),
    LoseAgent(u8),
    Reregister(u8),
    Propose { framework: u8, agent: u8, cpus: u8 },
    Accept { framework: u8, offer: u8, tasks: u8, cpus: u8 },
    Decline { framework: u8, offer: u8 },
    Update { agent: u8, task: u8, state: u8 },
    Acknowledge { framework: u8, task: u8 },
    Kill { framework: u8, task: u8 },
    Reconcile(u8),
    Pass(u8),
    HoldWrites,
    ReleaseWrites,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<u8>().prop_map(Step::Subscribe),
        1 => any::<u8>().prop_map(Step::LoseFramework),
        1 => any::<u8>().prop_map(Step::Teardown),
        2 => any::<u8>().prop_map(Step::Register),
        2 => any::<u8>().prop_map(Step::LoseAgent),
        3 => any::<u8>().prop_map(Step::Reregister),
        6 => (any::<u8>(), any::<u8>(), 0..6_u8)
            .prop_map(|(framework, agent, cpus)| Step::Propose { framework, agent, cpus }),
        6 => (any::<u8>(), any::<u8>(), 0..4_u8, 0..4_u8)
            .prop_map(|(framework, offer, tasks, cpus)| Step::Accept { framework, offer, tasks, cpus }),
        2 => (any::<u8>(), any::<u8>())
            .prop_map(|(framework, offer)| Step::Decline { framework, offer }),
        5 => (any::<u8>(), any::<u8>(), 0..4_u8)
            .prop_map(|(agent, task, state)| Step::Update { agent, task, state }),
        4 => (any::<u8>(), any::<u8>())
            .prop_map(|(framework, task)| Step::Acknowledge { framework, task }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(framework, task)| Step::Kill { framework, task }),
        1 => any::<u8>().prop_map(Step::Reconcile),
        3 => any::<u8>().prop_map(Step::Pass),
        1 => Just(Step::HoldWrites),
        2 => Just(Step::ReleaseWrites),
    ]
}

fn pick<T: Clone>(items: &[T], n: u8) -> Option<T> {
    (!items.is_empty()).then(|| items[usize::from(n) % items.len()].clone())
}

/// Everything that ever connected; calls of the dead are part of the fun.
#[derive(Default)]
struct Cast {
    frameworks: Vec<(SessionId, v1::FrameworkId)>,
    agents: Vec<(SessionId, v1::AgentId, i32)>,
    offers: Vec<v1::OfferId>,
    tasks: Vec<(v1::FrameworkId, String)>,
    accepted: BTreeSet<String>,
}

impl Cast {
    fn play(&mut self, world: &mut World, step: &Step, n: usize) {
        match step {
            Step::Subscribe(i) => {
                let mut info = framework("f");
                info.failover_timeout = Some(30.0);
                info.id = pick(&self.frameworks, *i).filter(|_| i % 3 == 0).map(|(_, id)| id);
                let session = world.subscribe_as(info);
                let events = world.to_frameworks.get(&session);
                let id = events.and_then(|e| e.iter().find_map(|e| e.subscribed.clone()));
                self.frameworks.extend(id.map(|s| (session, s.framework_id)));
            }
            Step::LoseFramework(i) => {
                if let Some((session, _)) = pick(&self.frameworks, *i) {
                    world.apply(Command::FrameworkLost(session));
                }
            }
            Step::Teardown(i) => {
                if let Some((session, id)) = pick(&self.frameworks, *i) {
                    world.call(session, of(&id, call::Type::Teardown));
                }
            }
            Step::Register(i) => {
                let port = 6000 + i32::from(i % 5);
                let session = world.register_at(port, "cpus:8;mem:1024");
                self.note_agent(world, session, port);
            }
            Step::LoseAgent(i) => {
                if let Some((session, ..)) = pick(&self.agents, *i) {
                    world.apply(Command::AgentLost(session));
                }
            }
            Step::Reregister(i) => {
                let Some((_, id, port)) = pick(&self.agents, *i) else { return };
                let session = world.reregister(self.report(world, &id, port, *i));
                self.agents.push((session, id, port));
            }
            Step::Propose { framework, agent, cpus } => {
                let (Some((_, f)), Some((_, a, _))) =
                    (pick(&self.frameworks, *framework), pick(&self.agents, *agent))
                else {
                    return;
                };
                let known = world.cluster.books.frameworks.contains_key(f.value.as_str())
                    && world.cluster.books.agents.contains_key(a.value.as_str());
                if known {
                    world.propose(&f, &a, &format!("cpus:{cpus};mem:64"));
                    self.offers.extend(world.cluster.books.offers.keys().map(v1::OfferId::from));
                    self.offers.dedup();
                }
            }
            Step::Accept { framework, offer, tasks, cpus } => {
                self.accept(world, *framework, *offer, *tasks, *cpus, n);
            }
            Step::Decline { framework, offer } => {
                let (Some((session, id)), Some(offer)) =
                    (pick(&self.frameworks, *framework), pick(&self.offers, *offer))
                else {
                    return;
                };
                let decline = call::Decline { offer_ids: vec![offer], filters: None };
                let call =
                    scheduler::Call { decline: Some(decline), ..of(&id, call::Type::Decline) };
                world.call(session, call);
            }
            Step::Update { agent, task, state } => {
                let (Some((session, agent_id, _)), Some((framework_id, id))) =
                    (pick(&self.agents, *agent), pick(&self.tasks, *task))
                else {
                    return;
                };
                let state =
                    [TaskRunning, TaskFinished, TaskFailed, TaskKilled][usize::from(*state)];
                let story = story(session, agent_id, framework_id);
                world.update(&story, &id, state, 1 + *task % 3);
            }
            Step::Acknowledge { framework, task } => {
                let (Some((session, _)), Some((framework_id, id))) =
                    (pick(&self.frameworks, *framework), pick(&self.tasks, *task))
                else {
                    return;
                };
                let agent_id = v1::AgentId { value: "master-S0".into() };
                world.acknowledge(&story(session, agent_id, framework_id), &id, 1 + *task % 3);
            }
            Step::Kill { framework, task } => {
                let (Some((session, id)), Some((_, task))) =
                    (pick(&self.frameworks, *framework), pick(&self.tasks, *task))
                else {
                    return;
                };
                let kill = call::Kill { task_id: v1::TaskId { value: task }, ..Default::default() };
                world.call(
                    session,
                    scheduler::Call { kill: Some(kill), ..of(&id, call::Type::Kill) },
                );
            }
            Step::Reconcile(i) => {
                if let Some((session, id)) = pick(&self.frameworks, *i) {
                    world.call(session, of(&id, call::Type::Reconcile));
                }
            }
            Step::Pass(seconds) => world.advance(u64::from(seconds % 40)),
            Step::HoldWrites => world.hold_writes = true,
            Step::ReleaseWrites => {
                world.hold_writes = false;
                world.release_writes();
                for (session, _, _) in self.agents.clone() {
                    world.messages(session);
                }
            }
        }
    }

    fn note_agent(&mut self, world: &mut World, session: SessionId, port: i32) {
        let id = world.cluster.books.agents.values().find(|a| a.info.port() == port);
        self.agents.extend(id.map(|a| (session, v1::AgentId::from(&a.id), port)));
    }

    /// What an agent would say of itself: every task the master has of it, or every other one.
    fn report(&self, world: &World, id: &v1::AgentId, port: i32, i: u8) -> v1::link::Reregister {
        let mut info = crate::world::agent_info(port, "cpus:8;mem:1024");
        info.id = Some(id.clone());
        let books = &world.cluster.books;
        let tasks = books
            .frameworks
            .values()
            .flat_map(|f| f.tasks.values().chain(f.unreachable_tasks.values()))
            .filter(|t| t.agent.as_str() == id.value)
            .enumerate()
            .filter(|(n, _)| i.is_multiple_of(2) || n.is_multiple_of(2))
            .map(|(_, t)| t.view.clone());
        v1::link::Reregister {
            agent_info: info,
            version: "0.1.0".into(),
            frameworks: books.frameworks.values().map(|f| (*f.info).clone()).collect(),
            tasks: tasks.collect(),
            ..Default::default()
        }
    }

    fn accept(&mut self, world: &mut World, f: u8, offer: u8, tasks: u8, cpus: u8, n: usize) {
        let (Some((session, id)), Some(offer)) =
            (pick(&self.frameworks, f), pick(&self.offers, offer))
        else {
            return;
        };
        let open = world.cluster.books.offers.get(offer.value.as_str()).cloned();
        let agent = open.as_ref().map_or_else(
            || v1::AgentId { value: "nobody".into() },
            |o| v1::AgentId::from(&o.agent),
        );
        let infos: Vec<_> = (0..tasks)
            .map(|t| task(&agent, &format!("t{n}-{t}"), &format!("cpus:{cpus}.5")))
            .collect();
        self.tasks.extend(infos.iter().map(|t| (id.clone(), t.task_id.value.clone())));
        let accepted = world.cluster.books.counts.offers_accepted;
        world.call(session, accept(&id, &[&offer], infos));
        if world.cluster.books.counts.offers_accepted > accepted {
            assert!(open.is_some(), "an offer that was not open has been used");
            assert!(self.accepted.insert(offer.value.clone()), "an offer has been used twice");
        }
    }
}

fn story(session: SessionId, agent_id: v1::AgentId, framework_id: v1::FrameworkId) -> Story {
    let offer = v1::OfferId { value: String::new() };
    Story { agent: session, agent_id, framework: session, framework_id, offer }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_add_up_after_any_sequence_of_commands(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let mut world = World::new();
        let mut cast = Cast::default();
        for (n, step) in steps.iter().enumerate() {
            cast.play(&mut world, step, n);
        }
    }

    #[test]
    fn the_same_commands_give_the_same_state(steps in proptest::collection::vec(step(), 1..60)) {
        let play = || {
            let mut world = World::new();
            let mut cast = Cast::default();
            for (n, step) in steps.iter().enumerate() {
                cast.play(&mut world, step, n);
            }
            (format!("{:?}", world.cluster.books), world.to_frameworks, world.to_agents)
        };
        prop_assert_eq!(play(), play());
    }
}
