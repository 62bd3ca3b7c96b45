//! The process around the master's core: it carries out effects, keeps a registry that takes its time and survives it, and
//! asks a stand-in for an allocator.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mezzo_master_core::{
    AgentHello, Applied, Cluster, Command, Config, Effect, Instant, Now, Persisted, Proposal,
    ReplyTo, SessionId, Write, WriteId, apply,
};
use mezzo_model::{AgentId, FrameworkId};
use mezzo_proto::v1;
use mezzo_proto::v1::link::from_agent;
use mezzo_proto::v1::scheduler::{self, call};

use crate::allocator::Allocator;
use crate::links::{ConnId, End, Packet};
use crate::world::{Event, World};

/// What a master has to do at some time.
#[derive(Debug)]
pub enum Due {
    Start,
    Tick,
    Written,
    Allocate,
    Proposed(Vec<Proposal>),
    /// An operator removes a framework, if it is still there.
    Teardown(FrameworkId),
}

/// A machine on which masters run, one after the other.
#[derive(Default)]
pub struct MasterHost {
    pub core: Option<Cluster>,
    pub allocator: Allocator,
    life: u32,
    registry: Registry,
    writing: VecDeque<(WriteId, Write)>,
    written_at: Duration,
    tick_at: Option<Duration>,
    allocating: bool,
}

#[derive(Default)]
struct Registry {
    admitted: BTreeMap<AgentId, v1::AgentInfo>,
    unreachable: BTreeMap<AgentId, i64>,
}

impl Registry {
    fn write(&mut self, write: Write) {
        match write {
            Write::Admit(id, record) => {
                self.unreachable.remove(&id);
                self.admitted.insert(id, record.info);
            }
            Write::MarkUnreachable(id, record) => {
                self.admitted.remove(&id);
                self.unreachable.insert(id, record.since.nanoseconds);
            }
            Write::Remove(id) => {
                self.admitted.remove(&id);
                self.unreachable.remove(&id);
            }
        }
    }
}

impl World {
    /// An operator makes sure that a framework is gone for which its own good-bye may have been lost.
    pub fn tear_down_later(&mut self, framework: FrameworkId) {
        let life = self.master.life;
        let wait = self.between(0, 20_000);
        self.after(wait, Event::Master { life, due: Due::Teardown(framework) });
    }

    pub fn start_master_in(&mut self, wait: Duration) {
        let life = self.master.life;
        self.after(wait, Event::Master { life, due: Due::Start });
    }

    /// The process is gone. What was being written may or may not have come to the disk.
    pub fn master_dies(&mut self) {
        if self.master.core.take().is_none() {
            return;
        }
        self.tell(|| "the master dies".to_owned());
        let done = self.pick(self.master.writing.len() + 1);
        for (at, (_, write)) in std::mem::take(&mut self.master.writing).into_iter().enumerate() {
            if at < done {
                self.master.registry.write(write);
            }
        }
        self.master.life += 1;
        for conn in self.to_master() {
            self.die(conn, End::Server);
        }
        let wait =
            if self.chance(0.8) { self.between(50, 3000) } else { self.between(3000, 25_000) };
        self.start_master_in(wait);
    }

    pub fn master_due(&mut self, life: u32, due: Due) {
        if life != self.master.life {
            return;
        }
        match due {
            Due::Start => self.start_master(),
            // One that was set before an earlier one has done its work.
            Due::Tick if self.master.tick_at != Some(self.now) => {}
            Due::Tick => {
                self.master.tick_at = None;
                self.master_does(Command::Tick);
            }
            Due::Written => {
                let Some((id, write)) = self.master.writing.pop_front() else { return };
                self.master.registry.write(write);
                self.master_does(Command::Persisted(Persisted(id)));
            }
            Due::Allocate => {
                self.master.allocating = false;
                self.allocate();
            }
            Due::Teardown(framework) => {
                self.master_does(Command::Teardown { framework, reply: ReplyTo(0) })
            }
            Due::Proposed(proposals) => {
                self.master.allocator.delivered(&proposals);
                self.master_does(Command::Proposed(proposals));
            }
        }
    }

    fn start_master(&mut self) {
        let config = config(format!("m{}", self.master.life), self.plan.offer_timeout);
        let Registry { admitted, unreachable } = &self.master.registry;
        let cluster = Cluster::new(
            config,
            admitted.values().cloned(),
            unreachable.iter().map(|(id, since)| (id.clone(), *since)),
            instant(self.now),
        );
        self.master.core = Some(cluster);
        self.master.allocator = Allocator::default();
        self.master.tick_at = None;
        self.master.allocating = false;
        self.master.written_at = self.now;
        self.wind_master();
        self.ask_allocator();
    }

    fn master_does(&mut self, command: Command) {
        let now = Now { instant: instant(self.now), wall_nanos: nanoseconds(self.wall()) };
        let Some(core) = &mut self.master.core else { return };
        let Applied { effects, rejections } = apply(core, command, now);
        for rejection in rejections {
            self.tell(|| format!("    master refuses: {}", rejection.message));
        }
        self.master.allocator.hear(&effects);
        self.check_master();
        let dies = !self.plan.farewells && self.mishap(self.plan.sudden_deaths);
        let death = dies.then(|| self.pick(effects.len() + 1));
        for (at, effect) in effects.into_iter().enumerate() {
            if death == Some(at) {
                return self.master_dies();
            }
            self.carry_out_for_master(effect);
        }
        if death.is_some() {
            return self.master_dies();
        }
        self.wind_master();
    }

