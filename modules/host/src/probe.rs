//! The child process that opens a library before we do, and both ends of what it says.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mezzo_module_abi::Library;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::search::executable_dir;
use crate::{LoadError, ProbeError, clean, file};

/// How long a library may take to load.
const PATIENCE_SECONDS: u64 = 10;
const PROBE: &str = "mezzo-module-probe";
/// What the probe says is shorter; what a library prints beside it need not be.
const LONGEST_ANSWER: usize = 1 << 20;

/// What a library offers, as a child process saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspected {
    /// The version of the module ABI it was built for.
    pub abi: String,
    /// Of its content; empty when it was not looked at.
    #[serde(default)]
    pub sha256: String,
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
    /// The revision of the messages it was built with.
    #[serde(default)]
    pub api: u32,
}

/// What the library at `file` offers, without loading it into this process; `None` instead of a probe = the one beside this
/// executable.
///
/// # Errors
/// When there is no probe, or the library would not be loaded: the text names the file then.
pub fn inspect(file: &Path, probe: Option<&Path>) -> Result<Inspected, ProbeError> {
    let found = probe.map(Path::to_owned).or_else(find);
    let mut command = Command::new(found.as_deref().unwrap_or(Path::new(PROBE)));
    run(command.arg("--inspect").arg(file))
}

/// The probe beside the running executable, or where an installation has it; for a test executable also one folder up, where
/// cargo puts binaries.
pub(crate) fn find() -> Option<PathBuf> {
    let dir = executable_dir()?;
    let places =
        [dir.join(PROBE), dir.join("..").join(PROBE), dir.join("../lib/mezzo").join(PROBE)];
    places.into_iter().find(|path| path.is_file())
}

/// Runs the probe over a copy of a library.
pub(crate) fn try_out(probe: &Path, copy: &Path) -> Result<Inspected, ProbeError> {
    run(Command::new(probe).arg(copy))
}

fn run(command: &mut Command) -> Result<Inspected, ProbeError> {
    let probe = PathBuf::from(command.get_program());
    let failed = |source| ProbeError::Spawn { probe: probe.clone(), source };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let ended = listen(&mut child).map_err(failed);
    if !matches!(ended, Ok(Some(_))) {
        let _ = child.kill();
        let _ = child.wait();
    }
    let Some((status, stdout, stderr)) = ended? else {
        return Err(ProbeError::Stuck { seconds: PATIENCE_SECONDS });
    };
    let last = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        clean::line(text.lines().next_back().unwrap_or_default().to_owned())
    };
    if status.success() {
        let answer = last(&stdout);
        return serde_json::from_str(&answer)
            .map_err(|_| ProbeError::Garbled(answer.chars().take(200).collect()));
    }
    match status.signal() {
        Some(signal) => Err(ProbeError::Killed { signal }),
        None if stderr.is_empty() => {
            Err(ProbeError::Refused("was refused without a reason".to_owned()))
        }
        None if status.code() == Some(1) => Err(ProbeError::Refused(last(&stderr))),
        // Not the probe's own words: the dynamic loader, or the library, has ended it.
        None => Err(ProbeError::Ended {
            code: status.code().unwrap_or_default(),
            said: last(&stderr).chars().take(300).collect(),
        }),
    }
}

/// How a process ended, and what it wrote to its outputs.
type Ended = (ExitStatus, Vec<u8>, Vec<u8>);

/// Waits for the end of the child, reading what it writes meanwhile, for it could not end while nobody reads; `None` if that
/// takes too long.
fn listen(child: &mut Child) -> io::Result<Option<Ended>> {
    // Readable when the process has ended.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("it has no outputs"));
    };
    for pipe in [out.as_fd(), err.as_fd()] {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut out_ends, mut err_ends) = (false, false);
    let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut waiting = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if !out_ends {
            waiting.push(PollFd::new(&out, PollFlags::IN));
        }
        if !err_ends {
            waiting.push(PollFd::new(&err, PollFlags::IN));
        }
        match poll(&mut waiting, Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let has_ended = waiting.first().is_some_and(|pidfd| !pidfd.revents().is_empty());
        drop(waiting);
        out_ends = read_what_is_there(&mut out, &mut stdout);
        err_ends = read_what_is_there(&mut err, &mut stderr);
        if has_ended {
            return Ok(Some((child.wait()?, stdout, stderr)));
        }
    }
}

/// Whether that was all. Keeps the end of it.
fn read_what_is_there(pipe: &mut impl Read, text: &mut Vec<u8>) -> bool {
    let mut piece = [0; 4096];
    loop {
        match pipe.read(&mut piece) {
            Ok(0) => return true,
            Ok(read) => {
                text.extend(piece.iter().take(read));
                let longer = text.len().saturating_sub(2 * LONGEST_ANSWER);
                if longer > 0 {
                    text.drain(..text.len() - LONGEST_ANSWER);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// The whole of the program `mezzo-module-probe`: opens the library named by the last argument, writes what it offers as a
/// line of JSON. After `--inspect` it looks at the file first, as a host does before it copies it. Returns the exit code: 0,
/// or 1 with the reason on `err`, or 2 for wrong arguments.
///
/// # Errors
/// When the answer cannot be written.
pub fn probe_main(
    arguments: &[String],
    out: &mut impl io::Write,
    err: &mut impl io::Write,
) -> io::Result<u8> {
    let (library, whole) = match arguments {
        [flag, library] if flag == "--inspect" => (Path::new(library), true),
        [library] if !library.starts_with("--") => (Path::new(library), false),
        _ => {
            writeln!(err, "usage: {PROBE} [--inspect] FILE.so")?;
            return Ok(2);
        }
    };
    // A library that crashes is expected here; nobody wants its core.
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit { current: Some(0), maximum: Some(0) },
    );
    let found = if whole {
        look(library).map_err(|error| in_one_line(&error))
    } else {
        open(library).map_err(|error| error.to_string())
    };
    match found {
        Ok(found) => {
            writeln!(out, "{}", serde_json::to_string(&found).map_err(io::Error::other)?)?;
            Ok(0)
        }
        Err(reason) => {
            writeln!(err, "{}", reason.replace('\n', " "))?;
            Ok(1)
        }
    }
}

/// What the library offers, if the file may be opened.
fn look(library: &Path) -> Result<Inspected, LoadError> {
    let path = if library.components().count() > 1 {
        library.to_owned()
    } else {
        // A bare name is a file here, not one for the dynamic loader to search for.
        Path::new(".").join(library)
    };
    let (_, sha256) = file::examine(&path)?;
    let found =
        open(&path).map_err(|source| LoadError::Open { file: library.to_owned(), source })?;
    Ok(Inspected { sha256, ..found })
}

fn open(library: &Path) -> Result<Inspected, mezzo_module_abi::OpenError> {
    let library = Library::open(library)?;
    Ok(Inspected {
        abi: library.abi().to_owned(),
        sha256: String::new(),
        modules: library.modules().iter().map(described).collect(),
    })
}

fn described(module: &mezzo_module_abi::Declared) -> InspectedModule {
    InspectedModule {
        name: clean::line(module.name().to_owned()),
        kind: module
            .kind()
            .map_or_else(|| format!("kind {}", module.kind_number()), |kind| kind.to_string()),
        version: clean::line(module.version().to_owned()),
        author: clean::line(module.author().to_owned()),
        description: clean::line(module.description().to_owned()),
        api: module.api(),
    }
}

/// An error and what caused it, each once.
fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = inner.source();
    }
    line
}
