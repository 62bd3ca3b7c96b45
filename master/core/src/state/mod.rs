//! The state of the cluster.
//!
//! [`Books`] is what readers see: its maps share structure, so a snapshot costs a few reference
//! counts whatever the size of the cluster. [`Cluster`] adds what only the writer needs.

mod agent;
mod framework;
mod offer;
mod task;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, Vector};
use mezzo_model::{AgentId, FrameworkId, OfferId, Role};
use mezzo_proto::v1;

use crate::effect::{SessionId, WriteId};
use crate::time::Instant;

pub(crate) use agent::address;
pub use agent::{Agent, Liveness};
pub use framework::{Executor, Framework};
pub use offer::Offer;
pub use task::Task;
pub(crate) use task::is_terminal;
pub(crate) use timers::{Timer, Timers};

/// What does not change while a master runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Fresh for each master process, so that its ids never collide with those of another.
    pub master_id: String,
    /// What frameworks are told of this master.
    pub master_info: v1::MasterInfo,
    /// Told to frameworks; the shell sends the heartbeats.
    pub heartbeat_interval: Duration,
    /// Between pings of an agent.
    pub agent_ping_timeout: Duration,
    /// Pings in a row without an answer until an agent is unreachable.
    pub max_agent_ping_timeouts: u32,
    /// How long agents have to come back after a master started.
    pub agent_reregister_timeout: Duration,
    /// Offers held longer are rescinded.
    pub offer_timeout: Option<Duration>,
    /// Completed frameworks that are remembered.
    pub max_completed_frameworks: usize,
    /// Completed tasks of each framework that are remembered.
    pub max_completed_tasks_per_framework: usize,
    /// Unreachable tasks of each framework that are remembered.
    pub max_unreachable_tasks_per_framework: usize,
    /// Whether frameworks may run tasks as root.
    pub root_submissions: bool,
}

/// What readers see of the cluster. A clone is a consistent snapshot and cheap.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Agents that are registered, connected or not.
    pub agents: OrdMap<AgentId, Arc<Agent>>,
    /// Agents of the registry that have not come back since this master started.
    pub recovered_agents: OrdMap<AgentId, Arc<v1::AgentInfo>>,
    /// Agents that stopped answering, with the time since (nanoseconds since the epoch).
    pub unreachable_agents: OrdMap<AgentId, i64>,
    /// Frameworks that are known: connected, disconnected, or learned of from agents.
    pub frameworks: OrdMap<FrameworkId, Arc<Framework>>,
    /// Frameworks that were removed, oldest first.
    pub completed_frameworks: Vector<Arc<Framework>>,
    /// Offers that may still be used.
    pub offers: OrdMap<OfferId, Arc<Offer>>,
    /// The allocator's key of every role ever named.
    pub roles: OrdMap<Role, u32>,
    /// Counts since this master started.
    pub counts: Counts,
}

/// Things that happened, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named by what it counts")]
pub struct Counts {
    pub offers_made: u64,
    pub offers_accepted: u64,
    pub offers_declined: u64,
    pub offers_rescinded: u64,
    pub proposals_refused: u64,
    pub tasks_launched: u64,
    pub tasks_finished: u64,
    pub tasks_failed: u64,
    pub tasks_killed: u64,
    pub tasks_error: u64,
    pub tasks_lost: u64,
    pub status_updates: u64,
    pub acknowledgements: u64,
    pub agents_unreachable: u64,
}

/// Everything the writer owns.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: Config,
    /// What readers see.
    pub books: Books,
    pub(crate) frameworks_by_session: BTreeMap<SessionId, FrameworkId>,
    pub(crate) agents_by_session: BTreeMap<SessionId, AgentId>,
    /// Connections of agents that wait until the registry has them.
    pub(crate) waiting_agents: BTreeSet<SessionId>,
    /// By `hostname:port`.
    pub(crate) agents_by_address: BTreeMap<String, AgentId>,
    pub(crate) frameworks_by_key: BTreeMap<u64, FrameworkId>,
    pub(crate) agents_by_key: BTreeMap<u64, AgentId>,
    pub(crate) roles_by_key: BTreeMap<u32, Role>,
    pub(crate) timers: Timers,
    /// What goes on when a write is on disk.
    pub(crate) writes: BTreeMap<WriteId, AfterWrite>,
    pub(crate) next: Counters,
}

/// The next number of everything that is numbered.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) framework: u64,
    pub(crate) agent: u64,
    pub(crate) offer: u64,
    pub(crate) key: u64,
    pub(crate) write: u64,
}

/// What waits for a write.
#[derive(Debug)]
pub(crate) enum AfterWrite {
    /// An agent may be shown.
    Admit { session: SessionId, hello: Box<crate::command::AgentHello>, id: AgentId },
    /// An agent's tasks may be called unreachable.
    Unreachable { id: AgentId, since: i64 },
    /// Nothing more.
    Removed,
}

impl Cluster {
    /// An empty cluster, or one with the agents that a registry holds.
    #[must_use]
    pub fn new(
        config: Config,
        admitted: impl IntoIterator<Item = v1::AgentInfo>,
        unreachable: impl IntoIterator<Item = (AgentId, i64)>,
        started: Instant,
    ) -> Self {
        let mut timers = Timers::default();
        let mut books = Books::default();
        for info in admitted {
            let Some(id) = info.id.as_ref().map(|id| AgentId::new(&id.value)) else { continue };
            timers
                .set(started.after(config.agent_reregister_timeout), Timer::Recovered(id.clone()));
            books.recovered_agents.insert(id, Arc::new(info));
        }
        books.unreachable_agents = unreachable.into_iter().collect();
        Self {
            config,
            books,
            frameworks_by_session: BTreeMap::new(),
            agents_by_session: BTreeMap::new(),
            waiting_agents: BTreeSet::new(),
            agents_by_address: BTreeMap::new(),
            frameworks_by_key: BTreeMap::new(),
            agents_by_key: BTreeMap::new(),
            roles_by_key: BTreeMap::new(),
            timers,
            writes: BTreeMap::new(),
            next: Counters::default(),
        }
    }

    /// When [`Command::Tick`](crate::Command::Tick) is due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What this master was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn next_key(&mut self) -> u64 {
        self.next.key += 1;
        self.next.key
    }
}

/// Keeps the newest `limit` entries.
pub(crate) fn trim<T: Clone>(entries: &mut Vector<T>, limit: usize) {
    while entries.len() > limit {
        entries.pop_front();
    }
}
