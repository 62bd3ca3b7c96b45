//! A world for an agent: a master that does what a test says, executors that are a connection, containers in memory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mezzo_agent::flags::Flags;
use mezzo_agent::{Agent, Parts, StartError};
use mezzo_containerizer::FakeContainerizer;
use mezzo_proto::v1::agent::agent_service_client::AgentServiceClient;
use mezzo_proto::v1::executor::executor_service_client::ExecutorServiceClient;
use mezzo_proto::v1::executor::{Call, Event, call, event};
use mezzo_proto::v1::link::agent_link_server::{AgentLink, AgentLinkServer};
use mezzo_proto::v1::link::{self, FromAgent, FromMaster, from_agent, from_master};
use mezzo_proto::v1::{self, CommandInfo, FrameworkInfo, TaskInfo, TaskState, TaskStatus};
use mezzo_runtime::config;
use mezzo_runtime::metrics::Metrics;
use mezzo_runtime::serve::{self, Server};
use mezzo_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// Nothing in a test takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("nothing happened for {PATIENCE:?}: {what}"),
    }
}

/// A master of which every agent that connects is handed to the test.
pub struct Master {
    pub address: SocketAddr,
    agents: mpsc::Receiver<Connected>,
    shutdown: Shutdown,
}

/// An agent that is connected.
pub struct Connected {
    messages: Streaming<FromAgent>,
    answers: mpsc::Sender<Result<FromMaster, Status>>,
}

struct Links(mpsc::Sender<Connected>);

#[tonic::async_trait]
impl AgentLink for Links {
    type ConnectStream = ReceiverStream<Result<FromMaster, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (answers, stream) = mpsc::channel(100);
        let connected = Connected { messages: request.into_inner(), answers };
        self.0.send(connected).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Master {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let (connected, agents) = mpsc::channel(10);
        let shutdown = Shutdown::new();
        let incoming = serve::bind(address).await.unwrap();
        let address = incoming.local_addr();
        let server = Server::new(Metrics::new("master"))
            .descriptors(mezzo_proto::FILE_DESCRIPTOR_SET)
            .service(AgentLinkServer::new(Links(connected)));
        let token = shutdown.clone();
        drop(mezzo_runtime::task::spawn(
            "master",
            async move { server.serve(incoming, token).await },
        ));
        Self { address, agents, shutdown }
    }

    /// The next agent that connects.
    pub async fn agent(&mut self) -> Connected {
        soon("an agent connects", self.agents.recv()).await.unwrap()
    }

    /// The next agent that connects, registered as this.
    pub async fn registered(&mut self, id: &str) -> Connected {
        let mut agent = self.agent().await;
        let first = agent.next().await;
        assert!(
            matches!(first, from_agent::Message::Register(_) | from_agent::Message::Reregister(_)),
            "the first word was {first:?}"
        );
        agent.register(id).await;
        agent
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.shutdown.trigger("the test is over");
    }
}

impl Connected {
    pub async fn next(&mut self) -> from_agent::Message {
        soon("the agent says something", self.messages.message())
            .await
            .unwrap()
            .unwrap()
            .message
            .unwrap()
    }

    /// None when the agent has left.
    pub async fn next_or_end(&mut self) -> Option<from_agent::Message> {
        soon("the agent says something or leaves", self.messages.message()).await.ok()??.message
    }

    pub async fn say(&self, message: from_master::Message) {
        self.answers.send(Ok(FromMaster { message: Some(message) })).await.unwrap();
    }

    pub async fn register(&self, id: &str) {
        self.say(from_master::Message::Registered(link::Registered {
            agent_id: v1::AgentId { value: id.to_owned() },
            ping_timeout_ms: 60_000,
            reconcile: Vec::new(),
        }))
        .await;
    }

    pub async fn run(&self, task: TaskInfo) {
        let run = link::RunTask { framework_info: framework(), task, launch_executor: true };
        self.say(from_master::Message::RunTask(run)).await;
    }

    pub async fn acknowledge(&self, status: &TaskStatus) {
        self.say(from_master::Message::Acknowledge(link::Acknowledge {
            framework_id: framework().id.unwrap(),
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        }))
        .await;
    }

    /// The next status update.
    pub async fn update(&mut self) -> link::StatusUpdate {
        loop {
            if let from_agent::Message::StatusUpdate(update) = self.next().await {
                return update;
            }
        }
    }
}

/// An agent that runs in the test's process.
pub struct Running {
    pub address: SocketAddr,
    pub containers: FakeContainerizer,
    shutdown: Shutdown,
    ended: JoinHandle<Result<(), String>>,
}

