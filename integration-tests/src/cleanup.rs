//! Leaves nothing behind: ends what a cluster started and removes what it made.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long processes may take to die of SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Kills every process that works below `folder` or is in a cgroup called `cgroup`, then removes
/// those cgroups.
pub(crate) fn sweep(folder: &Path, cgroup: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = processes_of(folder, cgroup);
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        #[expect(clippy::disallowed_methods, reason = "called from Drop, which cannot await")]
        std::thread::sleep(PAUSE);
    }
    for root in roots(cgroup) {
        remove(&root);
    }
}

/// The cgroups of that name in every hierarchy.
fn roots(cgroup: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(base).into_iter().flatten().flatten().map(|e| e.path());
    let all = hierarchies.chain([base.to_owned()]).map(|h| h.join(cgroup));
    all.filter(|root| root.is_dir()).collect()
}

fn processes_of(folder: &Path, cgroup: &str) -> Vec<i32> {
    let mine = format!("/{cgroup}/");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let proc = entry.path();
            let inside = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
            let grouped = fs::read_to_string(proc.join("cgroup"))
                .is_ok_and(|groups| groups.lines().any(|l| format!("{l}/").contains(&mine)));
            let here = u32::try_from(pid).is_ok_and(|pid| pid == std::process::id());
            ((inside || grouped) && !here).then_some(pid)
        })
        .collect()
}

/// Removes a cgroup and those below it, deepest first.
fn remove(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&child.path());
        }
    }
    let deadline = Instant::now() + PATIENCE;
    // The kernel holds a cgroup for a moment after its last process has died.
    while fs::remove_dir(group).is_err() && group.exists() && Instant::now() < deadline {
        #[expect(clippy::disallowed_methods, reason = "called from Drop, which cannot await")]
        std::thread::sleep(PAUSE);
    }
}
