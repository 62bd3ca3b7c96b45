//! The parent's side after the fork: pass SIGTERM on, reap, kill what is left.

use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::sys;
use crate::process::WaitStatus;
use crate::procfs::Procfs;
use crate::retry;

/// How often what is left after the program's end is looked for. Each round kills a generation.
const ROUNDS_OF_KILLING: usize = 5000;

/// Waits for the child, passing SIGTERM on to it, and returns how it ended.
pub(super) fn until_the_end(child: i32) -> WaitStatus {
    // When memory runs out in the container the kernel should take the program, not the one who tells about it. Needs
    // privilege; without it we take our chance. "self" is right whichever procfs is mounted.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let signals = sys::awaited();
    loop {
        // Reap first: the child may have ended before we got here.
        if let Some(status) = reap(child) {
            return status;
        }
        if matches!(signals.wait(), Ok(Signal::SIGTERM)) {
            // Not reaped, so the pid is still the child's.
            if let Some(pid) = Pid::from_raw(child) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
    }
}

/// Reaps whatever has ended; the status when the child itself is among it.
fn reap(child: i32) -> Option<WaitStatus> {
    let mut ended = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if pid.as_raw_nonzero().get() == child {
                    ended = Some(WaitStatus::from_raw(status.as_raw()));
                }
            }
            Err(Errno::INTR) => {}
            // Nothing more has ended, or there is no child at all.
            Ok(None) | Err(_) => return ended,
        }
    }
}

/// Kills what the program left running. We adopted it (subreaper), so it is among our children; killing one makes its own
/// children ours, generation by generation. In a pid namespace the kernel has done all this when pid 1 ended.
pub(super) fn kill_the_rest() {
    let us = i32::try_from(std::process::id()).unwrap_or_default();
    for _ in 0..ROUNDS_OF_KILLING {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => continue,
            // No children: the usual case.
            Err(_) => return,
            Ok(None) => {}
        }
        for pid in
            Procfs::default().children(us).unwrap_or_default().into_iter().filter_map(Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // One that cannot die now (waiting for a disk that does not answer) must not hold us for ever: the rounds end.
        retry::pause();
    }
}
