//! The plain HTTP side, and the fork between it and gRPC.

use std::convert::Infallible;
use std::task::{Context, Poll};

use ::http::{HeaderMap, Request, StatusCode, header};
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::Service;

use crate::layers::is_grpc;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// Sends gRPC calls to the RPC services and everything else to the HTTP routes. (In one merged router tonic's fallback
/// would answer every mistyped URL with 200 and a gRPC status.)
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    pub(super) rpc: Router,
    pub(super) http: Router,
}

impl Service<Request<Body>> for Dispatch {
    type Response = Response;
    type Error = Infallible;
    type Future = axum::routing::future::RouteFuture<Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routers are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_grpc(request.headers()) { self.rpc.call(request) } else { self.http.call(request) }
    }
}

/// The routes every server has, those of its owner, and 404 for the rest.
pub(super) fn router(own: Router, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/health", get(|| async { StatusCode::OK }))
        .route("/metrics", get(move || async move { metrics_text(&metrics) }))
        .merge(own)
        .fallback(not_found)
        // The size layer outside limits bodies, for all of them alike.
        .layer(DefaultBodyLimit::disable())
}

fn metrics_text(metrics: &Metrics) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text()).into_response()
}

async fn not_found(request: Request<Body>) -> Response {
    let path = request.uri().path();
    if wants_json(request.headers()) {
        let text = format!("{{\"error\":{}}}\n", json_string(&format!("no such path: {path}")));
        let kind = [(header::CONTENT_TYPE, "application/json")];
        return (StatusCode::NOT_FOUND, kind, text).into_response();
    }
    (StatusCode::NOT_FOUND, format!("no such path: {path}\n")).into_response()
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("application/json"))
}

/// A JSON string. The text is a URI path, hence ASCII without control characters: quotes and backslashes are all.
fn json_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
