//! The executor API: one stream each way for each executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use mezzo_agent_core::{Command, ExecutorCall};
use mezzo_model::{ExecutorId, FrameworkId};
use mezzo_proto::v1::executor::call::Type;
use mezzo_proto::v1::executor::executor_service_server::ExecutorService;
use mezzo_proto::v1::executor::{Call, Event, event};
use mezzo_runtime::status::{ErrorCode, Failure};
use mezzo_runtime::task::Tasks;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::actor::Handle;

/// Events that wait for an executor to read them: room for a burst of launches. One that lets more wait is cut off and may
/// subscribe again.
const EVENTS: usize = 65_536;
/// Keeps connections open that pass through something that closes idle ones.
const HEARTBEAT: Duration = Duration::from_secs(30 * 60);

type Outgoing = mpsc::Sender<Result<Event, Status>>;

/// Who is connected, and where to send.
#[derive(Default)]
pub(crate) struct Sessions {
    live: DashMap<u64, Outgoing>,
    next: AtomicU64,
}

impl Sessions {
    fn open(&self) -> (u64, mpsc::Receiver<Result<Event, Status>>) {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let session = self.next.fetch_add(1, Ordering::Relaxed);
        self.live.insert(session, sender);
        (session, receiver)
    }

    /// Sends an event; an executor that does not read is cut off.
    pub(crate) fn send(&self, session: u64, event: Event) {
        let Some(sender) = self.live.get(&session).map(|s| s.clone()) else { return };
        if sender.try_send(Ok(event)).is_err() {
            tracing::warn!(session, "an executor does not read its events and is cut off");
            self.live.remove(&session);
        }
    }

    /// Ends all sessions. Executors go on and look for the agent again.
    pub(crate) fn close_all(&self) {
        self.live.clear();
    }

    /// Ends a session; with a refusal it ends with that error.
    pub(crate) fn close(&self, session: u64, refusal: Option<String>) {
        let Some((_, sender)) = self.live.remove(&session) else { return };
        if let Some(refusal) = refusal {
            // If it does not fit, the stream ends without a word.
            let _ = sender.try_send(Err(Failure::new(ErrorCode::NotFound, refusal).into_status()));
        }
    }
}

/// The service.
pub(crate) struct Executors {
    pub(crate) actor: Handle,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) tasks: Tasks,
}

#[tonic::async_trait]
impl ExecutorService for Executors {
    type ConnectStream = ReceiverStream<Result<Event, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<Call>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut calls = request.into_inner();
        let first = calls.message().await?;
        let Some(first) = first.filter(|call| call.r#type() == Type::Subscribe) else {
            return Err(Failure::new(
                ErrorCode::InvalidArgument,
                "the first call of an executor has to be SUBSCRIBE",
            )
            .into_status());
        };
        let framework = FrameworkId::new(&first.framework_id.value);
        let executor = ExecutorId::new(&first.executor_id.value);
        let (session, events) = self.sessions.open();
        tracing::debug!(%framework, %executor, session, "an executor subscribes");
        let call = ExecutorCall::Subscribe(first.subscribe.unwrap_or_default());
        let who = Who { session, framework, executor };
        self.actor.say(who.says(call)).await;
        let (actor, sessions) = (self.actor.clone(), Arc::clone(&self.sessions));
        self.tasks.spawn("executor", listen(who, calls, actor, sessions));
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

struct Who {
    session: u64,
    framework: FrameworkId,
    executor: ExecutorId,
}

impl Who {
    fn says(&self, call: ExecutorCall) -> Command {
        let (framework, executor) = (self.framework.clone(), self.executor.clone());
        Command::Executor { session: self.session, framework, executor, call }
    }
}

/// Passes on what an executor says until it leaves.
async fn listen(who: Who, mut calls: Streaming<Call>, actor: Handle, sessions: Arc<Sessions>) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.reset();
    loop {
        tokio::select! {
            call = calls.message() => match call {
                Ok(Some(call)) => pass_on(&who, call, &actor).await,
                Ok(None) => break,
                Err(status) => {
                    tracing::debug!(executor = %who.executor, "the connection of an executor broke: {status}");
                    break;
                }
            },
            _ = heartbeat.tick() => {
                let event = Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() };
                sessions.send(who.session, event);
            }
        }
    }
    sessions.close(who.session, None);
    actor.say(Command::ExecutorLeft { session: who.session }).await;
}

async fn pass_on(who: &Who, call: Call, actor: &Handle) {
    let said = match (call.r#type(), call.update, call.message) {
        (Type::Update, Some(update), _) => {
            let (task, state) = (&update.status.task_id.value, update.status.state());
            tracing::debug!(executor = %who.executor, task, ?state, "an executor tells of a task");
            ExecutorCall::Update(update)
        }
        (Type::Message, _, Some(message)) => ExecutorCall::Message(message.data),
        (Type::Heartbeat, ..) => return,
        (kind, ..) => {
            tracing::warn!(executor = %who.executor, "a call of an executor is dropped: {} makes no sense here", kind.as_str_name());
            return;
        }
    };
    actor.say(who.says(said)).await;
}
