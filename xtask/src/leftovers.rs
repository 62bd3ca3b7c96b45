//! What a test run must not leave behind: a process, a cgroup, a mount, a file.
//!
//! A run gets a temporary directory and a mark in its environment of its own, so that what it leaves can be told from what
//! others do on the same machine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Failure;

/// Variable that every process of the run inherits.
const MARK: &str = "XTASK_TEST_RUN";

/// How the names of everything of ours begin.
const OURS: &str = "mezzo";

/// How deep below the cgroup root our own root can be (controller, slice, service, ours).
const CGROUP_DEPTH: usize = 5;

/// How long processes that were told to end may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A run being watched.
pub(crate) struct Watch {
    mark: String,
    temporary: PathBuf,
    before: Machine,
}

/// What can be left behind outside the temporary directory.
#[derive(Default)]
struct Machine {
    processes: BTreeSet<(u32, String)>,
    cgroups: BTreeSet<PathBuf>,
    mounts: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Watch {
    /// Looks at the machine before the run.
    pub(crate) fn start() -> Result<Self, Failure> {
        let mark = format!("{}-{}", OURS, std::process::id());
        let temporary = std::env::temp_dir().join(format!("xtask-{mark}"));
        fs::create_dir(&temporary).map_err(|error| {
            Failure::task(format!("cannot create {}: {error}", temporary.display()))
        })?;
        let before = Machine::look(&mark);
        Ok(Self { mark, temporary, before })
    }

    /// Makes a command part of the run.
    pub(crate) fn mark(&self, command: &mut Command) {
        command.env("TMPDIR", &self.temporary).env(MARK, &self.mark);
    }

    /// Looks again, and names everything that is there and was not there before. Removes the temporary directory.
    pub(crate) fn finish(self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut found = self.found();
        // Processes that were killed a moment ago may still be on their way out; whoever stays is named.
        while !found.is_empty() && Instant::now() < deadline {
            pause();
            found = self.found();
        }
        found.extend(
            children(&self.temporary)
                .map(|path| format!("file {} in the temporary directory", path.display())),
        );
        if fs::remove_dir_all(&self.temporary).is_err() {
            found.push(format!("directory {} that cannot be removed", self.temporary.display()));
        }
        found
    }

    fn found(&self) -> Vec<String> {
        let after = Machine::look(&self.mark);
        let processes = after
            .processes
            .difference(&self.before.processes)
            .map(|(pid, name)| format!("process {pid} ({name})"));
        let paths = |kind: &'static str, after: &BTreeSet<PathBuf>, before: &BTreeSet<PathBuf>| {
            after
                .difference(before)
                .map(|path| format!("{kind} {}", path.display()))
                .collect::<Vec<_>>()
        };
        processes
            .chain(paths("cgroup", &after.cgroups, &self.before.cgroups))
            .chain(paths("mount", &after.mounts, &self.before.mounts))
            .chain(paths("file", &after.files, &self.before.files))
            .collect()
    }
}

impl Machine {
    fn look(mark: &str) -> Self {
        let mut cgroups = BTreeSet::new();
        our_cgroups(Path::new("/sys/fs/cgroup"), 0, &mut cgroups);
        Self {
            processes: processes(mark),
            cgroups,
            mounts: mounts(),
            files: ["/tmp", "/run", "/dev/shm"]
                .iter()
                .flat_map(|folder| children(Path::new(folder)))
                .filter(|path| is_ours(path.file_name()))
                .collect(),
        }
    }
}

/// Processes of the run: by our mark in their environment, or by what they are.
fn processes(mark: &str) -> BTreeSet<(u32, String)> {
    let wanted = format!("{MARK}={mark}");
    let own = std::process::id();
    let target = crate::cargo::target_dir();
    children(Path::new("/proc"))
        .filter_map(|folder| {
            let pid: u32 = folder.file_name()?.to_str()?.parse().ok()?;
            let name = fs::read_to_string(folder.join("comm")).ok()?;
            let name = name.trim().to_owned();
            let environment = fs::read(folder.join("environ")).unwrap_or_default();
            let marked =
                environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes());
            let zombie = is_zombie(&folder);
            // What scrubs its environment is still known by where it was built.
            let built_here =
                fs::read_link(folder.join("exe")).is_ok_and(|exe| exe.starts_with(&target));
            let ours = marked || built_here && name.starts_with(&format!("{OURS}-"));
            (pid != own && ours && !zombie).then_some((pid, name))
        })
        .collect()
}

fn is_zombie(folder: &Path) -> bool {
    fs::read_to_string(folder.join("stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('Z')))
        .unwrap_or(true)
}

/// Cgroups of ours with everything below them.
fn our_cgroups(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    for child in children(folder).filter(|child| child.is_dir() && !child.is_symlink()) {
        if is_ours(child.file_name()) {
            everything_below(child, found);
        } else if depth < CGROUP_DEPTH {
            our_cgroups(&child, depth + 1, found);
        }
    }
}

fn everything_below(folder: PathBuf, found: &mut BTreeSet<PathBuf>) {
    for child in children(&folder).filter(|child| child.is_dir()) {
        everything_below(child, found);
    }
    found.insert(folder);
}

/// Mounts that have to do with us, by their mount point.
fn mounts() -> BTreeSet<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|point| PathBuf::from(OsStr::from_bytes(point)))
        .filter(|point| point.to_string_lossy().contains(OURS))
        .collect()
}

fn is_ours(name: Option<&OsStr>) -> bool {
    name.is_some_and(|name| name.as_bytes().starts_with(OURS.as_bytes()))
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn pause() {
    #[expect(clippy::disallowed_methods, reason = "a program without an async runtime")]
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_a_file_left_behind_are_named() {
        let watch = Watch::start().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        watch.mark(&mut command);
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        let temporary = watch.temporary.clone();
        fs::write(temporary.join("forgotten"), "").unwrap();
        // The first look sees both; the process ends while the watch waits for it.
        let seen = watch.found();
        assert!(seen.contains(&format!("process {pid} (sleep)")), "{seen:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        let left = watch.finish();
        assert!(left.iter().any(|line| line.contains("forgotten")), "{left:?}");
        assert!(!left.iter().any(|line| line.contains("sleep")), "{left:?}");
        assert!(!temporary.exists());
    }
}
