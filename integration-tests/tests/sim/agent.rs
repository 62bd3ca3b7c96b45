//! The process around an agent's core: its disk, its link to the master, its executors' connections. The disk and the
//! containers outlive it.

use std::collections::BTreeMap;
use std::time::Duration;

use mezzo_agent_core::{
    Agent, Command, Effect, ExecutorCall, History, Now, Phase, RecoveredContainer, Settings,
    Update, apply,
};
use mezzo_model::{ContainerId, Resources, Role};
use mezzo_proto::v1;
use mezzo_proto::v1::link::{from_agent, from_master};

use crate::container::Container;
use crate::disk::Disk;
use crate::links::{ConnId, End, Packet};
use crate::world::{Event, World};

/// What an agent has to do at some time.
#[derive(Debug)]
pub enum Due {
    Start {
        rebooted: bool,
    },
    Connect,
    /// Whether the master of a link still speaks.
    Listen(ConnId),
    Tick,
    /// Somebody in the same process has something to say.
    Hear(Box<Command>),
    Recover(Vec<RecoveredContainer>),
}

/// A machine on which agents run, one after the other.
pub struct AgentHost {
    pub core: Option<Agent>,
    pub life: u32,
    /// It was told to leave the cluster.
    leaves: bool,
    pub disk: Disk,
    pub containers: BTreeMap<ContainerId, Container>,
    pub link: Option<ConnId>,
    /// Until then its machine reaches no master.
    pub dark_until: Duration,
    pub info: v1::AgentInfo,
    pub attempt: u32,
    pub patience: Duration,
    pub heard: Duration,
    /// Sessions of executors that are open, by connection, which numbers them.
    sessions: BTreeMap<ConnId, ContainerId>,
    tick_at: Option<Duration>,
    hooks_done_at: Duration,
}

impl AgentHost {
    pub fn new(index: usize) -> Self {
        let resources =
            Resources::parse("cpus:4;mem:1024;ports:[31000-31009]", &Role::star()).unwrap();
        let info = v1::AgentInfo {
            hostname: format!("host{index}"),
            port: Some(5051),
            resources: resources.to_proto(mezzo_model::Format::PostRefinement),
            ..v1::AgentInfo::default()
        };
        Self {
            core: None,
            life: 0,
            leaves: false,
            disk: Disk::default(),
            containers: BTreeMap::new(),
            link: None,
            dark_until: Duration::ZERO,
            info,
            attempt: 0,
            patience: Duration::ZERO,
            heard: Duration::ZERO,
            sessions: BTreeMap::new(),
            tick_at: None,
            hooks_done_at: Duration::ZERO,
        }
    }
}

impl World {
    pub fn start_agent_in(&mut self, agent: usize, wait: Duration) {
        self.start_after(agent, wait, false);
    }

    fn start_after(&mut self, agent: usize, wait: Duration, rebooted: bool) {
        let life = self.agents[agent].life;
        self.after(wait, Event::Agent { agent, life, due: Due::Start { rebooted } });
    }

    /// The process is gone; executors run on.
    pub fn agent_dies(&mut self, agent: usize) {
        if self.agents[agent].core.is_none() {
            return;
        }
        self.stop_agent(agent);
        let wait =
            if self.chance(0.8) { self.between(50, 3000) } else { self.between(3000, 25_000) };
        self.start_agent_in(agent, wait);
    }

    fn stop_agent(&mut self, agent: usize) {
        self.tell(|| format!("agent {agent} dies"));
        let host = &mut self.agents[agent];
        host.core = None;
        host.leaves = false;
        host.life += 1;
        host.tick_at = None;
        let link = host.link.take();
        let sessions = std::mem::take(&mut host.sessions);
        if let Some(link) = link {
            self.die(link, End::Client);
        }
        for conn in sessions.into_keys() {
            self.die(conn, End::Server);
        }
        self.launches_end(agent);
    }

    /// Nothing runs any more; the disk is what it was.
    pub fn machine_restarts(&mut self, agent: usize) {
        self.stop_agent(agent);
        self.everything_ends(agent);
        let wait = self.between(2000, 30_000);
        self.start_after(agent, wait, true);
    }

    /// A new machine with nothing on its disk takes the place and the name of an old one.
    pub fn machine_is_replaced(&mut self, agent: usize) {
        self.stop_agent(agent);
        self.everything_ends(agent);
        if let Some(id) = self.agents[agent].disk.agent.take() {
            self.witness.agent_is_gone_for_good(id.as_str());
        }
        self.agents[agent].disk = Disk::default();
        let wait = self.between(2000, 30_000);
        self.start_agent_in(agent, wait);
    }

