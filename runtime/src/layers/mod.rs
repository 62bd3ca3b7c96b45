//! What stands between the socket and the handlers, one layer per file, in this order from the outside in:
//!
//! 1. [`TraceLayer`]: a span and the numbers of every call, whatever becomes of it;
//! 2. [`PanicFenceLayer`]: a panic below ends that call with INTERNAL and nothing else;
//! 3. [`SizeLimitLayer`]: no message and no body larger than the limit;
//! 4. [`FarewellLayer`]: streams end in good order when the server shuts down;
//! 5. [`DeadlineLayer`]: a call ends when the time its caller gave is over.
//!
//! All of them speak `http` requests and responses with axum's body, for gRPC and plain HTTP alike, and fail by answering:
//! their error type is [`std::convert::Infallible`].

mod around;
mod deadline;
mod farewell;
mod grpc;
mod methods;
mod panic_fence;
mod size_limit;
mod trace;

pub use around::{Around, Surrounded};
pub use deadline::DeadlineLayer;
pub use farewell::FarewellLayer;
pub use grpc::is_grpc;
pub use methods::{MethodKind, Methods};
pub use panic_fence::PanicFenceLayer;
pub use size_limit::SizeLimitLayer;
pub use trace::{CallNumbers, TraceLayer};

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use http::{Request, Response};
use tower::Service;

/// What a layer may wrap: something that always answers.
pub trait Inner:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Inner for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The answer of a layer, later.
pub(crate) type Answer =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

#[cfg(test)]
pub(crate) mod testing;
