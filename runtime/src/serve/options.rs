//! Limits and timeouts of a server, with the reasons for their defaults.

use std::time::Duration;

/// How a server treats its connections and calls.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// A unary call without a deadline of its own ends after this long. Reads of large states fit in; hangs do not.
    pub unary_deadline: Option<Duration>,
    /// Largest gRPC message of any service, refused before it is read. Each service has a limit of its own besides (4 MiB,
    /// tonic's default, unless it raises it); this one holds for all, however they are written.
    pub max_message_bytes: usize,
    /// Largest body of a plain HTTP request.
    pub max_body_bytes: usize,
    /// Connections at one time; when they are used up, further ones wait in the kernel's queue. Unless given: the limit of
    /// open files less a reserve, so that a flood of connections cannot take the files the process itself needs.
    pub max_connections: Option<usize>,
    /// HTTP/2 streams on one connection. Simulated agents and proxies put thousands on one.
    pub max_concurrent_streams: u32,
    /// An HTTP/2 peer that was silent for this long is pinged.
    pub keep_alive_interval: Duration,
    /// A pinged peer that does not answer within this time is gone.
    pub keep_alive_timeout: Duration,
    /// HTTP/2 flow-control window of one stream. Many small messages in flight fit in; a slow reader holds no more.
    pub stream_window_bytes: u32,
    /// HTTP/2 flow-control window of one connection.
    pub connection_window_bytes: u32,
    /// How long open calls may go on after the shutdown began.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            unary_deadline: Some(Duration::from_secs(60)),
            max_message_bytes: 64 << 20,
            max_body_bytes: 64 << 20,
            max_connections: None,
            max_concurrent_streams: 20_000,
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(10),
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 8 << 20,
            drain: Duration::from_secs(3),
        }
    }
}
