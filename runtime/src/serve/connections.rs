//! The connection loop: accept, serve in a task of its own, and on shutdown let calls end before cutting them off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming as IncomingBody;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tonic::transport::server::TcpConnectInfo;

use super::{Incoming, ServeOptions};
use crate::layers::Inner;
use crate::metrics::{Counter, Gauge, Metrics};
use crate::shutdown::Shutdown;

/// Open files that connections may not take: logs, stores, pipes and sockets of the process itself.
const RESERVED_FILES: u64 = 512;

/// Connections when the limit of open files cannot be read.
const FALLBACK_CONNECTIONS: usize = 10_000;

/// The numbers of connections.
#[derive(Clone, Debug)]
pub(super) struct ConnectionNumbers {
    open: Gauge,
    accepted: Counter,
}

impl ConnectionNumbers {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            open: metrics.gauge("connections_open", "Connections that are open now."),
            accepted: metrics.counter("connections", "Connections that were accepted."),
        }
    }
}

/// Accepts until the shutdown, then drains.
pub(super) async fn run(
    mut incoming: impl Incoming,
    app: impl Inner,
    options: &ServeOptions,
    numbers: ConnectionNumbers,
    shutdown: Shutdown,
) {
    let builder = builder(options);
    let limit = options.max_connections.unwrap_or_else(default_connections);
    let places = Arc::new(Semaphore::new(limit));
    let graceful = GracefulShutdown::new();
    // Triggered by the end of this function, however it comes: what is still open then is dropped.
    let cut_off = Shutdown::new();
    let _cut_off_at_end = TriggerAtEnd(cut_off.clone());
    loop {
        if places.available_permits() == 0 {
            tracing::warn!(limit, "all connections are in use; new ones wait");
        }
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, incoming.accept().await?))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            accepted = accepted => accepted,
        };
        let Some((place, (io, peer))) = accepted else {
            // No more connections will come; those that are open are served until the shutdown.
            shutdown.triggered().await;
            break;
        };
        numbers.accepted.inc();
        numbers.open.inc();
        let connection = builder
            .serve_connection(TokioIo::new(io), Connection { app: app.clone(), peer })
            .into_owned();
        let connection = graceful.watch(connection);
        let numbers = numbers.clone();
        let cut_off = cut_off.clone();
        drop(crate::task::spawn("connection", async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%peer, "connection ended: {error}");
                },
                () = cut_off.triggered() => {}
            }
            numbers.open.dec();
            drop(place);
        }));
    }
    drop(incoming);
    let drained = tokio::time::timeout(options.drain, graceful.shutdown()).await;
    if drained.is_err() {
        tracing::info!(
            connections = numbers.open.get(),
            "cutting off connections that did not end in time"
        );
    }
}

fn builder(options: &ServeOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Clients of the Mesos API keep connections open for days without a request, and some never reconnect.
        .header_read_timeout(None::<Duration>)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_timeout)
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_stream_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes);
    builder
}

fn default_connections() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    files.map_or(FALLBACK_CONNECTIONS, |files| {
        let share = files.saturating_sub(RESERVED_FILES).max(files / 2).max(1);
        usize::try_from(share).unwrap_or(FALLBACK_CONNECTIONS)
    })
}

/// The stack as one connection sees it: requests come with the address of the peer.
#[derive(Clone)]
struct Connection<S> {
    app: S,
    peer: SocketAddr,
}

impl<S: Inner> hyper::service::Service<Request<IncomingBody>> for Connection<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<IncomingBody>) -> Self::Future {
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(self.peer));
        extensions.insert(TcpConnectInfo { local_addr: None, remote_addr: Some(self.peer) });
        // All parts of the stack are ready at any time, and answer every call from its own clone.
        self.app.clone().call(request)
    }
}

struct TriggerAtEnd(Shutdown);

impl Drop for TriggerAtEnd {
    fn drop(&mut self) {
        self.0.trigger_quietly();
    }
}