pub fn flags(work_dir: &Path, master: &Master, more: &[&str]) -> config::Parsed<Flags> {
    let mut args = vec![
        "mezzo-agent".to_owned(),
        format!("--master={}", master.address),
        format!("--work_dir={}", work_dir.display()),
        "--port=0".to_owned(),
        "--isolation=".to_owned(),
        "--resources=cpus:2;mem:1024;disk:1024".to_owned(),
        "--registration_backoff_factor=10ms".to_owned(),
    ];
    for arg in more {
        let name = format!("{}=", arg.split('=').next().unwrap());
        args.retain(|given| !given.starts_with(&name));
        args.push((*arg).to_owned());
    }
    config::try_parse::<Flags, _>(args, |_| None).unwrap()
}

pub async fn try_start(
    flags: config::Parsed<Flags>,
    containers: &FakeContainerizer,
) -> Result<(Agent, Shutdown), StartError> {
    let shutdown = Shutdown::new();
    let parts = Parts { containerizer: Some(Arc::new(containers.clone())) };
    let agent = Agent::start_with(flags, shutdown.clone(), parts).await?;
    Ok((agent, shutdown))
}

pub async fn start(flags: config::Parsed<Flags>, containers: &FakeContainerizer) -> Running {
    let (agent, shutdown) = try_start(flags, containers).await.unwrap_or_else(|e| panic!("{e:?}"));
    let address = agent.address();
    let ended = mezzo_runtime::task::spawn("agent", agent.run());
    Running { address, containers: containers.clone(), shutdown, ended }
}

impl Running {
    /// As SIGTERM does.
    pub async fn stop(self) -> Result<(), String> {
        self.shutdown.trigger("the test says so");
        self.ended().await
    }

    pub async fn ended(self) -> Result<(), String> {
        soon("the agent stops", self.ended).await.unwrap()
    }

    pub async fn channel(&self) -> Channel {
        connect(self.address).await
    }

    pub async fn operator(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel().await)
    }

    /// The body of a GET.
    pub async fn get(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The sandbox of the newest container that was launched.
    pub async fn launched(&self, count: usize) -> Launched {
        soon("a launch", self.containers.wait_until(|c| c.launches().len() >= count)).await;
        let launch = self.containers.launches().remove(count - 1);
        let directory = PathBuf::from(&launch.spec.config.directory);
        Launched { container: launch.spec.container_id.clone(), directory }
    }
}

pub struct Launched {
    pub container: mezzo_model::ContainerId,
    pub directory: PathBuf,
}

pub async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// An executor that is only a connection.
pub struct Executor {
    calls: mpsc::Sender<Call>,
    events: Streaming<Event>,
    id: String,
}

impl Executor {
    pub async fn subscribe(address: SocketAddr, id: &str) -> Self {
        Self::subscribe_with(address, id, call::Subscribe::default()).await.unwrap()
    }

    pub async fn subscribe_with(
        address: SocketAddr,
        id: &str,
        subscribe: call::Subscribe,
    ) -> Result<Self, Status> {
        let (calls, stream) = mpsc::channel(10);
        let first = Call {
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(subscribe),
            ..empty(id)
        };
        calls.send(first).await.unwrap();
        let mut client = ExecutorServiceClient::new(connect(address).await);
        let events = client.connect(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Self { calls, events, id: id.to_owned() })
    }

    pub async fn next(&mut self) -> Result<Option<Event>, Status> {
        soon("the executor hears something", self.events.message()).await
    }

    /// The next event, which has to be of this kind.
    pub async fn expect(&mut self, kind: event::Type) -> Event {
        let event = self.next().await.unwrap().unwrap();
        assert_eq!(event.r#type(), kind);
        event
    }

    pub async fn update(&self, task: &str, state: TaskState) -> TaskStatus {
        let status = TaskStatus {
            task_id: v1::TaskId { value: task.to_owned() },
            state: state.into(),
            uuid: Some(Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes())),
            ..TaskStatus::default()
        };
        self.send(status.clone()).await;
        status
    }

    pub async fn send(&self, status: TaskStatus) {
        let update = Some(call::Update { status });
        let call = Call { r#type: Some(call::Type::Update.into()), update, ..empty(&self.id) };
        self.calls.send(call).await.unwrap();
    }
}

fn empty(id: &str) -> Call {
    Call {
        executor_id: v1::ExecutorId { value: id.to_owned() },
        framework_id: framework().id.unwrap(),
        ..Call::default()
    }
}

pub fn framework() -> FrameworkInfo {
    FrameworkInfo {
        user: "nobody".to_owned(),
        name: "test".to_owned(),
        id: Some(v1::FrameworkId { value: "f1".to_owned() }),
        checkpoint: Some(true),
        ..FrameworkInfo::default()
    }
}

pub fn task(id: &str) -> TaskInfo {
    let cpus = v1::Resource {
        name: "cpus".to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value: 0.5 }),
        ..v1::Resource::default()
    };
    TaskInfo {
        name: id.to_owned(),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: v1::AgentId { value: "a1".to_owned() },
        resources: vec![cpus],
        command: Some(CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}
