//! The part that all layers share: a service with something around it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response};
use tower::Service;

use super::{Answer, Inner};

/// What a layer does with every call.
pub trait Around: Clone + Send + 'static {
    /// Answers the call, mostly by handing it on to `inner`, which is ready for one.
    fn call(&self, inner: &mut impl Inner, request: Request<Body>) -> Answer;
}

/// A service, and what stands around it.
#[derive(Clone, Debug)]
pub struct Surrounded<S, A> {
    inner: S,
    around: A,
}

impl<S, A> Surrounded<S, A> {
    pub(crate) fn new(inner: S, around: A) -> Self {
        Self { inner, around }
    }
}

impl<S: Inner, A: Around> Service<Request<Body>> for Surrounded<S, A> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        self.around.call(&mut self.inner, request)
    }
}
