//! A call ends with DEADLINE_EXCEEDED when the time its caller gave (`grpc-timeout`) is over, the answer's stream
//! included. A unary call without a deadline of its own gets the default one, so that no handler can hang for ever.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tower::Layer;

use super::grpc::{is_grpc, status_response, status_trailers};
use super::{Answer, Around, Inner, MethodKind, Methods, Surrounded};

/// Longest deadline that is honoured; longer ones mean "none" and would only cost a timer.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Ends calls in time.
#[derive(Clone, Debug)]
pub struct DeadlineLayer {
    methods: Arc<Methods>,
    unary_default: Option<Duration>,
}

impl DeadlineLayer {
    /// Knows from `methods` which calls are unary; those get `unary_default` unless the caller says otherwise.
    #[must_use]
    pub fn new(methods: Arc<Methods>, unary_default: Option<Duration>) -> Self {
        Self { methods, unary_default }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Surrounded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Surrounded::new(inner, self.clone())
    }
}

impl Around for DeadlineLayer {
    fn call(&self, inner: &mut impl Inner, request: Request<Body>) -> Answer {
        let given = match self.time_given(&request) {
            Ok(None) => return Box::pin(inner.call(request)),
            Ok(Some(given)) => given,
            Err(status) => return Box::pin(async { Ok(status_response(status)) }),
        };
        let end = Instant::now() + given;
        let answer = inner.call(request);
        Box::pin(async move {
            let Ok(answer) = tokio::time::timeout_at(end, answer).await else {
                return Ok(status_response(exceeded(given)));
            };
            answer.map(|response| response.map(|body| TimedBody::wrap(body, end, given)))
        })
    }
}

impl DeadlineLayer {
    /// The time the caller gave, else the default, else none.
    fn time_given(&self, request: &Request<Body>) -> Result<Option<Duration>, Status> {
        if !is_grpc(request.headers()) {
            return Ok(None);
        }
        match grpc_timeout(request.headers())? {
            Some(given) if given > LONGEST => Ok(None),
            Some(given) => Ok(Some(given)),
            None if self.methods.kind(request.uri().path()) == Some(MethodKind::Unary) => {
                Ok(self.unary_default)
            }
            None => Ok(None),
        }
    }
}

/// Reads `grpc-timeout`: at most 8 digits and a unit (H, M, S, m, u, n).
fn grpc_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    value.to_str().ok().and_then(read_timeout).map(Some).ok_or_else(|| {
        Status::invalid_argument(format!(
            "header grpc-timeout: got {value:?}, expected at most 8 digits and one of H, M, S, m, u, n"
        ))
    })
}

fn read_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn exceeded(given: Duration) -> Status {
    Status::deadline_exceeded(format!("the call took longer than its deadline of {given:?}"))
}

/// A stream that ends with DEADLINE_EXCEEDED when the time is over.
struct TimedBody {
    inner: Option<Body>,
    sleep: Pin<Box<Sleep>>,
    given: Duration,
}

impl TimedBody {
    fn wrap(body: Body, end: Instant, given: Duration) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self { inner: Some(body), sleep: Box::pin(tokio::time::sleep_until(end)), given })
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match self.sleep.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                // Dropping the inner stream is what tells its producer to stop.
                self.inner = None;
                let trailers = status_trailers(&exceeded(self.given));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::super::testing::{body_and_code, grpc_request, service};
    use super::*;
    use http::Response;
    use std::convert::Infallible;
    use tonic::Code;
    use tower::ServiceExt as _;

    const CHECK: &str = "/grpc.health.v1.Health/Check";
    const WATCH: &str = "/grpc.health.v1.Health/Watch";

    fn layer(unary_default: Option<Duration>) -> DeadlineLayer {
        let sets = [tonic_health::pb::FILE_DESCRIPTOR_SET];
        let methods = Methods::from_descriptor_sets(&sets).unwrap();
        DeadlineLayer::new(Arc::new(methods), unary_default)
    }

    async fn code(
        layer: &DeadlineLayer,
        request: Request<Body>,
        body: fn() -> Body,
    ) -> Option<Code> {
        let inner = service(move |_| async move { Response::new(body()) });
        let answer = layer.layer(inner).oneshot(request).await.unwrap();
        body_and_code(answer).await.1
    }

    fn endless() -> Body {
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>())
    }

    #[tokio::test(start_paused = true)]
    async fn a_unary_call_that_hangs_gets_the_default_deadline() {
        let hang = service(|_| std::future::pending::<Response<Body>>());
        let layer = layer(Some(Duration::from_secs(30)));
        let answer = layer.layer(hang).oneshot(grpc_request(CHECK)).await.unwrap();
        assert_eq!(body_and_code(answer).await.1, Some(Code::DeadlineExceeded));
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_ends_a_stream_that_had_begun() {
        let mut request = grpc_request(WATCH);
        request.headers_mut().insert("grpc-timeout", "250m".parse().unwrap());
        assert_eq!(code(&layer(None), request, endless).await, Some(Code::DeadlineExceeded));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_deadline_stays_open() {
        let layer = layer(Some(Duration::from_secs(1)));
        let open = code(&layer, grpc_request(WATCH), endless);
        assert!(tokio::time::timeout(Duration::from_secs(3600), open).await.is_err());
    }

    #[tokio::test]
    async fn a_malformed_deadline_is_refused() {
        for wrong in ["", "5", "S", "-1S", "123456789S", "5s", "1.5S"] {
            let mut request = grpc_request(CHECK);
            request.headers_mut().insert("grpc-timeout", wrong.parse().unwrap());
            let code = code(&layer(None), request, Body::empty).await;
            assert_eq!(code, Some(Code::InvalidArgument), "{wrong:?}");
        }
    }
}