    pub fn agent_due(&mut self, agent: usize, life: u32, due: Due) {
        if life != self.agents[agent].life {
            return;
        }
        match due {
            Due::Start { rebooted } => self.start_agent(agent, rebooted),
            Due::Connect => self.connect_to_master(agent),
            Due::Listen(conn) => self.listen(agent, conn),
            Due::Tick if self.agents[agent].tick_at != Some(self.now) => {}
            Due::Tick => {
                self.agents[agent].tick_at = None;
                self.agent_does(agent, Command::Tick);
            }
            Due::Hear(command) => self.agent_does(agent, *command),
            Due::Recover(expected) => self.recover_containers(agent, &expected),
        }
    }

    fn start_agent(&mut self, agent: usize, rebooted: bool) {
        let seed = [self.bits(), self.bits()];
        let hooks = self.plan.hooks;
        let host = &mut self.agents[agent];
        host.core = Some(Agent::new(settings(host.info.clone(), hooks, seed)));
        host.attempt = 0;
        host.hooks_done_at = self.now;
        let recovered = host.disk.read(rebooted);
        self.agent_does(agent, Command::Recovered(Box::new(recovered)));
    }

    /// Whether no machine goes by this id: it had another before it was replaced, or died before it learned of this one.
    pub fn nobody_is(&self, id: &str) -> bool {
        !self.agents.iter().any(|a| a.disk.agent.as_ref().is_some_and(|own| own.as_str() == id))
    }

    /// Lets an agent hear of something a little later.
    pub fn agent_hears_in(&mut self, agent: usize, wait: Duration, command: Command) {
        let life = self.agents[agent].life;
        self.after(wait, Event::Agent { agent, life, due: Due::Hear(Box::new(command)) });
    }

    pub fn agent_does(&mut self, agent: usize, command: Command) {
        let now = Now { wall: self.wall(), at: self.now };
        let acknowledged = match &command {
            Command::FromMaster(message) => match &**message {
                from_master::Message::Acknowledge(m) => Some(m.uuid.clone()),
                _ => None,
            },
            _ => None,
        };
        let Some(core) = &mut self.agents[agent].core else { return };
        let effects = apply(core, command, now);
        let death = self.mishap(self.plan.sudden_deaths).then(|| self.pick(effects.len() + 1));
        for (at, effect) in effects.into_iter().enumerate() {
            if death == Some(at) {
                return self.agent_dies(agent);
            }
            self.carry_out_for_agent(agent, effect);
        }
        // One that leaves does not write it down.
        if let Some(uuid) = acknowledged.filter(|_| !self.agents[agent].leaves) {
            self.witness.acknowledged_at_agent(uuid);
        }
        if death.is_some() {
            return self.agent_dies(agent);
        }
        if self.agents[agent].core.is_some() {
            self.wind_agent(agent);
        }
    }

    /// Its operator wants it to leave the cluster. Later it comes back.
    pub fn agent_leaves(&mut self, agent: usize) {
        if self.agents[agent].core.is_some() {
            self.agents[agent].leaves = true;
            if let Some(id) = &self.agents[agent].disk.agent {
                self.witness.agent_leaves(id.as_str());
            }
            self.agent_does(agent, Command::Leave { unregister: true });
        }
    }

    fn carry_out_for_agent(&mut self, agent: usize, effect: Effect) {
        match effect {
            Effect::Measure(_) | Effect::ExecutorRemoved(_) => return,
            _ => self.tell(|| format!("    agent {agent}: {effect:?}")),
        }
        match effect {
            Effect::ToMaster(message) => {
                if let from_agent::Message::StatusUpdate(update) = &message {
                    self.witness.agent_sends(update, &self.agents[agent].disk);
                }
                if let Some(link) = self.agents[agent].link {
                    self.send(link, End::Client, Packet::FromAgent(Box::new(message)));
                }
            }
            Effect::ToExecutor { session, event } => {
                if let Some(container) = self.agents[agent].sessions.get(&session) {
                    self.witness.agent_tells_executor(&event, container, &self.agents[agent].disk);
                }
                self.send(session, End::Server, Packet::ToExecutor(Box::new(event)));
            }
            Effect::CloseExecutor { session, .. } => {
                self.agents[agent].sessions.remove(&session);
                self.close(session, End::Server);
            }
            Effect::Launch(launch) => {
                if launch.checkpoint {
                    assert!(
                        self.agents[agent].disk.has_run(&launch.container),
                        "launched before it is written down"
                    );
                }
                self.launch(agent, &launch);
            }
            Effect::Update { container, token, .. } => {
                self.update_container(agent, container, token)
            }
            Effect::Destroy(container) => self.destroy(agent, container),
            Effect::Recover(expected) => {
                let life = self.agents[agent].life;
                let wait = self.between(1, 200);
                self.after(wait, Event::Agent { agent, life, due: Due::Recover(expected) });
            }
            Effect::Checkpoint(checkpoint) => {
                self.witness.agent_writes(&checkpoint);
                self.agents[agent].disk.write(checkpoint);
            }
            Effect::DecorateTasks { token, .. } => {
                self.hooks_answer(
                    agent,
                    Command::TasksDecorated { token, labels: BTreeMap::new() },
                );
            }
            Effect::DecorateStatus(update) => self.hooks_see(agent, update),
            Effect::ConnectMaster => self.try_master(agent),
            Effect::Exit { message, .. } => {
                assert!(self.agents[agent].leaves, "agent {agent} stops: {message}");
                self.agent_dies(agent);
            }
            Effect::Note(_) | Effect::Measure(_) | Effect::ExecutorRemoved(_) => {}
        }
    }

