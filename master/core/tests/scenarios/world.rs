//! A cluster under test: it answers registry writes at once (unless told to hold them), keeps what
//! every session was sent, and checks the books after each command.

use std::collections::BTreeMap;
use std::time::Duration;

use mezzo_master_core::{
    Applied, Cluster, Command, Config, Effect, Instant, Now, Persisted, Proposal, Rejection,
    SessionId, Write, WriteId, apply,
};
use mezzo_model::{AgentId, Format, OfferId, Resources, Role, TaskId};
use mezzo_proto::module::v1::allocator_event;
use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::link::{self, from_agent, from_master};
use mezzo_proto::v1::scheduler::{self, call, event};

pub struct World {
    pub cluster: Cluster,
    pub now: Now,
    next_session: u64,
    pub to_frameworks: BTreeMap<SessionId, Vec<scheduler::Event>>,
    pub to_agents: BTreeMap<SessionId, Vec<from_master::Message>>,
    pub closed: Vec<SessionId>,
    pub allocator: Vec<allocator_event::Event>,
    pub allocations: usize,
    pub rejections: Vec<Rejection>,
    /// Agents that hooks were told of.
    pub lost: Vec<v1::AgentInfo>,
    pub hold_writes: bool,
    pub held: Vec<WriteId>,
    pub writes: usize,
    pub written: Vec<Write>,
}

pub const MASTER: &str = "master";

