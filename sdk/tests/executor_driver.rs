//! The executor driver against an agent that this test plays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "a test with a handful of tasks"
)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use mezzo_sdk::executor::{self, Config, Event, Events, Handle, status};
use mezzo_sdk::v1::executor::call::Type as CallType;
use mezzo_sdk::v1::executor::event::Type as EventType;
use mezzo_sdk::v1::executor::executor_service_server::{ExecutorService, ExecutorServiceServer};
use mezzo_sdk::v1::executor::{Call, Event as Wire, call, event};
use mezzo_sdk::v1::{ExecutorId, FrameworkId, TaskId, TaskInfo, TaskState};
use mezzo_sdk::{Bytes, Executor, v1};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

type Outgoing = mpsc::Sender<Result<Wire, Status>>;
type Answer = Pin<Box<dyn Stream<Item = Result<Wire, Status>> + Send>>;

/// An executor that has connected, or an answer for it instead.
struct Connection {
    calls: Streaming<Call>,
    events: Outgoing,
}

struct Service {
    connections: mpsc::Sender<Connection>,
    refusal: Option<Status>,
}

#[tonic::async_trait]
impl ExecutorService for Service {
    type ConnectStream = Answer;

    async fn connect(&self, request: Request<Streaming<Call>>) -> Result<Response<Answer>, Status> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let (events, receiver) = mpsc::channel(16);
        let connection = Connection { calls: request.into_inner(), events };
        let _ = self.connections.send(connection).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

struct Agent {
    address: SocketAddr,
    connections: mpsc::Receiver<Connection>,
    server: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Agent {
    async fn start(refusal: Option<Status>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::channel(16);
        let service = ExecutorServiceServer::new(Service { connections: sender, refusal });
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let _ = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await;
        });
        Self { address, connections, server }
    }

    fn config(&self, checkpoint: bool) -> Config {
        let mut config = Config::new(
            self.address.to_string(),
            FrameworkId { value: "f".to_owned() },
            ExecutorId { value: "e".to_owned() },
        );
        config.checkpoint = checkpoint;
        config.subscription_backoff_max = Duration::from_millis(10);
        config
    }

    /// The next connection, its SUBSCRIBE taken and answered.
    async fn subscribed(&mut self) -> (Connection, call::Subscribe) {
        let mut connection = patient(self.connections.recv()).await.unwrap();
        let subscribe = connection.next(CallType::Subscribe).await.subscribe.unwrap();
        let subscribed = Some(event::Subscribed::default());
        connection.send(Wire { subscribed, ..of(EventType::Subscribed) }).await;
        (connection, subscribe)
    }
}

