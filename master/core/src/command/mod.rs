//! Commands: everything that can happen to a cluster, one file for each.

mod accept;
mod acknowledge;
mod agent_lost;
mod agent_messages;
mod decline;
mod framework_lost;
mod kill;
mod messages;
mod proposed;
mod reconcile;
mod register;
mod remove_framework;
mod request;
mod reregister;
mod status_update;
mod subscribe;
mod suppress;
mod tick;
mod turn;
mod unreachable;

use mezzo_model::FrameworkId;
use mezzo_proto::v1;
use mezzo_proto::v1::link::from_agent;
use mezzo_proto::v1::scheduler;
use mezzo_proto::v1::scheduler::call::Type;

use crate::effect::{Code, Rejection, ReplyTo, SessionId, WriteId};
use crate::state::AfterWrite;
pub(crate) use accept::Bargain;
pub(crate) use turn::Turn;

/// Something that happened.
#[derive(Debug)]
pub enum Command {
    /// A framework's connection asks for events.
    Subscribe {
        /// The new connection.
        session: SessionId,
        /// The framework id beside the call's body.
        framework_id: Option<v1::FrameworkId>,
        /// The call's body.
        subscribe: Box<scheduler::call::Subscribe>,
    },
    /// Any other call of a framework.
    Call {
        /// The connection that it came on, or the one that it names.
        session: SessionId,
        /// The call.
        call: Box<scheduler::Call>,
        /// Who waits for an answer, if somebody does.
        reply: Option<ReplyTo>,
    },
    /// A framework's connection is gone.
    FrameworkLost(SessionId),
    /// An agent says who it is: the first message of its connection.
    Hello {
        /// The new connection.
        session: SessionId,
        /// Who it is.
        hello: Box<AgentHello>,
    },
    /// Any later message of an agent.
    FromAgent {
        /// The connection that it came on.
        session: SessionId,
        /// The message.
        message: Box<from_agent::Message>,
    },
    /// An agent's connection is gone.
    AgentLost(SessionId),
    /// The allocator's proposals, in its order.
    Proposed(Vec<Proposal>),
    /// A write is on disk.
    Persisted(Persisted),
    /// An operator ends a framework.
    Teardown {
        /// Which.
        framework: FrameworkId,
        /// Who waits for an answer.
        reply: ReplyTo,
    },
    /// An operator kills a task.
    KillTask {
        /// Of which framework, if the task's id does not tell.
        framework: Option<FrameworkId>,
        /// Which.
        task: mezzo_model::TaskId,
        /// Who waits for an answer.
        reply: ReplyTo,
    },
    /// A deadline has come: see [`Cluster::next_deadline`](crate::Cluster::next_deadline).
    Tick,
}

/// How an agent introduces itself.
#[derive(Debug, Clone)]
pub enum AgentHello {
    /// It has no id yet.
    Register(v1::link::Register),
    /// It has an id, and perhaps tasks.
    Reregister(v1::link::Reregister),
}

/// A write to the registry that is done.
#[derive(Debug, Clone, Copy)]
pub struct Persisted(pub WriteId);

/// What an allocator would offer: everything by the keys that the core has given.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Key of the framework.
    pub framework: u64,
    /// Key of the role.
    pub role: u32,
    /// Key of the agent.
    pub agent: u64,
    /// Not allocated to a role yet.
    pub resources: Vec<v1::Resource>,
}

pub(crate) fn dispatch(turn: &mut Turn<'_>, command: Command) {
    match command {
        Command::Subscribe { session, framework_id, subscribe } => {
            subscribe::apply(turn, session, framework_id, *subscribe);
        }
        Command::Call { session, call, reply } => call_of(turn, session, *call, reply),
        Command::FrameworkLost(session) => framework_lost::apply(turn, session),
        Command::Hello { session, hello } => match *hello {
            AgentHello::Register(message) => register::apply(turn, session, message),
            AgentHello::Reregister(message) => reregister::apply(turn, session, message),
        },
        Command::FromAgent { session, message } => agent_messages::apply(turn, session, *message),
        Command::AgentLost(session) => agent_lost::apply(turn, session),
        Command::Proposed(proposals) => proposed::apply(turn, proposals),
        Command::Persisted(Persisted(write)) => persisted(turn, write),
        Command::Teardown { framework, reply } => {
            let result = remove_framework::on_request(turn, &framework);
            turn.reply(Some(reply), result);
        }
        Command::KillTask { framework, task, reply } => {
            let result = kill::by_operator(turn, framework.as_ref(), &task);
            turn.reply(Some(reply), result);
        }
        Command::Tick => tick::apply(turn),
    }
}

