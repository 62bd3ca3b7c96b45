//! Project quotas of XFS: how much disk a directory tree may use, counted and enforced by the kernel at every write.
//!
//! Every file belongs to a project, a number; 0 is none. What is made in a directory that has the "inherit" flag belongs to the
//! directory's project ([`set_project`]). The file system counts blocks and inodes per project and holds limits for them
//! ([`ProjectQuotas`]). Beyond the soft limit a project may go for a while (a week, unless root says otherwise), beyond the hard one
//! not at all: writing fails, with "no space left on device".
//!
//! The mount option `prjquota` switches it on; `pqnoenforce` only counts. A file cannot be linked or renamed into a directory of
//! another project that inherits (`EXDEV`), so `mv` copies it.

mod mount;
mod sys;
mod tree;

use std::path::{Path, PathBuf};

pub use tree::{Labelled, project_of, set_project};

use crate::{Error, Result};

/// The unit of quota records.
const BLOCK: u64 = 512;

/// The project quotas of one mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectQuotas {
    number: u64,
    device: PathBuf,
    point: PathBuf,
    enforced: bool,
}

/// Why a path has no project quotas. Says what an operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Another file system.
    #[error(
        "{} is on {kind} ({} mounted at {}), expected XFS mounted with the option prjquota",
        path.display(), device.display(), point.display()
    )]
    NotXfs {
        /// The path that was asked for.
        path: PathBuf,
        /// The file system it is on.
        kind: String,
        /// Its device.
        device: PathBuf,
        /// Where it is mounted.
        point: PathBuf,
    },
    /// XFS, but nobody counts.
    #[error(
        "{} is on XFS ({} mounted at {} with {options}), expected the mount option prjquota too: quotas are switched on when it is \
         mounted, not by a remount (for a root file system: rootflags=prjquota)",
        path.display(), device.display(), point.display()
    )]
    SwitchedOff {
        /// The path that was asked for.
        path: PathBuf,
        /// Its device.
        device: PathBuf,
        /// Where it is mounted.
        point: PathBuf,
        /// The options of the file system, separated by commas.
        options: String,
    },
    /// It cannot be found out.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// What a project may use, in bytes; `None` is as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// May be exceeded for a while.
    pub soft: Option<u64>,
    /// Is never exceeded.
    pub hard: Option<u64>,
}

/// What a project uses and may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectUsage {
    /// Bytes of whole blocks.
    pub bytes: u64,
    /// Files, directories, links: everything with an inode. 0 means that nothing belongs to the project.
    pub inodes: u64,
    /// The limits in force.
    pub limits: Limits,
}

impl ProjectQuotas {
    /// Those of the file system that `path` is on.
    ///
    /// # Errors
    /// When there are none there.
    pub fn of(path: &Path) -> Result<Self, Unavailable> {
        let mount = mount::of(path)?;
        Self::at(path, mount)
    }

    fn at(path: &Path, mount: mount::Mount) -> Result<Self, Unavailable> {
        let mount::Mount { number, point, kind, source: device, options } = mount;
        let path = path.to_owned();
        if kind != "xfs" {
            return Err(Unavailable::NotXfs { path, kind, device, point });
        }
        let has = |names: &[&str]| options.iter().any(|option| names.contains(&option.as_str()));
        let enforced = has(&["prjquota", "pquota"]);
        if !enforced && !has(&["pqnoenforce"]) {
            let options = options.join(",");
            return Err(Unavailable::SwitchedOff { path, device, point, options });
        }
        Ok(Self { number, device, point, enforced })
    }

    /// Where the file system is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.point
    }

    /// False when the kernel counts but holds nobody to the limits.
    #[must_use]
    pub fn are_enforced(&self) -> bool {
        self.enforced
    }

    /// True when a path is on this file system.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn cover(&self, path: &Path) -> Result<bool> {
        let stat = rustix::fs::stat(path).map_err(|errno| Error::io("look at", path, errno))?;
        Ok(stat.st_dev == self.number)
    }

    /// What a project uses and may use; nothing and everything, when it was never heard of.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn usage(&self, project: u32) -> Result<ProjectUsage> {
        let record = sys::record(&self.device, project)
            .map_err(|source| self.failed("read the quota on", project, source))?;
        let record = record.unwrap_or_default();
        let limit = |blocks: u64| (blocks > 0).then(|| blocks.saturating_mul(BLOCK));
        Ok(ProjectUsage {
            bytes: record.blocks.saturating_mul(BLOCK),
            inodes: record.inodes,
            limits: Limits { soft: limit(record.soft_blocks), hard: limit(record.hard_blocks) },
        })
    }

    /// Sets the limits of a project, rounded up to whole blocks of the file system. They may be below what it uses.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_limits(&self, project: u32, limits: Limits) -> Result<()> {
        // A limit of nothing would read as no limit.
        let blocks = |bytes: Option<u64>| bytes.map_or(0, |bytes| bytes.div_ceil(BLOCK).max(1));
        sys::set_limits(&self.device, project, blocks(limits.soft), blocks(limits.hard))
            .map_err(|source| self.failed("set the quota on", project, source))
    }

    fn failed(&self, operation: &'static str, project: u32, source: std::io::Error) -> Error {
        let data = Some(format!("project {project}"));
        Error::Io { operation, path: self.device.clone(), data, source }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn on(kind: &str, options: &[&str]) -> Result<ProjectQuotas, String> {
        let mount = mount::Mount {
            number: 7,
            point: "/data".into(),
            kind: kind.to_owned(),
            source: "/dev/sdb1".into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        ProjectQuotas::at(Path::new("/data/mezzo"), mount).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_missing_is_said_with_the_mount_and_what_to_do() {
        let error = on("ext4", &["rw"]).unwrap_err();
        assert_eq!(
            error,
            "/data/mezzo is on ext4 (/dev/sdb1 mounted at /data), expected XFS mounted with the option prjquota"
        );
        let error = on("xfs", &["rw", "noquota"]).unwrap_err();
        assert!(error.contains("/dev/sdb1 mounted at /data with rw,noquota), expected"), "{error}");
        assert!(error.contains("not by a remount"), "{error}");
    }

    #[test]
    fn counting_and_enforcing_are_told_apart() {
        assert!(on("xfs", &["rw", "prjquota"]).unwrap().are_enforced());
        assert!(!on("xfs", &["rw", "pqnoenforce"]).unwrap().are_enforced());
    }

    #[test]
    fn another_file_system_is_refused_by_its_name() {
        // `/proc` is there on every machine.
        let error = ProjectQuotas::of(Path::new("/proc")).unwrap_err();
        assert!(matches!(&error, Unavailable::NotXfs { kind, .. } if kind == "proc"), "{error}");
        assert!(project_of(Path::new("/proc")).is_err());
    }
}
