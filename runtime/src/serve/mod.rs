//! One port for everything: gRPC over HTTP/2 (prior knowledge), plain HTTP/1.1 and HTTP/2, health, reflection, metrics.
//!
//! ```no_run
//! # async fn run(descriptors: &'static [u8]) -> Result<(), Box<dyn std::error::Error>> {
//! use mezzo_runtime::{metrics::Metrics, serve, shutdown::Shutdown};
//!
//! let listener = serve::bind("127.0.0.1:5050".parse()?).await?;
//! let server = serve::Server::new(Metrics::new("shop"))
//!     .descriptors(descriptors)
//!     //.service(ThingServer::new(handler))
//!     .http(axum::Router::new());
//! server.health().set_serving("shop.v1.ThingService", true).await;
//! server.serve(listener, Shutdown::new()).await?;
//! # Ok(()) }
//! ```
//! Paths of its own: `/healthz` and `/health` (200 and nothing), `/metrics`, `grpc.health.v1`, reflection v1 and v1alpha. A
//! request whose content type is gRPC goes to the RPC services (an unknown one is answered UNIMPLEMENTED), any other to the
//! HTTP router (an unknown path is 404).
//!
//! The connection loop is made by hand because axum's own exposes neither HTTP/2 keep-alive nor stream limits, and because
//! tests and simulations bring their own transport: see [`Incoming`].

mod bind;
mod connections;
mod health;
mod http;
mod options;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use ::http::Request;
use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::{Layer as _, Service};

pub use bind::{BindError, TcpIncoming, bind};
pub use health::Health;
pub use options::ServeOptions;

use crate::layers::{
    CallNumbers, DeadlineLayer, FarewellLayer, Methods, PanicFenceLayer, SizeLimitLayer,
    Surrounded, TraceLayer,
};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Where connections come from: a TCP listener, or whatever a test or a simulation makes.
pub trait Incoming: Send + 'static {
    /// One connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection and its peer; none when there will be no more. Must be safe to cancel.
    fn accept(&mut self) -> impl Future<Output = Option<(Self::Io, SocketAddr)>> + Send;
}

/// Connections that somebody else accepts.
impl<Io> Incoming for tokio::sync::mpsc::Receiver<(Io, SocketAddr)>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = Io;

    async fn accept(&mut self) -> Option<(Io, SocketAddr)> {
        self.recv().await
    }
}

/// The server could not be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The bytes given as descriptors are none.
    #[error("cannot read the file descriptors of the services")]
    Descriptors(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A server being put together.
pub struct Server {
    options: ServeOptions,
    metrics: Metrics,
    routes: Routes,
    http: Router,
    descriptors: Vec<&'static [u8]>,
    health: Health,
}

impl Server {
    /// Health, metrics and reflection, and nothing else yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let (health, service) = Health::new();
        Self {
            options: ServeOptions::default(),
            metrics,
            routes: Routes::new(service),
            http: Router::new(),
            descriptors: vec![tonic_health::pb::FILE_DESCRIPTOR_SET],
            health,
        }
    }

    /// Adds an RPC service.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<tonic::body::Body>, Error = Infallible, Future: Send + 'static>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// Adds HTTP routes. (The router may not have a fallback of its own.)
    #[must_use]
    pub fn http(mut self, router: Router) -> Self {
        self.http = self.http.merge(router);
        self
    }

    /// Adds an encoded `FileDescriptorSet`: what reflection shows, and how the layers know which calls stream.
    #[must_use]
    pub fn descriptors(mut self, encoded: &'static [u8]) -> Self {
        self.descriptors.push(encoded);
        self
    }

    /// Limits and timeouts, instead of the default ones.
    #[must_use]
    pub fn options(mut self, options: ServeOptions) -> Self {
        self.options = options;
        self
    }

    /// The handle that says which services are ready. All are "not serving" until told otherwise.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves until the shutdown; then streams end with UNAVAILABLE, unary calls may end within the drain time, and what is
    /// left is cut off.
    ///
    /// # Errors
    /// The descriptors are wrong. Nothing that a client does ends a server.
    pub async fn serve(
        self,
        incoming: impl Incoming,
        shutdown: Shutdown,
    ) -> Result<(), ServeError> {
        let options = self.options.clone();
        let health = self.health.clone();
        let numbers = connections::ConnectionNumbers::new(&self.metrics);
        let app = self.into_app(shutdown.clone())?;
        let serving = connections::run(incoming, app, &options, numbers, shutdown.clone());
        let watch_shutdown = async {
            shutdown.triggered().await;
            health.shut_down().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = serving => {}
            () = watch_shutdown => {}
        }
        Ok(())
    }

    /// The whole stack as one service, without a transport.
    fn into_app(self, shutdown: Shutdown) -> Result<App, ServeError> {
        let methods = Methods::from_descriptor_sets(&self.descriptors)
            .map_err(|error| ServeError::Descriptors(Box::new(error)))?;
        let methods = Arc::new(methods);
        let options = self.options;
        let rpc = add_reflection(self.routes, &self.descriptors)?.prepare().into_axum_router();
        let dispatch = http::Dispatch { rpc, http: http::router(self.http, self.metrics.clone()) };
        let deadline = DeadlineLayer::new(Arc::clone(&methods), options.unary_deadline);
        let farewell = FarewellLayer::new(Arc::clone(&methods), shutdown);
        let size = SizeLimitLayer::new(options.max_message_bytes, options.max_body_bytes);
        let fence = PanicFenceLayer::new(&self.metrics);
        let trace = TraceLayer::new(methods, CallNumbers::new(&self.metrics));
        Ok(trace.layer(fence.layer(size.layer(farewell.layer(deadline.layer(dispatch))))))
    }
}

/// All layers around the two routers. Spelled out, so that no box stands between them.
type App = Surrounded<Fenced, TraceLayer>;
type Fenced = Surrounded<Limited, PanicFenceLayer>;
type Limited = Surrounded<Farewelled, SizeLimitLayer>;
type Farewelled = Surrounded<Timed, FarewellLayer>;
type Timed = Surrounded<http::Dispatch, DeadlineLayer>;

/// Reflection, in the version tools use today and in the one that older tools use.
fn add_reflection(routes: Routes, descriptors: &[&'static [u8]]) -> Result<Routes, ServeError> {
    let builder = || {
        let empty = tonic_reflection::server::Builder::configure();
        descriptors
            .iter()
            .fold(empty, |builder, encoded| builder.register_encoded_file_descriptor_set(encoded))
    };
    let wrong = |error: tonic_reflection::server::Error| ServeError::Descriptors(Box::new(error));
    Ok(routes
        .add_service(builder().build_v1().map_err(wrong)?)
        .add_service(builder().build_v1alpha().map_err(wrong)?))
}

#[cfg(test)]
mod tests;
