//! `SchedulerService`: frameworks.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use mezzo_master_core::{Command, SessionId};
use mezzo_proto::v1::scheduler::call::Type;
use mezzo_proto::v1::scheduler::scheduler_service_server::SchedulerService;
use mezzo_proto::v1::scheduler::{Call, Event, event};
use mezzo_runtime::status::Failure;
use mezzo_runtime::task;
use tonic::{Request, Response, Status, Streaming};

use super::status;
use super::stream::{Events, OnEnd};
use crate::actor::Handle;
use crate::hooks::Hooks;
use crate::sessions::Sessions;

/// Names a subscription that was made by `Subscribe`. The name is that of the HTTP API.
const STREAM_ID: &str = "mesos-stream-id";

/// The handlers; they share the table of live sessions.
pub(crate) struct Service {
    actor: Handle,
    sessions: Arc<Sessions>,
    /// Subscriptions that calls of other streams may name.
    named: Arc<DashMap<String, SessionId>>,
    heartbeat: Duration,
    hooks: Option<Arc<Hooks>>,
}

impl Service {
    pub(crate) fn new(
        actor: Handle,
        sessions: Arc<Sessions>,
        heartbeat: Duration,
        hooks: Option<Arc<Hooks>>,
    ) -> Self {
        Self { actor, sessions, named: Arc::default(), heartbeat, hooks }
    }

    /// Opens a session and subscribes it. The stream ends the session when it is dropped.
    async fn open(
        &self,
        call: Call,
        name: Option<String>,
    ) -> Result<(SessionId, Events<Event>), Status> {
        let subscribe = match (call.r#type(), call.subscribe) {
            (Type::Subscribe, Some(subscribe)) => Box::new(subscribe),
            (Type::Subscribe, None) => {
                return Err(Failure::invalid("subscribe", "not set", "it for a SUBSCRIBE call")
                    .into_status());
            }
            (other, _) => {
                return Err(Failure::invalid(
                    "type",
                    other.as_str_name(),
                    "SUBSCRIBE as the first call of a stream",
                )
                .into_status());
            }
        };
        let (session, queue) = self.sessions.open_framework();
        let (sessions, named) = (Arc::clone(&self.sessions), Arc::clone(&self.named));
        let end =
            OnEnd::new(self.actor.clone(), Some(Command::FrameworkLost(session)), move || {
                sessions.close_framework(session);
                if let Some(name) = name {
                    named.remove(&name);
                }
            });
        let events = Events::new(queue, end).heartbeats(self.heartbeat, heartbeat);
        let framework_id = call.framework_id;
        self.actor.send(Command::Subscribe { session, framework_id, subscribe }).await?;
        Ok((session, events))
    }
}

fn heartbeat() -> Event {
    Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() }
}

#[tonic::async_trait]
impl SchedulerService for Service {
    type ConnectStream = Events<Event>;
    type SubscribeStream = Events<Event>;

    async fn connect(
        &self,
        request: Request<Streaming<Call>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut calls = request.into_inner();
        let Some(first) = calls.message().await? else {
            return Err(Status::invalid_argument("the stream ended before its SUBSCRIBE call"));
        };
        let (session, events) = self.open(first, None).await?;
        let (actor, sessions) = (self.actor.clone(), Arc::clone(&self.sessions));
        let hooks = self.hooks.clone();
        task::spawn("framework-calls", async move {
            // A framework that has said all may still listen: only a broken stream ends it.
            loop {
                match calls.message().await {
                    Ok(Some(call)) => {
                        let mut call = Box::new(call);
                        if let Some(hooks) = &hooks {
                            hooks.look_at(&mut call).await;
                        }
                        let command = Command::Call { session, call, reply: None };
                        if actor.send(command).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(problem) => {
                        tracing::info!(
                            session = session.0,
                            "a framework's stream broke: {problem}"
                        );
                        sessions.close_framework(session);
                        // The actor is gone only when the process ends.
                        let _ = actor.send(Command::FrameworkLost(session)).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(events))
    }

    async fn subscribe(
        &self,
        request: Request<Call>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        if request.metadata().contains_key(STREAM_ID) {
            return Err(
                Failure::invalid(STREAM_ID, "set", "no stream id on SUBSCRIBE").into_status()
            );
        }
        let name = uuid::Uuid::new_v4().to_string();
        let (session, events) = self.open(request.into_inner(), Some(name.clone())).await?;
        self.named.insert(name.clone(), session);
        let mut response = Response::new(events);
        if let Ok(value) = name.parse() {
            response.metadata_mut().insert(STREAM_ID, value);
        }
        Ok(response)
    }

    async fn call(&self, request: Request<Call>) -> Result<Response<()>, Status> {
        let name = request.metadata().get(STREAM_ID).and_then(|v| v.to_str().ok());
        let Some(name) = name else {
            return Err(Failure::invalid(
                STREAM_ID,
                "not set",
                "the stream id of the framework's subscription",
            )
            .into_status());
        };
        let session = self.named.get(name).map(|session| *session);
        let Some(session) = session else {
            return Err(Failure::invalid(
                STREAM_ID,
                name,
                "the stream id of a subscription that is open",
            )
            .into_status());
        };
        let mut call = Box::new(request.into_inner());
        if let Some(hooks) = &self.hooks {
            hooks.look_at(&mut call).await;
        }
        let (reply, wait) = self.sessions.open_caller();
        self.actor.send(Command::Call { session, call, reply: Some(reply) }).await?;
        match wait.await {
            Ok(Ok(())) => Ok(Response::new(())),
            Ok(Err(rejection)) => Err(status(rejection)),
            Err(_) => Err(Status::unavailable("the master is shutting down")),
        }
    }
}
