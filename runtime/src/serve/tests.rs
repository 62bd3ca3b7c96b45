//! The server as clients see it: real sockets on free ports, and in-memory connections where time must fly.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::*;

struct Running {
    address: SocketAddr,
    metrics: Metrics,
    shutdown: Shutdown,
    health: Health,
    ended: JoinHandle<()>,
}

impl Running {
    async fn start(routes: Router, options: ServeOptions) -> Self {
        let metrics = Metrics::new("sample");
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr();
        let server = Server::new(metrics.clone()).http(routes).options(options);
        let health = server.health();
        let shutdown = Shutdown::new();
        let token = shutdown.clone();
        let ended = crate::task::spawn("server", async move {
            server.serve(listener, token).await.unwrap();
        });
        Self { address, metrics, shutdown, health, ended }
    }

    async fn plain() -> Self {
        Self::start(Router::new(), ServeOptions::default()).await
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.trigger("the test ends");
        self.ended.await.unwrap();
    }

    /// One HTTP/1.1 request on a connection of its own: status line and headers, and the body.
    async fn http(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn grpc_and_http_share_one_port() {
    let server = Running::plain().await;
    let mut client = HealthClient::new(server.channel().await);
    let answer = client.check(check("")).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    for path in ["/healthz", "/health"] {
        let (head, body) = server.http(&format!("GET {path} HTTP/1.1")).await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert_eq!(body, "");
    }
    let (head, body) = server.http("GET /metrics HTTP/1.1").await;
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(
        body.contains("sample_rpcs_total{method=\"grpc.health.v1.Health/Check\",code=\"OK\"} 1"),
        "{body}"
    );
    server.stop().await;
}

#[tokio::test]
async fn health_says_what_it_was_told() {
    let server = Running::plain().await;
    let mut client = HealthClient::new(server.channel().await);
    let unknown = client.check(check("a.B")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    server.health.set_serving("a.B", true).await;
    let mut watch = client.watch(check("a.B")).await.unwrap().into_inner();
    let told = watch.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::Serving);
    server.health.set_serving("a.B", false).await;
    let told = watch.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
    server.stop().await;
}

#[tokio::test]
async fn reflection_lists_services_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let server = Running::plain().await;
    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut answers = client
        .server_reflection_info(futures_util::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("grpc.health.v1.Health"), "{answer}");

    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                "grpc.health.v1.Health".to_owned(),
            ),
        ),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut answers = client
        .server_reflection_info(futures_util::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("FileDescriptorResponse"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unknown_rpc_is_unimplemented() {
    let server = Running::plain().await;
    let (head, body) = server.http("GET /no/such HTTP/1.1").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(body, "no such path: /no/such\n");
    let (head, body) = server.http("GET /no/such\"x HTTP/1.1\r\naccept: application/json").await;
    assert!(head.contains("application/json"), "{head}");
    assert_eq!(body, "{\"error\":\"no such path: /no/such\\\"x\"}\n");

    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    grpc.ready().await.unwrap();
    let path = "/made.Up/Name".parse().unwrap();
    let codec = tonic_prost_codec();
    let refused = grpc.unary(tonic::Request::new(check("")), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    server.stop().await;
}

/// The codec the health client itself uses.
fn tonic_prost_codec()
-> impl tonic::codec::Codec<Encode = HealthCheckRequest, Decode = tonic_health::pb::HealthCheckResponse>
{
    tonic_prost::ProstCodec::default()
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_with_its_size() {
    let options = ServeOptions { max_message_bytes: 1 << 20, ..ServeOptions::default() };
    let server = Running::start(Router::new(), options).await;
    let mut client = HealthClient::new(server.channel().await);
    let refused = client.check(check(&"x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("expected at most 1048576 bytes"), "{refused}");
    // The connection goes on.
    client.check(check("")).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_panic_ends_one_request_and_nothing_else() {
    let routes = Router::new().route(
        "/panic",
        get(|| async {
            if true {
                panic!("on purpose");
            }
        }),
    );
    let server = Running::start(routes, ServeOptions::default()).await;
    let (head, _) = server.http("GET /panic HTTP/1.1").await;
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    let (head, _) = server.http("GET /healthz HTTP/1.1").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(server.metrics.text().contains("sample_panics_total 1"));
    server.stop().await;
}

#[tokio::test]
async fn each_record_of_a_streamed_answer_arrives_at_once_as_one_chunk() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(4);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let routes = Router::new().route(
        "/stream",
        get(move || {
            let receiver = receiver.lock().unwrap().take().unwrap();
            let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
            async move { Body::from_stream(stream) }
        }),
    );
    let server = Running::start(routes, ServeOptions::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut read_until = async |end: &[u8]| {
        let mut seen = Vec::new();
        while !seen.ends_with(end) {
            seen.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(seen).unwrap()
    };
    let head = read_until(b"\r\n\r\n").await;
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    for record in ["first", "the second"] {
        sender.send(Ok(record.into())).await.unwrap();
        let chunk = read_until(format!("{record}\r\n").as_bytes()).await;
        assert_eq!(chunk, format!("{:X}\r\n{record}\r\n", record.len()));
    }
    drop(sender);
    assert_eq!(read_until(b"\r\n\r\n").await, "0\r\n\r\n");
    server.stop().await;
}

#[tokio::test]
async fn a_large_chunked_upload_is_read_whole() {
    let routes = Router::new().route(
        "/upload",
        post(|body: Body| async move {
            let mut stream = body.into_data_stream();
            let mut total = 0;
            while let Some(piece) = stream.next().await {
                total += piece.unwrap().len();
            }
            total.to_string()
        }),
    );
    let server = Running::start(routes, ServeOptions::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![7_u8; 1 << 20];
    for _ in 0..20 {
        stream.write_all(b"100000\r\n").await.unwrap();
        stream.write_all(&piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("20971520"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_names_the_address_and_who_has_it() {
    let server = Running::plain().await;
    let error = bind(server.address).await.unwrap_err();
    let text = error.to_string();
    let expected = format!("cannot listen on {}: the port is in use by ", server.address);
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let error = bind("192.0.2.1:5050".parse().unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot listen on 192.0.2.1:5050: no interface of this machine has the address 192.0.2.1"
    );
}

#[tokio::test]
async fn the_shutdown_lets_a_call_end_and_then_the_port_is_free() {
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let slots = Arc::new(Mutex::new(Some((begun, released))));
    let routes = Router::new().route(
        "/slow",
        get(move || {
            let (begun, released) = slots.lock().unwrap().take().unwrap();
            async move {
                begun.send(()).unwrap();
                released.await.unwrap();
                "done"
            }
        }),
    );
    let options = ServeOptions { drain: Duration::from_secs(30), ..ServeOptions::default() };
    let server = Running::start(routes, options).await;
    let address = server.address;
    let slow = server.http("GET /slow HTTP/1.1");
    let stop = async {
        has_begun.await.unwrap();
        server.shutdown.trigger("the test ends");
        release.send(()).unwrap();
    };
    let ((head, body), ()) = tokio::join!(slow, stop);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "done");
    server.ended.await.unwrap();
    bind(address).await.unwrap();
}

#[tokio::test]
async fn an_rpc_stream_ends_with_unavailable_at_the_shutdown() {
    let server = Running::plain().await;
    server.health.set_serving("a.B", true).await;
    let mut client = HealthClient::new(server.channel().await);
    let mut watch = client.watch(check("a.B")).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    server.stop().await;
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_after_the_drain_time() {
    let routes = Router::new().route("/hang", get(std::future::pending::<()>));
    let options = ServeOptions { drain: Duration::from_millis(50), ..ServeOptions::default() };
    let server = Running::start(routes, options).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Another request is answered after this one was accepted.
    server.http("GET /healthz HTTP/1.1").await;
    server.stop().await;
    let mut rest = Vec::new();
    // Cut off: an end or a reset, but not a wait.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

/// A server over in-memory connections under paused time.
fn in_memory(
    options: ServeOptions,
) -> (tokio::sync::mpsc::Sender<(tokio::io::DuplexStream, SocketAddr)>, Shutdown) {
    let (connect, incoming) = tokio::sync::mpsc::channel(4);
    let shutdown = Shutdown::new();
    let token = shutdown.clone();
    let server = Server::new(Metrics::new("sample")).options(options);
    drop(crate::task::spawn("server", async move {
        server.serve(incoming, token).await.unwrap();
    }));
    (connect, shutdown)
}

async fn get_healthz(io: &mut tokio::io::DuplexStream) -> String {
    io.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_idle_http1_connection_is_never_closed() {
    let (connect, _shutdown) = in_memory(ServeOptions::default());
    let (mut client, server) = tokio::io::duplex(4096);
    connect.send((server, "127.0.0.1:1".parse().unwrap())).await.unwrap();
    assert!(get_healthz(&mut client).await.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_secs(48 * 3600)).await;
    assert!(get_healthz(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_http2_peer_is_noticed_by_pings() {
    let (connect, _shutdown) = in_memory(ServeOptions::default());
    let (mut client, server) = tokio::io::duplex(4096);
    connect.send((server, "127.0.0.1:1".parse().unwrap())).await.unwrap();
    // The preface and empty SETTINGS, then silence: pings stay without an answer.
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut rest = Vec::new();
    let read = client.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(60), read).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let options = ServeOptions { max_connections: Some(1), ..ServeOptions::default() };
    let (connect, _shutdown) = in_memory(options);
    let (mut first, server) = tokio::io::duplex(4096);
    connect.send((server, "127.0.0.1:1".parse().unwrap())).await.unwrap();
    get_healthz(&mut first).await;
    let (mut second, server) = tokio::io::duplex(4096);
    connect.send((server, "127.0.0.1:2".parse().unwrap())).await.unwrap();
    {
        let waiting = get_healthz(&mut second);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        // The place is taken as long as the first one answers; then it is free.
        get_healthz(&mut first).await;
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        assert!(waiting.await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn wrong_descriptors_are_an_error_not_a_panic() {
    let (_connect, incoming) =
        tokio::sync::mpsc::channel::<(tokio::io::DuplexStream, SocketAddr)>(1);
    let server = Server::new(Metrics::new("sample")).descriptors(b"\xff\xff\xff");
    let error = server.serve(incoming, Shutdown::new()).await.unwrap_err();
    assert!(matches!(error, ServeError::Descriptors(_)));
}
