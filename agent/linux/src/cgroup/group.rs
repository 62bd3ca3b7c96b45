//! One cgroup: a directory in one hierarchy.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Error, Result, file, retry};

/// A directory in a cgroup hierarchy. Cheap to clone; holds nothing open; may or may not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup at a path, taken as it is.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The cgroup `relative` below `root`; it must stay below it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `relative` is empty, absolute, or contains `.` or `..`.
    pub fn below(root: &Path, relative: &str) -> Result<Self> {
        // `components` passes over a `.` that is not the first: `root/.` would be the root itself.
        let plain =
            Path::new(relative).components().all(|part| matches!(part, Component::Normal(_)))
                && relative.split('/').all(|part| part != ".");
        if relative.is_empty() || !plain || relative.contains(['\n', '\0']) {
            return Err(Error::Invalid {
                what: "cgroup name",
                found: relative.to_owned(),
                expected: "a relative path without \".\", \"..\" or line breaks",
            });
        }
        Ok(Self { path: root.join(relative) })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// A cgroup inside this one.
    ///
    /// # Errors
    /// As [`Cgroup::below`].
    pub fn child(&self, relative: &str) -> Result<Self> {
        Self::below(&self.path, relative)
    }

    /// True when the directory exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes the directory; its parent must exist and it must not (a leftover of the same name is never adopted silently).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(&self) -> Result<()> {
        fs::create_dir(&self.path)
            .map_err(|source| Error::io("create the cgroup", &self.path, source))
    }

    /// Makes the directory and its parents; existing ones are fine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_all(&self) -> Result<()> {
        fs::create_dir_all(&self.path)
            .map_err(|source| Error::io("create the cgroup", &self.path, source))
    }

    /// Gives the directory (not its files: limits stay ours) to a user, so that he can make cgroups inside.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        std::os::unix::fs::chown(&self.path, Some(uid), Some(gid)).map_err(|source| Error::Io {
            operation: "change the owner of",
            path: self.path.clone(),
            data: Some(format!("{uid}:{gid}")),
            source,
        })
    }

    /// Moves a process (all its threads) into this cgroup.
    ///
    /// # Errors
    /// [`Error::Io`]; `is_not_found` when the process or the cgroup is gone.
    pub fn attach(&self, pid: i32) -> Result<()> {
        // Zero would mean "the calling process": never what a caller with a stale pid wanted.
        if pid <= 0 {
            return Err(Error::Invalid {
                what: "pid to attach",
                found: pid.to_string(),
                expected: "a number above 0",
            });
        }
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The processes directly in this cgroup, as seen from our pid namespace.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn procs(&self) -> Result<Vec<i32>> {
        self.pids_of("cgroup.procs")
    }

    /// The processes in this cgroup and everything below; a cgroup that vanishes meanwhile is empty.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn procs_recursive(&self) -> Result<Vec<i32>> {
        let mut found = Vec::new();
        for cgroup in self.tree()? {
            match cgroup.procs() {
                Ok(procs) => found.extend(procs),
                Err(error) if error.is_not_found() => {}
                // A threaded version-2 cgroup has no process list of its own; its domain root has.
                Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The threads directly in this cgroup.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn threads(&self) -> Result<Vec<i32>> {
        // Version 1 calls the file `tasks`, version 2 `cgroup.threads`.
        if self.has("cgroup.threads") {
            self.pids_of("cgroup.threads")
        } else {
            self.pids_of("tasks")
        }
    }

    /// The cgroups directly inside.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn children(&self) -> Result<Vec<Self>> {
        let failed = |source: io::Error| Error::io("list", &self.path, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                found.push(Self { path: entry.path() });
            }
        }
        found.sort();
        Ok(found)
    }

    /// This cgroup and everything below, parents before children; empty when it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn tree(&self) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        let mut open = vec![self.clone()];
        while let Some(next) = open.pop() {
            match next.children() {
                Ok(children) => open.extend(children),
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            }
            found.push(next);
        }
        Ok(found)
    }

    /// Removes this cgroup and all inside, deepest first. The kernel says "busy" for a moment after the last process
    /// died, so that is tried again until `timeout`. A cgroup that does not exist is success.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it stays busy (the detail lists the pids inside), [`Error::Io`] for anything else.
    pub fn remove(&self, timeout: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            let mut busy = None;
            // Listed again on every round: somebody may still be making cgroups in there.
            for cgroup in self.tree()?.iter().rev() {
                match fs::remove_dir(&cgroup.path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) if is_busy(&error) => busy = Some(cgroup.path.clone()),
                    Err(error) => return Err(Error::io("remove the cgroup", &cgroup.path, error)),
                }
            }
            let Some(path) = busy else { return Ok(()) };
            if started.elapsed() >= timeout {
                let detail = format!(
                    "still busy, pids inside: {:?}",
                    self.procs_recursive().unwrap_or_default()
                );
                return Err(Error::TimedOut {
                    operation: "removing the cgroup",
                    path,
                    after: timeout,
                    detail,
                });
            }
            retry::pause();
        }
    }

    /// Kills every process in this cgroup and below with SIGKILL and waits until none is left. Never freezes. A cgroup
    /// that does not exist is success.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when something survives (for example in an uninterruptible state), [`Error::Invalid`] when
    /// the calling process itself is inside.
    pub fn kill(&self, timeout: Duration) -> Result<()> {
        super::kill::kill_all(self, timeout)
    }

    /// True when the cgroup has a file of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// The text of one of its files.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(&self, name: &str) -> Result<String> {
        file::read(&self.path.join(name))
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// [`Error::Io`] with the data that was refused.
    pub fn write(&self, name: &str, data: &str) -> Result<()> {
        file::write(&self.path.join(name), data)
    }

    /// A file that holds one number; `max` is `None`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn read_number(&self, name: &str) -> Result<Option<u64>> {
        file::read_number(&self.path.join(name))
    }

    fn pids_of(&self, name: &str) -> Result<Vec<i32>> {
        let path = self.path.join(name);
        let text = file::read(&path)?;
        let mut pids = Vec::new();
        for line in text.split_ascii_whitespace() {
            let pid: i32 =
                line.parse().map_err(|_| Error::malformed(&path, line, "a pid per line"))?;
            // Zero stands for a process outside our pid namespace; as an argument of kill(2) it would be ourselves.
            if pid > 0 {
                pids.push(pid);
            }
        }
        Ok(pids)
    }
}

