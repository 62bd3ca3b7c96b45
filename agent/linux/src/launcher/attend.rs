//! The parent's side after the fork: pass SIGTERM on, reap, write the status down, kill what is left.

use std::path::Path;

use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::{say, sys};
use crate::launch::write_atomically;
use crate::process::WaitStatus;
use crate::procfs::Procfs;

/// How often what is left after the program's end is looked for. Each round kills a generation.
const ROUNDS_OF_KILLING: usize = 1000;

/// Waits for the child and returns how it ended.
pub(super) fn until_the_end(child: i32, status_file: Option<&Path>) -> WaitStatus {
    // When memory runs out in the container the kernel should take the program, not the one who tells about it. Needs
    // privilege; without it we take our chance.
    let _ = Procfs::default().set_oom_score_adj(i32::try_from(std::process::id()).unwrap_or_default(), -1000);
    let signals = sys::awaited();
    let status = loop {
        // Reap first: the child may have ended before we got here.
        if let Some(status) = reap(child) {
            break status;
        }
        if matches!(signals.wait(), Ok(Signal::SIGTERM)) {
            // Not reaped, so the pid is still the child's.
            if let Some(pid) = Pid::from_raw(child) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
    };
    if let Some(path) = status_file
        && let Err(error) = write_atomically(path, &format!("{}\n", status.raw()))
    {
        say(&format!("cannot write the status file {}: {error}", path.display()));
    }
    kill_the_rest();
    status
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
fn kill_the_rest() {
    let us = i32::try_from(std::process::id()).unwrap_or_default();
    for _ in 0..ROUNDS_OF_KILLING {
        let left = Procfs::default().children(us).unwrap_or_default();
        if left.is_empty() {
            return;
        }
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // One of them will end, and then we look again. One that cannot be killed now must not hold us for ever, so wait
        // only as long as something can be collected.
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {},
            Ok(None) => std::thread::sleep(std::time::Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

