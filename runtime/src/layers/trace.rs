//! A span for every call, and its numbers: how many by method and code, how long unary ones take, how many streams are
//! open. It stands outside all other layers, so refusals, deadlines and panics are counted as what they became.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use opentelemetry::propagation::Extractor;
use tonic::Code;
use tower::Layer;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::grpc::{code_name, code_of, is_grpc};
use super::{Answer, Around, Inner, MethodKind, Methods, Surrounded};
use crate::metrics::{By, Counter, Gauge, Histogram, Metrics};

/// The numbers of all calls of a server.
#[derive(Clone, Debug)]
pub struct CallNumbers {
    rpcs: By<Counter, 2>,
    rpc_seconds: By<Histogram, 1>,
    open_streams: By<Gauge, 1>,
    http_requests: By<Counter, 1>,
}

impl CallNumbers {
    /// Declares them: `rpcs_total`, `rpc_seconds`, `rpc_streams_open`, `http_requests_total`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            rpcs: metrics.counter_by("rpcs", "RPCs that ended, by code.", ["method", "code"]),
            rpc_seconds: metrics.time_histogram_by(
                "rpc_seconds",
                "Time of unary RPCs, from the request's headers to the end of the answer.",
                ["method"],
            ),
            open_streams: metrics.gauge_by(
                "rpc_streams_open",
                "Streaming RPCs that are open now.",
                ["method"],
            ),
            http_requests: metrics.counter_by(
                "http_requests",
                "Plain HTTP requests that were answered.",
                ["code"],
            ),
        }
    }
}

/// Makes calls visible.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    methods: Arc<Methods>,
    numbers: CallNumbers,
}

impl TraceLayer {
    /// Names calls by `methods` and counts them in `numbers`.
    #[must_use]
    pub fn new(methods: Arc<Methods>, numbers: CallNumbers) -> Self {
        Self { methods, numbers }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Surrounded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Surrounded::new(inner, self.clone())
    }
}

impl Around for TraceLayer {
    fn call(&self, inner: &mut impl Inner, request: Request<Body>) -> Answer {
        if !is_grpc(request.headers()) {
            let numbers = self.numbers.clone();
            let span = tracing::debug_span!("http", method = %request.method(), path = request.uri().path());
            let answer = inner.call(request);
            return Box::pin(
                async move {
                    let answer = answer.await?;
                    let code = answer.status().as_str().to_owned();
                    numbers.http_requests.with([code]).inc();
                    Ok(answer)
                }
                .instrument(span),
            );
        }
        let (call, span) = self.begin(&request);
        let answer = span.in_scope(|| inner.call(request));
        Box::pin(async move {
            let answer = answer.instrument(span.clone()).await?;
            Ok(watch(answer, call, span))
        })
    }
}

impl TraceLayer {
    fn begin(&self, request: &Request<Body>) -> (OpenCall, Span) {
        let path = request.uri().path();
        let method = self.methods.label(path);
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let span = tracing::info_span!(
            "rpc",
            otel.name = method,
            otel.kind = "server",
            method,
            peer = peer.map(|ConnectInfo(address)| tracing::field::display(address)),
            code = tracing::field::Empty,
        );
        if request.headers().contains_key("traceparent") && !span.is_disabled() {
            let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
                propagator.extract(&Headers(request.headers()))
            });
            // Fails when no OpenTelemetry layer is installed: then there is nothing to link.
            let _ = span.set_parent(parent);
        }
        let streaming = self.methods.kind(path) == Some(MethodKind::Streaming);
        let gauge = streaming.then(|| {
            let gauge = self.numbers.open_streams.with([method]);
            gauge.inc();
            gauge
        });
        let call = OpenCall {
            numbers: self.numbers.clone(),
            method,
            open: gauge,
            begun: Instant::now(),
            code: None,
            span: span.clone(),
        };
        (call, span)
    }
}

/// A call that has not ended. Dropping it ends it: with what it saw last, or CANCELLED when the caller went away.
struct OpenCall {
    numbers: CallNumbers,
    method: &'static str,
    open: Option<Gauge>,
    begun: Instant,
    code: Option<Code>,
    span: Span,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let code = code_name(self.code.unwrap_or(Code::Cancelled));
        self.span.record("code", code);
        self.numbers.rpcs.with([self.method, code]).inc();
        match &self.open {
            Some(gauge) => {
                gauge.dec();
            }
            None => {
                let seconds = self.begun.elapsed().as_secs_f64();
                self.numbers.rpc_seconds.with([self.method]).observe(seconds);
            }
        }
        let elapsed = self.begun.elapsed();
        tracing::debug!(parent: &self.span, method = self.method, code, ?elapsed, "call ended");
    }
}

