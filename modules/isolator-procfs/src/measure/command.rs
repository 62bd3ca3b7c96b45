//! `measure=command:PROGRAM`: somebody else's way to measure a tree.
//!
//! The program is run once per container and round, with the pids of the container's first processes as arguments (one, and
//! one more for each container nested in it), an empty environment but for `PATH`, and no input. It prints one line per
//! process of the container:
//!
//! ```text
//! PID VIRTUAL_BYTES PHYSICAL_BYTES
//! ```
//!
//! No line means that the container has no processes. Everything else about a process (its name, CPU time, when it started)
//! is read from `/proc`, where a process that is not there has none. The program has to end with status 0 within
//! `measure_timeout`; then it is killed, with all of its process group. A program that fails leaves its container out of this
//! round; one that takes too long leaves out all containers that are still to come in this round as well, so that the rounds
//! go on.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::measure::{ProcfsMeasurer, TreeMeasurer};
use crate::process::{Process, Root};

/// Bytes of output that are read: far more than any container has processes.
const MOST_OUTPUT: usize = 4 << 20;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program(PathBuf);

impl Program {
    /// The program at this path.
    ///
    /// # Errors
    /// When it is not there, cannot be executed, or others than its owner may change it.
    pub(crate) fn new(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err("expected an absolute path".to_owned());
        }
        let found = std::fs::metadata(&path).map_err(|error| error.to_string())?;
        let mode = found.mode();
        if !found.is_file() || mode & 0o111 == 0 {
            return Err("expected an executable file".to_owned());
        }
        if mode & 0o022 != 0 {
            return Err(format!(
                "its mode is {:o}, expected a file that only its owner may change",
                mode & 0o7777
            ));
        }
        Ok(Self(path))
    }
}

/// Measures by running a program.
#[derive(Debug)]
pub(crate) struct CommandMeasurer {
    program: Program,
    timeout: Duration,
    processes: ProcfsMeasurer,
    too_slow: bool,
}

impl CommandMeasurer {
    pub(crate) fn new(program: Program, timeout: Duration) -> Self {
        Self { program, timeout, processes: ProcfsMeasurer::default(), too_slow: false }
    }
}

impl TreeMeasurer for CommandMeasurer {
    fn begin_round(&mut self) -> Result<(), String> {
        self.too_slow = false;
        self.processes.begin_round()
    }

    fn tree(&mut self, roots: &[Root]) -> Result<Vec<Process>, String> {
        let program = self.program.0.display();
        if self.too_slow {
            return Err(format!("`{program}` took too long for another container of this round"));
        }
        let pids = roots.iter().map(|root| root.pid.to_string());
        let output = match run(&self.program.0, pids, self.timeout) {
            Ok(output) => output,
            Err(Failure::TooSlow) => {
                self.too_slow = true;
                return Err(format!("`{program}` has not ended within {:?}", self.timeout));
            }
            Err(Failure::Other(what)) => return Err(format!("`{program}` {what}")),
        };
        let measured = output.lines().map(|line| {
            let found = figures(line).ok_or_else(|| {
                let line: String = line.chars().take(80).collect();
                format!("`{program}` says {line:?}, expected `PID VIRTUAL_BYTES PHYSICAL_BYTES`")
            })?;
            let (pid, virtual_bytes, physical_bytes) = found;
            let known = self.processes.find(pid).cloned();
            let known = known.unwrap_or(Process { pid, ..Process::default() });
            Ok(Process { virtual_bytes, physical_bytes, ..known })
        });
        measured.collect()
    }
}

fn figures(line: &str) -> Option<(i32, u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let pid = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
    let found = (pid, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(found)
}

/// Why a program has no output.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    TooSlow,
    Other(String),
}

/// The program's output. Whatever happens, nothing of it runs afterwards.
fn run(
    program: &PathBuf,
    arguments: impl Iterator<Item = String>,
    timeout: Duration,
) -> Result<String, Failure> {
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = spawned.map_err(|error| Failure::Other(format!("cannot be run: {error}")))?;
    let result = finish(&mut child, Instant::now() + timeout);
    if let Ok(pid) = i32::try_from(child.id())
        && let Some(group) = Pid::from_raw(pid)
    {
        // Children that it left behind go too; there may be none.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    // It is dead or dying; this only takes what is left of it.
    let status = child.wait();
    let output = result?;
    match status {
        Ok(status) if status.success() => Ok(output),
        Ok(status) => Err(Failure::Other(format!("has failed: {status}"))),
        Err(error) => Err(Failure::Other(format!("cannot be waited for: {error}"))),
    }
}

/// Reads all output, then waits for the end of the process.
fn finish(child: &mut Child, deadline: Instant) -> Result<String, Failure> {
    let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
    let output = read_all(&stdout, deadline)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::Other("has no pid".to_owned()))?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(system)?;
    wait_readable(&process, deadline)?;
    String::from_utf8(output).map_err(|_| Failure::Other("prints what is no text".to_owned()))
}

fn read_all(stdout: &ChildStdout, deadline: Instant) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        wait_readable(stdout, deadline)?;
        let read = rustix::io::read(stdout, &mut buffer).map_err(system)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            return Ok(output);
        };
        output.extend_from_slice(part);
        if output.len() > MOST_OUTPUT {
            return Err(Failure::Other(format!("prints more than {MOST_OUTPUT} bytes")));
        }
    }
}

