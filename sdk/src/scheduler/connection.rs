//! The connection to the master: one task that connects, listens, speaks and starts again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::scheduler_service_client::SchedulerServiceClient;
use mezzo_proto::v1::scheduler::{self as wire, Call, call};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use super::event::Event;
use super::outbox::Outbox;
use crate::backoff::Backoff;

/// Events that may wait for the scheduler before the connection stops reading.
pub(super) const EVENTS: usize = 256;
/// Calls on their way to the transport; more stay in the outbox.
const CALLS: usize = 256;
/// Frameworks and executors may send each other large data; offers may be many.
const LARGEST_MESSAGE: usize = 256 << 20;
/// How long a connection may take, and a subscription.
const CONNECT: Duration = Duration::from_secs(10);
/// What Mesos uses, and what a master that says nothing is taken to use.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long the master may take to end the conversation after we have said our last word.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the driver connects.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    masters: Vec<String>,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) missed_heartbeats: u32,
}

impl Settings {
    pub(super) fn new(masters: String) -> Self {
        Self {
            masters: masters.split(',').map(|master| master.trim().to_owned()).collect(),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            missed_heartbeats: 4,
        }
    }
}

/// How a connection ended.
enum End {
    /// The scheduler is done, or nobody listens any more.
    Finished,
    /// The master said no; trying again would not help.
    Refused(String),
    /// The master is not there (any more). True if it had subscribed us.
    Lost { subscribed: bool, why: String },
}

/// Keeps the scheduler connected until it stops or is refused.
pub(super) async fn run(settings: Settings, outbox: Arc<Outbox>, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::new(settings.first_pause, settings.longest_pause);
    let mut again = false;
    for master in settings.masters.iter().cycle() {
        let end = connect(master, &settings, &outbox, &events, again).await;
        if report_lost(&outbox, &events).await.is_err() {
            return;
        }
        match end {
            End::Finished => return,
            End::Refused(message) => {
                let _ = events.send(Event::Error(message)).await;
                return;
            }
            End::Lost { subscribed, why } => {
                tracing::info!(%master, why, "not connected to the master");
                if subscribed {
                    again = true;
                    backoff.reset();
                    if events.send(Event::Disconnected).await.is_err() {
                        return;
                    }
                }
            }
        }
        if !pause(&outbox, &events, Instant::now() + backoff.pause()).await {
            return;
        }
    }
}

/// Waits for the next attempt; false if there is no need for one. Launches that come meanwhile are
/// answered at once.
async fn pause(outbox: &Outbox, events: &mpsc::Sender<Event>, until: Instant) -> bool {
    loop {
        if outbox.closing() && !outbox.has_next() {
            return false;
        }
        tokio::select! {
            () = sleep_until(until) => return true,
            () = outbox.changed() => {}
            () = events.closed() => return false,
        }
        if report_lost(outbox, events).await.is_err() {
            return false;
        }
    }
}

/// Tells the scheduler which of its launches died with the connection.
async fn report_lost(outbox: &Outbox, events: &mpsc::Sender<Event>) -> Result<(), ()> {
    let lost = outbox.disconnected();
    if lost.is_empty() {
        return Ok(());
    }
    let aware = outbox.partition_aware();
    let state = if aware { v1::TaskState::TaskDropped } else { v1::TaskState::TaskLost };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    for task in lost {
        let status = v1::TaskStatus {
            task_id: task.task_id,
            state: state.into(),
            agent_id: Some(task.agent_id),
            message: Some("The connection to the master was lost before the launch".to_owned()),
            source: Some(v1::task_status::Source::Master.into()),
            reason: Some(v1::task_status::Reason::MasterDisconnected.into()),
            timestamp: Some(now),
            ..Default::default()
        };
        events.send(Event::Update(Box::new(status))).await.map_err(|_| ())?;
    }
    Ok(())
}

