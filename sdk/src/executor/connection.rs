//! The connection to the agent: one task that connects, listens, speaks and starts again.

use std::sync::Arc;
use std::time::Duration;

use mezzo_proto::v1::executor::executor_service_client::ExecutorServiceClient;
use mezzo_proto::v1::executor::{self as wire, Call};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use super::config::Config;
use super::event::Event;
use super::outbox::Outbox;
use crate::backoff;

/// Events that may wait for the executor before the connection stops reading.
pub(super) const EVENTS: usize = 64;
/// Calls on their way to the transport; more stay in the outbox.
const CALLS: usize = 16;
/// Frameworks and executors may send each other large data.
const LARGEST_MESSAGE: usize = 64 << 20;
/// How long a first connection is tried when a lost agent would not be waited for.
const FIRST_CONTACT: Duration = Duration::from_secs(10);
/// How long a stopping executor waits for its last acknowledgements.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// How a connection ended.
enum End {
    /// The executor is done, or nobody listens any more.
    Finished,
    /// The agent said no; trying again would not help.
    Refused(String),
    /// The agent is not there (any more). True if it had subscribed us.
    Lost { subscribed: bool },
}

/// Keeps the executor connected until it stops, is refused, or has lost its agent for too long.
pub(super) async fn run(config: Config, outbox: Arc<Outbox>, events: mpsc::Sender<Event>) {
    let patience = if config.checkpoint { config.recovery_timeout } else { FIRST_CONTACT };
    let mut give_up = Instant::now() + patience;
    loop {
        match connect(&config, &outbox, &events, give_up).await {
            End::Finished => return,
            End::Refused(message) => {
                let _ = events.send(Event::Error(message)).await;
                return;
            }
            End::Lost { subscribed } => {
                if subscribed {
                    if events.send(Event::Disconnected).await.is_err() {
                        return;
                    }
                    give_up = Instant::now() + patience;
                }
                if (subscribed && !config.checkpoint) || Instant::now() >= give_up {
                    let _ = events.send(Event::Shutdown).await;
                    return;
                }
            }
        }
        // Half of what an agent that has just restarted waits: the attempt after it is up comes in
        // time.
        let again = Instant::now() + backoff::up_to(config.subscription_backoff_max / 2);
        if !pause(&outbox, &events, again.min(give_up)).await {
            return;
        }
    }
}

/// Waits for the next attempt; false if there is no need for one.
async fn pause(outbox: &Outbox, events: &mpsc::Sender<Event>, until: Instant) -> bool {
    loop {
        if outbox.finished() || events.is_closed() {
            return false;
        }
        tokio::select! {
            () = sleep_until(until) => return true,
            () = outbox.changed() => {}
        }
    }
}

/// One connection from its first call to its end.
async fn connect(
    config: &Config,
    outbox: &Outbox,
    events: &mpsc::Sender<Event>,
    give_up: Instant,
) -> End {
    let endpoint = match Endpoint::from_shared(format!("http://{}", config.agent_endpoint)) {
        Ok(endpoint) => endpoint.tcp_nodelay(true),
        Err(_) => {
            let message = format!("'{}' is not host:port of an agent", config.agent_endpoint);
            return End::Refused(message);
        }
    };
    let Ok(Ok(channel)) = timeout_at(give_up, endpoint.connect()).await else {
        return End::Lost { subscribed: false };
    };
    let mut client = ExecutorServiceClient::new(channel)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let (calls, outgoing) = mpsc::channel(CALLS);
    if calls.send(outbox.subscribe()).await.is_err() {
        return End::Lost { subscribed: false };
    }
    match timeout_at(give_up, client.connect(ReceiverStream::new(outgoing))).await {
        Ok(Ok(answer)) => converse(answer.into_inner(), calls, outbox, events).await,
        Ok(Err(status)) => ended(&status, false),
        Err(_) => End::Lost { subscribed: false },
    }
}

/// Listens and speaks until one side has had enough.
async fn converse(
    mut incoming: Streaming<wire::Event>,
    calls: mpsc::Sender<Call>,
    outbox: &Outbox,
    events: &mpsc::Sender<Event>,
) -> End {
    let mut subscribed = false;
    let mut last_words: Option<Instant> = None;
    // An event that the executor has no room for yet. Until it has, nothing more is read, but calls
    // go out.
    let mut heard: Option<Event> = None;
    loop {
        if outbox.finished() {
            return End::Finished;
        }
        if last_words.is_none() && outbox.stopping() {
            last_words = Some(Instant::now() + LAST_WORDS);
        }
        // Updates go out only after the agent has answered the subscription they are part of.
        let speak = subscribed && outbox.has_next();
        tokio::select! {
            message = incoming.message(), if heard.is_none() => match message {
                Ok(Some(event)) => match Event::from_wire(event) {
                    None => {}
                    Some(Event::Error(message)) => return End::Refused(message),
                    Some(event) => {
                        subscribed |= matches!(event, Event::Subscribed(_));
                        remember(&event, outbox);
                        heard = Some(event);
                    }
                },
                Ok(None) => return End::Lost { subscribed },
                Err(status) => return ended(&status, subscribed),
            },
            permit = events.reserve(), if heard.is_some() => {
                let Ok(permit) = permit else { return End::Finished };
                if let Some(event) = heard.take() {
                    permit.send(event);
                }
            }
            permit = calls.reserve(), if speak => match permit {
                Ok(permit) => if let Some(call) = outbox.next() { permit.send(call) },
                Err(_) => return End::Lost { subscribed },
            },
            () = outbox.changed(), if !speak => {}
            () = sleep_until(last_words.unwrap_or_else(Instant::now)), if last_words.is_some() => {
                return End::Finished;
            }
            () = events.closed() => return End::Finished,
        }
    }
}

/// Keeps the books that the next subscription will be made from.
fn remember(event: &Event, outbox: &Outbox) {
    match event {
        Event::Launch(task) => outbox.remember_task((**task).clone()),
        Event::LaunchGroup(group) => {
            for task in &group.tasks {
                outbox.remember_task(task.clone());
            }
        }
        Event::Acknowledged { task_id, uuid } => outbox.acknowledge(task_id, uuid),
        _ => {}
    }
}

/// An agent that restarts, recovers or is overloaded is worth another try; a no is a no.
fn ended(status: &Status, subscribed: bool) -> End {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented => End::Refused(status.message().to_owned()),
        _ => End::Lost { subscribed },
    }
}