    fn carry_out_for_master(&mut self, effect: Effect) {
        match effect {
            Effect::ToFramework { session, event } => {
                self.send(session.0, End::Server, Packet::Event(event))
            }
            Effect::ToAgent { session, message } => {
                self.tell(|| format!("    master to agent: {message:?}"));
                self.witness.master_says(&message);
                self.send(session.0, End::Server, Packet::FromMaster(message));
            }
            Effect::CloseFramework(session) | Effect::CloseAgent(session) => {
                self.hang_up(session.0)
            }
            Effect::Persist(id, write) => {
                self.tell(|| format!("    master writes {write:?}"));
                let takes =
                    if self.chance(0.95) { self.between(1, 20) } else { self.between(20, 4000) };
                let at = self.master.written_at.max(self.now + takes);
                self.master.written_at = at;
                self.master.writing.push_back((id, write));
                let life = self.master.life;
                self.at(at, Event::Master { life, due: Due::Written });
            }
            Effect::Allocate(_) => self.ask_allocator(),
            Effect::Allocator(_)
            | Effect::AgentLost(_)
            | Effect::Reply { .. }
            | Effect::Publish(_) => {}
        }
    }

    /// Makes sure that the master hears of its next deadline.
    fn wind_master(&mut self) {
        let Some(next) = self.master.core.as_ref().and_then(Cluster::next_deadline) else { return };
        let at = Duration::from_nanos(next.0);
        if self.master.tick_at.is_none_or(|set| at < set) {
            self.master.tick_at = Some(at);
            let life = self.master.life;
            self.at(at, Event::Master { life, due: Due::Tick });
        }
    }

    fn ask_allocator(&mut self) {
        if self.calm || self.master.allocating {
            return;
        }
        self.master.allocating = true;
        let wait = self.between(50, 1200);
        let life = self.master.life;
        self.after(wait, Event::Master { life, due: Due::Allocate });
    }

    /// Proposes what is free now; the master hears of it a little later, when it may not be free any more.
    fn allocate(&mut self) {
        if self.calm {
            return;
        }
        self.ask_allocator();
        let Some(books) = self.master.core.as_ref().map(|c| c.books.clone()) else { return };
        let proposals = self.propose(&books);
        if proposals.is_empty() {
            return;
        }
        self.master.allocator.proposed(&proposals);
        let life = self.master.life;
        let late = if self.chance(0.8) { self.between(0, 5) } else { self.between(5, 3000) };
        self.after(late, Event::Master { life, due: Due::Proposed(proposals) });
    }

    // ---- what the master hears ----

    pub fn master_hears_agent(&mut self, conn: ConnId, message: from_agent::Message) {
        let session = SessionId(conn);
        let command = match message {
            from_agent::Message::Register(m) => {
                Command::Hello { session, hello: Box::new(AgentHello::Register(m)) }
            }
            from_agent::Message::Reregister(m) => {
                Command::Hello { session, hello: Box::new(AgentHello::Reregister(m)) }
            }
            message => Command::FromAgent { session, message: Box::new(message) },
        };
        self.master_does(command);
    }

    pub fn master_hears_framework(&mut self, conn: ConnId, call: scheduler::Call) {
        let session = SessionId(conn);
        let command = match (call.r#type(), call) {
            (
                call::Type::Subscribe,
                scheduler::Call { framework_id, subscribe: Some(subscribe), .. },
            ) => Command::Subscribe { session, framework_id, subscribe: Box::new(subscribe) },
            (_, call) => Command::Call { session, call: Box::new(call), reply: None },
        };
        self.master_does(command);
    }

    pub fn master_loses_agent(&mut self, conn: ConnId) {
        self.master_does(Command::AgentLost(SessionId(conn)));
    }

    pub fn master_loses_framework(&mut self, conn: ConnId) {
        self.master_does(Command::FrameworkLost(SessionId(conn)));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole nanoseconds are enough")]
fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

fn instant(at: Duration) -> Instant {
    Instant(u64::try_from(at.as_nanos()).unwrap())
}

/// Patience is shorter than in life, so that it ends more often.
fn config(master_id: String, offer_timeout: Option<Duration>) -> Config {
    Config {
        master_info: v1::MasterInfo {
            id: master_id.clone(),
            port: 5050,
            ..v1::MasterInfo::default()
        },
        master_id,
        heartbeat_interval: Duration::from_secs(15),
        agent_ping_timeout: Duration::from_secs(4),
        max_agent_ping_timeouts: 3,
        agent_reregister_timeout: Duration::from_secs(40),
        offer_timeout,
        max_completed_frameworks: 50,
        max_completed_tasks_per_framework: 20,
        max_unreachable_tasks_per_framework: 1000,
        root_submissions: true,
    }
}
