//! The few system calls that no safe wrapper covers, and those around signals.
#![allow(unsafe_code, reason = "fork and signal dispositions; each block says why it is sound")]

use std::fs::File;
use std::io;
use std::process::ExitCode;

use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::ForkResult;

use crate::process::WaitStatus;

/// On which side of a fork we are.
pub(super) enum Forked {
    Child,
    Parent(i32),
}

/// Forks.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: the launcher has one thread, so the child may do anything that the parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(Forked::Child),
        ForkResult::Parent { child } => Ok(Forked::Parent(child.as_raw())),
    }
}

/// The next child becomes pid 1 of a new pid namespace.
pub(super) fn new_pid_namespace_for_children() -> io::Result<()> {
    Ok(nix::sched::unshare(CloneFlags::CLONE_NEWPID)?)
}

/// Puts `/dev/null` in the place of standard input.
pub(super) fn replace_stdin_by_null() -> io::Result<()> {
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(())
}

/// The signals that a parent of a container waits for.
pub(super) fn awaited() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGTERM);
    set
}

/// Holds SIGCHLD and SIGTERM back until they are asked for.
pub(super) fn block_signals() {
    // Cannot fail: the set is valid.
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&awaited()), None);
}

/// Default action for every signal, and none held back: an ignored or blocked signal would survive exec and make a
/// program deaf to, say, SIGPIPE or SIGTERM.
pub(super) fn default_signals() {
    /// At least as long as the kernel's `struct sigaction` on any machine; zeros mean SIG_DFL, no flags, empty mask.
    static DEFAULT_ACTION: [u64; 8] = [0; 8];
    const MASK_BYTES: usize = 8;
    for signal in 1..=64 {
        // The C library refuses to touch the two signals that it uses itself (32 and 33), and a program started with these
        // ignored hangs in its first setuid or thread cancellation. So the kernel is asked.
        // SAFETY: SIG_DFL installs no handler, so there is nothing that could be called; the kernel only reads the
        // action, which is long enough. It refuses SIGKILL and SIGSTOP, which is right.
        unsafe {
            nix::libc::syscall(
                nix::libc::SYS_rt_sigaction,
                signal,
                DEFAULT_ACTION.as_ptr(),
                std::ptr::null_mut::<u8>(),
                MASK_BYTES,
            )
        };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Closes all descriptors above the three standard ones at exec.
pub(super) fn close_other_descriptors_at_exec() -> io::Result<()> {
    // SAFETY: only marks descriptors to be closed at exec; nobody's open descriptor is invalidated.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_close_range,
            3_u32,
            u32::MAX,
            nix::libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends this process as another one ended, so that whoever waits for it sees the same status.
pub(super) fn end_like(status: WaitStatus) -> ExitCode {
    if let Some(code) = status.exit_code() {
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
    if let Some(signal) = status.signal() {
        // The program may have dumped core; a dump of the launcher would be of use to nobody.
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        default_signals();
        // SAFETY: raising a signal with default action in our own process; no memory is involved.
        unsafe { nix::libc::raise(signal) };
    }
    // A signal that does not end a process by default cannot have ended one.
    ExitCode::from(crate::launch::EXIT_SETUP_FAILED)
}
