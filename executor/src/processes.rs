//! Everything the task has started: reaped and signalled as a whole.
//!
//! As process 1 of a pid namespace this process gets every orphan, and one `kill(-1)` reaches the whole namespace. Without
//! a namespace it is the reaper of its descendants, so that a daemon that left the tree, its group and its session is still
//! found below it.

use std::collections::HashSet;

use mezzo_linux::procfs::Procfs;
use nix::sys::signal::{self, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpid};

use crate::wording::Exit;

/// Which signal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Kill,
}

/// A fork bomb makes processes faster than they are found; the container's end deals with what this leaves.
const ROUNDS: usize = 50;

/// Makes orphans below this process its children.
pub(crate) fn adopt_orphans() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Takes every child that has ended.
pub(crate) fn reap() -> Vec<(u32, Exit)> {
    let mut ended = Vec::new();
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        let Some(pid) = status.pid() else { break };
        if let (Ok(pid), Some(exit)) = (u32::try_from(pid.as_raw()), Exit::from_wait(status)) {
            ended.push((pid, exit));
        }
    }
    ended
}

/// Sends a signal to all processes below this one. `command` is the pid of the task's first process.
pub(crate) fn signal_all(command: Option<u32>, what: Signal) {
    let number = match what {
        Signal::Terminate => signal::Signal::SIGTERM,
        Signal::Kill => signal::Signal::SIGKILL,
    };
    if getpid().as_raw() == 1 {
        // Never reaches ourselves, nor anything outside the namespace.
        let _ = kill(Pid::from_raw(-1), number);
        return;
    }
    // The group in one go, before its members can fork; then whatever is found.
    if let Some(group) = command.and_then(|pid| i32::try_from(pid).ok()) {
        let _ = signal::killpg(Pid::from_raw(group), number);
    }
    let mut done = HashSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<i32> = descendants().into_iter().filter(|pid| done.insert(*pid)).collect();
        for pid in &fresh {
            let _ = kill(Pid::from_raw(*pid), number);
        }
        // Only after SIGKILL nothing new can come from what was found.
        if fresh.is_empty() || what == Signal::Terminate {
            return;
        }
    }
}

fn descendants() -> Vec<i32> {
    let procfs = Procfs::default();
    let mut found = Vec::new();
    let mut open = vec![getpid().as_raw()];
    while let Some(pid) = open.pop() {
        // A process that is gone has no children.
        let children = procfs.children(pid).unwrap_or_default();
        open.extend(&children);
        found.extend(children);
    }
    found
}
