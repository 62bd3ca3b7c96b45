//! What the tests of all layers share: a service from a closure, a gRPC request, reading an answer to its end.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use tonic::Code;

use super::Inner;
use super::grpc::code_of;

/// A service that answers with what `answer` gives.
pub(crate) fn service<F, R>(answer: F) -> impl Inner
where
    F: Fn(Request<Body>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    tower::service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer(request).await) }
    })
}

/// A gRPC call without a message.
pub(crate) fn grpc_request(path: &str) -> Request<Body> {
    Request::builder()
        .method("POST")
        .uri(path)
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(Body::empty())
        .unwrap()
}

/// One gRPC message as it stands on the wire.
pub(crate) fn grpc_frame(message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

/// The bytes of an answer, and the gRPC code it ended with (in its headers or trailers).
pub(crate) async fn body_and_code(answer: Response<Body>) -> (Bytes, Option<Code>) {
    let in_headers = code_of(answer.headers());
    let collected = answer.into_body().collect().await.unwrap();
    let in_trailers = collected.trailers().and_then(code_of);
    (collected.to_bytes(), in_headers.or(in_trailers))
}
