//! An agent as an executor sees it, and the real `mezzo-executor` connected to it.

#![allow(
    clippy::disallowed_methods,
    dead_code,
    reason = "tasks of a test end with its runtime; each test binary uses its part"
)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use mezzo_proto::v1::executor::event::{self, Type};
use mezzo_proto::v1::executor::executor_service_server::{ExecutorService, ExecutorServiceServer};
use mezzo_proto::v1::executor::{Call, Event, call};
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::{
    AgentInfo, CommandInfo, DurationInfo, ExecutorInfo, FrameworkInfo, KillPolicy, TaskId,
    TaskInfo, TaskState, TaskStatus, framework_info,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

const EXECUTOR: &str = env!("CARGO_BIN_EXE_mezzo-executor");
/// Longer than anything takes, shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct FakeAgent {
    address: String,
    connections: mpsc::Receiver<Connection>,
}

pub(crate) struct Connection {
    calls: Streaming<Call>,
    events: mpsc::Sender<Result<Event, Status>>,
}

struct Service(mpsc::Sender<Connection>);

#[tonic::async_trait]
impl ExecutorService for Service {
    type ConnectStream = ReceiverStream<Result<Event, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<Call>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (events, stream) = mpsc::channel(16);
        let connection = Connection { calls: request.into_inner(), events };
        self.0.send(connection).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl FakeAgent {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, connections) = mpsc::channel(16);
        let server = Server::builder().add_service(ExecutorServiceServer::new(Service(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, connections }
    }

    /// Starts an executor in a directory of its own.
    pub(crate) fn executor(&self, variables: &[(&str, &str)]) -> Executor {
        self.start_executor(Command::new(EXECUTOR), variables)
    }

    /// The same as process 1 of a pid namespace.
    pub(crate) fn executor_in_pid_namespace(&self, variables: &[(&str, &str)]) -> Executor {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", EXECUTOR]);
        self.start_executor(command, variables)
    }

    fn start_executor(&self, mut command: Command, variables: &[(&str, &str)]) -> Executor {
        let sandbox = tempfile::tempdir().unwrap();
        let child = command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("MESOS_AGENT_ENDPOINT", &self.address)
            .env("MESOS_FRAMEWORK_ID", "framework")
            .env("MESOS_EXECUTOR_ID", "task")
            .env("MESOS_SLAVE_ID", "agent")
            .env("MESOS_SUBSCRIPTION_BACKOFF_MAX", "100ms")
            .envs(variables.iter().copied())
            .current_dir(sandbox.path())
            .stdout(File::create(sandbox.path().join("stdout")).unwrap())
            .stderr(File::create(sandbox.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Executor { child, sandbox }
    }

    /// The next connection, before its first call.
    pub(crate) async fn accept(&mut self) -> Connection {
        tokio::time::timeout(PATIENCE, self.connections.recv())
            .await
            .expect("no executor came")
            .unwrap()
    }

    /// The next connection, subscribed, and what it subscribed with.
    pub(crate) async fn subscribed(&mut self) -> (Connection, call::Subscribe) {
        let mut connection = self.accept().await;
        let call = connection.next_call().await;
        assert_eq!(call.r#type(), call::Type::Subscribe);
        assert_eq!(
            (call.framework_id.value.as_str(), call.executor_id.value.as_str()),
            ("framework", "task")
        );
        connection.welcome(&[]).await;
        (connection, call.subscribe.unwrap())
    }
}

impl Connection {
    pub(crate) async fn next_call(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.message())
            .await
            .expect("no call came")
            .unwrap()
            .expect("the executor hung up")
    }

    /// Tells the executor that it is subscribed.
    pub(crate) async fn welcome(&self, capabilities: &[Capability]) {
        let capability = |c: &Capability| framework_info::Capability { r#type: Some((*c).into()) };
        let subscribed = event::Subscribed {
            executor_info: ExecutorInfo::default(),
            framework_info: FrameworkInfo {
                capabilities: capabilities.iter().map(capability).collect(),
                ..FrameworkInfo::default()
            },
            agent_info: AgentInfo::default(),
            container_id: None,
        };
        self.send(Event {
            r#type: Some(Type::Subscribed.into()),
            subscribed: Some(subscribed),
            ..Event::default()
        })
        .await;
    }

    pub(crate) async fn send(&self, event: Event) {
        self.events.send(Ok(event)).await.unwrap();
    }

    pub(crate) async fn launch(&self, task: TaskInfo) {
        let launch = Some(event::Launch { task });
        self.send(Event { r#type: Some(Type::Launch.into()), launch, ..Event::default() }).await;
    }

    pub(crate) async fn kill(&self, grace: Option<Duration>) {
        let kill_policy = grace.map(|grace| KillPolicy {
            grace_period: Some(DurationInfo {
                nanoseconds: i64::try_from(grace.as_nanos()).unwrap(),
            }),
        });
        let kill = Some(event::Kill { task_id: task_id(), kill_policy });
        self.send(Event { r#type: Some(Type::Kill.into()), kill, ..Event::default() }).await;
    }

    pub(crate) async fn shutdown(&self) {
        self.send(Event { r#type: Some(Type::Shutdown.into()), ..Event::default() }).await;
    }

    pub(crate) async fn acknowledge(&self, status: &TaskStatus) {
        let acknowledged = event::Acknowledged {
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        };
        self.send(Event {
            r#type: Some(Type::Acknowledged.into()),
            acknowledged: Some(acknowledged),
            ..Event::default()
        })
        .await;
    }

    /// The next update, which must be of this state; acknowledged.
    pub(crate) async fn update(&mut self, state: TaskState) -> TaskStatus {
        let status = self.unacknowledged(state).await;
        self.acknowledge(&status).await;
        status
    }

    pub(crate) async fn unacknowledged(&mut self, state: TaskState) -> TaskStatus {
        let call = self.next_call().await;
        assert_eq!(call.r#type(), call::Type::Update);
        let status = call.update.unwrap().status;
        assert_eq!(status.state(), state, "{:?}", status.message);
        status
    }

    /// Launches and waits until the task runs.
    pub(crate) async fn run(&mut self, task: TaskInfo) {
        self.launch(task).await;
        self.update(TaskState::TaskStarting).await;
        self.update(TaskState::TaskRunning).await;
    }
}

/// A running executor; killed when dropped.
pub(crate) struct Executor {
    child: Child,
    pub(crate) sandbox: tempfile::TempDir,
}

impl Executor {
    /// Waits for the end of the process; its exit code.
    pub(crate) async fn exit_code(mut self) -> Option<i32> {
        let wait = tokio::task::spawn_blocking(move || self.child.wait().unwrap().code());
        tokio::time::timeout(PATIENCE, wait).await.expect("the executor does not end").unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    /// The content of a file of the sandbox, once it has a whole line.
    pub(crate) async fn line(&self, name: &str) -> String {
        let path = self.path(name);
        let find = async {
            loop {
                if let Ok(text) = tokio::fs::read_to_string(&path).await
                    && let Some(line) = text.strip_suffix('\n')
                {
                    return line.to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("the task does not write its file")
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn task_id() -> TaskId {
    TaskId { value: "task".to_owned() }
}

/// A task that runs a shell command.
pub(crate) fn shell(command: &str) -> TaskInfo {
    let command = CommandInfo { value: Some(command.to_owned()), ..CommandInfo::default() };
    TaskInfo { task_id: task_id(), command: Some(command), ..TaskInfo::default() }
}

/// Waits until a process is gone (a zombie nobody reaps is not).
pub(crate) async fn gone(pid: i32) {
    let find = async {
        while mezzo_linux::process::ProcessId::of(pid).unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, find).await.expect("the process does not end");
}
