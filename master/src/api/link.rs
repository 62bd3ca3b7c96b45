//! `AgentLink`: agents, each on one stream.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use mezzo_master_core::{AgentHello, Command};
use mezzo_proto::v1::link::agent_link_server::AgentLink;
use mezzo_proto::v1::link::from_agent::Message;
use mezzo_proto::v1::link::{FromAgent, FromMaster};
use mezzo_runtime::task;
use tonic::{Request, Response, Status, Streaming};

use super::stream::{Events, OnEnd};
use crate::actor::Handle;
use crate::hooks::Hooks;
use crate::sessions::Sessions;

pub(crate) struct Service {
    actor: Handle,
    sessions: Arc<Sessions>,
    hooks: Option<Arc<Hooks>>,
}

impl Service {
    pub(crate) fn new(actor: Handle, sessions: Arc<Sessions>, hooks: Option<Arc<Hooks>>) -> Self {
        Self { actor, sessions, hooks }
    }
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<FromMaster, Status>> + Send>>;

/// Messages as the hooks leave them, in their order.
fn decorated(events: Events<FromMaster>, hooks: Arc<Hooks>) -> Outgoing {
    let agent = None;
    let next = move |(mut events, mut agent): (Events<FromMaster>, _)| {
        let hooks = Arc::clone(&hooks);
        async move {
            let mut message = events.next().await?;
            if let Ok(message) = &mut message {
                hooks.look_at_message(message, &mut agent).await;
            }
            Some((message, (events, agent)))
        }
    };
    Box::pin(futures_util::stream::unfold((events, agent), next))
}

#[tonic::async_trait]
impl AgentLink for Service {
    type ConnectStream = Outgoing;

    async fn connect(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut messages = request.into_inner();
        let hello = match messages.message().await?.and_then(|m| m.message) {
            Some(Message::Register(register)) => AgentHello::Register(register),
            Some(Message::Reregister(reregister)) => AgentHello::Reregister(reregister),
            _ => {
                return Err(Status::invalid_argument(
                    "message: expected register or reregister as the first of a stream",
                ));
            }
        };
        let (session, queue) = self.sessions.open_agent();
        let sessions = Arc::clone(&self.sessions);
        let end = OnEnd::new(self.actor.clone(), Some(Command::AgentLost(session)), move || {
            sessions.close_agent(session);
        });
        let events = Events::new(queue, end);
        self.actor.send(Command::Hello { session, hello: Box::new(hello) }).await?;

        let (actor, sessions) = (self.actor.clone(), Arc::clone(&self.sessions));
        task::spawn("agent-messages", async move {
            while let Ok(Some(FromAgent { message })) = messages.message().await {
                let Some(message) = message.map(Box::new) else { continue };
                if actor.send(Command::FromAgent { session, message }).await.is_err() {
                    return;
                }
            }
            // An agent that does not speak any more is gone, though it may still listen.
            sessions.close_agent(session);
            // The actor is gone only when the process ends.
            let _ = actor.send(Command::AgentLost(session)).await;
        });
        Ok(Response::new(match &self.hooks {
            Some(hooks) => decorated(events, Arc::clone(hooks)),
            None => Box::pin(events),
        }))
    }
}
