//! No message and no body larger than the limit, whatever its sender claims: the length is checked when it is announced,
//! and the bytes are counted as they come.
//!
//! For gRPC the limit is per message, because a stream may carry messages for weeks. The length of each message stands
//! before it, so a message that is too large is refused before it is read. For plain HTTP it is the whole body.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use http::{Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::Limited;
use tonic::Status;
use tower::Layer;

use super::grpc::is_grpc;
use super::{Answer, Around, Inner, Surrounded};

/// Bytes before each gRPC message: a compression flag and the length.
const PREFIX: usize = 5;

/// Refuses what is too large.
#[derive(Clone, Copy, Debug)]
pub struct SizeLimitLayer {
    max_message: usize,
    max_body: usize,
}

impl SizeLimitLayer {
    /// At most `max_message` bytes in one gRPC message, at most `max_body` bytes in one plain HTTP body.
    #[must_use]
    pub fn new(max_message: usize, max_body: usize) -> Self {
        Self { max_message, max_body }
    }
}

impl<S> Layer<S> for SizeLimitLayer {
    type Service = Surrounded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Surrounded::new(inner, *self)
    }
}

impl Around for SizeLimitLayer {
    fn call(&self, inner: &mut impl Inner, request: Request<Body>) -> Answer {
        let limits = *self;
        if is_grpc(request.headers()) {
            let request = request.map(|body| MessageLimit::wrap(body, limits.max_message));
            return Box::pin(inner.call(request));
        }
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limits.max_body as u64) {
            return Box::pin(async move { Ok(body_too_large(limits.max_body)) });
        }
        let request = request.map(|body| Body::new(Limited::new(body, limits.max_body)));
        Box::pin(inner.call(request))
    }
}

fn body_too_large(limit: usize) -> Response<Body> {
    let text = format!("the body of the request is too large: expected at most {limit} bytes\n");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

fn message_too_large(length: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "a message of {length} bytes is too large: expected at most {limit} bytes"
    ))
}

/// A stream of gRPC messages of which none may be larger than the limit.
struct MessageLimit {
    inner: Body,
    limit: usize,
    state: Framing,
    failed: bool,
}

/// Where in the stream of messages we stand.
enum Framing {
    /// Inside a prefix, of which so many bytes are known.
    Prefix { known: [u8; PREFIX], count: usize },
    /// Inside a message, of which so many bytes are still to come.
    Message { missing: usize },
}

impl Framing {
    const START: Self = Self::Prefix { known: [0; PREFIX], count: 0 };

    /// Walks over `data`; gives the length of the first message that is too large.
    fn walk(&mut self, mut data: &[u8], limit: usize) -> Result<(), usize> {
        while !data.is_empty() {
            match self {
                Self::Message { missing } => {
                    let step = data.len().min(*missing);
                    data.advance(step);
                    *missing -= step;
                    if *missing == 0 {
                        *self = Self::START;
                    }
                }
                Self::Prefix { known, count } => {
                    if let Some(place) = known.get_mut(*count) {
                        *place = data.get_u8();
                        *count += 1;
                    }
                    if *count < PREFIX {
                        continue;
                    }
                    let [_flag, length @ ..] = *known;
                    let length = u32::from_be_bytes(length) as usize;
                    if length > limit {
                        return Err(length);
                    }
                    *self =
                        if length == 0 { Self::START } else { Self::Message { missing: length } };
                }
            }
        }
        Ok(())
    }
}

impl MessageLimit {
    fn wrap(body: Body, limit: usize) -> Body {
        Body::new(Self { inner: body, limit, state: Framing::START, failed: false })
    }
}

impl http_body::Body for MessageLimit {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let limit = self.limit;
            if let Err(length) = self.state.walk(data, limit) {
                self.failed = true;
                let status = message_too_large(length, limit);
                // tonic finds the status in the chain of sources and answers the call with it.
                return Poll::Ready(Some(Err(axum::Error::new(status))));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::super::testing::{grpc_frame, grpc_request, service};
    use super::*;
    use http_body_util::BodyExt as _;
    use std::convert::Infallible;
    use tower::ServiceExt as _;

    /// What the handler sees of a body that comes in these pieces: all of it, or the error.
    async fn read_by_handler(request: Request<Body>, limit: usize) -> Result<usize, String> {
        let inner = service(|request: Request<Body>| async {
            let read = request.into_body().collect().await;
            Response::new(Body::from(match read {
                Ok(all) => all.to_bytes().len().to_string(),
                Err(error) => error.to_string(),
            }))
        });
        let layer = SizeLimitLayer::new(limit, limit);
        let answer = layer.layer(inner).oneshot(request).await.unwrap();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        text.parse().map_err(|_| text)
    }

    fn in_pieces(bytes: &Bytes, size: usize) -> Body {
        let pieces: Vec<_> = bytes
            .chunks(size)
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_long_stream_of_small_messages_passes_however_it_is_cut() {
        let one: Bytes = grpc_frame(&[7; 100]);
        let all = Bytes::from(one.repeat(50));
        for size in [1, 3, 5, 105, 1000, 9999] {
            let request = grpc_request("/a.B/C").map(|_| in_pieces(&all, size));
            assert_eq!(read_by_handler(request, 100).await, Ok(all.len()));
        }
    }

    #[tokio::test]
    async fn a_message_one_byte_too_large_is_refused_from_its_prefix_alone() {
        let frame = grpc_frame(&[7; 101]);
        for size in [1, 5, 200] {
            let request = grpc_request("/a.B/C").map(|_| in_pieces(&frame, size));
            let error = read_by_handler(request, 100).await.unwrap_err();
            assert!(error.contains("101 bytes is too large: expected at most 100"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_before_the_handler_sees_it() {
        let request = Request::post("/page")
            .header(header::CONTENT_LENGTH, "101")
            .body(Body::empty())
            .unwrap();
        let error = read_by_handler(request, 100).await.unwrap_err();
        assert!(error.contains("expected at most 100 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_chunked_body_is_cut_at_the_limit() {
        let bytes = Bytes::from(vec![1; 101]);
        let request = Request::post("/page").body(in_pieces(&bytes, 10)).unwrap();
        assert!(read_by_handler(request, 100).await.is_err());
        let request = Request::post("/page").body(in_pieces(&bytes, 10)).unwrap();
        assert_eq!(read_by_handler(request, 101).await, Ok(101));
    }
}