pub fn config() -> Config {
    Config {
        master_id: MASTER.into(),
        master_info: v1::MasterInfo { id: MASTER.into(), ip: 0, port: 5050, ..Default::default() },
        heartbeat_interval: Duration::from_secs(15),
        agent_ping_timeout: Duration::from_secs(15),
        max_agent_ping_timeouts: 5,
        agent_reregister_timeout: Duration::from_secs(600),
        offer_timeout: None,
        max_completed_frameworks: 2,
        max_completed_tasks_per_framework: 3,
        max_unreachable_tasks_per_framework: 3,
        root_submissions: true,
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        Self::restarted(config, Vec::new(), Vec::new())
    }

    pub fn restarted(
        config: Config,
        admitted: Vec<v1::AgentInfo>,
        unreachable: Vec<(AgentId, i64)>,
    ) -> Self {
        Self {
            cluster: Cluster::new(config, admitted, unreachable, Instant(0)),
            now: Now { instant: Instant(0), wall_nanos: 1_000_000_000 },
            next_session: 0,
            to_frameworks: BTreeMap::new(),
            to_agents: BTreeMap::new(),
            closed: Vec::new(),
            allocator: Vec::new(),
            allocations: 0,
            rejections: Vec::new(),
            hold_writes: false,
            held: Vec::new(),
            writes: 0,
            written: Vec::new(),
            lost: Vec::new(),
        }
    }

    pub fn session(&mut self) -> SessionId {
        self.next_session += 1;
        SessionId(self.next_session)
    }

    pub fn apply(&mut self, command: Command) {
        let Applied { effects, rejections } = apply(&mut self.cluster, command, self.now);
        self.rejections.extend(rejections);
        for effect in effects {
            match effect {
                Effect::ToFramework { session, event } => {
                    self.to_frameworks.entry(session).or_default().push(*event);
                }
                Effect::ToAgent { session, message } => {
                    self.to_agents.entry(session).or_default().push(*message);
                }
                Effect::CloseFramework(session) | Effect::CloseAgent(session) => {
                    self.closed.push(session);
                }
                Effect::Allocator(event) => self.allocator.extend(event.event),
                Effect::Allocate(_) => self.allocations += 1,
                Effect::Persist(id, write) => {
                    self.writes += 1;
                    self.written.push(write);
                    self.held.push(id);
                }
                Effect::AgentLost(agent) => self.lost.push(*agent),
                Effect::Reply { .. } | Effect::Publish(_) => {}
            }
        }
        self.check();
        if !self.hold_writes {
            self.release_writes();
        }
    }

    pub fn release_writes(&mut self) {
        for id in std::mem::take(&mut self.held) {
            self.apply(Command::Persisted(Persisted(id)));
        }
    }

    /// What must be true after every command.
    pub fn check(&self) {
        let books = &self.cluster.books;
        for agent in books.agents.values() {
            let mut sum = agent.available.clone();
            for id in &agent.offers {
                let offer = books.offers.get(id).expect("an agent lists only offers that exist");
                assert_eq!(offer.agent, agent.id);
                sum += &offer.resources.unallocate();
            }
            for (framework, task) in &agent.tasks {
                let framework = books.frameworks.get(framework).expect("framework of a task");
                let task = framework.tasks.get(task).expect("an agent lists only live tasks");
                if !task.freed {
                    sum += &task.resources.unallocate();
                }
            }
            for (framework, executor) in &agent.executors {
                let framework = books.frameworks.get(framework).expect("framework of an executor");
                let key = (agent.id.clone(), executor.clone());
                sum += &framework.executors[&key].resources.unallocate();
            }
            assert_eq!(sum, agent.total, "free + offered + used is not the total of {}", agent.id);
        }
        for offer in books.offers.values() {
            assert!(books.agents[&offer.agent].offers.contains(&offer.id));
            assert!(books.frameworks[&offer.framework].offers.contains(&offer.id));
        }
    }

    pub fn advance(&mut self, seconds: u64) {
        self.now.instant = self.now.instant.after(Duration::from_secs(seconds));
        self.now.wall_nanos += i64::try_from(seconds).unwrap() * 1_000_000_000;
        self.apply(Command::Tick);
    }

    /// Passes time while an agent answers its pings.
    pub fn advance_answering(&mut self, seconds: u64, agents: &[SessionId]) {
        for _ in 0..seconds {
            self.advance(1);
            for agent in agents {
                self.agent_says(*agent, from_agent::Message::Pong(link::Pong {}));
            }
        }
    }

    // ---- frameworks ----

    pub fn subscribe_as(&mut self, info: v1::FrameworkInfo) -> SessionId {
        let session = self.session();
        let framework_id = info.id.clone();
        let subscribe = Box::new(call::Subscribe { framework_info: info, ..Default::default() });
        self.apply(Command::Subscribe { session, framework_id, subscribe });
        session
    }

    pub fn subscribe(&mut self) -> SessionId {
        self.subscribe_as(framework("f"))
    }

    pub fn call(&mut self, session: SessionId, call: scheduler::Call) {
        self.apply(Command::Call { session, call: Box::new(call), reply: None });
    }

    /// Takes everything a framework was sent so far.
    pub fn events(&mut self, session: SessionId) -> Vec<scheduler::Event> {
        self.to_frameworks.remove(&session).unwrap_or_default()
    }

    pub fn updates(&mut self, session: SessionId) -> Vec<v1::TaskStatus> {
        self.events(session).into_iter().filter_map(|e| e.update).map(|u| u.status).collect()
    }

    pub fn offers(&mut self, session: SessionId) -> Vec<v1::Offer> {
        self.events(session).into_iter().filter_map(|e| e.offers).flat_map(|o| o.offers).collect()
    }

    pub fn framework_id(&mut self, session: SessionId) -> v1::FrameworkId {
        let events = self.events(session);
        let subscribed = events.iter().find_map(|e| e.subscribed.clone());
        subscribed.expect("the framework is subscribed").framework_id
    }

    // ---- agents ----

    pub fn register(&mut self, resources: &str) -> SessionId {
        let port = 5051 + i32::try_from(self.next_session).unwrap();
        self.register_at(port, resources)
    }

    pub fn register_at(&mut self, port: i32, resources: &str) -> SessionId {
        let session = self.session();
        let hello = mezzo_master_core::AgentHello::Register(link::Register {
            agent_info: agent_info(port, resources),
            version: "0.1.0".into(),
            capabilities: Vec::new(),
        });
        self.apply(Command::Hello { session, hello: Box::new(hello) });
        session
    }

    pub fn reregister(&mut self, message: link::Reregister) -> SessionId {
        let session = self.session();
        let hello = mezzo_master_core::AgentHello::Reregister(message);
        self.apply(Command::Hello { session, hello: Box::new(hello) });
        session
    }

    pub fn agent_says(&mut self, session: SessionId, message: from_agent::Message) {
        self.apply(Command::FromAgent { session, message: Box::new(message) });
    }

    /// Takes everything an agent was sent so far.
    pub fn messages(&mut self, session: SessionId) -> Vec<from_master::Message> {
        self.to_agents.remove(&session).unwrap_or_default()
    }

    pub fn agent_id(&mut self, session: SessionId) -> v1::AgentId {
        let registered = self.messages(session).into_iter().find_map(|m| match m {
            from_master::Message::Registered(registered) => Some(registered.agent_id),
            _ => None,
        });
        registered.expect("the agent is registered")
    }

    pub fn launched(&mut self, session: SessionId) -> Vec<v1::TaskInfo> {
        let run = |m| match m {
            from_master::Message::RunTask(run) => Some(run.task),
            _ => None,
        };
        self.messages(session).into_iter().filter_map(run).collect()
    }

    // ---- offers ----

    pub fn key_of_framework(&self, id: &v1::FrameworkId) -> u64 {
        self.cluster.books.frameworks[id.value.as_str()].key
    }

    pub fn key_of_agent(&self, id: &v1::AgentId) -> u64 {
        self.cluster.books.agents[id.value.as_str()].key
    }

    pub fn propose(&mut self, framework: &v1::FrameworkId, agent: &v1::AgentId, resources: &str) {
        let role = self.cluster.books.frameworks[framework.value.as_str()].roles.first().unwrap();
        let proposal = Proposal {
            framework: self.key_of_framework(framework),
            role: self.cluster.books.roles[role],
            agent: self.key_of_agent(agent),
            resources: wire(resources),
        };
        self.apply(Command::Proposed(vec![proposal]));
    }

    /// One framework, one agent with `resources`, and one offer of all of it.
    pub fn with_offer(resources: &str) -> (Self, Story) {
        let mut world = Self::new();
        let agent = world.register(resources);
        let agent_id = world.agent_id(agent);
        let framework = world.subscribe();
        let framework_id = world.framework_id(framework);
        world.propose(&framework_id, &agent_id, resources);
        let offer = world.offers(framework).pop().expect("an offer");
        (world, Story { agent, agent_id, framework, framework_id, offer: offer.id })
    }

    pub fn accept(&mut self, story: &Story, tasks: Vec<v1::TaskInfo>) {
        self.call(story.framework, accept(&story.framework_id, &[&story.offer], tasks));
    }

    /// A story in which one task runs.
    pub fn with_task() -> (Self, Story) {
        let (mut world, story) = Self::with_offer("cpus:4;mem:1024");
        world.accept(&story, vec![task(&story.agent_id, "t", "cpus:1;mem:128")]);
        world.events(story.framework);
        world.messages(story.agent);
        (world, story)
    }

    pub fn update(&mut self, story: &Story, id: &str, state: v1::TaskState, uuid: u8) {
        self.update_behind(story, id, state, state, uuid);
    }

    /// An update whose task has gone further since.
    pub fn update_behind(
        &mut self,
        story: &Story,
        id: &str,
        state: v1::TaskState,
        latest: v1::TaskState,
        uuid: u8,
    ) {
        let status = v1::TaskStatus {
            task_id: v1::TaskId { value: id.into() },
            state: state.into(),
            uuid: Some(vec![uuid; 16].into()),
            ..Default::default()
        };
        self.agent_says(
            story.agent,
            from_agent::Message::StatusUpdate(link::StatusUpdate {
                framework_id: story.framework_id.clone(),
                status,
                latest_state: latest.into(),
                executor_id: None,
            }),
        );
    }

    pub fn acknowledge(&mut self, story: &Story, id: &str, uuid: u8) {
        self.call(
            story.framework,
            scheduler::Call {
                acknowledge: Some(call::Acknowledge {
                    agent_id: story.agent_id.clone(),
                    task_id: v1::TaskId { value: id.into() },
                    uuid: vec![uuid; 16].into(),
                }),
                ..of(&story.framework_id, call::Type::Acknowledge)
            },
        );
    }

    pub fn available(&self, agent: &v1::AgentId) -> String {
        self.cluster.books.agents[agent.value.as_str()].available.to_string()
    }

    pub fn offer_is_open(&self, id: &v1::OfferId) -> bool {
        self.cluster.books.offers.contains_key(&OfferId::new(&id.value))
    }

    pub fn task_state(&self, story: &Story, id: &str) -> Option<v1::TaskState> {
        let framework = self.cluster.books.frameworks.get(story.framework_id.value.as_str())?;
        framework.tasks.get(&TaskId::new(id)).map(|t| t.state())
    }

    /// The seconds of the last filter that the allocator was told of.
    pub fn last_refusal(&self) -> Option<f64> {
        self.allocator.iter().rev().find_map(|e| match e {
            allocator_event::Event::Recovered(recovered) => Some(recovered.refuse_seconds),
            _ => None,
        })?
    }
}

