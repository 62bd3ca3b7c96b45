//! What runs inside the host: opening a library, making its modules, carrying calls to them.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use abi_stable::library::{AbiHeader, LibraryError, lib_header_from_path};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr};
use mezzo_module_api::v1::CreateModuleRequest;
use mezzo_module_api::{Code, Completion, Host, Kind, Level, ModuleError, Transport};
use prost::Message;

use crate::boundary::{
    AbiResult, Completion as AbiCompletion, Completion_TO, HostServices as AbiHost,
    HostServices_TO, LibRoot_Ref, ModuleBox, ModuleDecl,
};
use crate::fence::{caught, error_from_abi, fenced, from_abi, text, to_abi};

/// How the message of an error begins that was a panic inside the module.
pub const PANIC_PREFIX: &str = "module panicked: ";

/// How long an answer may be, in bytes; a longer one is an error of its call. (The answers of an allocator with a hundred
/// thousand agents are a tenth of it.)
pub const LARGEST_ANSWER: usize = 256 << 20;

/// A library that has been opened. It stays in the process for good: there is no unloading.
#[derive(Clone, Copy)]
pub struct Library {
    root: LibRoot_Ref,
    abi: &'static str,
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
    #[error("was built with abi_stable {found}, expected {expected}")]
    Framework {
        /// The library's.
        found: String,
        /// The host's.
        expected: String,
    },
    /// It was built for another version of the boundary.
    #[error("was built for module ABI {found}, expected {expected}")]
    Version {
        /// The library's.
        found: String,
        /// The host's.
        expected: String,
    },
    /// It says the right version, but its types are laid out otherwise.
    #[error(
        "says that it was built for module ABI {found}, but its types are not those of {expected}: {short}"
    )]
    Layout {
        /// The library's version.
        found: String,
        /// The host's version.
        expected: String,
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
        let header = lib_header_from_path(path).map_err(|error| short(error, "unknown"))?;
        let abi = header.version_strings().version.as_str();
        let root = header.init_root_module::<LibRoot_Ref>().map_err(|error| short(error, abi))?;
        Ok(Self { root, abi })
    }

    /// The version of the boundary in this build.
    pub fn abi_version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The version of the boundary that the library was built with.
    pub fn abi(&self) -> &'static str {
        self.abi
    }

    /// What it offers.
    pub fn modules(&self) -> Vec<Declared> {
        (self.root.modules())().into_iter().map(Declared::new).collect()
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
    name: String,
    version: String,
    author: String,
    description: String,
}

impl Declared {
    fn new(decl: ModuleDecl) -> Self {
        let own = |from: RStr<'static>| text(from.as_bytes()).into_owned();
        Self {
            name: own(decl.name),
            version: own(decl.version),
            author: own(decl.author),
            description: own(decl.description),
            decl,
        }
    }

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
        &self.name
    }

    /// Its own version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Who wrote it.
    pub fn author(&self) -> &str {
        &self.author
    }

    /// What it does.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The revision of the messages it was built with. Decides nothing: an unknown field or method is never an error.
    pub fn api(&self) -> u32 {
        self.decl.api
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
        let _ = caught(|| match from_abi(result) {
            Err(error) if error.code == Code::Cancelled => done.never(),
            result => done.complete(result),
        });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(done) = self.take() {
            let _ = caught(|| drop(done));
        }
    }
}

/// The host's services, as a module calls them.
struct HostServices {
    host: Host,
}

impl AbiHost for HostServices {
    fn log(&self, level: u32, message: RStr<'_>) {
        let _ = caught(|| self.host.log(Level::from_number(level), text(message.as_bytes())));
    }

    fn count(&self, counter: RStr<'_>, delta: u64) {
        let _ = caught(|| self.host.count(&text(counter.as_bytes()), delta));
    }

    fn call(&self, service: u32, request: RSlice<'_, u8>) -> AbiResult {
        to_abi(fenced(|| self.host.call(service, request.as_slice())))
    }
}

/// What matters of abi_stable's errors, which can be a hundred kilobytes long.
fn short(error: LibraryError, abi: &str) -> OpenError {
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
            let (found, expected) = (header, AbiHeader::VALUE);
            let version = |header: AbiHeader| format!("{}.{}", header.abi_major, header.abi_minor);
            OpenError::Framework { found: version(found), expected: version(expected) }
        }
        LibraryError::AbiInstability(error) => {
            let full = error.to_string();
            OpenError::Layout {
                found: abi.to_owned(),
                expected: Library::abi_version().to_owned(),
                short: error_lines(&full),
                full,
            }
        }
        other => OpenError::Init(first_lines(&other.to_string())),
    }
}

/// The lines from `Error:` on, a few of them, as one.
fn error_lines(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("Error:"));
    let found: Vec<_> = lines.by_ref().take(5).filter(|line| !line.is_empty()).collect();
    if found.is_empty() {
        return first_lines(text);
    }
    found.join(" ").trim_start_matches("Error:").to_owned()
}

fn first_lines(text: &str) -> String {
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    lines.join(" ")
}
