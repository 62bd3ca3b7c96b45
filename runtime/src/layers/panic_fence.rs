//! A panic in a handler ends that call with INTERNAL (HTTP 500); the process, the connection and every other call go on.
//!
//! The state a handler shares with others must not be left half changed by a panic; that is the business of those who own
//! the state (a single writer that applies whole commands). The fence only keeps the damage to one call and tells of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tower::Layer;

use super::grpc::{is_grpc, status_response, status_trailers};
use super::{Answer, Around, Inner, Surrounded};
use crate::metrics::{Counter, Metrics};

/// Turns panics into answers.
#[derive(Clone, Debug)]
pub struct PanicFenceLayer {
    panics: Counter,
}

impl PanicFenceLayer {
    /// Counts panics in `metrics` as `panics_total`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self { panics: metrics.counter("panics", "Calls that ended with a panic.") }
    }

    fn tell(&self, path: &str, panic: &(dyn Any + Send)) {
        self.panics.inc();
        let text = crate::task::panic_text(panic);
        let place = crate::telemetry::last_panic_of_this_thread();
        let place = place.as_deref().unwrap_or("an unknown place");
        tracing::error!(path, place, "a call panicked: {text}");
    }
}

impl<S> Layer<S> for PanicFenceLayer {
    type Service = Surrounded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Surrounded::new(inner, self.clone())
    }
}

impl Around for PanicFenceLayer {
    fn call(&self, inner: &mut impl Inner, request: Request<Body>) -> Answer {
        let fence = self.clone();
        let grpc = is_grpc(request.headers());
        let path = request.uri().path().to_owned();
        let begun = catch_unwind(AssertUnwindSafe(|| inner.call(request)));
        Box::pin(async move {
            let ended = match begun {
                Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            match ended {
                Ok(answer) => answer
                    .map(|response| response.map(|body| FencedBody::wrap(body, fence, grpc, path))),
                Err(panic) => {
                    fence.tell(&path, &*panic);
                    Ok(if grpc { status_response(internal()) } else { plain_500() })
                }
            }
        })
    }
}

fn internal() -> Status {
    Status::internal("the handler of this call failed; the log of the server says where")
}

fn plain_500() -> Response<Body> {
    let mut response = Response::new(Body::from(
        "the handler of this request failed; the log of the server says where\n",
    ));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// A stream whose panic ends it with INTERNAL.
struct FencedBody {
    inner: Option<Body>,
    fence: PanicFenceLayer,
    grpc: bool,
    path: String,
}

impl FencedBody {
    fn wrap(body: Body, fence: PanicFenceLayer, grpc: bool, path: String) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self { inner: Some(body), fence, grpc, path })
    }
}

impl http_body::Body for FencedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context)));
        match polled {
            Ok(frame) => frame,
            Err(panic) => {
                self.fence.tell(&self.path, &*panic);
                // What panicked must not be polled again.
                self.inner = None;
                Poll::Ready(Some(if self.grpc {
                    Ok(Frame::trailers(status_trailers(&internal())))
                } else {
                    // A plain response cannot take its 200 back: cutting it off is how a reader learns.
                    Err(axum::Error::new(internal()))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failing test may panic")]
mod tests {
    use super::super::testing::{body_and_code, grpc_request, service};
    use super::*;
    use std::convert::Infallible;
    use tonic::Code;
    use tower::ServiceExt as _;

    fn fence() -> PanicFenceLayer {
        PanicFenceLayer::new(&Metrics::new("sample"))
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_becomes_internal() {
        let fence = fence();
        let wrapped = fence.layer(service(|_| async { panic!("on purpose") }));
        let answer = wrapped.oneshot(grpc_request("/a.B/C")).await.unwrap();
        assert_eq!(body_and_code(answer).await.1, Some(Code::Internal));
        assert_eq!(fence.panics.get(), 1);
    }

    #[tokio::test]
    async fn a_panic_in_a_stream_ends_it_with_internal() {
        let endless = || {
            let items = futures_util::stream::iter(0..2).map(|n| {
                assert!(n < 1, "on purpose");
                Ok::<_, Infallible>(Bytes::from_static(b"first"))
            });
            Body::from_stream(items)
        };
        let wrapped = fence().layer(service(move |_| async move { Response::new(endless()) }));
        let answer = wrapped.oneshot(grpc_request("/a.B/C")).await.unwrap();
        let (bytes, code) = body_and_code(answer).await;
        assert_eq!((&bytes[..], code), (&b"first"[..], Some(Code::Internal)));
    }

    #[tokio::test]
    async fn a_panic_in_a_plain_handler_becomes_500() {
        let wrapped = fence().layer(service(|_| async { panic!("on purpose") }));
        let request = Request::get("/page").body(Body::empty()).unwrap();
        let answer = wrapped.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    use futures_util::StreamExt as _;
}
