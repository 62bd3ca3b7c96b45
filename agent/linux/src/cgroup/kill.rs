//! Killing everything in a cgroup, without the freezer.
//!
//! Version 2 has `cgroup.kill`, which also catches processes that are being forked at that moment. Version 1 has not, so
//! there the list of processes is read and killed again and again until it is empty: a fork bomb loses this race because
//! every round kills all that the last round left, and the pids controller bounds what it can make.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::Cgroup;
use crate::{Error, Result, retry};

/// Kills everything in the given cgroups (one container in several hierarchies), then removes them all.
///
/// # Errors
/// As [`Cgroup::kill`] and [`Cgroup::remove`]; all cgroups are tried, the first error is returned.
pub fn kill_and_remove(cgroups: &[Cgroup], timeout: Duration) -> Result<()> {
    let started = Instant::now();
    let mut first_error = None;
    // First kill through every hierarchy, then remove: a process that is in one and not yet in another is still found.
    for cgroup in cgroups {
        if let Err(error) = cgroup.kill(timeout.saturating_sub(started.elapsed())) {
            first_error.get_or_insert(error);
        }
    }
    for cgroup in cgroups {
        if let Err(error) = cgroup.remove(timeout.saturating_sub(started.elapsed())) {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

pub(super) fn kill_all(cgroup: &Cgroup, timeout: Duration) -> Result<()> {
    let started = Instant::now();
    let has_kill_file = cgroup.has("cgroup.kill");
    let ourselves = i32::try_from(std::process::id()).unwrap_or_default();
    loop {
        let inside = cgroup.procs_recursive()?;
        if inside.is_empty() {
            return Ok(());
        }
        if inside.contains(&ourselves) {
            return Err(Error::Invalid {
                what: "cgroup to kill",
                found: cgroup.path().display().to_string(),
                expected: "one that the calling process is not in",
            });
        }
        if has_kill_file {
            cgroup.write("cgroup.kill", "1")?;
        } else {
            kill_each(&inside);
        }
        if started.elapsed() >= timeout {
            return Err(Error::TimedOut {
                operation: "killing everything in the cgroup",
                path: cgroup.path().to_owned(),
                after: timeout,
                detail: format!("pids still inside: {inside:?}"),
            });
        }
        retry::pause();
    }
}

fn kill_each(pids: &[i32]) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // The pid was in the list a moment ago. One that is gone is what we want, and a refusal (a process of another
        // user, when we are not root) shows as the time-out with the pids that are left.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn holding(procs: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.procs"), procs).unwrap();
        dir
    }

    #[test]
    fn a_cgroup_that_holds_the_caller_is_not_killed() {
        let dir = holding(&format!("{}\n", std::process::id()));
        let error = Cgroup::new(dir.path()).kill(Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("one that the calling process is not in"), "{error}");
    }

    #[test]
    fn who_survives_is_told() {
        // A pid beyond what any kernel gives out: killing it changes nothing, as with a process that cannot die.
        let dir = holding("2147483647\n");
        let error = Cgroup::new(dir.path()).kill(Duration::from_millis(3)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("did not finish within 3ms: pids still inside: [2147483647]"),
            "{error}"
        );
    }

    #[test]
    fn version_2_is_asked_to_kill_by_its_file() {
        let dir = holding("2147483647\n");
        std::fs::write(dir.path().join("cgroup.kill"), "").unwrap();
        Cgroup::new(dir.path()).kill(Duration::ZERO).unwrap_err();
        assert_eq!(std::fs::read_to_string(dir.path().join("cgroup.kill")).unwrap(), "1");
    }

    #[test]
    fn nothing_there_is_nothing_to_kill() {
        let dir = tempfile::tempdir().unwrap();
        kill_and_remove(&[Cgroup::new(dir.path().join("gone"))], Duration::ZERO).unwrap();
    }
}
