//! An agent as the master knows it.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use mezzo_model::{AgentId, ExecutorId, FrameworkId, OfferId, Resources, TaskId};
use mezzo_proto::v1;

use crate::effect::SessionId;

/// An agent that the registry has admitted.
#[derive(Debug, Clone)]
pub struct Agent {
    /// `<master id>-S<n>`.
    pub id: AgentId,
    /// The allocator's name for it.
    pub key: u64,
    /// As it described itself last.
    pub info: Arc<v1::AgentInfo>,
    /// Its version.
    pub version: String,
    /// What it understands.
    pub capabilities: Vec<v1::agent_info::Capability>,
    /// Everything it has.
    pub total: Resources,
    /// What is neither offered nor used.
    pub available: Resources,
    /// Its connection and what is known of its health.
    pub liveness: Liveness,
    /// When it was admitted by this master.
    pub registered: v1::TimeInfo,
    /// When it came back.
    pub reregistered: Option<v1::TimeInfo>,
    /// Tasks in the books of their frameworks that are on this agent.
    pub tasks: OrdSet<(FrameworkId, TaskId)>,
    /// Custom executors in the books of their frameworks that are on this agent.
    pub executors: OrdSet<(FrameworkId, ExecutorId)>,
    /// Offers of this agent.
    pub offers: OrdSet<OfferId>,
    /// Kills that were asked for while it was away, or that it has not answered.
    pub pending_kills: OrdMap<(FrameworkId, TaskId), Option<v1::KillPolicy>>,
}

/// What is known of an agent's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Liveness {
    /// Its connection, if it has one.
    pub session: Option<SessionId>,
    /// Pings since the last sign of life.
    pub(crate) unanswered: u32,
    /// Counts its absences, so that an old timer is known for what it is.
    pub(crate) absence: u64,
    /// A write that marks it unreachable is under way.
    pub(crate) leaving: bool,
}

impl Agent {
    /// Whether offers of it may be made and tasks sent to it.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.liveness.session.is_some() && !self.liveness.leaving
    }

    /// Where it listens: `hostname:port`.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.info)
    }
}

/// Where an agent listens: `hostname:port`.
pub(crate) fn address(info: &v1::AgentInfo) -> String {
    format!("{}:{}", info.hostname, info.port())
}