fn wait_readable(what: impl AsFd, deadline: Instant) -> Result<(), Failure> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Failure::TooSlow)?;
        match poll(&mut [PollFd::new(&what, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(Failure::TooSlow),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(system(errno)),
        }
    }
}

fn system(errno: rustix::io::Errno) -> Failure {
    Failure::Other(format!("cannot be followed: {errno}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::io::Write as _;

    use mezzo_linux::procfs::Procfs;

    use super::*;

    /// A shell script with this mode.
    fn script(dir: &tempfile::TempDir, text: &str, mode: u32) -> String {
        let path = dir.path().join("measure");
        // Not written by us: a process that another test starts right now would have it open for writing, and what is open
        // for writing cannot be executed.
        let mut install = Command::new("install")
            .args(["-m", &format!("{mode:o}"), "/dev/stdin"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        write!(install.stdin.take().unwrap(), "#!/bin/sh\n{text}\n").unwrap();
        assert!(install.wait().unwrap().success());
        path.display().to_string()
    }

    fn measurer(dir: &tempfile::TempDir, text: &str, timeout: Duration) -> CommandMeasurer {
        let program = Program::new(&script(dir, text, 0o755)).unwrap();
        let mut measurer = CommandMeasurer::new(program, timeout);
        measurer.begin_round().unwrap();
        measurer
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    fn us() -> Root {
        Root { pid: i32::try_from(std::process::id()).unwrap(), start_time: None }
    }

    #[test]
    fn its_figures_count_and_the_rest_comes_from_proc() {
        let dir = tempfile::tempdir().unwrap();
        let other = Root { pid: 2_000_000_000, start_time: None };
        let mut measurer = measurer(&dir, "echo $1 1000 100; echo \"$2   2000 200\"", PATIENCE);
        let tree = measurer.tree(&[us(), other]).unwrap();
        let [first, second] = tree.as_slice() else { panic!("{tree:?}") };
        assert_eq!((first.pid, first.virtual_bytes, first.physical_bytes), (us().pid, 1000, 100));
        let stat = Procfs::default().stat(us().pid).unwrap().unwrap();
        assert_eq!((first.start_time, &first.name), (stat.start_time, &stat.comm));
        assert_eq!((second.pid, second.virtual_bytes, second.start_time), (other.pid, 2000, 0));
    }

    #[test]
    fn what_it_says_wrong_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let complaint = |text: &str| measurer(&dir, text, PATIENCE).tree(&[us()]).unwrap_err();
        for wrong in ["1 2", "1 2 3 4", "x 2 3", "1 -2 3", "0 1 1", "1 99999999999999999999 1", ""]
        {
            let said = complaint(&format!("echo '{wrong}'"));
            assert!(said.contains("expected `PID VIRTUAL_BYTES PHYSICAL_BYTES`"), "{said}");
        }
        assert!(complaint("echo 1 1 1; exit 3").ends_with("has failed: exit status: 3"));
        assert!(complaint("yes '1 1 1'").contains("prints more than"));
        assert!(complaint("printf '\\377\\n'").ends_with("prints what is no text"));
        assert_eq!(measurer(&dir, "exit 0", PATIENCE).tree(&[us()]), Ok(Vec::new()));
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children_and_ends_the_round() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let text = format!("sleep 600 & echo $! $$ > {}; wait", pids.display());
        let mut measurer = measurer(&dir, &text, Duration::from_millis(500));
        let started = Instant::now();
        assert!(measurer.tree(&[us()]).unwrap_err().contains("has not ended within 500ms"));
        assert!(measurer.tree(&[us()]).unwrap_err().contains("for another container"));
        assert!(started.elapsed() < Duration::from_secs(20));
        for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
            let pid: i32 = pid.parse().unwrap();
            let ended =
                || Procfs::default().stat(pid).unwrap().is_none_or(|stat| stat.state.is_over());
            let waiting = Instant::now();
            while !ended() {
                assert!(waiting.elapsed() < PATIENCE, "{pid} is left");
                std::thread::yield_now();
            }
        }
        measurer.begin_round().unwrap();
        assert!(measurer.tree(&[us()]).unwrap_err().contains("has not ended"), "tried again");
    }

    #[test]
    fn one_that_closes_its_output_still_has_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let text = "echo 1 1 1; exec >&-; exec sleep 600";
        let mut measurer = measurer(&dir, text, Duration::from_millis(300));
        assert!(measurer.tree(&[us()]).unwrap_err().contains("has not ended"));
    }

    #[test]
    fn a_program_that_others_may_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &str| Program::new(path).unwrap_err();
        assert!(refused(&script(&dir, "", 0o775)).contains("mode is 775"));
        assert!(refused(&script(&dir, "", 0o757)).contains("mode is 757"));
        assert!(refused(&script(&dir, "", 0o644)).contains("executable"));
        assert!(refused(&dir.path().display().to_string()).contains("executable"));
        assert!(refused("/no/such/program").contains("No such file"));
        assert!(refused("measure").contains("absolute"));
    }
}
