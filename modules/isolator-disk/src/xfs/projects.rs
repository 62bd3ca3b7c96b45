//! The project numbers: which are given out, and which still belong to files that nobody uses any more.
//!
//! The kernel knows how many inodes belong to a project, so no list is kept on disk: a number is free when nothing on any of the
//! file systems belongs to it. That also holds for what an earlier life of the agent left, for files that were moved elsewhere,
//! and for deleted files that somebody holds open.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_linux::project_quota::{Limits, ProjectQuotas};
use mezzo_module_api::model::Ranges;
use mezzo_module_api::{Code, Host, ModuleError};

use super::broken;

/// What is asked of a file system. A trait for the tests, which have no XFS.
pub(crate) trait Counts {
    /// How many inodes belong to a project.
    fn inodes(&self, project: u32) -> Result<u64, ModuleError>;
    /// The project has no limits any more.
    fn lift_limits(&self, project: u32) -> Result<(), ModuleError>;
}

impl Counts for ProjectQuotas {
    fn inodes(&self, project: u32) -> Result<u64, ModuleError> {
        Ok(self.usage(project).map_err(broken)?.inodes)
    }

    fn lift_limits(&self, project: u32) -> Result<(), ModuleError> {
        self.set_limits(project, Limits::default()).map_err(broken)
    }
}

/// The numbers of one agent, the same on all of its file systems.
#[derive(Debug)]
pub(crate) struct Projects {
    range: Ranges,
    /// By how many containers each is used; of a shared volume it may be more than one.
    held: BTreeMap<u32, usize>,
    /// Used by no container, but by files.
    lingering: BTreeSet<u32>,
}

impl Projects {
    pub(crate) fn new(range: Ranges) -> Self {
        Self { range, held: BTreeMap::new(), lingering: BTreeSet::new() }
    }

    /// The lowest free number, now held.
    pub(crate) fn take<C: Counts>(&mut self, systems: &[C]) -> Result<u32, ModuleError> {
        if let Some(free) = self.find(systems)? {
            return Ok(free);
        }
        // Some may have become free since the last look.
        let failed = self.reclaim(systems).1;
        if let Some(free) = self.find(systems)? {
            return Ok(free);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        Err(ModuleError::new(
            Code::ResourceExhausted,
            format!(
                "no project is free in `xfs_project_range` ({} in all): {} held by containers, {} by files of containers that have ended, which go with \
                 their sandboxes",
                self.range.count(),
                self.held.len(),
                self.lingering.len()
            ),
        ))
    }

    fn find<C: Counts>(&mut self, systems: &[C]) -> Result<Option<u32>, ModuleError> {
        for number in self.range.numbers().filter_map(|number| u32::try_from(number).ok()) {
            if self.held.contains_key(&number) || self.lingering.contains(&number) {
                continue;
            }
            if in_use(systems, number)? {
                self.lingering.insert(number);
                continue;
            }
            self.held.insert(number, 1);
            return Ok(Some(number));
        }
        Ok(None)
    }

    /// True for a number that this agent gives out.
    pub(crate) fn is_ours(&self, project: u32) -> bool {
        self.range.contains_number(project.into())
    }

    /// One container more uses a number that a directory has already.
    pub(crate) fn hold(&mut self, project: u32) {
        self.lingering.remove(&project);
        *self.held.entry(project).or_default() += 1;
    }

    /// One container less uses it. It is free when the last file is gone.
    pub(crate) fn release(&mut self, project: u32) {
        let Some(holders) = self.held.get_mut(&project) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.held.remove(&project);
            self.lingering.insert(project);
        }
    }

