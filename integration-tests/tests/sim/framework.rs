//! Frameworks that follow a script: they take offers, launch, kill, decline, forget, ask what has become of their tasks,
//! acknowledge late, die and come back. What they launched they remember, as if written down before each launch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use mezzo_model::FrameworkId;
use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::Capability;
use mezzo_proto::v1::framework_info::capability::Type as Can;
use mezzo_proto::v1::scheduler::{self, call, event};
use rand::Rng;
use rand::rngs::SmallRng;

use crate::links::{ConnId, End, Kind, Packet};
use crate::witness::is_terminal;
use crate::world::{Event, World};

/// What a framework has to do at some time.
#[derive(Debug)]
pub enum Due {
    Connect,
    /// Whether the subscription was answered.
    Subscribed(ConnId),
    Decide(String),
    Acknowledge {
        task: String,
        agent: String,
        uuid: Bytes,
        last: bool,
    },
    Routine,
}

/// A framework's scheduler, which may die and come back.
pub struct FrameworkHost {
    pub index: usize,
    pub conn: Option<ConnId>,
    pub aware: bool,
    pub checkpoint: bool,
    pub roles: Vec<String>,
    pub id: Option<v1::FrameworkId>,
    life: u32,
    pub subscribed: bool,
    pub held: BTreeMap<String, v1::Offer>,
    /// Every task it ever asked for. Survives it, as its id does.
    pub tasks: BTreeMap<String, Note>,
    /// Tasks of frameworks that were here before and said good-bye.
    pub over: BTreeSet<String>,
}

/// What a framework knows of a task.
#[derive(Clone, Debug)]
pub struct Note {
    pub agent: String,
    /// Its end was told and acknowledged, or it was said that there is nothing to tell.
    pub settled: bool,
    pub last: Option<v1::TaskState>,
}

impl FrameworkHost {
    pub fn new(index: usize, rng: &mut SmallRng) -> Self {
        let roles: &[&str] = if rng.random_bool(0.3) { &["a", "b/c"] } else { &[] };
        Self {
            index,
            conn: None,
            aware: rng.random_bool(0.6),
            checkpoint: rng.random_bool(0.75),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            id: None,
            life: 0,
            subscribed: false,
            held: BTreeMap::new(),
            tasks: BTreeMap::new(),
            over: BTreeSet::new(),
        }
    }

