//! Traces reach a collector, with the panic that happened in them. (A binary of its own: telemetry is set up once per
//! process.)
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and the collector is not part of the process under test"
)]

use mezzo_runtime::telemetry::{self, TelemetryFlags};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

/// A collector that hands on what it gets.
struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_and_panics_reach_the_collector_before_the_process_ends() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(sender)))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
    );
    let flags =
        TelemetryFlags { otlp_endpoint: Some(endpoint), quiet: true, ..TelemetryFlags::default() };
    let telemetry = telemetry::init("sample-service", &flags).unwrap();
    let again = telemetry::init("sample-service", &flags).unwrap_err();
    assert_eq!(again.to_string(), "telemetry was set up twice in one process");

    tracing::info_span!("the work").in_scope(|| {
        let caught = std::panic::catch_unwind(|| panic!("on purpose"));
        assert!(caught.is_err());
    });
    telemetry.finish().await;

    let exported = format!("{:?}", received.recv().await.unwrap());
    for part in ["sample-service", "the work", "panic: on purpose", "tests/telemetry.rs"] {
        assert!(exported.contains(part), "no {part:?} in {exported}");
    }
    collector.abort();
}
