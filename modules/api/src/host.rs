//! What the host does for a module: its log and its counters. A module links its own `tracing`, whose events the host
//! would never see.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use mezzo_proto::v1::Resource;

use crate::ModuleError;
use crate::v1::CreateModuleRequest;

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

/// The process a module lives in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostProcess {
    /// `mezzo-master` or `mezzo-agent`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A directory of the process's own; what is in it need not outlive the machine's restart.
    pub runtime_dir: PathBuf,
    /// Its `--work_dir`: what is below it stays. `None` in a host that has none.
    pub work_dir: Option<PathBuf>,
    /// What an agent has, before hooks change it; empty in a master.
    pub resources: Vec<Resource>,
}

impl From<&CreateModuleRequest> for HostProcess {
    fn from(request: &CreateModuleRequest) -> Self {
        Self {
            name: request.host().to_owned(),
            version: request.host_version().to_owned(),
            runtime_dir: request.runtime_dir().into(),
            work_dir: request.work_dir.as_ref().map(PathBuf::from),
            resources: request.resources.clone(),
        }
    }
}

/// A module's hand on its host; cheap to clone.
#[derive(Clone)]
pub struct Host {
    services: Arc<dyn HostServices>,
    process: Arc<HostProcess>,
}

impl Host {
    /// A hand on these services, in this process.
    pub fn new(services: impl HostServices + 'static, process: HostProcess) -> Self {
        Self { services: Arc::new(services), process: Arc::new(process) }
    }

    /// The process the module lives in.
    pub fn process(&self) -> &HostProcess {
        &self.process
    }

    /// A host that keeps nothing; for tests.
    pub fn silent() -> Self {
        struct Silent;
        impl HostServices for Silent {
            fn log(&self, _: Level, _: &str) {}
            fn count(&self, _: &str, _: u64) {}
        }
        Self::new(Silent, HostProcess::default())
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
