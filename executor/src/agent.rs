//! The stream to the agent: subscribe, send calls, hear events; and again when it breaks.

use std::pin::Pin;
use std::time::{Duration, Instant};

use mezzo_proto::v1::executor::call::{self, Subscribe};
use mezzo_proto::v1::executor::{Call, Event};
use mezzo_proto::v1::{ExecutorId, FrameworkId, TaskStatus};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};
use uuid::Uuid;

use crate::settings::Settings;

/// A task may carry megabytes of data for its executor.
const LARGEST_MESSAGE: usize = 64 << 20;
/// Calls on their way; a task has few updates.
const CALLS: usize = 64;
/// The first pause after a failed attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

type Attempt = Pin<Box<dyn Future<Output = Result<Open, tonic::Status>>>>;

/// What the stream has to tell.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An event of the agent.
    Event(Box<Event>),
    /// There is no stream (any more): call [`Agent::subscribe`].
    Lost,
}

/// Our side of the stream.
pub(crate) struct Agent {
    settings: Settings,
    state: State,
    failures: u32,
    /// Updates made after the subscription that is being tried was written.
    behind: Vec<Call>,
}

enum State {
    Idle,
    Trying(Attempt),
    Open(Box<Open>),
}

struct Open {
    calls: mpsc::Sender<Call>,
    events: Streaming<Event>,
}

impl Agent {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, state: State::Idle, failures: 0, behind: Vec::new() }
    }

    /// Connects and subscribes, after a pause if that has failed before. [`next`](Self::next) tells the outcome.
    pub(crate) fn subscribe(&mut self, subscribe: Subscribe) {
        let mut first = self.call(call::Type::Subscribe);
        first.subscribe = Some(subscribe);
        self.behind.clear();
        let endpoint = self.settings.agent_endpoint.clone();
        let pause = self.pause();
        self.state = State::Trying(Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            connect(&endpoint, first).await
        }));
    }

    /// Sends a status update if there is a stream, or once there is one. If that fails, the next SUBSCRIBE carries it.
    pub(crate) fn send(&mut self, status: TaskStatus) {
        let mut update = self.call(call::Type::Update);
        update.update = Some(call::Update { status });
        match &self.state {
            State::Idle => {}
            // Its SUBSCRIBE is written already, without this update.
            State::Trying(_) => self.behind.push(update),
            State::Open(open) => {
                // Full or closed: the stream is not read any more. Breaking it makes everything be sent again.
                if open.calls.try_send(update).is_err() {
                    self.state = State::Idle;
                }
            }
        }
    }

    /// The next thing to know. Can be dropped and called again without losing anything.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            match &mut self.state {
                State::Idle => return Heard::Lost,
                State::Trying(attempt) => match attempt.await {
                    Ok(open) => {
                        let mut behind = self.behind.drain(..);
                        let sent = behind.all(|call| open.calls.try_send(call).is_ok());
                        self.state = if sent { State::Open(Box::new(open)) } else { State::Idle };
                    }
                    Err(_) => {
                        self.failures += 1;
                        self.state = State::Idle;
                    }
                },
                State::Open(open) => {
                    if let Ok(Some(event)) = open.events.message().await {
                        self.failures = 0;
                        return Heard::Event(Box::new(event));
                    }
                    self.failures += 1;
                    self.state = State::Idle;
                }
            }
        }
    }

    fn call(&self, kind: call::Type) -> Call {
        Call {
            executor_id: ExecutorId { value: self.settings.executor_id.clone() },
            framework_id: FrameworkId { value: self.settings.framework_id.clone() },
            r#type: Some(kind.into()),
            ..Call::default()
        }
    }

    /// Uniformly random below a bound that doubles, so that the executors of a restarted agent do not come all at once. The
    /// bound ends at half of what the agent waits for them, so that the last attempt before it is up comes in time.
    fn pause(&self) -> Duration {
        if self.failures == 0 {
            return Duration::ZERO;
        }
        let bound = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(self.settings.backoff_max / 2);
        let (random, _) = Uuid::new_v4().as_u64_pair();
        bound.mul_f64(f64::from((random >> 32) as u32) / f64::from(u32::MAX))
    }
}

/// One attempt. The messages are not checked for missing fields again, as the generated client would do: the agent has
/// checked them, and the descriptors for it would be most of this process's memory.
async fn connect(endpoint: &str, first: Call) -> Result<Open, tonic::Status> {
    let channel = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|e| tonic::Status::invalid_argument(e.to_string()))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(5))
        .connect()
        .await
        .map_err(|e| tonic::Status::unavailable(e.to_string()))?;
    let (calls, receiver) = mpsc::channel(CALLS);
    calls.try_send(first).map_err(|_| tonic::Status::internal("the queue of calls is closed"))?;
    let mut client = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    client.ready().await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::from_static("/mezzo.v1.executor.ExecutorService/Connect");
    let codec = tonic_prost::ProstCodec::<Call, Event>::default();
    let answer = client.streaming(Request::new(ReceiverStream::new(receiver)), path, codec).await?;
    Ok(Open { calls, events: answer.into_inner() })
}

/// When a wait is over, as a future; never, if there is no such time.
pub(crate) async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
