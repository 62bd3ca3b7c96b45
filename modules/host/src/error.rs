//! Why modules cannot be loaded: every error names the file or the module, what was found, and what was expected.

use std::io;
use std::path::PathBuf;

use mezzo_module_abi::OpenError;
use mezzo_module_api::{Kind, ModuleError};

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file or directory cannot be read.
    #[error("cannot read the module manifest `{}`", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not the JSON that was expected.
    #[error(
        "the module manifest {origin} is not of the form {{\"libraries\":[{{\"file\":…,\"modules\":[{{\"name\":…}}]}}]}}"
    )]
    Parse {
        /// The file, or "given by the flag".
        origin: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A library has neither a file nor a name.
    #[error("library {index} of the module manifest {origin} has neither `file` nor `name`")]
    NoFile {
        /// The file, or "given by the flag".
        origin: String,
        /// Counted from 0.
        index: usize,
    },
}

/// Why a module cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The library is nowhere.
    #[error("module library `{name}` not found, looked in {looked_in}")]
    NotFound {
        /// As the manifest has it.
        name: String,
        /// The places, or the path.
        looked_in: String,
    },
    /// The library cannot be read.
    #[error("cannot read module library `{}`", .file.display())]
    Read {
        /// Which one.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no regular file.
    #[error("module library `{}` is {found}, expected a regular file", .file.display())]
    NotAFile {
        /// Which one.
        file: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Somebody else could change what root runs.
    #[error("module library `{}` has mode {mode:04o}, expected it to be writable by its owner only when running as root", .file.display())]
    Writable {
        /// Which one.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else could replace what root runs.
    #[error("module library `{}` is reached through `{}`, which has mode {mode:04o}, expected a directory that its owner only can write (or a sticky one) when running as root", .file.display(), .dir.display())]
    OpenDirectory {
        /// Which one.
        file: PathBuf,
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else owns what root runs, and could change it.
    #[error("module library `{}` is owned by uid {owner}, expected root or the owner of this program when running as root", .file.display())]
    Owner {
        /// Which one.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Somebody else owns a place on the way to what root runs, and could replace it.
    #[error("module library `{}` is reached through `{}`, which is owned by uid {owner}, expected root or the owner of this program when running as root", .file.display(), .place.display())]
    OwnerOnTheWay {
        /// Which one.
        file: PathBuf,
        /// The directory or link.
        place: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Not a library for this machine, or not all of it.
    #[error("module library `{}` is {found}, expected {expected}", .file.display())]
    Foreign {
        /// Which one.
        file: PathBuf,
        /// What the file is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The copy cannot be made.
    #[error("cannot copy module library `{}` to `{}`", .file.display(), .to.display())]
    Copy {
        /// Which one.
        file: PathBuf,
        /// Where to.
        to: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The child process that tried it came to harm.
    #[error("module library `{}` {source}", .file.display())]
    Probe {
        /// Which one.
        file: PathBuf,
        /// How.
        source: ProbeError,
    },
    /// It cannot be opened here.
    #[error("module library `{}` {source}", .file.display())]
    Open {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The library does not have the module.
    #[error("module library `{}` has no module `{module}`, it has {has}", .file.display())]
    NoSuchModule {
        /// Which library.
        file: PathBuf,
        /// The name that was wanted.
        module: String,
        /// What it has.
        has: String,
    },
    /// The library has two modules of one name.
    #[error("module library `{}` declares `{module}` twice, expected names that differ", .file.display())]
    DeclaredTwice {
        /// Which library.
        file: PathBuf,
        /// The name.
        module: String,
    },
    /// The module is of a kind that this build does not know.
    #[error("module `{module}` of `{}` is of kind number {kind}, expected a kind that this version knows: allocator, isolator or hook", .file.display())]
    UnknownKind {
        /// Which library.
        file: PathBuf,
        /// Which module.
        module: String,
        /// Its kind.
        kind: u32,
    },
    /// Two modules have the same name.
    #[error("module `{module}` is given twice, by `{}` and by `{}`; a name stands for one module", .first.display(), .second.display())]
    Duplicate {
        /// The name.
        module: String,
        /// One library.
        first: PathBuf,
        /// The other one, or the same.
        second: PathBuf,
    },
    /// A flag names a module that is nowhere.
    #[error("unknown {kind} `{module}`, known are {known}")]
    Unknown {
        /// What the flag wants.
        kind: Kind,
        /// The name in the flag.
        module: String,
        /// What could have been named.
        known: String,
    },
    /// A flag names a module of another kind.
    #[error("module `{module}` is of kind {found}, expected {wanted}")]
    WrongKind {
        /// The name in the flag.
        module: String,
        /// What it is.
        found: Kind,
        /// What the flag wants.
        wanted: Kind,
    },
    /// A flag names a module twice.
    #[error("{kind} `{module}` is listed twice")]
    ListedTwice {
        /// What the flag wants.
        kind: Kind,
        /// The name in the flag.
        module: String,
    },
    /// The module's constructor failed.
    #[error("module `{module}` of `{}` could not be made: {source}", .file.display())]
    Create {
        /// Which library.
        file: PathBuf,
        /// Which module.
        module: String,
        /// Its own words.
        source: ModuleError,
    },
}

/// What the child process found, to be read after "module library X".
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The probe cannot be started.
    #[error("cannot be tried: `{}` cannot be run: {source}", .probe.display())]
    Spawn {
        /// The program.
        probe: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// The library killed it.
    #[error("killed the process that tried it, by signal {signal}")]
    Killed {
        /// By which signal.
        signal: i32,
    },
    /// The library ended it.
    #[error("ended the process that tried it, with exit code {code}: {said}")]
    Ended {
        /// Its exit code.
        code: i32,
        /// Its last words.
        said: String,
    },
    /// The library did not let it go.
    #[error("did not load within {seconds} s in the process that tried it")]
    Stuck {
        /// How long it was waited for.
        seconds: u64,
    },
    /// Its answer makes no sense.
    #[error("cannot be tried: the probe answered `{0}`, expected a description in JSON")]
    Garbled(String),
}
