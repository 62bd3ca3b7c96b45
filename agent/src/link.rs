//! The connection to the master: made, kept alive, made again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mezzo_agent_core::Command;
use mezzo_proto::v1::link::agent_link_client::AgentLinkClient;
use mezzo_proto::v1::link::{FromAgent, FromMaster, Pong, from_agent, from_master};
use mezzo_runtime::errors::one_line;
use mezzo_runtime::shutdown::Shutdown;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::actor::Handle;
use crate::numbers::Numbers;

/// Messages that wait for the master to read them. A master that lets more wait is left, and found again.
const MESSAGES: usize = 65_536;
/// A connection that is not made by then is not made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A master that has not registered the agent by then is asked anew.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the last messages may take when the agent stops.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Registrations and task data may be large.
const MAX_MESSAGE: usize = 64 << 20;

/// The way to the master, for the effects thread.
#[derive(Default)]
pub(crate) struct MasterLine {
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    /// The connection on which this agent has registered or asked to.
    current: Option<Sink>,
    /// A new connection, until the first word on it.
    next: Option<Sink>,
}

#[derive(Clone)]
struct Sink {
    sender: mpsc::Sender<FromAgent>,
    /// Told when the master does not read.
    full: Arc<Notify>,
}

impl MasterLine {
    /// Sends a message; without a connection it is lost, which whoever sends it knows about. A registration is the first
    /// word on a new connection: what was meant for the old one does not get there.
    pub(crate) fn send(&self, message: from_agent::Message) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(message, from_agent::Message::Register(_) | from_agent::Message::Reregister(_))
        {
            line.current = line.next.take();
        }
        let Some(sink) = &line.current else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) =
            sink.sender.try_send(FromAgent { message: Some(message) })
        {
            sink.full.notify_one();
            line.current = None;
        }
    }

    fn offer(&self, sink: Sink) {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).next = Some(sink);
    }

    fn drop_all(&self) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Line::default();
    }
}

/// Looks for the master, and talks with it, until the shutdown.
pub(crate) struct Link {
    pub(crate) master: String,
    pub(crate) line: Arc<MasterLine>,
    pub(crate) actor: Handle,
    pub(crate) numbers: Numbers,
    pub(crate) backoff: Duration,
    /// True when there is something to say to a master.
    pub(crate) connect: watch::Receiver<bool>,
    pub(crate) shutdown: Shutdown,
}

/// How a session ended.
enum End {
    Shutdown,
    /// Whether the agent was registered, and why it is not any more.
    Lost(bool, String),
}

impl Link {
    pub(crate) async fn run(mut self) {
        let wanted = async { self.connect.wait_for(|wanted| *wanted).await.is_ok() };
        tokio::select! {
            () = self.shutdown.triggered() => return,
            wanted = wanted => if !wanted { return },
        }
        let mut attempt = 0;
        loop {
            match self.session().await {
                End::Shutdown => return,
                End::Lost(registered, why) => {
                    self.numbers.registered.set(0);
                    if registered {
                        attempt = 0;
                    }
                    let pause = self.pause(attempt);
                    attempt += 1;
                    tracing::warn!(
                        master = self.master,
                        "no master, trying again in {pause:.1?}: {why}"
                    );
                    tokio::select! {
                        () = self.shutdown.triggered() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// Random, so that the agents of a cluster do not all come at once.
    fn pause(&self, attempt: u32) -> Duration {
        let most = self.backoff.saturating_mul(1 << attempt.min(6)).min(LONGEST_PAUSE);
        most.mul_f64(rand::random::<f64>())
    }

    async fn session(&self) -> End {
        let channel = tokio::select! {
            () = self.shutdown.triggered() => return End::Shutdown,
            channel = self.open() => match channel {
                Ok(channel) => channel,
                Err(why) => return End::Lost(false, why),
            },
        };
        tracing::debug!(master = self.master, "connected");
        let (sender, messages) = mpsc::channel(MESSAGES);
        let full = Arc::new(Notify::new());
        let pong = sender.clone();
        self.line.offer(Sink { sender, full: Arc::clone(&full) });
        self.actor.say(Command::LinkUp).await;
        let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let end = tokio::select! {
            () = self.shutdown.triggered() => End::Shutdown,
            () = full.notified() => End::Lost(true, "it does not read what the agent sends".to_owned()),
            answer = tokio::time::timeout(REGISTER_TIMEOUT, client.connect(ReceiverStream::new(messages))) => {
                match answer {
                    Ok(Ok(stream)) => self.listen(stream.into_inner(), pong, &full).await,
                    Ok(Err(status)) => End::Lost(false, told(&status)),
                    Err(_) => End::Lost(false, format!("it said nothing for {REGISTER_TIMEOUT:?}")),
                }
            }
        };
        self.line.drop_all();
        if matches!(end, End::Lost(..)) {
            self.actor.say(Command::LinkDown).await;
        }
        end
    }

    async fn open(&self) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.master))
            .map_err(|error| error.to_string())?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(4 << 20);
        endpoint.connect().await.map_err(|error| one_line(&error))
    }

    /// Passes on what the master says until it is gone.
    async fn listen(
        &self,
        mut stream: Streaming<FromMaster>,
        pong: mpsc::Sender<FromAgent>,
        full: &Notify,
    ) -> End {
        let mut registered = false;
        let mut patience = REGISTER_TIMEOUT;
        let mut deadline = Instant::now() + patience;
        loop {
            let message = tokio::select! {
                () = self.shutdown.triggered() => {
                    // What was said last goes out: everything before the end of the messages.
                    drop(pong);
                    self.line.drop_all();
                    let drained = async { while let Ok(Some(_)) = stream.message().await {} };
                    let _ = tokio::time::timeout(LAST_WORDS, drained).await;
                    return End::Shutdown;
                }
                () = full.notified() => return End::Lost(registered, "it does not read what the agent sends".to_owned()),
                () = tokio::time::sleep_until(deadline) => {
                    let what = if registered { "pinged" } else { "registered" };
                    return End::Lost(registered, format!("it has not {what} this agent for {patience:?}"));
                }
                message = stream.message() => message,
            };
            let message = match message {
                Ok(Some(FromMaster { message: Some(message) })) => message,
                Ok(Some(FromMaster { message: None })) => continue,
                Ok(None) => return End::Lost(registered, "it ended the connection".to_owned()),
                Err(status) => return End::Lost(registered, told(&status)),
            };
            match message {
                from_master::Message::Ping(_) => {
                    deadline = Instant::now() + patience;
                    let message = Some(from_agent::Message::Pong(Pong {}));
                    // If there is no room the connection is about to end anyway.
                    let _ = pong.try_send(FromAgent { message });
                }
                message => {
                    if let from_master::Message::Registered(answer) = &message {
                        registered = true;
                        patience = Duration::from_millis(answer.ping_timeout_ms.max(1));
                        self.numbers.registered.set(1);
                        tracing::info!(
                            agent = answer.agent_id.value,
                            master = self.master,
                            "registered"
                        );
                    }
                    // Any word is a sign of life.
                    deadline = Instant::now() + patience;
                    self.actor.say(Command::FromMaster(Box::new(message))).await;
                }
            }
        }
    }
}

fn told(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