fn is_busy(error: &io::Error) -> bool {
    // ENOTEMPTY: a child was made between listing and removing.
    matches!(error.raw_os_error(), Some(nix::libc::EBUSY | nix::libc::ENOTEMPTY | nix::libc::EINTR))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_root_are_refused() {
        for bad in ["", "/etc", "../x", "a/../../x", ".", "root/.", "a/./b", "a\nb"] {
            assert!(Cgroup::below(Path::new("/sys/fs/cgroup/cpu"), bad).is_err(), "{bad:?}");
        }
        let good = Cgroup::below(Path::new("/sys/fs/cgroup/cpu"), "mezzo/c-1/mezzo/n").unwrap();
        assert_eq!(good.name(), "n");
    }

    #[test]
    fn create_refuses_a_leftover_and_remove_takes_the_whole_tree() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::below(dir.path(), "c1").unwrap();
        cgroup.create().unwrap();
        assert_eq!(cgroup.create().unwrap_err().io_kind(), Some(io::ErrorKind::AlreadyExists));
        cgroup.child("mezzo/nested").unwrap().create_all().unwrap();
        assert_eq!(cgroup.tree().unwrap().len(), 3);
        cgroup.remove(Duration::ZERO).unwrap();
        assert!(!cgroup.exists());
        cgroup.remove(Duration::ZERO).unwrap();
    }

    #[test]
    fn remove_that_stays_busy_times_out_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::new(dir.path().join("busy"));
        cgroup.create().unwrap();
        // An ordinary file makes an ordinary directory refuse rmdir, as processes do for a cgroup.
        fs::write(cgroup.path().join("cgroup.procs"), "17\n0\n").unwrap();
        let error = cgroup.remove(Duration::from_millis(5)).unwrap_err();
        assert!(error.to_string().contains("pids inside: [17]"), "{error}");
    }

    #[test]
    fn pids_outside_our_namespace_are_left_out_and_garbage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::new(dir.path());
        fs::write(dir.path().join("cgroup.procs"), "1\n0\n22\n").unwrap();
        assert_eq!(cgroup.procs().unwrap(), [1, 22]);
        fs::write(dir.path().join("cgroup.procs"), "1\nx\n").unwrap();
        assert!(matches!(cgroup.procs().unwrap_err(), Error::Malformed { .. }));
    }

    #[test]
    fn attach_refuses_pid_zero_and_a_missing_file_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::new(dir.path());
        assert!(matches!(cgroup.attach(0).unwrap_err(), Error::Invalid { .. }));
        assert!(cgroup.attach(7).unwrap_err().is_not_found());
        assert!(!cgroup.has("cgroup.procs"));
    }
}
