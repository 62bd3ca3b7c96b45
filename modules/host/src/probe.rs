//! The child process that opens a library before we do, and both ends of what it says.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::search::executable_dir;
use crate::{LoadError, ProbeError, file};

/// How long a library may take to load.
const PATIENCE_SECONDS: u64 = 10;
const PROBE: &str = "mezzo-module-probe";

/// What a library offers, as a child process saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspected {
    /// The version of the module ABI it was built for.
    pub abi: String,
    /// In the library's order.
    pub modules: Vec<InspectedModule>,
}

/// One module of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedModule {
    /// The name it is chosen by.
    pub name: String,
    /// Its kind by name, or `kind N` when this build does not know it.
    pub kind: String,
    /// Its own version.
    pub version: String,
    /// Who wrote it.
    pub author: String,
    /// What it does.
    pub description: String,
}

/// What the library at `file` offers, without loading it into this process. A copy is made in `runtime_dir`.
///
/// # Errors
/// As for loading it.
pub fn inspect(file: &Path, runtime_dir: &Path) -> Result<Inspected, LoadError> {
    let staged = file::stage(file, &runtime_dir.join("modules"))?;
    let probe = find().unwrap_or_else(|| PathBuf::from(PROBE));
    run(&probe, &staged.copy).map_err(|source| LoadError::Probe { file: file.to_owned(), source })
}

/// The probe beside the running executable; for a test executable also one folder up, where cargo puts binaries.
pub(crate) fn find() -> Option<PathBuf> {
    let dir = executable_dir()?;
    [dir.join(PROBE), dir.join("..").join(PROBE)].into_iter().find(|path| path.is_file())
}

/// Runs the probe over a library.
pub(crate) fn run(probe: &Path, library: &Path) -> Result<Inspected, ProbeError> {
    let mut child = Command::new(probe)
        .arg(library)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| ProbeError::Spawn { probe: probe.to_owned(), source })?;
    let status = wait(&mut child)?;
    let stdout = read_all(child.stdout.take());
    if status.success() {
        let answer = stdout.lines().next_back().unwrap_or_default();
        return serde_json::from_str(answer)
            .map_err(|_| ProbeError::Garbled(answer.chars().take(200).collect()));
    }
    match status.signal() {
        Some(signal) => Err(ProbeError::Killed { signal }),
        None => {
            let stderr = read_all(child.stderr.take());
            Err(ProbeError::Refused(
                stderr.lines().next_back().unwrap_or("no reason given").to_owned(),
            ))
        }
    }
}

fn wait(child: &mut Child) -> Result<ExitStatus, ProbeError> {
    let failed = |source| ProbeError::Spawn { probe: PathBuf::from(PROBE), source };
    // Readable when the process has ended.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .map_err(|error| failed(error.into()))?;
    let patience = Timespec { tv_sec: PATIENCE_SECONDS.cast_signed(), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)) {
            Ok(0) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ProbeError::Stuck { seconds: PATIENCE_SECONDS });
            }
            Ok(_) => return child.wait().map_err(failed),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut text = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(1 << 20).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The whole of the program `mezzo-module-probe`: opens the library named by the one argument, writes what it offers as a
/// line of JSON. Returns the exit code.
///
/// # Errors
/// When the answer cannot be written.
pub fn probe_main(
    arguments: &[String],
    out: &mut impl io::Write,
    err: &mut impl io::Write,
) -> io::Result<u8> {
    let [library] = arguments else {
        writeln!(err, "usage: {PROBE} FILE.so")?;
        return Ok(2);
    };
    // A library that crashes is expected here; nobody wants its core.
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit { current: Some(0), maximum: Some(0) },
    );
    match mezzo_module_abi::Library::open(Path::new(library)) {
        Ok(library) => {
            let answer = Inspected {
                abi: mezzo_module_abi::Library::abi_version().to_owned(),
                modules: library.modules().iter().map(described).collect(),
            };
            writeln!(out, "{}", serde_json::to_string(&answer).map_err(io::Error::other)?)?;
            Ok(0)
        }
        Err(error) => {
            writeln!(err, "{}", error.to_string().replace('\n', " "))?;
            Ok(1)
        }
    }
}

fn described(module: &mezzo_module_abi::Declared) -> InspectedModule {
    InspectedModule {
        name: module.name().to_owned(),
        kind: module
            .kind()
            .map_or_else(|| format!("kind {}", module.kind_number()), |kind| kind.to_string()),
        version: module.version().to_owned(),
        author: module.author().to_owned(),
        description: module.description().to_owned(),
    }
}
