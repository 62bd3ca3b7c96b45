//! The state of an agent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use mezzo_model::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1::AgentInfo;
use mezzo_proto::v1::link::ExecutorExited;

use crate::executor::Executor;
use crate::framework::{CompletedFramework, Framework};
use crate::ids::Ids;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::timers::Timers;

/// Where the agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It finds out what an earlier life left.
    Recovering,
    /// It looks for a master.
    Disconnected,
    /// A master has registered it.
    Running,
    /// It ends its executors and then itself.
    Terminating,
}

/// Everything an agent knows.
#[derive(Clone, Debug)]
pub struct Agent {
    pub(crate) settings: Settings,
    pub(crate) phase: Phase,
    /// Whether there is a connection on which the agent has registered, whatever the phase.
    pub(crate) linked: bool,
    pub(crate) id: Option<AgentId>,
    pub(crate) frameworks: BTreeMap<FrameworkId, Framework>,
    /// By framework and task. Not part of a framework: an update outlives it until it is acknowledged.
    pub(crate) streams: BTreeMap<(FrameworkId, TaskId), Stream>,
    /// Updates that have been taken but are not in a stream yet.
    pub(crate) in_flight: BTreeMap<Bytes, About>,
    pub(crate) containers: BTreeMap<ContainerId, (FrameworkId, ExecutorId)>,
    pub(crate) sessions: BTreeMap<u64, (FrameworkId, ExecutorId)>,
    pub(crate) completed: VecDeque<CompletedFramework>,
    /// Ends of executors that the master has still to be told of, since it was told of the executors before.
    pub(crate) exits: Vec<ExecutorExited>,
    /// Executors of an earlier life that are not back yet.
    pub(crate) awaited: BTreeSet<ContainerId>,
    /// When the wait for them ends.
    pub(crate) awaited_until: Option<Duration>,
    /// The agent stops when its last executor has ended; set while terminating.
    pub(crate) exit: Option<Exit>,
    pub(crate) timers: Timers,
    pub(crate) ids: Ids,
    pub(crate) next_token: u64,
}

/// What an update that is on its way to its stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A task of this agent.
    Ours,
    /// A task that is not here: a master asked, or it was never started.
    Nothing,
}

/// How the agent will stop.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) message: String,
    pub(crate) done: bool,
}

impl Agent {
    /// An agent that has not yet looked at what an earlier life left.
    pub fn new(settings: Settings) -> Self {
        let ids = Ids::new(settings.seed);
        Self {
            settings,
            phase: Phase::Recovering,
            linked: false,
            id: None,
            frameworks: BTreeMap::new(),
            streams: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            containers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            completed: VecDeque::new(),
            exits: Vec::new(),
            awaited: BTreeSet::new(),
            awaited_until: None,
            exit: None,
            timers: Timers::default(),
            ids,
            next_token: 0,
        }
    }

    /// Where the agent is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Its id, once a master has given it one.
    pub fn id(&self) -> Option<&AgentId> {
        self.id.as_ref()
    }

    /// When [`crate::Command::Tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The agent as others see it.
    pub fn info(&self) -> AgentInfo {
        self.settings.info.clone()
    }

    pub(crate) fn executor(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> Option<&Executor> {
        self.frameworks.get(framework)?.executors.get(executor)
    }

    pub(crate) fn executor_mut(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> Option<&mut Executor> {
        self.frameworks.get_mut(framework)?.executors.get_mut(executor)
    }

    pub(crate) fn inside(&self, container: &ContainerId) -> Option<&Executor> {
        let (framework, executor) = self.containers.get(container)?;
        self.executor(framework, executor)
    }

    pub(crate) fn in_container(&mut self, container: &ContainerId) -> Option<&mut Executor> {
        let (framework, executor) = self.containers.get(container)?;
        self.frameworks.get_mut(framework)?.executors.get_mut(executor)
    }

    pub(crate) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// The keys of all streams of a framework.
    pub(crate) fn streams_of(&self, framework: &FrameworkId) -> Vec<(FrameworkId, TaskId)> {
        let first = (framework.clone(), TaskId::new(""));
        self.streams
            .range(first..)
            .map(|(key, _)| key)
            .take_while(|(f, _)| f == framework)
            .cloned()
            .collect()
    }
}
