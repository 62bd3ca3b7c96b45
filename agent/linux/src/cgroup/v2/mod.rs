//! Version 2: all controllers in one directory, so every type here wraps the same [`Cgroup`].
//!
//! A cgroup that has controllers enabled for its children may hold no processes itself. So a container is
//! `<root>/<id>` (limits, statistics) with its processes in `<root>/<id>/leaf`.

mod bpf;
mod cpu;
mod devices;
mod io;
mod memory;

pub use super::v1::Pids;
pub use cpu::{Cpu, CpuStat};
pub use devices::DeviceProgram;
pub use io::{Io, IoStat};
pub use memory::{Memory, MemoryEvents};

use super::Cgroup;
use crate::{Error, Result};

/// The name of the child that holds a container's processes.
pub const LEAF: &str = "leaf";

/// The cgroup that holds the processes of a container's cgroup.
#[must_use]
pub fn leaf(container: &Cgroup) -> Cgroup {
    Cgroup::new(container.path().join(LEAF))
}

/// The controllers that can be enabled in a cgroup.
///
/// # Errors
/// [`Error::Io`].
pub fn controllers(cgroup: &Cgroup) -> Result<Vec<String>> {
    Ok(cgroup.read("cgroup.controllers")?.split_whitespace().map(str::to_owned).collect())
}

/// Enables controllers for the children of a cgroup; those already enabled are fine.
///
/// # Errors
/// [`Error::NoController`] when one does not exist here, [`Error::Io`] for the rest (busy: it holds processes).
pub fn enable_controllers(cgroup: &Cgroup, wanted: &[&str]) -> Result<()> {
    let available = controllers(cgroup)?;
    if let Some(missing) = wanted.iter().find(|name| !available.iter().any(|known| known == *name))
    {
        return Err(Error::NoController {
            controller: (*missing).to_owned(),
            available: available.join(", "),
        });
    }
    let enabled = cgroup.read("cgroup.subtree_control")?;
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !enabled.split_whitespace().any(|known| known == **name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        cgroup.write("cgroup.subtree_control", &missing.join(" "))
    }
}

/// True when any process lives in the cgroup or below.
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`].
pub fn is_populated(cgroup: &Cgroup) -> Result<bool> {
    Ok(super::FlatKeyed::read(&cgroup.path().join("cgroup.events"))?.get("populated") == Some(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn only_controllers_that_are_missing_are_enabled() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n")
            .unwrap();
        std::fs::write(dir.path().join("cgroup.subtree_control"), "cpu\n").unwrap();
        let cgroup = Cgroup::new(dir.path());
        enable_controllers(&cgroup, &["cpu"]).unwrap();
        assert_eq!(cgroup.read("cgroup.subtree_control").unwrap(), "cpu\n");
        enable_controllers(&cgroup, &["cpu", "memory", "pids"]).unwrap();
        assert_eq!(cgroup.read("cgroup.subtree_control").unwrap(), "+memory +pids");
        let error = enable_controllers(&cgroup, &["rdma"]).unwrap_err();
        assert!(matches!(error, Error::NoController { .. }), "{error}");
    }

    #[test]
    fn populated_is_read_from_the_events() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert!(is_populated(&Cgroup::new(dir.path())).unwrap());
    }
}