    /// Looks which numbers have become free: how many, and the first thing that went wrong. Their limits go with them.
    pub(crate) fn reclaim<C: Counts>(&mut self, systems: &[C]) -> (u64, Option<ModuleError>) {
        let mut failed = None;
        let mut reclaimed = 0;
        self.lingering.retain(|project| {
            let freed = in_use(systems, *project).and_then(|used| {
                if !used {
                    systems.iter().try_for_each(|system| system.lift_limits(*project))?;
                }
                Ok(!used)
            });
            let freed = freed.unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            });
            reclaimed += u64::from(freed);
            !freed
        });
        (reclaimed, failed)
    }

    /// The same, told to the host.
    pub(crate) fn reclaim_and_tell<C: Counts>(&mut self, systems: &[C], host: &Host) {
        let (reclaimed, failed) = self.reclaim(systems);
        if reclaimed > 0 {
            host.count("projects_reclaimed", reclaimed);
        }
        if let Some(error) = failed {
            host.warn(format!("some projects cannot be given out again: {}", error.message));
        }
    }
}

fn in_use<C: Counts>(systems: &[C], project: u32) -> Result<bool, ModuleError> {
    for system in systems {
        if system.inodes(project)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::cell::RefCell;

    use super::*;

    /// Inodes by project; what is broken has no answer.
    #[derive(Default)]
    struct Disk {
        inodes: RefCell<BTreeMap<u32, u64>>,
        lifted: RefCell<Vec<u32>>,
        broken: bool,
    }

    impl Counts for Disk {
        fn inodes(&self, project: u32) -> Result<u64, ModuleError> {
            if self.broken {
                return Err(ModuleError::internal("the disk is broken"));
            }
            Ok(self.inodes.borrow().get(&project).copied().unwrap_or(0))
        }

        fn lift_limits(&self, project: u32) -> Result<(), ModuleError> {
            self.lifted.borrow_mut().push(project);
            Ok(())
        }
    }

    fn projects() -> Projects {
        Projects::new(Ranges::single(10, 12))
    }

    #[test]
    fn what_files_of_others_have_is_not_given_out() {
        let disks = [Disk::default(), Disk::default()];
        disks[1].inodes.borrow_mut().insert(10, 3);
        let mut projects = projects();
        assert_eq!(projects.take(&disks).unwrap(), 11);
        assert_eq!(projects.take(&disks).unwrap(), 12);
        let error = projects.take(&disks).unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(error.message.contains("3 in all"), "{error}");
        assert!(error.message.contains("2 held by containers, 1 by files"), "{error}");
        // The files go, and the next who asks gets it.
        disks[1].inodes.borrow_mut().clear();
        assert_eq!(projects.take(&disks).unwrap(), 10);
    }

    #[test]
    fn a_number_is_free_when_its_files_are_gone_not_when_its_container_is() {
        let disk = [Disk::default()];
        let mut projects = projects();
        assert_eq!(projects.take(&disk).unwrap(), 10);
        disk[0].inodes.borrow_mut().insert(10, 1);
        projects.release(10);
        assert_eq!(projects.reclaim(&disk).0, 0);
        assert_eq!(projects.take(&disk).unwrap(), 11);
        assert!(disk[0].lifted.borrow().is_empty());
        disk[0].inodes.borrow_mut().clear();
        assert_eq!(projects.reclaim(&disk).0, 1);
        assert_eq!(*disk[0].lifted.borrow(), [10]);
        assert_eq!(projects.take(&disk).unwrap(), 10);
    }

    #[test]
    fn the_number_of_a_shared_volume_is_held_until_the_last_lets_go() {
        let disk = [Disk::default()];
        let mut projects = projects();
        projects.hold(10);
        projects.hold(10);
        projects.release(10);
        assert_eq!(projects.reclaim(&disk).0, 0);
        assert_eq!(projects.take(&disk).unwrap(), 11);
        projects.release(10);
        assert_eq!(projects.reclaim(&disk).0, 1);
        projects.release(77);
        assert!(!projects.is_ours(77) && projects.is_ours(12));
    }

    #[test]
    fn a_disk_that_does_not_answer_gives_out_nothing() {
        let disk = [Disk { broken: true, ..Disk::default() }];
        let mut projects = projects();
        assert_eq!(projects.take(&disk).unwrap_err().message, "the disk is broken");
        projects.hold(10);
        projects.release(10);
        assert_eq!(projects.reclaim(&disk).1.unwrap().message, "the disk is broken");
    }
}
