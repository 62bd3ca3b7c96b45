//! All that came out of one process: its descendants, and the sessions and groups they opened.
//!
//! Used where there is no cgroup to ask (an ordinary user). A process that left session, group and tree escapes; with
//! `mezzo-launcher` above it this does not happen, because the launcher adopts what loses its parent.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{ProcessError, ProcessHandle, ProcessId, ProcessTable};
use crate::procfs::{Procfs, Stat};
use crate::retry;

/// The processes of the tree of `root`, root first: descendants, and all members of sessions and process groups that a
/// member leads. Zombies are left out.
///
/// # Errors
/// [`ProcessError::Procfs`].
pub fn members_of_tree(root: i32) -> Result<Vec<ProcessId>, ProcessError> {
    Ok(select_tree(Procfs::default().processes()?, &HashSet::from([root])))
}

/// The living members of a session.
///
/// # Errors
/// [`ProcessError::Procfs`].
pub fn members_of_session(session: i32) -> Result<Vec<ProcessId>, ProcessError> {
    let all = Procfs::default().processes()?;
    Ok(all
        .iter()
        .filter(|stat| stat.session == session && !stat.state.is_over())
        .map(id_of)
        .collect())
}

/// Sends a signal to each process, if it is still the one named. Returns how many got it.
///
/// # Errors
/// The first failure, after all have been tried.
pub fn signal_members(members: &[ProcessId], signal: Signal) -> Result<usize, ProcessError> {
    let mut reached = 0;
    let mut first_error = None;
    for member in members {
        match ProcessHandle::open_expected(*member)
            .and_then(|found| found.map_or(Ok(false), |found| found.signal(signal)))
        {
            Ok(delivered) => reached += usize::from(delivered),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(reached), Err)
}

/// Sends a signal to the tree of `root`. Returns how many got it.
///
/// # Errors
/// [`ProcessError`].
pub fn signal_tree(root: i32, signal: Signal) -> Result<usize, ProcessError> {
    signal_members(&members_of_tree(root)?, signal)
}

/// Sends a signal to all members of a session. Returns how many got it.
///
/// # Errors
/// [`ProcessError`].
pub fn signal_session(session: i32, signal: Signal) -> Result<usize, ProcessError> {
    signal_members(&members_of_session(session)?, signal)
}

/// Kills the tree of `root` with SIGKILL and waits until it is gone (zombies count as gone).
///
/// All are stopped first, and the tree is listed again until nothing new turns up: a stopped process cannot fork, so
/// nothing slips away between listing and killing, and parents die before anything could notice an orphan.
///
/// # Errors
/// [`ProcessError::Survived`] when something is left after `timeout`.
pub fn kill_tree(root: i32, timeout: Duration) -> Result<(), ProcessError> {
    let started = Instant::now();
    let procfs = Procfs::default();
    let ourselves = i32::try_from(std::process::id()).unwrap_or_default();
    let mut stopped: Vec<ProcessId> = Vec::new();
    let mut roots = HashSet::from([root]);
    loop {
        let found = select_tree(procfs.processes()?, &roots);
        let fresh: Vec<_> =
            found.into_iter().filter(|id| id.pid != ourselves && !stopped.contains(id)).collect();
        if fresh.is_empty() || started.elapsed() >= timeout {
            break;
        }
        // Best effort: what cannot be stopped cannot be killed either, and is reported below.
        let _ = signal_members(&fresh, Signal::STOP);
        roots.extend(fresh.iter().map(|id| id.pid));
        stopped.extend(fresh);
    }
    let mut left = stopped;
    loop {
        let refused = signal_members(&left, Signal::KILL);
        let mut alive = Vec::new();
        for id in left {
            if id.is_alive()? {
                alive.push(id);
            }
        }
        if alive.is_empty() {
            return Ok(());
        }
        if started.elapsed() >= timeout {
            refused?;
            let left = alive.iter().map(|id| id.pid).collect();
            return Err(ProcessError::Survived { root, left, after: timeout });
        }
        left = alive;
        retry::pause();
    }
}

/// The living processes of the trees of `roots`, the roots first.
fn select_tree(all: Vec<Stat>, roots: &HashSet<i32>) -> Vec<ProcessId> {
    let table = ProcessTable::new(all);
    let inside = table.tree(roots.iter().copied()).into_iter();
    let mut members: Vec<_> = inside.filter(|stat| !stat.state.is_over()).map(id_of).collect();
    members.sort_by_key(|id| (!roots.contains(&id.pid), id.start_time, id.pid));
    members
}

fn id_of(stat: &Stat) -> ProcessId {
    ProcessId { pid: stat.pid, start_time: stat.start_time }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use std::path::Path;

    use super::*;

    fn stat(pid: i32, ppid: i32, pgrp: i32, session: i32, state: &str) -> Stat {
        let line = format!(
            "{pid} (x) {state} {ppid} {pgrp} {session} 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {pid} 0 0"
        );
        Stat::parse(Path::new("stat"), &line).unwrap()
    }

    fn pids(members: &[ProcessId]) -> Vec<i32> {
        members.iter().map(|id| id.pid).collect()
    }

    #[test]
    fn descendants_sessions_and_groups_belong_to_the_tree_but_not_the_roots_own_session() {
        let all = [
            stat(10, 1, 10, 10, "S"),  // the agent, leader of its session
            stat(20, 10, 10, 10, "S"), // the root, in the agent's session
            stat(30, 20, 30, 30, "S"), // child that opened a session
            stat(40, 1, 30, 30, "S"),  // lost its parent, still in that session
            stat(50, 40, 50, 30, "Z"), // dead
            stat(60, 10, 10, 10, "S"), // the agent's other child
            stat(70, 1, 50, 30, "S"),  // in the group of a dead member
        ];
        assert_eq!(pids(&select_tree(all.to_vec(), &HashSet::from([20]))), [20, 30, 40, 70]);
        assert_eq!(pids(&select_tree(all.to_vec(), &HashSet::from([999]))), Vec::<i32>::new());
    }

    #[test]
    fn kill_tree_takes_grandchildren_in_other_groups() {
        let mut child = std::process::Command::new("sh")
            .args([
                "-c",
                "setsid sleep 600 & sleep 600 & trap '' TERM; while :; do sleep 600; done",
            ])
            .spawn()
            .unwrap();
        let root = i32::try_from(child.id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while members_of_tree(root).unwrap().len() < 4 {
            assert!(Instant::now() < deadline, "the children never came up");
            std::thread::yield_now();
        }
        let members = members_of_tree(root).unwrap();
        kill_tree(root, Duration::from_secs(20)).unwrap();
        for member in members {
            assert!(!member.is_alive().unwrap(), "{member}");
        }
        child.wait().unwrap();
        kill_tree(root, Duration::from_secs(20)).unwrap();
    }
}
