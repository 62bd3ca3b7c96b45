//! The test's end of the fake master.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::scheduler_service_server::SchedulerServiceServer;
use mezzo_proto::v1::scheduler::{Call, Event, call, event};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::Server;

use super::messages;
use super::service::{Board, Service};

/// How long a test waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gRPC server on a free port of the loopback that speaks `SchedulerService`.
///
/// It takes one framework at a time; a new subscription replaces the old one. Dropping it ends the
/// server.
#[derive(Debug)]
pub struct FakeMaster {
    address: SocketAddr,
    board: Arc<Board>,
    server: JoinHandle<()>,
}

impl FakeMaster {
    /// Starts a master that sends a heartbeat every 15 seconds.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::with_heartbeats(Duration::from_secs(15)).await
    }

    /// Starts a master that promises and sends a heartbeat in this interval.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn with_heartbeats(interval: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let board = Arc::new(Board::new(interval));
        let service = SchedulerServiceServer::new(Service::new(Arc::clone(&board)))
            .max_decoding_message_size(64 << 20);
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            // A test that loses its server fails by what it waits for.
            let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Ok(Self { address, board, server })
    }

    /// `host:port`, for the driver.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Waits for the next subscription: the first, and each one after a lost connection.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn subscription(&self) -> call::Subscribe {
        self.next("a subscription", |call| call.subscribe.clone()).await
    }

    /// Waits for the next call of which `wanted` makes something; calls before it are passed over.
    ///
    /// # Panics
    /// If none comes in time; `what` is in the message.
    pub async fn next<T>(&self, what: &str, wanted: impl Fn(&Call) -> Option<T>) -> T {
        match tokio::time::timeout(PATIENCE, self.board.next(wanted)).await {
            Ok(found) => found,
            Err(_) => panic!("waited for {what}, got {:?}", self.kinds()),
        }
    }

    /// Waits for the next task that is launched.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn launched(&self) -> v1::TaskInfo {
        let accept = self.accepted().await;
        let launches = accept.operations.into_iter().filter_map(|operation| operation.launch);
        match launches.flat_map(|launch| launch.task_infos).next() {
            Some(task) => task,
            None => panic!("waited for a task, got an accept without one"),
        }
    }

    /// Waits for the next accept.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn accepted(&self) -> call::Accept {
        self.next("an accept", |call| call.accept.clone()).await
    }

    /// Waits for the next acknowledgement.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn acknowledged(&self) -> call::Acknowledge {
        self.next("an acknowledgement", |call| call.acknowledge.clone()).await
    }

    /// Waits until the framework has closed its connection.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn gone(&self) {
        if tokio::time::timeout(PATIENCE, self.board.gone()).await.is_err() {
            panic!("the framework is still connected");
        }
    }

    /// All calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.board.calls()
    }

    /// The kinds of all calls so far, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<call::Type> {
        self.calls().iter().map(Call::r#type).collect()
    }

    /// Sends any event.
    pub fn send(&self, event: Event) {
        self.board.send(Ok(event));
    }

    /// Sends offers; each gets the framework's id.
    pub fn offer(&self, offers: impl IntoIterator<Item = v1::Offer>) {
        let framework_id = self.board.framework_id();
        let offers = offers
            .into_iter()
            .map(|offer| v1::Offer { framework_id: framework_id.clone(), ..offer })
            .collect();
        let offers = Some(event::Offers { offers });
        self.send(Event { offers, ..messages::event(event::Type::Offers) });
    }

    /// Takes an offer back.
    pub fn rescind(&self, offer: &str) {
        let offer_id = v1::OfferId { value: offer.to_owned() };
        let rescind = Some(event::Rescind { offer_id });
        self.send(Event { rescind, ..messages::event(event::Type::Rescind) });
    }

    /// Sends an update of `task` that has to be acknowledged, and returns it.
    pub fn update(&self, task: &v1::TaskInfo, state: v1::TaskState) -> v1::TaskStatus {
        let status = messages::update(task, state);
        self.status(status.clone());
        status
    }

    /// Sends any status.
    pub fn status(&self, status: v1::TaskStatus) {
        let update = Some(event::Update { status });
        self.send(Event { update, ..messages::event(event::Type::Update) });
    }

    /// Sends an ERROR event and ends the stream.
    pub fn error(&self, message: &str) {
        let error = Some(event::Error { message: message.to_owned() });
        self.send(Event { error, ..messages::event(event::Type::Error) });
        self.disconnect();
    }

    /// Ends the stream, as a master does that leaves.
    pub fn disconnect(&self) {
        self.board.disconnect();
    }

    /// From now on sends no heartbeats, as a master does that hangs.
    pub fn stop_heartbeats(&self) {
        self.board.beat(false);
    }

    /// Sends heartbeats again.
    pub fn resume_heartbeats(&self) {
        self.board.beat(true);
    }

    /// Answers the next subscription with this instead of a stream.
    pub fn refuse_next(&self, status: Status) {
        self.board.refuse_next(status);
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.server.abort();
        self.board.disconnect();
    }
}
