//! `cpuset`: which CPUs and memory nodes. A new cgroup starts with none, and refuses every process until it has some.

use std::path::Path;

use crate::cgroup::Cgroup;
use crate::{Error, Result};

/// One cgroup of the `cpuset` controller.
#[derive(Debug, Clone)]
pub struct Cpuset(Cgroup);

impl Cpuset {
    /// Wraps a cgroup in the cpuset hierarchy.
    #[must_use]
    pub fn new(cgroup: Cgroup) -> Self {
        Self(cgroup)
    }

    /// The directory.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.0
    }

    /// Copies CPUs and memory nodes of the parent, so that processes can be attached.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] when there is no parent.
    pub fn inherit(&self) -> Result<()> {
        let parent = self.0.path().parent().map(Cgroup::new).ok_or_else(|| Error::Invalid {
            what: "cpuset cgroup",
            found: self.0.path().display().to_string(),
            expected: "a cgroup inside another",
        })?;
        for name in ["cpuset.cpus", "cpuset.mems"] {
            self.0.write(name, parent.read(name)?.trim())?;
        }
        Ok(())
    }

    /// As [`Cpuset::inherit`], for this cgroup and every one above it below `mount` that has no CPUs yet, from the top down.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn inherit_below(&self, mount: &Path) -> Result<()> {
        let mut path: Vec<_> =
            self.0.path().ancestors().take_while(|path| *path != mount).collect();
        path.reverse();
        for cgroup in path.into_iter().map(|path| Self(Cgroup::new(path))) {
            if cgroup.0.read("cpuset.cpus")?.trim().is_empty() {
                cgroup.inherit()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn inherit_copies_both_lists_of_the_parent() {
        let dir = tempfile::tempdir().unwrap();
        let child = dir.path().join("c");
        std::fs::create_dir(&child).unwrap();
        for (name, value) in [("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")] {
            std::fs::write(dir.path().join(name), value).unwrap();
            std::fs::write(child.join(name), "").unwrap();
        }
        let cpuset = Cpuset::new(Cgroup::new(&child));
        cpuset.inherit().unwrap();
        assert_eq!(cpuset.cgroup().read("cpuset.cpus").unwrap(), "0-1");
        assert_eq!(cpuset.cgroup().read("cpuset.mems").unwrap(), "0");
    }

    #[test]
    fn a_chain_of_new_cgroups_inherits_from_the_top_down() {
        let dir = tempfile::tempdir().unwrap();
        let child = dir.path().join("root/c");
        std::fs::create_dir_all(&child).unwrap();
        for (path, cpus) in [("", "0-3\n"), ("root", "\n"), ("root/c", "\n")] {
            std::fs::write(dir.path().join(path).join("cpuset.cpus"), cpus).unwrap();
            std::fs::write(dir.path().join(path).join("cpuset.mems"), "0\n").unwrap();
        }
        Cpuset::new(Cgroup::new(&child)).inherit_below(dir.path()).unwrap();
        for path in ["root", "root/c"] {
            let cpus = std::fs::read_to_string(dir.path().join(path).join("cpuset.cpus")).unwrap();
            assert_eq!(cpus, "0-3", "{path}");
        }
    }
}