/// Checks that a call comes from where its framework is subscribed, then carries it out.
fn call_of(turn: &mut Turn<'_>, session: SessionId, call: scheduler::Call, reply: Option<ReplyTo>) {
    let result = match turn.cluster.frameworks_by_session.get(&session).cloned() {
        None => Err(Rejection::new(
            Code::PermissionDenied,
            "the framework is not subscribed on this stream",
        )),
        Some(id) => match &call.framework_id {
            Some(given) if given.value != id.as_str() => Err(Rejection::new(
                Code::PermissionDenied,
                format!(
                    "framework_id: is {:?}, but this stream belongs to {:?}",
                    given.value,
                    id.as_str()
                ),
            )),
            _ => dispatch_call(turn, &id, call).map_err(|mut rejection| {
                rejection.framework = Some(id.clone());
                rejection
            }),
        },
    };
    turn.reply(reply, result);
}

fn dispatch_call(
    turn: &mut Turn<'_>,
    id: &FrameworkId,
    call: scheduler::Call,
) -> Result<(), Rejection> {
    match call.r#type() {
        Type::Subscribe => Err(Rejection::new(
            Code::FailedPrecondition,
            "type: SUBSCRIBE is the first call of a stream and only that",
        )),
        Type::Teardown => remove_framework::on_request(turn, id),
        Type::Accept => accept::apply(turn, id, body(call.accept, "accept")?),
        Type::Decline => {
            decline::apply(turn, id, call.decline.unwrap_or_default());
            Ok(())
        }
        Type::Revive => suppress::revive(turn, id, &call.revive.unwrap_or_default().roles),
        Type::Suppress => suppress::suppress(turn, id, &call.suppress.unwrap_or_default().roles),
        Type::Kill => kill::by_framework(turn, id, body(call.kill, "kill")?),
        Type::Shutdown => messages::shutdown_executor(turn, id, body(call.shutdown, "shutdown")?),
        Type::Acknowledge => acknowledge::apply(turn, id, body(call.acknowledge, "acknowledge")?),
        Type::Reconcile => {
            reconcile::apply(turn, id, call.reconcile.unwrap_or_default());
            Ok(())
        }
        Type::Message => messages::to_executor(turn, id, body(call.message, "message")?),
        Type::Request => request::apply(turn, id, call.request.unwrap_or_default().requests),
        Type::UpdateFramework => {
            subscribe::update(turn, id, body(call.update_framework, "update_framework")?)
        }
        Type::AcceptInverseOffers
        | Type::DeclineInverseOffers
        | Type::AcknowledgeOperationStatus
        | Type::ReconcileOperations => Err(Rejection::new(
            Code::Unimplemented,
            format!("type: {} is not available in this version", call.r#type().as_str_name()),
        )),
        Type::Unknown => Err(Rejection::new(
            Code::InvalidArgument,
            "type: is not set or unknown, expected the type of a scheduler call",
        )),
    }
}

/// The part of a call that its type promises.
fn body<T>(body: Option<T>, field: &str) -> Result<T, Rejection> {
    body.ok_or_else(|| {
        Rejection::new(
            Code::InvalidArgument,
            format!("{field}: is not set, expected it for a call of this type"),
        )
    })
}

fn persisted(turn: &mut Turn<'_>, write: WriteId) {
    match turn.cluster.writes.remove(&write) {
        Some(AfterWrite::Admit { session, hello, id }) => {
            register::admitted(turn, session, id, *hello);
        }
        Some(AfterWrite::Unreachable { id, since }) => unreachable::marked(turn, &id, since),
        Some(AfterWrite::Removed) | None => {}
    }
}
