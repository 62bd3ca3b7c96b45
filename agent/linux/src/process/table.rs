//! All processes at one moment, and which of them came out of which.

use std::collections::{HashMap, HashSet};

use crate::Result;
use crate::procfs::{Procfs, Stat};

/// The processes of the machine as one pass over `/proc` found them. Asking it for many trees costs no more passes.
#[derive(Debug, Clone, Default)]
pub struct ProcessTable {
    processes: HashMap<i32, Stat>,
    /// By parent, leader of the session and leader of the group.
    followers: HashMap<i32, Vec<i32>>,
}

impl ProcessTable {
    /// Reads it, from the lowest pid to the highest.
    ///
    /// Parents mostly have lower pids than their children. So a child that ends meanwhile, whose time its parent takes
    /// over, is rather missed than counted twice.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Malformed`].
    pub fn read(procfs: &Procfs) -> Result<Self> {
        let mut pids = procfs.pids()?;
        pids.sort_unstable();
        let mut processes = Vec::with_capacity(pids.len());
        for pid in pids {
            processes.extend(procfs.stat(pid)?);
        }
        Ok(Self::new(processes))
    }

    /// A table of these processes.
    pub fn new(processes: impl IntoIterator<Item = Stat>) -> Self {
        let mut table = Self::default();
        for stat in processes {
            for leader in HashSet::from([stat.ppid, stat.session, stat.pgrp]) {
                // Nobody's tree holds what belongs to the kernel or to the machine's init.
                if leader > 1 && leader != stat.pid {
                    table.followers.entry(leader).or_default().push(stat.pid);
                }
            }
            table.processes.insert(stat.pid, stat);
        }
        table
    }

    /// The process with this pid.
    #[must_use]
    pub fn get(&self, pid: i32) -> Option<&Stat> {
        self.processes.get(&pid)
    }

    /// The trees of these roots together: the roots themselves, their descendants, and all members of sessions and process
    /// groups that a member leads. Zombies are among them: what they used still counts. A root need not be there any more.
    ///
    /// Only what a *member* leads counts: the root's own session may be the agent's.
    #[must_use]
    pub fn tree(&self, roots: impl IntoIterator<Item = i32>) -> Vec<&Stat> {
        let mut todo: Vec<i32> = roots.into_iter().collect();
        let mut inside: HashSet<i32> = todo.iter().copied().collect();
        let mut found = Vec::new();
        while let Some(pid) = todo.pop() {
            found.extend(self.processes.get(&pid));
            for follower in self.followers.get(&pid).into_iter().flatten() {
                if inside.insert(*follower) {
                    todo.push(*follower);
                }
            }
        }
        found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_in_its_parents_tree_and_a_stranger_is_not() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let (child_pid, us) = (i32::try_from(child.id()).unwrap(), std::process::id());
        let table = ProcessTable::read(&Procfs::default()).unwrap();
        let pids = |root| table.tree([root]).iter().map(|stat| stat.pid).collect::<Vec<_>>();
        assert!(pids(i32::try_from(us).unwrap()).contains(&child_pid));
        assert_eq!(pids(child_pid), [child_pid]);
        assert_eq!(table.get(child_pid).unwrap().comm, "sleep");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ProcessTable::read(&Procfs::default()).unwrap().tree([child_pid]).is_empty());
    }
}