/// Keeps the call open until its answer has ended.
fn watch(answer: Response<Body>, mut call: OpenCall, span: Span) -> Response<Body> {
    call.code = code_of(answer.headers());
    if answer.body().is_end_stream() {
        return answer;
    }
    answer.map(|inner| Body::new(WatchedBody { inner, call, span }))
}

/// An answer whose trailers tell how the call ended.
struct WatchedBody {
    inner: Body,
    call: OpenCall,
    span: Span,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = {
            let _entered = this.span.enter();
            Pin::new(&mut this.inner).poll_frame(context)
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    this.call.code = Some(code);
                }
            }
            Poll::Ready(Some(Err(_))) => this.call.code = Some(Code::Unknown),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Headers as OpenTelemetry wants to read them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::super::grpc::{status_response, status_trailers};
    use super::super::testing::{body_and_code, grpc_request, service};
    use super::*;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use tonic::Status;
    use tower::ServiceExt as _;

    const CHECK: &str = "/grpc.health.v1.Health/Check";
    const WATCH: &str = "/grpc.health.v1.Health/Watch";

    fn layer() -> (TraceLayer, Metrics) {
        let metrics = Metrics::new("sample");
        let sets = [tonic_health::pb::FILE_DESCRIPTOR_SET];
        let methods = Methods::from_descriptor_sets(&sets).unwrap();
        let layer = TraceLayer::new(Arc::new(methods), CallNumbers::new(&metrics));
        (layer, metrics)
    }

    fn has(metrics: &Metrics, line: &str) {
        let text = metrics.text();
        assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
    }

    #[tokio::test]
    async fn a_refused_call_is_counted_by_method_and_code() {
        let (layer, metrics) = layer();
        let inner = service(|_| async { status_response(Status::not_found("nothing")) });
        let answer = layer.layer(inner).oneshot(grpc_request(CHECK)).await.unwrap();
        body_and_code(answer).await;
        has(
            &metrics,
            "sample_rpcs_total{method=\"grpc.health.v1.Health/Check\",code=\"NOT_FOUND\"} 1",
        );
        has(&metrics, "sample_rpc_seconds_count{method=\"grpc.health.v1.Health/Check\"} 1");
    }

    #[tokio::test]
    async fn the_code_in_the_trailers_counts() {
        let (layer, metrics) = layer();
        let inner = service(|_| async {
            let trailers = status_trailers(&Status::new(Code::Aborted, "late"));
            let frames = futures_util::stream::iter([Ok::<_, Infallible>(
                Frame::<Bytes>::trailers(trailers),
            )]);
            Response::new(Body::new(StreamBody::new(frames)))
        });
        let answer = layer.layer(inner).oneshot(grpc_request(CHECK)).await.unwrap();
        body_and_code(answer).await;
        has(
            &metrics,
            "sample_rpcs_total{method=\"grpc.health.v1.Health/Check\",code=\"ABORTED\"} 1",
        );
    }

    #[tokio::test]
    async fn a_stream_counts_as_open_until_it_is_dropped() {
        let (layer, metrics) = layer();
        let inner = service(|_| async {
            let never = futures_util::stream::pending::<Result<Bytes, Infallible>>();
            Response::new(Body::from_stream(never))
        });
        let answer = layer.layer(inner).oneshot(grpc_request(WATCH)).await.unwrap();
        let gauge = "sample_rpc_streams_open{method=\"grpc.health.v1.Health/Watch\"}";
        has(&metrics, &format!("{gauge} 1"));
        drop(answer);
        has(&metrics, &format!("{gauge} 0"));
        has(
            &metrics,
            "sample_rpcs_total{method=\"grpc.health.v1.Health/Watch\",code=\"CANCELLED\"} 1",
        );
    }

    #[tokio::test]
    async fn made_up_names_share_one_label() {
        let (layer, metrics) = layer();
        let inner = service(|_| async { status_response(Status::unimplemented("no")) });
        for path in ["/made.Up/A", "/made.Up/B"] {
            layer.clone().layer(inner.clone()).oneshot(grpc_request(path)).await.unwrap();
        }
        has(&metrics, "sample_rpcs_total{method=\"other\",code=\"UNIMPLEMENTED\"} 2");
    }
}
