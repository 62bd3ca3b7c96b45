//! What runs inside the host: opening a library, making its modules, carrying calls to them.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use abi_stable::library::{LibraryError, lib_header_from_path};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr};
use mezzo_module_api::v1::CreateModuleRequest;
use mezzo_module_api::{Code, Completion, Host, Kind, Level, ModuleError, Transport};
use prost::Message;

use crate::boundary::{
    AbiResult, Completion as AbiCompletion, Completion_TO, HostServices as AbiHost,
    HostServices_TO, LibRoot_Ref, ModuleBox, ModuleDecl,
};
use crate::fence::{error_from_abi, fenced, from_abi, quietly, to_abi};

/// How the message of an error begins that was a panic inside the module.
pub const PANIC_PREFIX: &str = "module panicked: ";

/// A library that has been opened. It stays in the process for good: there is no unloading.
#[derive(Clone, Copy)]
pub struct Library {
    root: LibRoot_Ref,
}

/// Why a library cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The dynamic loader refused it.
    #[error("cannot be loaded: {0}")]
    Loader(String),
    /// It has not got our symbol.
    #[error("is no Mezzo module: it does not export `{0}`")]
    NoRoot(String),
    /// It was built with another `abi_stable`.
    #[error("was built with an incompatible abi_stable: {0}")]
    Framework(String),
    /// It was built for another version of the boundary.
    #[error("was built for module ABI {found}, expected {expected}")]
    Version {
        /// The library's.
        found: String,
        /// The host's.
        expected: String,
    },
    /// It says the right version, but its types are laid out otherwise.
    #[error("has another layout of the module ABI: {short}")]
    Layout {
        /// The lines that matter.
        short: String,
        /// Everything there is to know; tens of kilobytes.
        full: String,
    },
    /// Its own start-up failed.
    #[error("failed to initialise: {0}")]
    Init(String),
}

impl Library {
    /// Loads the library and checks it: our symbol, the version of the boundary, the layout of every type of it.
    ///
    /// Runs code of the library (its static constructors); check the file first.
    ///
    /// # Errors
    /// When it is no library of ours, or not for this host.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let header = lib_header_from_path(path).map_err(short)?;
        let root = header.init_root_module::<LibRoot_Ref>().map_err(short)?;
        Ok(Self { root })
    }

    /// The version of the boundary in this build.
    pub fn abi_version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// What it offers.
    pub fn modules(&self) -> Vec<Declared> {
        (self.root.modules())().into_iter().map(|decl| Declared { decl }).collect()
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").finish_non_exhaustive()
    }
}

/// A module that a library offers; not yet made.
pub struct Declared {
    decl: ModuleDecl,
}

impl Declared {
    /// Its kind; `None` for one that this host does not know.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.decl.kind)
    }

    /// The number of its kind, known or not.
    pub fn kind_number(&self) -> u32 {
        self.decl.kind
    }

    /// The name it is chosen by.
    pub fn name(&self) -> &str {
        self.decl.name.as_str()
    }

    /// Its own version.
    pub fn version(&self) -> &str {
        self.decl.version.as_str()
    }

    /// Who wrote it.
    pub fn author(&self) -> &str {
        self.decl.author.as_str()
    }

    /// What it does.
    pub fn description(&self) -> &str {
        self.decl.description.as_str()
    }

    /// Makes one. `host` is what it may ask of us.
    ///
    /// # Errors
    /// The constructor's own error, or its panic.
    pub fn create(
        &self,
        host: Host,
        request: &CreateModuleRequest,
    ) -> Result<impl Transport + use<>, ModuleError> {
        let host = HostServices_TO::from_value(HostServices { host }, TD_Opaque);
        let request = request.encode_to_vec();
        match (self.decl.create)(host, RSlice::from_slice(&request)) {
            RResult::ROk(module) => Ok(Opened { module }),
            RResult::RErr(error) => Err(error_from_abi(error)),
        }
    }
}

impl fmt::Debug for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declared")
            .field("name", &self.name())
            .field("kind", &self.kind_number())
            .finish_non_exhaustive()
    }
}

/// A module behind the boundary.
struct Opened {
    module: ModuleBox,
}

impl Transport for Opened {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        from_abi(self.module.call(method, RSlice::from_slice(request)))
    }

    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        let done = Pending { done: Mutex::new(Some(done)) };
        self.module.start(
            method,
            RSlice::from_slice(request),
            Completion_TO::from_value(done, TD_Opaque),
        );
    }
}

/// A call that waits for its answer. Dropped without one, it fails: that is what `Completion` does.
struct Pending {
    done: Mutex<Option<Completion<Vec<u8>>>>,
}

impl Pending {
    fn take(&self) -> Option<Completion<Vec<u8>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl AbiCompletion for Pending {
    fn complete(&self, result: AbiResult) {
        let Some(done) = self.take() else { return };
        // The host's callback may panic as well; the module's thread is no place for it.
        quietly(|| match from_abi(result) {
            Err(error) if error.code == Code::Cancelled => done.never(),
            result => done.complete(result),
        });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(done) = self.take() {
            quietly(|| drop(done));
        }
    }
}

/// The host's services, as a module calls them.
struct HostServices {
    host: Host,
}

impl AbiHost for HostServices {
    fn log(&self, level: u32, message: RStr<'_>) {
        quietly(|| self.host.log(Level::from_number(level), message.as_str()));
    }

    fn count(&self, counter: RStr<'_>, delta: u64) {
        quietly(|| self.host.count(counter.as_str(), delta));
    }

    fn call(&self, service: u32, request: RSlice<'_, u8>) -> AbiResult {
        to_abi(fenced(|| self.host.call(service, request.as_slice())))
    }
}

/// What matters of abi_stable's errors, which can be a hundred kilobytes long.
fn short(error: LibraryError) -> OpenError {
    match error {
        LibraryError::OpenError { err, .. } => OpenError::Loader(err.to_string()),
        LibraryError::GetSymbolError { symbol, .. } => {
            OpenError::NoRoot(String::from_utf8_lossy(&symbol).trim_end_matches('\0').to_owned())
        }
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => {
            OpenError::Version {
                found: actual_version.to_string(),
                expected: expected_version.to_string(),
            }
        }
        LibraryError::InvalidAbiHeader(header) => {
            OpenError::Framework(format!("{header:?}").chars().take(300).collect())
        }
        LibraryError::AbiInstability(error) => {
            let full = error.to_string();
            OpenError::Layout { short: error_lines(&full), full }
        }
        other => OpenError::Init(first_lines(&other.to_string())),
    }
}

/// The lines from `Error:` on, a few of them, as one.
fn error_lines(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("Error:"));
    let found: Vec<_> = lines.by_ref().take(5).filter(|line| !line.is_empty()).collect();
    if found.is_empty() { first_lines(text) } else { found.join(" ") }
}

fn first_lines(text: &str) -> String {
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    lines.join(" ")
}
