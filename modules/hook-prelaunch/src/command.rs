//! The operator's own check: a command that says yes or no.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mezzo_module_api::ModuleError;
use mezzo_proto::json::JsonError;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::refused;

/// How much of what a command says is told, in bytes.
const TOLD: usize = 1000;

/// A shell command, and how long it may take.
#[derive(Debug)]
pub(crate) struct Check {
    command: String,
    timeout: Duration,
}

/// A request as the command reads it.
pub(crate) fn json(text: Result<String, JsonError>) -> Result<String, ModuleError> {
    text.map_err(|error| refused(format!("cannot write the request as JSON: {error}")))
}

impl Check {
    pub(crate) fn new(command: &str, timeout: Duration) -> Self {
        Self { command: command.to_owned(), timeout }
    }

    /// Runs it with this on its standard input. Blocks for the timeout at most.
    ///
    /// # Errors
    /// When it does not say yes.
    pub(crate) fn run(&self, input: &str) -> Result<(), ModuleError> {
        let command = &self.command;
        let mut child = self
            .spawn(input)
            .map_err(|error| refused(format!("the check `{command}` cannot be run: {error}")))?;
        let mut said = Vec::new();
        let outcome = self.attend(&mut child, &mut said);
        if !matches!(outcome, Ok(Some(_))) {
            // The group first: what it started must not outlive it.
            let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.trim_end();
        match outcome {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) if said.is_empty() => {
                Err(refused(format!("the check `{command}` says no: {status}")))
            }
            Ok(Some(_)) => Err(refused(format!("the check `{command}` says no: {said}"))),
            Ok(None) => Err(refused(format!(
                "the check `{command}` has not answered within {:?}",
                self.timeout
            ))),
            Err(error) => Err(refused(format!("the check `{command}` cannot be run: {error}"))),
        }
    }

    fn spawn(&self, input: &str) -> io::Result<Child> {
        // A file, not a pipe: a command that does not read its input does not hold us up.
        let mut file = File::from(rustix::fs::memfd_create("prelaunch", MemfdFlags::CLOEXEC)?);
        file.write_all(input.as_bytes())?;
        file.rewind()?;
        Command::new("/bin/sh")
            .args(["-c", &self.command])
            .process_group(0)
            .stdin(file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Waits for its end and listens to what it says; `None` when it takes too long.
    fn attend(&self, child: &mut Child, said: &mut Vec<u8>) -> io::Result<Option<ExitStatus>> {
        let started = Instant::now();
        let end = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let mut stderr = child.stderr.take();
        if let Some(stderr) = &stderr {
            rustix::fs::fcntl_setfl(stderr, OFlags::NONBLOCK)?;
        }
        loop {
            let left = self.timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            let output = stderr.as_ref().map_or_else(|| end.as_fd(), AsFd::as_fd);
            let mut fds =
                [PollFd::new(&end, PollFlags::IN), PollFd::from_borrowed_fd(output, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let has_ended = fds.first().is_some_and(|fd| !fd.revents().is_empty());
            // After the end of the process, too: its last words may be there only now.
            stderr = stderr.filter(|stderr| listen(stderr, said));
            if has_ended {
                return child.wait().map(Some);
            }
        }
    }
}

/// Takes what is there, and keeps the beginning; false when there will be no more. Reads as much as a pipe holds, no more:
/// one who never stops talking is stopped by the clock.
fn listen(stderr: &ChildStderr, said: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    match rustix::io::read(stderr, &mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            let room = TOLD.saturating_sub(said.len()).min(length);
            said.extend(buffer.iter().take(room));
            true
        }
        Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// Longer than any machine takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn run(command: &str, input: &str) -> Result<(), String> {
        Check::new(command, PATIENCE).run(input).map_err(|error| error.message)
    }

    #[test]
    fn a_command_that_succeeds_says_yes_and_has_seen_the_request() {
        run("test \"$(cat)\" = '{\"a\":1}'", "{\"a\":1}").unwrap();
    }

    #[test]
    fn a_command_that_fails_is_told_with_its_words_or_else_its_status() {
        assert_eq!(
            run("echo not today >&2; exit 3", "").unwrap_err(),
            "the check `echo not today >&2; exit 3` says no: not today"
        );
        assert_eq!(run("exit 3", "").unwrap_err(), "the check `exit 3` says no: exit status: 3");
        assert!(run("kill -9 $$", "").unwrap_err().contains("signal: 9"));
        assert!(run("/no/such/check", "").unwrap_err().contains("not found"));
    }

    #[test]
    fn one_that_neither_reads_nor_stops_talking_is_cut_short() {
        let input = "x".repeat(1 << 20);
        let error = run("head -c 10000000 /dev/zero | tr '\\0' y >&2; exit 1", &input).unwrap_err();
        assert!(error.ends_with(&"y".repeat(TOLD)) && error.len() < TOLD + 200);
        let forever = Check::new("while :; do echo y; done >&2", Duration::from_millis(100));
        assert!(forever.run("").unwrap_err().message.ends_with("has not answered within 100ms"));
    }

    #[test]
    fn one_that_takes_too_long_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let command = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        // Long enough for the shell to get there on a busy machine.
        let error = Check::new(&command, Duration::from_secs(5)).run("").unwrap_err();
        assert!(error.message.ends_with("has not answered within 5s"), "{error}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let started = Instant::now();
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(started.elapsed() < PATIENCE, "{stat} is still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_that_leaves_something_behind_with_its_output_open_is_not_waited_for() {
        let started = Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        run(&format!("sleep 600 & echo $! > {}", pid.display()), "").unwrap();
        assert!(started.elapsed() < PATIENCE);
        let pid = std::fs::read_to_string(pid).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
