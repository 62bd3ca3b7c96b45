//! The host's side of a module: typed calls in, bytes out.

use crate::{Completion, ModuleError};

/// Carries bytes to a module and back; the boundary is behind it.
pub trait Transport: Send + Sync {
    /// A call that is answered at once.
    ///
    /// # Errors
    /// The module's, or the boundary's own.
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError>;

    /// A call that is answered later, or never.
    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>);
}

/// A module behind a [`Transport`]; implements the trait of every kind, and does the host's default where the module does not
/// know a call.
#[derive(Clone, Debug)]
pub struct Remote<T> {
    transport: T,
}

impl<T: Transport> Remote<T> {
    /// The module at the other end of this transport.
    pub fn new(transport: T) -> Self {
        Self { transport }
    }

    pub(crate) fn transport(&self) -> &T {
        &self.transport
    }
}