    fn info(&self) -> v1::FrameworkInfo {
        let mut can = vec![Can::TaskKillingState];
        can.extend(self.aware.then_some(Can::PartitionAware));
        can.extend((!self.roles.is_empty()).then_some(Can::MultiRole));
        v1::FrameworkInfo {
            user: "nobody".to_owned(),
            name: format!("f{}", self.index),
            id: self.id.clone(),
            failover_timeout: Some(1e6),
            checkpoint: Some(self.checkpoint),
            roles: self.roles.clone(),
            capabilities: can.into_iter().map(|c| Capability { r#type: Some(c.into()) }).collect(),
            ..v1::FrameworkInfo::default()
        }
    }
}

impl World {
    pub fn start_framework_in(&mut self, framework: usize, wait: Duration) {
        self.framework_in(framework, wait, Due::Connect);
        let wait = wait + self.between(1000, 4000);
        self.framework_in(framework, wait, Due::Routine);
    }

    pub fn framework_in(&mut self, framework: usize, wait: Duration, due: Due) {
        let life = self.frameworks[framework].life;
        self.after(wait, Event::Framework { framework, life, due });
    }

    pub fn framework_dies(&mut self, framework: usize) {
        self.tell(|| format!("framework {framework} dies"));
        let host = &mut self.frameworks[framework];
        host.life += 1;
        host.subscribed = false;
        host.held.clear();
        if let Some(conn) = host.conn.take() {
            self.die(conn, End::Client);
        }
        let wait = self.between(100, 8000);
        self.start_framework_in(framework, wait);
    }

    /// It says good-bye, and what it ran shall end. A new one takes its place.
    pub fn framework_is_over(&mut self, framework: usize) {
        if !self.call(framework, call::Type::Teardown, scheduler::Call::default()) {
            return;
        }
        self.tell(|| format!("framework {framework} is over"));
        let host = &mut self.frameworks[framework];
        host.over.extend(std::mem::take(&mut host.tasks).into_keys());
        let id = host.id.take();
        host.life += 1;
        host.subscribed = false;
        host.held.clear();
        let Some(conn) = host.conn.take() else { return };
        // What was said is heard before the connection ends.
        self.close(conn, End::Client);
        self.witness.somebody_left = true;
        self.tear_down_later(FrameworkId::new(&id.expect("it was subscribed").value));
        let wait = self.between(100, 8000);
        self.start_framework_in(framework, wait);
    }

    pub fn framework_due(&mut self, framework: usize, life: u32, due: Due) {
        if life != self.frameworks[framework].life {
            return;
        }
        match due {
            Due::Connect => self.subscribe(framework),
            Due::Subscribed(conn) => {
                let host = &self.frameworks[framework];
                if host.conn == Some(conn) && !host.subscribed {
                    self.close(conn, End::Client);
                    self.framework_loses_master(framework, conn);
                }
            }
            Due::Decide(offer) => self.decide(framework, &offer),
            Due::Acknowledge { task, agent, uuid, last } => {
                self.acknowledge(framework, task, agent, uuid, last)
            }
            Due::Routine => self.routine(framework),
        }
    }

    fn subscribe(&mut self, framework: usize) {
        if self.frameworks[framework].conn.is_some() {
            return;
        }
        if self.master.core.is_none() {
            let wait = self.between(50, 1500);
            return self.framework_in(framework, wait, Due::Connect);
        }
        let conn = self.open(Kind::Framework(framework));
        let host = &mut self.frameworks[framework];
        host.conn = Some(conn);
        let subscribe =
            call::Subscribe { framework_info: host.info(), ..call::Subscribe::default() };
        let call = scheduler::Call {
            framework_id: host.id.clone(),
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(subscribe),
            ..scheduler::Call::default()
        };
        self.send(conn, End::Client, Packet::Call(Box::new(call)));
        self.framework_in(framework, Duration::from_secs(10), Due::Subscribed(conn));
    }

    pub fn framework_loses_master(&mut self, framework: usize, conn: ConnId) {
        let host = &mut self.frameworks[framework];
        if host.conn != Some(conn) {
            return;
        }
        host.conn = None;
        host.subscribed = false;
        host.held.clear();
        let wait = self.between(10, 2000);
        self.framework_in(framework, wait, Due::Connect);
    }

    /// Makes a call, if there is a connection to make it on.
    pub fn call(&mut self, framework: usize, r#type: call::Type, call: scheduler::Call) -> bool {
        let host = &self.frameworks[framework];
        let Some(conn) = host.conn.filter(|_| host.subscribed) else { return false };
        let call =
            scheduler::Call { framework_id: host.id.clone(), r#type: Some(r#type.into()), ..call };
        self.send(conn, End::Client, Packet::Call(Box::new(call)));
        true
    }

    pub fn framework_hears(&mut self, framework: usize, conn: ConnId, event: scheduler::Event) {
        let host = &mut self.frameworks[framework];
        if host.conn != Some(conn) {
            return;
        }
        match event.r#type() {
            event::Type::Subscribed => {
                let id = event.subscribed.unwrap().framework_id;
                let before = host.id.replace(id.clone());
                assert!(
                    before.is_none_or(|before| before == id),
                    "framework {framework} got another id"
                );
                host.subscribed = true;
                self.ask_for_tasks(framework);
            }
            event::Type::Offers => {
                for offer in event.offers.unwrap().offers {
                    self.offered(framework, offer);
                }
            }
            // Some are slow to hear it and use the offer all the same.
            event::Type::Rescind if self.chance(0.5) => {
                let offer = event.rescind.unwrap().offer_id.value;
                self.frameworks[framework].held.remove(&offer);
            }
            event::Type::Update => self.framework_learns(framework, event.update.unwrap().status),
            event::Type::Error => {
                // A subscription that it gave up came late, and after the one that it lives on.
                let message = event.error.unwrap().message;
                assert_eq!(message, "Framework failed over", "framework {framework} is told");
                self.close(conn, End::Client);
                self.framework_loses_master(framework, conn);
            }
            _ => {}
        }
    }

    fn offered(&mut self, framework: usize, offer: v1::Offer) {
        let id = offer.id.value.clone();
        self.witness.offered(&id);
        self.frameworks[framework].held.insert(id.clone(), offer);
        // Some are forgotten until the framework tidies up.
        if !self.mishap(0.05) {
            let wait =
                if self.chance(0.8) { self.between(0, 100) } else { self.between(100, 4000) };
            self.framework_in(framework, wait, Due::Decide(id));
        }
    }

    fn framework_learns(&mut self, framework: usize, status: v1::TaskStatus) {
        let aware = self.frameworks[framework].aware;
        let task = status.task_id.value.clone();
        let state = status.state();
        self.witness.framework_learns(&status, aware);
        let agent = status.agent_id.as_ref().map(|a| a.value.clone()).unwrap_or_default();
        let tasks = &self.frameworks[framework].tasks;
        let on = &tasks.get(&task).expect("an update of a task of this framework").agent;
        let nobody_will_know = state == v1::TaskState::TaskUnknown
            || (state == v1::TaskState::TaskUnreachable && self.nobody_is(on));
        let Some(note) = self.frameworks[framework].tasks.get_mut(&task) else { return };
        note.last = Some(state);
        if let Some(uuid) = status.uuid {
            note.settled = false;
            if self.mishap(0.08) {
                return;
            }
            let last = is_terminal(state);
            let wait =
                if self.chance(0.9) { self.between(0, 300) } else { self.between(300, 12_000) };
            self.framework_in(framework, wait, Due::Acknowledge { task, agent, uuid, last });
        } else {
            note.settled = is_terminal(state) || nobody_will_know;
        }
    }

    fn acknowledge(
        &mut self,
        framework: usize,
        task: String,
        agent: String,
        uuid: Bytes,
        last: bool,
    ) {
        let twice = self.chance(0.03);
        for _ in 0..=usize::from(twice) {
            let acknowledge = call::Acknowledge {
                agent_id: v1::AgentId { value: agent.clone() },
                task_id: v1::TaskId { value: task.clone() },
                uuid: uuid.clone(),
            };
            let call =
                scheduler::Call { acknowledge: Some(acknowledge), ..scheduler::Call::default() };
            if !self.call(framework, call::Type::Acknowledge, call) {
                return;
            }
        }
        if last && let Some(note) = self.frameworks[framework].tasks.get_mut(&task) {
            note.settled = true;
        }
    }
}