impl Connection {
    async fn next(&mut self, kind: CallType) -> Call {
        let call = patient(self.calls.next()).await.unwrap().unwrap();
        assert_eq!(call.r#type(), kind);
        assert_eq!((call.framework_id.value.as_str(), call.executor_id.value.as_str()), ("f", "e"));
        call
    }

    async fn update(&mut self) -> v1::TaskStatus {
        self.next(CallType::Update).await.update.unwrap().status
    }

    async fn send(&self, event: Wire) {
        self.events.send(Ok(event)).await.unwrap();
    }

    async fn launch(&self, id: &str) {
        let task = TaskInfo { task_id: task_id(id), ..Default::default() };
        self.send(Wire { launch: Some(event::Launch { task }), ..of(EventType::Launch) }).await;
    }

    async fn acknowledge(&self, status: &v1::TaskStatus) {
        let acknowledged = Some(event::Acknowledged {
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        });
        self.send(Wire { acknowledged, ..of(EventType::Acknowledged) }).await;
    }
}

fn of(kind: EventType) -> Wire {
    Wire { r#type: Some(kind.into()), ..Default::default() }
}

fn task_id(id: &str) -> TaskId {
    TaskId { value: id.to_owned() }
}

async fn patient<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

async fn next(events: &mut Events) -> Option<Event> {
    patient(events.next()).await
}

/// Finishes every task at once.
struct Quick;

impl Executor for Quick {
    fn launch(&mut self, handle: &Handle, task: TaskInfo) {
        handle.update(status(&task.task_id, TaskState::TaskRunning));
        handle.update(status(&task.task_id, TaskState::TaskFinished));
    }

    fn kill(&mut self, _: &Handle, _: TaskId, _: Option<v1::KillPolicy>) {}

    fn message(&mut self, handle: &Handle, data: Bytes) {
        handle.message(data).unwrap();
    }
}

#[tokio::test]
async fn an_executor_runs_tasks_and_leaves_when_all_is_acknowledged() {
    let mut agent = Agent::start(None).await;
    let running = tokio::spawn(executor::run(agent.config(false), Quick));
    let (mut connection, subscribe) = agent.subscribed().await;
    assert_eq!(subscribe, call::Subscribe::default());
    connection.launch("t1").await;
    let first = connection.update().await;
    let second = connection.update().await;
    assert_eq!((first.state(), second.state()), (TaskState::TaskRunning, TaskState::TaskFinished));
    assert_eq!(first.source(), v1::task_status::Source::Executor);
    assert_eq!(first.uuid.as_ref().unwrap().len(), 16);
    assert_ne!(first.uuid, second.uuid);
    assert!(first.timestamp.unwrap() > 0.0);

    let message = Some(event::Message { data: "ping".into() });
    connection.send(Wire { message, ..of(EventType::Message) }).await;
    assert_eq!(connection.next(CallType::Message).await.message.unwrap().data, "ping");

    connection.send(of(EventType::Shutdown)).await;
    connection.acknowledge(&first).await;
    assert!(!running.is_finished(), "one update is not acknowledged");
    connection.acknowledge(&second).await;
    patient(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_subscription_carries_what_is_not_acknowledged() {
    let mut agent = Agent::start(None).await;
    let (handle, mut events) = executor::start(agent.config(true));
    let (mut connection, _) = agent.subscribed().await;
    connection.launch("done").await;
    connection.launch("new").await;
    let done = handle.update(status(&task_id("done"), TaskState::TaskRunning));
    let acknowledged = connection.update().await;
    connection.acknowledge(&acknowledged).await;
    loop {
        match next(&mut events).await.unwrap() {
            Event::Acknowledged { uuid, .. } if uuid == done => break,
            _ => {}
        }
    }
    let kept = handle.update(status(&task_id("done"), TaskState::TaskFinished));
    connection.update().await;
    drop(connection);
    assert_eq!(next(&mut events).await, Some(Event::Disconnected));
    let late = handle.update(status(&task_id("new"), TaskState::TaskStarting));

    let (connection, subscribe) = agent.subscribed().await;
    let tasks: Vec<_> =
        subscribe.unacknowledged_tasks.iter().map(|t| t.task_id.value.as_str()).collect();
    assert_eq!(tasks, ["new"]);
    let updates: Vec<_> =
        subscribe.unacknowledged_updates.iter().map(|u| u.status.uuid.clone().unwrap()).collect();
    assert_eq!(updates, [kept.clone(), late.clone()]);
    assert_eq!(handle.unacknowledged(), 2);
    for update in &subscribe.unacknowledged_updates {
        connection.acknowledge(&update.status).await;
    }
    patient(handle.acknowledged()).await;
    handle.stop();
    while next(&mut events).await.is_some() {}
}

#[tokio::test]
async fn losing_the_agent_is_the_end_without_checkpoints() {
    let mut agent = Agent::start(None).await;
    let (_handle, mut events) = executor::start(agent.config(false));
    let (connection, _) = agent.subscribed().await;
    assert!(matches!(next(&mut events).await, Some(Event::Subscribed(_))));
    drop(connection);
    assert_eq!(next(&mut events).await, Some(Event::Disconnected));
    assert_eq!(next(&mut events).await, Some(Event::Shutdown));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn an_agent_that_does_not_come_back_in_time_is_the_end_too() {
    let mut agent = Agent::start(None).await;
    let mut config = agent.config(true);
    config.recovery_timeout = Duration::from_millis(300);
    let (_handle, mut events) = executor::start(config);
    let (connection, _) = agent.subscribed().await;
    assert!(matches!(next(&mut events).await, Some(Event::Subscribed(_))));
    drop(connection);
    drop(agent);
    assert_eq!(next(&mut events).await, Some(Event::Disconnected));
    assert_eq!(next(&mut events).await, Some(Event::Shutdown));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn a_refusal_ends_the_executor_with_the_agents_words() {
    let agent = Agent::start(Some(Status::invalid_argument("unknown executor"))).await;
    let error = patient(executor::run(agent.config(true), Quick)).await.unwrap_err();
    assert!(error.to_string().contains("unknown executor"), "{error}");
}

#[tokio::test]
async fn messages_beyond_the_queue_are_refused_and_never_block() {
    let agent = Agent::start(None).await;
    let (handle, _events) = executor::start(agent.config(true));
    let refused = (0..2_000).filter(|_| handle.message("x").is_err()).count();
    assert_eq!(refused, 2_000 - 1_024);
}