/// One framework, one agent, and the first offer between them.
pub struct Story {
    pub agent: SessionId,
    pub agent_id: v1::AgentId,
    pub framework: SessionId,
    pub framework_id: v1::FrameworkId,
    pub offer: v1::OfferId,
}

pub fn wire(resources: &str) -> Vec<v1::Resource> {
    Resources::parse(resources, &Role::star()).unwrap().to_proto(Format::PostRefinement)
}

pub fn framework(name: &str) -> v1::FrameworkInfo {
    v1::FrameworkInfo { user: "nobody".into(), name: name.into(), ..Default::default() }
}

pub fn with_capability(mut info: v1::FrameworkInfo, capability: Capability) -> v1::FrameworkInfo {
    info.capabilities.push(v1::framework_info::Capability { r#type: Some(capability.into()) });
    info
}

pub fn agent_info(port: i32, resources: &str) -> v1::AgentInfo {
    v1::AgentInfo {
        hostname: "host".into(),
        port: Some(port),
        resources: wire(resources),
        ..Default::default()
    }
}

pub fn task(agent: &v1::AgentId, id: &str, resources: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        name: id.into(),
        task_id: v1::TaskId { value: id.into() },
        agent_id: agent.clone(),
        resources: wire(resources),
        command: Some(v1::CommandInfo { value: Some("true".into()), ..Default::default() }),
        ..Default::default()
    }
}

pub fn of(framework: &v1::FrameworkId, r#type: call::Type) -> scheduler::Call {
    scheduler::Call {
        framework_id: Some(framework.clone()),
        r#type: Some(r#type.into()),
        ..Default::default()
    }
}

pub fn accept(
    framework: &v1::FrameworkId,
    offers: &[&v1::OfferId],
    tasks: Vec<v1::TaskInfo>,
) -> scheduler::Call {
    let launch = v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Launch.into()),
        launch: Some(v1::offer::operation::Launch { task_infos: tasks }),
        ..Default::default()
    };
    scheduler::Call {
        accept: Some(call::Accept {
            offer_ids: offers.iter().map(|id| (*id).clone()).collect(),
            operations: vec![launch],
            filters: None,
        }),
        ..of(framework, call::Type::Accept)
    }
}

pub fn types(events: &[scheduler::Event]) -> Vec<event::Type> {
    events.iter().map(scheduler::Event::r#type).collect()
}