/// One connection from its first call to its end.
async fn connect(
    master: &str,
    settings: &Settings,
    outbox: &Outbox,
    events: &mpsc::Sender<Event>,
    again: bool,
) -> End {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{master}")) else {
        return End::Refused(format!("'{master}' is not host:port of a master"));
    };
    let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true);
    let lost = |why: String| End::Lost { subscribed: false, why };
    let channel = match timeout(CONNECT, endpoint.connect()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return lost(crate::errors::chain(&error)),
        Err(_) => return lost("no connection in time".to_owned()),
    };
    let mut client = SchedulerServiceClient::new(channel)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let (calls, outgoing) = mpsc::channel(CALLS);
    if calls.send(outbox.subscribe()).await.is_err() {
        return lost("the channel was closed".to_owned());
    }
    match timeout(CONNECT, client.connect(ReceiverStream::new(outgoing))).await {
        Ok(Ok(answer)) => {
            let incoming = answer.into_inner();
            let conversation = Conversation { settings, outbox, events, again };
            conversation.hold(incoming, calls).await
        }
        Ok(Err(status)) => ended(&status, false),
        Err(_) => lost("the master did not answer in time".to_owned()),
    }
}

/// One subscription.
struct Conversation<'a> {
    settings: &'a Settings,
    outbox: &'a Outbox,
    events: &'a mpsc::Sender<Event>,
    again: bool,
}

impl Conversation<'_> {
    /// Listens and speaks until one side has had enough.
    async fn hold(self, mut incoming: Streaming<wire::Event>, calls: mpsc::Sender<Call>) -> End {
        let (mut subscribed, mut torn_down) = (false, false);
        // Any word of the master counts as a heartbeat.
        let mut silence = CONNECT;
        let mut deadline = Instant::now() + silence;
        // An event that the scheduler has no room for yet. Until it has, nothing more is read, but
        // calls go out.
        let mut heard: Option<Event> = None;
        let lost = |subscribed, why: &str| End::Lost { subscribed, why: why.to_owned() };
        loop {
            // Nothing may go out before the master has answered the subscription.
            let speak = subscribed && self.outbox.has_next();
            if torn_down || (self.outbox.closing() && !speak) {
                drop(calls);
                return farewell(incoming).await;
            }
            if self.outbox.overflowed() {
                return lost(subscribed, "the master does not read");
            }
            tokio::select! {
                message = incoming.message(), if heard.is_none() => {
                    let event = match message {
                        Ok(Some(event)) => event,
                        Ok(None) => return lost(subscribed, "the master ended the stream"),
                        Err(status) => return ended(&status, subscribed),
                    };
                    if let Some(greeting) = &event.subscribed {
                        subscribed = true;
                        silence = self.patience(greeting);
                        self.outbox.subscribed(greeting.framework_id.clone());
                    }
                    deadline = Instant::now() + silence;
                    heard = Event::from_wire(event, self.again);
                    if let Some(Event::Error(message)) = heard {
                        return End::Refused(message);
                    }
                }
                permit = self.events.reserve(), if heard.is_some() => {
                    let Ok(permit) = permit else { return End::Finished };
                    if let Some(event) = heard.take() {
                        permit.send(event);
                    }
                    // From now on, not from before: a scheduler that takes its time is no
                    // reason to blame the master.
                    deadline = Instant::now() + silence;
                }
                permit = calls.reserve(), if speak => {
                    let Ok(permit) = permit else {
                        return lost(subscribed, "the channel was closed");
                    };
                    if let Some(call) = self.outbox.next() {
                        torn_down = call.r#type() == call::Type::Teardown;
                        permit.send(call);
                    }
                }
                () = self.outbox.changed(), if !speak => {}
                () = sleep_until(deadline), if heard.is_none() => {
                    return lost(subscribed, "the master has been silent for too long");
                }
                () = self.events.closed() => return End::Finished,
            }
        }
    }

    fn patience(&self, greeting: &wire::event::Subscribed) -> Duration {
        let interval = greeting
            .heartbeat_interval_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|interval| !interval.is_zero())
            .unwrap_or(HEARTBEAT);
        interval.saturating_mul(self.settings.missed_heartbeats)
    }
}

/// We have said everything; waits until the master has heard it and ends its side.
async fn farewell(mut incoming: Streaming<wire::Event>) -> End {
    let until_end = async { while let Ok(Some(_)) = incoming.message().await {} };
    let _ = timeout(LAST_WORDS, until_end).await;
    End::Finished
}

/// A master that restarts or is not the leader is worth another try; a no is a no.
fn ended(status: &Status, subscribed: bool) -> End {
    match status.code() {
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => End::Refused(status.message().to_owned()),
        _ => End::Lost { subscribed, why: status.message().to_owned() },
    }
}
