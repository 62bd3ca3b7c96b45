//! The program `mezzo-launcher`: one container's process, from "go" to its wait status.
//!
//! It stays outside the container as the parent of the program, so that somebody is there to reap it and to write down how
//! it ended, even while the agent is being restarted. Being one per container it has to be small: no runtime, no threads,
//! no command line.
//!
//! 1. Its own session; then the length-prefixed JSON [`LaunchSpec`] from standard input.
//! 2. It waits for the "go" byte. The end of the input instead means that the agent died: exit, nothing has run.
//! 3. Fork; the child (`setup`) makes the namespaces its own and executes the program.
//! 4. The parent (`attend`) passes SIGTERM on, reaps, writes the status file and ends the same way.

mod attend;
mod exec;
mod mounts;
mod setup;
mod sys;

use std::io::{self, Read};
use std::process::ExitCode;

use rustix::pipe::PipeFlags;

use crate::launch::{EXIT_SETUP_FAILED, GO, LaunchSpec, MAX_SPEC_BYTES, write_atomically};
use crate::process::{ProcessId, WaitStatus};

/// Something that went wrong, as one sentence for the container's stderr.
pub(crate) type Failure = String;

/// `main` of the launcher.
#[must_use]
pub fn run() -> ExitCode {
    // Already the leader of a session (started by hand): that is all that was wanted.
    let _ = rustix::process::setsid();
    match launch() {
        Ok(Ended::NeverStarted) => ExitCode::SUCCESS,
        Ok(Ended::With(status)) => sys::end_like(status),
        Err(failure) => {
            say(&failure);
            ExitCode::from(EXIT_SETUP_FAILED)
        }
    }
}

enum Ended {
    NeverStarted,
    With(WaitStatus),
}

fn launch() -> Result<Ended, Failure> {
    let mut stdin = io::stdin().lock();
    let Some(spec) = read_spec(&mut stdin)? else {
        return Ok(Ended::NeverStarted);
    };
    if !read_go(&mut stdin)? {
        return Ok(Ended::NeverStarted);
    }
    drop(stdin);
    let spec = Box::new(spec);

    // From here signals for us wait until `attend` asks for them.
    sys::block_signals();
    // Nobody of the container may keep our input open, and we need it no more.
    sys::replace_stdin_by_null().map_err(|error| format!("cannot open /dev/null: {error}"))?;
    if spec.namespaces.pid {
        sys::new_pid_namespace_for_children()
            .map_err(|error| format!("cannot make a pid namespace: {error}"))?;
    } else {
        // Without a pid namespace nobody collects what loses its parent: adopt it, to be able to kill it at the end.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    // Pid 1 of a namespace can only exit, not die by a signal; so an init tells us its program's status by this.
    let (from_init, to_us) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|errno| format!("cannot make a pipe: {errno}"))?;
    let child = match sys::fork().map_err(|error| format!("cannot fork: {error}"))? {
        sys::Forked::Child => {
            drop(from_init);
            let code = setup::run(&spec, to_us);
            std::process::exit(i32::from(code));
        }
        sys::Forked::Parent(child) => child,
    };
    drop(to_us);
    if let Some(path) = &spec.pid_file {
        // The child is not reaped yet, so it is certainly there.
        let id =
            ProcessId::of(child).ok().flatten().unwrap_or(ProcessId { pid: child, start_time: 0 });
        if let Err(error) = write_atomically(path, &format!("{} {}\n", id.pid, id.start_time)) {
            say(&format!("cannot write the pid file {}: {error}", path.display()));
        }
    }
    let seen = attend::until_the_end(child);
    let mut told = [0; 4];
    let status = match rustix::io::read(&from_init, &mut told) {
        Ok(4) => WaitStatus::from_raw(i32::from_ne_bytes(told)),
        _ => seen,
    };
    if let Some(path) = &spec.status_file
        && let Err(error) = write_atomically(path, &format!("{}\n", status.raw()))
    {
        say(&format!("cannot write the status file {}: {error}", path.display()));
    }
    attend::kill_the_rest();
    Ok(Ended::With(status))
}

/// `None` at the end of the input, even in the middle of a spec: the agent died while it wrote.
fn read_spec(input: &mut impl Read) -> Result<Option<LaunchSpec>, Failure> {
    let mut length = [0; 4];
    if !read_fully(input, &mut length)? {
        return Ok(None);
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_SPEC_BYTES {
        return Err(format!(
            "launch spec announces {length} bytes, expected at most {MAX_SPEC_BYTES}"
        ));
    }
    let mut json = vec![0; length];
    if !read_fully(input, &mut json)? {
        return Ok(None);
    }
    let spec: LaunchSpec = serde_json::from_slice(&json)
        .map_err(|error| format!("launch spec cannot be understood: {error}"))?;
    spec.validate().map_err(|error| error.to_string())?;
    Ok(Some(spec))
}

/// Waits for the "go" byte; false at the end of the input.
fn read_go(input: &mut impl Read) -> Result<bool, Failure> {
    let mut byte = [0; 1];
    if !read_fully(input, &mut byte)? {
        return Ok(false);
    }
    if byte == [GO] {
        Ok(true)
    } else {
        Err(format!("expected the byte {GO} after the launch spec, found {}", byte[0]))
    }
}

fn read_fully(input: &mut impl Read, buffer: &mut [u8]) -> Result<bool, Failure> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(format!("cannot read the launch spec: {error}")),
    }
}

/// One sentence on standard error, in one write so that it is not mixed up with others'.
fn say(failure: &str) {
    let _ = rustix::io::write(
        rustix::stdio::stderr(),
        format!("mezzo-launcher: {failure}\n").as_bytes(),
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn framed(json: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(json.len()).unwrap().to_le_bytes().to_vec();
        message.extend(json);
        message
    }

    #[test]
    fn a_whole_spec_is_read_and_any_cut_means_that_the_agent_died() {
        let spec = LaunchSpec::shell("true");
        let whole = framed(&serde_json::to_vec(&spec).unwrap());
        assert_eq!(read_spec(&mut whole.as_slice()).unwrap(), Some(spec));
        for cut in 0..whole.len() {
            assert_eq!(read_spec(&mut &whole[..cut]).unwrap(), None);
        }
    }

    #[test]
    fn garbage_is_refused_without_reading_it_all() {
        assert!(read_spec(&mut [0xff; 4].as_slice()).unwrap_err().contains("at most"));
        assert!(
            read_spec(&mut framed(b"{}").as_slice()).unwrap_err().contains("cannot be understood")
        );
        let deep = "[".repeat(100_000);
        assert!(read_spec(&mut framed(deep.as_bytes()).as_slice()).is_err());
    }

    #[test]
    fn only_the_go_byte_goes() {
        assert!(read_go(&mut [GO].as_slice()).unwrap());
        assert!(!read_go(&mut [].as_slice()).unwrap());
        assert!(read_go(&mut [0].as_slice()).is_err());
    }
}
