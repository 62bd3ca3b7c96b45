//! The file system that a path is on, out of `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use crate::cgroup::unescape;
use crate::{Error, Result, file};

/// What the kernel says of a mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The device, as `stat` has it.
    pub(super) number: u64,
    pub(super) point: PathBuf,
    pub(super) kind: String,
    /// The path of the device.
    pub(super) source: PathBuf,
    /// Of the file system, not of the mount point: `rw,attr2,prjquota`.
    pub(super) options: Vec<String>,
}

/// The mount that a path is on.
pub(super) fn of(path: &Path) -> Result<Mount> {
    let stat = rustix::fs::stat(path).map_err(|errno| Error::io("look at", path, errno))?;
    let table = Path::new("/proc/self/mountinfo");
    let whole = path.canonicalize().map_err(|source| Error::io("look at", path, source))?;
    find(&file::read(table)?, &whole, &stat)
        .ok_or_else(|| Error::malformed(table, "", "the file system of a path that is there"))
}

/// Of the mounts of that device the one whose mount point is the path's own; a bind mount elsewhere is as good for its options.
fn find(table: &str, path: &Path, stat: &Stat) -> Option<Mount> {
    let mounts = table.lines().filter_map(parse).filter(|mount| mount.number == stat.st_dev);
    mounts.max_by_key(|mount| path.starts_with(&mount.point).then(|| mount.point.as_os_str().len()))
}

/// `31 23 8:1 /root /point rw,relatime shared:1 - xfs /dev/sda1 rw,prjquota`: optional fields end at a lone `-`.
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (major, minor) = before.next()?.split_once(':')?;
    let point = before.nth(1)?;
    let mut after = after.split(' ');
    let (kind, source, options) = (after.next()?, after.next()?, after.next()?);
    Some(Mount {
        number: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
        point: unescape(point).into(),
        kind: kind.to_owned(),
        source: unescape(source).into(),
        options: options.split(',').map(str::to_owned).collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    const TABLE: &str = "\
23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
40 23 7:0 / /var/lib rw,relatime shared:9 - xfs /dev/loop0 rw,attr2,prjquota
41 23 7:0 /x /mnt/my\\040bind rw - xfs /dev/loop0 rw,attr2,prjquota
";

    #[test]
    fn the_closest_mount_of_the_device_is_found() {
        let mut stat = rustix::fs::stat("/").unwrap();
        stat.st_dev = rustix::fs::makedev(7, 0);
        let found = |path: &str| find(TABLE, Path::new(path), &stat).unwrap();
        assert_eq!(found("/var/lib/mezzo").point, Path::new("/var/lib"));
        let bind = found("/mnt/my bind/a");
        assert_eq!(bind.point, Path::new("/mnt/my bind"));
        assert_eq!((bind.kind.as_str(), bind.source.as_path()), ("xfs", Path::new("/dev/loop0")));
        assert!(bind.options.iter().any(|option| option == "prjquota"));
        stat.st_dev = rustix::fs::makedev(9, 9);
        assert_eq!(find(TABLE, Path::new("/"), &stat), None);
    }

    #[test]
    fn this_machines_root_is_found() {
        assert_eq!(of(Path::new("/")).unwrap().point, Path::new("/"));
        assert!(of(Path::new("/no/such/place")).unwrap_err().is_not_found());
    }
}
