//! What the host does for a module: its log and its counters. A module links its own `tracing`, whose events the host
//! would never see.

use std::fmt;
use std::sync::Arc;

use crate::ModuleError;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken.
    Error = 1,
    /// Something is odd.
    Warn = 2,
    /// Something happened that an operator may want to know.
    Info = 3,
    /// For whoever looks for a fault.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl Level {
    /// The level of this number; a number that is none is `Info`.
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Error,
            2 => Self::Warn,
            4 => Self::Debug,
            5 => Self::Trace,
            _ => Self::Info,
        }
    }
}

/// The services behind a [`Host`]. None of them blocks; all of them can be called from any thread.
pub trait HostServices: Send + Sync {
    /// Writes a line to the host's log, marked with the module's name.
    fn log(&self, level: Level, message: &str);

    /// Adds to a counter, which the host exports under the module's name.
    fn count(&self, counter: &str, delta: u64);

    /// For services that come later: a number and a message of `mezzo.module.v1`.
    ///
    /// # Errors
    /// `Unimplemented` for a number that this host does not know.
    fn call(&self, service: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let _ = request;
        Err(ModuleError::unimplemented(format_args!("host service {service}")))
    }
}

/// A module's hand on its host; cheap to clone.
#[derive(Clone)]
pub struct Host {
    services: Arc<dyn HostServices>,
}

impl Host {
    /// A hand on these services.
    pub fn new(services: impl HostServices + 'static) -> Self {
        Self { services: Arc::new(services) }
    }

    /// A host that keeps nothing; for tests.
    pub fn silent() -> Self {
        struct Silent;
        impl HostServices for Silent {
            fn log(&self, _: Level, _: &str) {}
            fn count(&self, _: &str, _: u64) {}
        }
        Self::new(Silent)
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        self.services.log(level, message.as_ref());
    }

    /// A line at [`Level::Error`].
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message);
    }

    /// A line at [`Level::Warn`].
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message);
    }

    /// A line at [`Level::Info`].
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message);
    }

    /// A line at [`Level::Debug`].
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message);
    }

    /// A service that comes later; see [`HostServices::call`].
    ///
    /// # Errors
    /// `Unimplemented` for a number that this host does not know, else the service's own.
    pub fn call(&self, service: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        self.services.call(service, request)
    }

    /// Adds to a counter.
    pub fn count(&self, counter: &str, delta: u64) {
        self.services.count(counter, delta);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
