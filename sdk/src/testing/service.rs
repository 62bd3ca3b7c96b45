//! The framework's end of the fake master: the service, and the board where both ends meet.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::scheduler_service_server::SchedulerService;
use mezzo_proto::v1::scheduler::{Call, Event, call, event};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::messages;

/// Events that a test may send before the framework reads them.
const EVENTS: usize = 4096;
/// Ties the calls of a tool without streams to its subscription.
const STREAM_ID: &str = "mesos-stream-id";

/// What the test and the connections share.
#[derive(Debug)]
pub(super) struct Board {
    heartbeats: Duration,
    inner: Mutex<Inner>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    calls: Vec<Call>,
    /// How many of the calls the test has looked at by waiting.
    read: usize,
    framework_id: v1::FrameworkId,
    frameworks: u32,
    events: Option<mpsc::Sender<Result<Event, Status>>>,
    stream: u64,
    silent: bool,
    refusal: Option<Status>,
}

impl Board {
    pub(super) fn new(heartbeats: Duration) -> Self {
        Self { heartbeats, inner: Mutex::default(), changes: watch::Sender::new(0) }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub(super) fn framework_id(&self) -> v1::FrameworkId {
        self.lock().framework_id.clone()
    }

    pub(super) async fn next<T>(&self, wanted: impl Fn(&Call) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            {
                let mut inner = self.lock();
                while let Some(call) = inner.calls.get(inner.read) {
                    let found = wanted(call);
                    inner.read += 1;
                    if let Some(found) = found {
                        return found;
                    }
                }
            }
            // The sender lives in self, so this only ends with a change.
            let _ = changes.changed().await;
        }
    }

    pub(super) async fn gone(&self) {
        let mut changes = self.changes.subscribe();
        // The sender lives in self, so this only ends with the condition.
        let _ = changes.wait_for(|_| self.lock().events.is_none()).await;
    }

    pub(super) fn send(&self, event: Result<Event, Status>) {
        let inner = self.lock();
        if let Some(events) = &inner.events
            && let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event)
        {
            panic!("the framework does not read: {EVENTS} events wait");
        }
    }

    pub(super) fn disconnect(&self) {
        self.lock().events = None;
    }

    pub(super) fn beat(&self, beat: bool) {
        self.lock().silent = !beat;
    }

    pub(super) fn refuse_next(&self, status: Status) {
        self.lock().refusal = Some(status);
    }

    /// A framework subscribes: its events, and the number of its stream.
    fn subscribe(
        &self,
        call: &Call,
    ) -> Result<(mpsc::Receiver<Result<Event, Status>>, u64), Status> {
        let Some(subscribe) = &call.subscribe else {
            return Err(Status::invalid_argument("the first call has to be SUBSCRIBE"));
        };
        self.lock().calls.push(call.clone());
        self.changes.send_modify(|count| *count += 1);
        let mut inner = self.lock();
        if let Some(refusal) = inner.refusal.take() {
            return Err(refusal);
        }
        let known = subscribe.framework_info.id.clone().filter(|id| !id.value.is_empty());
        inner.framework_id = known.unwrap_or_else(|| {
            inner.frameworks += 1;
            v1::FrameworkId { value: format!("fake-{:04}", inner.frameworks) }
        });
        let (sender, receiver) = mpsc::channel(EVENTS);
        let subscribed = Some(event::Subscribed {
            framework_id: inner.framework_id.clone(),
            heartbeat_interval_seconds: Some(self.heartbeats.as_secs_f64()),
            master_info: None,
        });
        let greeting = Event { subscribed, ..messages::event(event::Type::Subscribed) };
        let _ = sender.try_send(Ok(greeting));
        inner.events = Some(sender);
        inner.stream += 1;
        Ok((receiver, inner.stream))
    }

    /// Sends heartbeats as long as this stream is the current one.
    async fn heartbeats(self: Arc<Self>, stream: u64) {
        loop {
            {
                let inner = self.lock();
                if inner.stream != stream || inner.events.is_none() {
                    return;
                }
                if let (false, Some(events)) = (inner.silent, &inner.events) {
                    let _ = events.try_send(Ok(messages::event(event::Type::Heartbeat)));
                }
            }
            tokio::time::sleep(self.heartbeats).await;
        }
    }

    /// The framework asks for something.
    fn record(&self, call: Call) {
        let teardown = call.r#type() == call::Type::Teardown;
        let mut inner = self.lock();
        inner.calls.push(call);
        if teardown {
            inner.events = None;
        }
        drop(inner);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The framework has closed its side of this stream.
    fn closed(&self, stream: u64) {
        let mut inner = self.lock();
        if inner.stream == stream {
            inner.events = None;
        }
        drop(inner);
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What answers the framework.
#[derive(Debug)]
pub(super) struct Service {
    board: Arc<Board>,
}

type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

impl Service {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { board }
    }

    fn begin(&self, call: &Call) -> Result<(Events, u64), Status> {
        let (events, stream) = self.board.subscribe(call)?;
        tokio::spawn(Arc::clone(&self.board).heartbeats(stream));
        Ok((Box::pin(ReceiverStream::new(events)), stream))
    }
}

#[tonic::async_trait]
impl SchedulerService for Service {
    type ConnectStream = Events;
    type SubscribeStream = Events;

    async fn connect(
        &self,
        request: Request<Streaming<Call>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut calls = request.into_inner();
        let Some(first) = calls.message().await? else {
            return Err(Status::invalid_argument("the first call has to be SUBSCRIBE"));
        };
        let (events, stream) = self.begin(&first)?;
        let board = Arc::clone(&self.board);
        tokio::spawn(async move {
            while let Ok(Some(call)) = calls.message().await {
                board.record(call);
            }
            board.closed(stream);
        });
        Ok(Response::new(events))
    }

    async fn subscribe(
        &self,
        request: Request<Call>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (events, stream) = self.begin(request.get_ref())?;
        let mut response = Response::new(events);
        response.metadata_mut().insert(STREAM_ID, stream.into());
        Ok(response)
    }

    async fn call(&self, request: Request<Call>) -> Result<Response<()>, Status> {
        let current = self.board.lock().stream.to_string();
        let given = request.metadata().get(STREAM_ID).and_then(|id| id.to_str().ok());
        if given != Some(current.as_str()) {
            return Err(Status::invalid_argument("mesos-stream-id is not that of a subscription"));
        }
        self.board.record(request.into_inner());
        Ok(Response::new(()))
    }
}
