//! What comes out of the core.

use mezzo_model::{AgentId, FrameworkId};
use mezzo_proto::module::v1::AllocatorEvent;
use mezzo_proto::state::v1::{AdmittedAgent, UnreachableAgent};
use mezzo_proto::v1;

/// A live connection, numbered by the shell. A number is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A caller that waits for an answer, numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// A write to the registry, numbered by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Something for the shell to do. Effects of one command are done in order; those to one session
/// arrive in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send an event to a framework.
    ToFramework {
        /// Its connection.
        session: SessionId,
        /// What to send.
        event: Box<v1::scheduler::Event>,
    },
    /// End a framework's stream after what was sent to it before.
    CloseFramework(SessionId),
    /// Send a message to an agent.
    ToAgent {
        /// Its connection.
        session: SessionId,
        /// What to send.
        message: Box<v1::link::from_master::Message>,
    },
    /// End an agent's stream after what was sent to it before.
    CloseAgent(SessionId),
    /// Let the allocator know.
    Allocator(Box<AllocatorEvent>),
    /// Ask the allocator for proposals: for one agent (by key), or for all.
    Allocate(Option<u64>),
    /// Write to the registry; [`Command::Persisted`](crate::Command::Persisted) comes when it is
    /// on disk.
    Persist(WriteId, Write),
    /// Answer a caller.
    Reply {
        /// Who waits.
        to: ReplyTo,
        /// What came of the call.
        result: Result<(), Rejection>,
    },
    /// Frameworks have been told that an agent is lost: let the hooks know.
    AgentLost(Box<v1::AgentInfo>),
    /// Tell those who watch the cluster.
    Publish(Box<v1::master::Event>),
}

/// A change of the registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Add or replace an agent; it is no longer unreachable.
    Admit(AgentId, Box<AdmittedAgent>),
    /// Move an agent from the admitted to the unreachable.
    MarkUnreachable(AgentId, UnreachableAgent),
    /// Forget an agent that left by itself.
    Remove(AgentId),
}

/// Something that was asked for and not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The kind of problem.
    pub code: Code,
    /// The framework that asked, if one did.
    pub framework: Option<FrameworkId>,
    /// A sentence that names the field, its value and what was expected.
    pub message: String,
}

/// Kinds of [`Rejection`], each with a gRPC code of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The call is wrong in itself.
    InvalidArgument,
    /// What it names does not exist.
    NotFound,
    /// It cannot be done in this state.
    FailedPrecondition,
    /// It is not available in this version.
    Unimplemented,
    /// It came from somebody who may not ask for it.
    PermissionDenied,
}

impl Rejection {
    /// A rejection with no framework.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, framework: None, message: message.into() }
    }
}

/// What one command came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// To be done, in order.
    pub effects: Vec<Effect>,
    /// To be logged and counted.
    pub rejections: Vec<Rejection>,
}