    fn hooks_see(&mut self, agent: usize, update: Update) {
        self.hooks_answer(agent, Command::StatusDecorated(update));
    }

    /// Hooks answer in the order they are asked.
    fn hooks_answer(&mut self, agent: usize, answer: Command) {
        let takes = if self.chance(0.9) { self.between(0, 3) } else { self.between(3, 800) };
        let at = self.agents[agent].hooks_done_at.max(self.now + takes);
        self.agents[agent].hooks_done_at = at;
        let life = self.agents[agent].life;
        self.at(at, Event::Agent { agent, life, due: Due::Hear(Box::new(answer)) });
    }

    fn wind_agent(&mut self, agent: usize) {
        let host = &mut self.agents[agent];
        let Some(at) = host.core.as_ref().and_then(Agent::next_deadline) else { return };
        if host.tick_at.is_none_or(|set| at < set) {
            let at = at.max(self.now);
            host.tick_at = Some(at);
            let life = host.life;
            self.at(at, Event::Agent { agent, life, due: Due::Tick });
        }
    }

    // ---- executors ----

    pub fn agent_hears_executor(
        &mut self,
        agent: usize,
        conn: ConnId,
        container: &ContainerId,
        call: ExecutorCall,
    ) {
        let Some(entry) = self.agents[agent].containers.get(container) else { return };
        let (framework, executor) = (entry.framework.clone(), entry.executor.clone());
        if matches!(call, ExecutorCall::Subscribe(_)) {
            self.agents[agent].sessions.insert(conn, container.clone());
        }
        self.agent_does(agent, Command::Executor { session: conn, framework, executor, call });
    }

    pub fn agent_loses_executor(&mut self, agent: usize, conn: ConnId) {
        if self.agents[agent].sessions.remove(&conn).is_some() {
            self.agent_does(agent, Command::ExecutorLeft { session: conn });
        }
    }

    /// Whether this agent has a master and nothing to do.
    pub fn agent_rests(&self, agent: usize) -> Result<(), String> {
        let host = &self.agents[agent];
        let Some(core) = &host.core else { return Err(format!("agent {agent} is down")) };
        if core.phase() != Phase::Running {
            return Err(format!("agent {agent} is {:?}", core.phase()));
        }
        if !host.containers.is_empty() {
            return Err(format!("agent {agent} has containers: {:?}", host.containers.keys()));
        }
        if let Some(at) = core.next_deadline() {
            return Err(format!(
                "agent {agent} still waits for something at {at:?}: an update is pending"
            ));
        }
        if !core.get_frameworks().frameworks.is_empty() {
            return Err(format!("agent {agent} still has frameworks: {:?}", core.get_tasks()));
        }
        host.disk.is_clean().map_err(|what| format!("agent {agent} leaves on its disk: {what}"))
    }
}

fn settings(info: v1::AgentInfo, hooks: bool, seed: [u64; 2]) -> Settings {
    Settings {
        info,
        version: "1.0.0".to_owned(),
        capabilities: Vec::new(),
        ip: "127.0.0.1".to_owned(),
        endpoint: "127.0.0.1:5051".to_owned(),
        work_dir: "/work".to_owned(),
        command_executor: "/mezzo-executor".to_owned(),
        switch_user: false,
        executor_environment: BTreeMap::new(),
        executor_registration_timeout: Duration::from_secs(10),
        executor_reregistration_timeout: Duration::from_secs(2),
        executor_shutdown_grace_period: Duration::from_secs(5),
        recovery_timeout: Duration::from_secs(900),
        decorate_tasks: hooks,
        decorate_statuses: hooks,
        history: History::default(),
        seed,
    }
}
