//! When the server shuts down, its streams end with UNAVAILABLE at once instead of being cut off at the end of the drain
//! time: the other side learns that this was no network failure, and a server with a thousand open streams stops quickly.
//!
//! Unary calls are left alone: they may end within the drain time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use tonic::Status;
use tower::Layer;

use super::grpc::{status_response, status_trailers};
use super::{Answer, Around, Inner, MethodKind, Methods, Surrounded};
use crate::shutdown::Shutdown;

/// Ends streams when the server does.
#[derive(Clone, Debug)]
pub struct FarewellLayer {
    methods: Arc<Methods>,
    shutdown: Shutdown,
}

impl FarewellLayer {
    /// Ends the streaming ones of `methods` with `shutdown`.
    #[must_use]
    pub fn new(methods: Arc<Methods>, shutdown: Shutdown) -> Self {
        Self { methods, shutdown }
    }
}

impl<S> Layer<S> for FarewellLayer {
    type Service = Surrounded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Surrounded::new(inner, self.clone())
    }
}

impl Around for FarewellLayer {
    fn call(&self, inner: &mut impl Inner, request: Request<Body>) -> Answer {
        let streaming = self.methods.kind(request.uri().path()) == Some(MethodKind::Streaming);
        let answer = inner.call(request);
        if !streaming {
            return Box::pin(answer);
        }
        let shutdown = self.shutdown.clone();
        Box::pin(async move {
            let answer = tokio::select! {
                answer = answer => answer?,
                () = shutdown.triggered() => return Ok(status_response(unavailable())),
            };
            Ok(answer.map(|body| {
                let end = Box::pin(async move { shutdown.triggered().await });
                Body::new(EndingBody { inner: Some(body), end })
            }))
        })
    }
}

fn unavailable() -> Status {
    Status::unavailable("the server is shutting down")
}

/// A stream that ends with UNAVAILABLE at the shutdown.
struct EndingBody {
    inner: Option<Body>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl http_body::Body for EndingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        // What is ready goes out first: a last word that the handler has said is still heard.
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match self.end.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.inner = None;
                Poll::Ready(Some(Ok(Frame::trailers(status_trailers(&unavailable())))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
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

    fn layer() -> FarewellLayer {
        let sets = [tonic_health::pb::FILE_DESCRIPTOR_SET];
        let methods = Methods::from_descriptor_sets(&sets).unwrap();
        FarewellLayer::new(Arc::new(methods), Shutdown::new())
    }

    #[tokio::test]
    async fn a_stream_says_its_last_word_and_ends_with_unavailable() {
        use futures_util::StreamExt as _;
        let layer = layer();
        let inner = service(|_| async {
            let word = futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from("word"))]);
            Response::new(Body::from_stream(word.chain(futures_util::stream::pending())))
        });
        let request = grpc_request("/grpc.health.v1.Health/Watch");
        let answer = layer.layer(inner).oneshot(request).await.unwrap();
        layer.shutdown.trigger("the test");
        let (bytes, code) = body_and_code(answer).await;
        assert_eq!((&bytes[..], code), (&b"word"[..], Some(Code::Unavailable)));
    }

    #[tokio::test]
    async fn a_unary_call_may_end_in_its_own_time() {
        let layer = layer();
        layer.shutdown.trigger("the test");
        let inner = service(|_| async {
            tokio::task::yield_now().await;
            status_response(Status::ok(""))
        });
        let request = grpc_request("/grpc.health.v1.Health/Check");
        let answer = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!(body_and_code(answer).await.1, Some(Code::Ok));
    }
}
