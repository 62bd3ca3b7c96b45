//! Containers as a containerizer would run them: they start late or not at all, change, end by themselves or are destroyed,
//! and outlive their agent. What the executor inside does is in `executor.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use mezzo_agent_core::{Command, Launch, RecoveredContainer, Termination};
use mezzo_model::{ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::v1::executor::call;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{TaskInfo, TaskState};

use crate::links::{ConnId, End};
use crate::world::{Event, World};

/// What happens to a container at some time. `life` is that of the agent that asked.
#[derive(Debug)]
pub enum Due {
    Started,
    /// Its executor tries to reach the agent.
    Connect,
    /// A task of its executor comes to its end.
    TaskEnds(String, TaskState),
    /// Its executor looks whether there is still something to do.
    Idle,
    Exit,
    /// The kernel ends it: it used too much.
    Limited,
    Destroyed {
        life: u32,
    },
    Updated {
        life: u32,
        token: u64,
    },
}

/// A container, with the process of an executor once it has started.
#[derive(Debug)]
pub struct Container {
    pub framework: FrameworkId,
    pub executor: ExecutorId,
    /// For one command task only.
    pub command: bool,
    pub checkpoint: bool,
    pub started: bool,
    /// An agent that lives waits for its end.
    watched: bool,
    pub conn: Option<ConnId>,
    pub subscribed: bool,
    /// Every task it ever got, and whether it is over.
    pub tasks: BTreeMap<String, bool>,
    /// Tasks of which no update has been acknowledged.
    pub fresh: BTreeMap<String, TaskInfo>,
    /// Updates that have not been acknowledged.
    pub updates: Vec<call::Update>,
}

impl World {
    pub fn launch(&mut self, agent: usize, launch: &Launch) {
        let container = Container {
            framework: FrameworkId::new(&launch.framework.id.as_ref().unwrap().value),
            executor: launch.executor.clone(),
            command: launch.config.task_info.is_some(),
            checkpoint: launch.checkpoint,
            started: false,
            watched: true,
            conn: None,
            subscribed: false,
            tasks: BTreeMap::new(),
            fresh: BTreeMap::new(),
            updates: Vec::new(),
        };
        let before = self.agents[agent].containers.insert(launch.container.clone(), container);
        assert!(before.is_none(), "container {} is launched twice", launch.container);
        let takes = if self.chance(0.9) { self.between(1, 100) } else { self.between(100, 5000) };
        self.container_in(agent, &launch.container, takes, Due::Started);
    }

    pub fn container_in(
        &mut self,
        agent: usize,
        container: &ContainerId,
        wait: Duration,
        due: Due,
    ) {
        self.after(wait, Event::Container { agent, container: container.clone(), due });
    }

    pub fn container(&mut self, agent: usize, container: &ContainerId) -> Option<&mut Container> {
        self.agents[agent].containers.get_mut(container)
    }

    pub fn container_due(&mut self, agent: usize, id: &ContainerId, due: Due) {
        match due {
            Due::Destroyed { life } => return self.destroyed(agent, id, life),
            Due::Updated { life, token } => return self.updated(agent, id, life, token),
            _ => {}
        }
        if !self.agents[agent].containers.contains_key(id) {
            return;
        }
        match due {
            Due::Started => self.started(agent, id),
            Due::Connect => self.executor_connects(agent, id),
            Due::TaskEnds(task, state) => self.task_ends(agent, id, &task, state),
            Due::Idle => self.executor_idles(agent, id),
            Due::Exit => {
                self.ends(agent, id, Termination { status: Some(0), ..Termination::default() })
            }
            Due::Limited => self.ends(
                agent,
                id,
                Termination {
                    status: Some(9),
                    state: Some(TaskState::TaskFailed),
                    reason: Some(Reason::ContainerLimitationMemory),
                    message: Some("Memory limit exceeded".to_owned()),
                    limited: Vec::new(),
                },
            ),
            Due::Destroyed { .. } | Due::Updated { .. } => {}
        }
    }

    fn started(&mut self, agent: usize, id: &ContainerId) {
        let container = id.clone();
        if self.mishap(0.03) {
            self.agents[agent].containers.remove(id);
            let result = Err("Failed to launch container: there is no image".to_owned());
            let wait = self.between(0, 20);
            return self.agent_hears_in(
                agent,
                wait,
                Command::ContainerLaunched { container, result },
            );
        }
        if let Some(container) = self.container(agent, id) {
            container.started = true;
        }
        let wait = self.between(0, 5);
        self.agent_hears_in(agent, wait, Command::ContainerLaunched { container, result: Ok(()) });
        if self.mishap(0.04) {
            let wait = self.between(0, 20_000);
            self.container_in(agent, id, wait, Due::Limited);
        }
        // One that never says a word is given up by its agent.
        if !self.mishap(0.02) {
            let wait = self.between(1, 150);
            self.container_in(agent, id, wait, Due::Connect);
        }
        let wait = self.between(3000, 8000);
        self.container_in(agent, id, wait, Due::Idle);
    }

    /// The container is no more, and whoever watches it is told.
    fn ends(&mut self, agent: usize, id: &ContainerId, termination: Termination) {
        let Some(gone) = self.agents[agent].containers.remove(id) else { return };
        for (task, over) in &gone.tasks {
            if !over {
                self.witness.task_is_over(task);
            }
        }
        if let Some(conn) = gone.conn {
            self.die(conn, End::Client);
        }
        if gone.watched {
            let wait = self.between(0, 30);
            self.agent_hears_in(
                agent,
                wait,
                Command::ContainerEnded { container: id.clone(), termination },
            );
        }
    }

    /// An agent wants a container ended.
    pub fn destroy(&mut self, agent: usize, id: ContainerId) {
        let takes = if self.chance(0.9) { self.between(1, 200) } else { self.between(200, 3000) };
        let life = self.agents[agent].life;
        self.container_in(agent, &id, takes, Due::Destroyed { life });
    }

    fn destroyed(&mut self, agent: usize, id: &ContainerId, life: u32) {
        if self.agents[agent].life != life {
            return;
        }
        let container = id.clone();
        if self.container(agent, id).is_some_and(|c| !c.started) {
            let result = Err("Failed to launch container: it was destroyed".to_owned());
            let wait = self.between(0, 20);
            self.agent_hears_in(
                agent,
                wait,
                Command::ContainerLaunched { container: container.clone(), result },
            );
        }
        let termination = Termination { status: Some(9), ..Termination::default() };
        self.ends(agent, id, termination.clone());
        // Who destroys hears of the end, too.
        let wait = self.between(0, 30);
        self.agent_hears_in(agent, wait, Command::ContainerEnded { container, termination });
    }

    pub fn update_container(&mut self, agent: usize, id: ContainerId, token: u64) {
        let takes = self.between(0, 60);
        let life = self.agents[agent].life;
        self.container_in(agent, &id, takes, Due::Updated { life, token });
    }

    fn updated(&mut self, agent: usize, id: &ContainerId, life: u32, token: u64) {
        if self.agents[agent].life != life {
            return;
        }
        let there = self.container(agent, id).is_some();
        let result = if there && !self.mishap(0.01) {
            Ok(())
        } else {
            Err("it could not be changed".to_owned())
        };
        let command = Command::ContainerUpdated { container: id.clone(), token, result };
        self.agent_hears_in(agent, Duration::ZERO, command);
    }

    // ---- when agents die ----

    /// The agent is gone: launches that are under way come to nothing, and nobody waits for ends.
    pub fn launches_end(&mut self, agent: usize) {
        let containers = &mut self.agents[agent].containers;
        containers.retain(|_, c| c.started);
        for container in containers.values_mut() {
            container.watched = false;
        }
    }

    /// The machine is gone.
    pub fn everything_ends(&mut self, agent: usize) {
        for id in self.agents[agent].containers.keys().cloned().collect::<Vec<_>>() {
            self.ends(agent, &id, Termination::default());
        }
    }

    /// An agent takes over the containers that it expects. Those that it does not know are ended first.
    pub fn recover_containers(&mut self, agent: usize, expected: &[RecoveredContainer]) {
        for id in self.agents[agent].containers.keys().cloned().collect::<Vec<_>>() {
            if !expected.iter().any(|e| e.container == id) {
                self.ends(agent, &id, Termination::default());
            }
        }
        for RecoveredContainer { container, .. } in expected {
            if let Some(found) = self.container(agent, container) {
                found.watched = true;
                continue;
            }
            let wait = self.between(0, 20);
            let ended = Command::ContainerEnded {
                container: container.clone(),
                termination: Termination::default(),
            };
            self.agent_hears_in(agent, wait, ended);
        }
        let wait = self.between(0, 20);
        self.agent_hears_in(agent, wait, Command::ContainersRecovered);
    }
}
