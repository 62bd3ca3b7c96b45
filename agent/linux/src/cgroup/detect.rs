//! Which cgroup version this machine offers, and where.
//!
//! Version 2 is used when cgroup2 is mounted at `/sys/fs/cgroup` itself. A hybrid machine (version 1 controllers plus an
//! empty cgroup2 at `/sys/fs/cgroup/unified`) counts as version 1, because that is where the controllers are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Cgroup;
use crate::{Error, Result, file};

/// Where version 2 has to be mounted to count.
const UNIFIED: &str = "/sys/fs/cgroup";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// One directory tree per controller (or per group of co-mounted controllers).
    V1(V1Hierarchies),
    /// One directory tree for all controllers.
    V2(V2Hierarchy),
}

/// The version-1 hierarchies by controller name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct V1Hierarchies {
    mounts: BTreeMap<String, PathBuf>,
}

/// The version-2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V2Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The controllers available at its root.
    pub controllers: Vec<String>,
}

/// Looks at this machine; `None` when it has no usable cgroups at all.
///
/// # Errors
/// When `/proc/self/mountinfo` or `cgroup.controllers` cannot be read.
pub fn detect() -> Result<Option<Hierarchies>> {
    detect_in(&file::read(Path::new("/proc/self/mountinfo"))?, Path::new(UNIFIED))
}

/// [`detect`] on the given text of a `mountinfo` file, with `unified` as the place where version 2 counts.
///
/// # Errors
/// When `cgroup.controllers` of a version-2 mount cannot be read.
pub fn detect_in(mountinfo: &str, unified: &Path) -> Result<Option<Hierarchies>> {
    let mut v1 = BTreeMap::new();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        match mount.kind {
            "cgroup2" if mount.point == unified => {
                return V2Hierarchy::at(&mount.point).map(|found| Some(Hierarchies::V2(found)));
            }
            "cgroup" => {
                // Only a hierarchy's own root is of use; a bind mount of a part of it shows paths we cannot relate.
                for controller in mount.options.split(',').filter(|option| is_controller(option)) {
                    // A hierarchy may be mounted twice; the first mount is as good as any.
                    v1.entry(controller.to_owned()).or_insert_with(|| mount.point.clone());
                }
            }
            _ => {}
        }
    }
    Ok((!v1.is_empty()).then_some(Hierarchies::V1(V1Hierarchies { mounts: v1 })))
}

impl V1Hierarchies {
    /// Hierarchies at chosen places (tests, or an operator's `--cgroups_hierarchy`).
    pub fn at(mounts: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { mounts: mounts.into_iter().collect() }
    }

    /// The names of all controllers that are mounted.
    pub fn controllers(&self) -> impl Iterator<Item = &str> {
        self.mounts.keys().map(String::as_str)
    }

    /// True when the controller is mounted.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.mounts.contains_key(controller)
    }

    /// Where a controller is mounted.
    ///
    /// # Errors
    /// [`Error::NoController`] when it is not.
    pub fn mount_of(&self, controller: &str) -> Result<&Path> {
        self.mounts.get(controller).map(PathBuf::as_path).ok_or_else(|| Error::NoController {
            controller: controller.to_owned(),
            available: self.controllers().collect::<Vec<_>>().join(", "),
        })
    }

    /// The cgroup `relative` (for example `mezzo/container-id`) in the hierarchy of one controller.
    ///
    /// # Errors
    /// When the controller is not mounted, or `relative` is not a plain relative path.
    pub fn cgroup(&self, controller: &str, relative: &str) -> Result<Cgroup> {
        Cgroup::below(self.mount_of(controller)?, relative)
    }

    /// The distinct hierarchies of some controllers: co-mounted ones (`cpu,cpuacct`) come once.
    ///
    /// # Errors
    /// When one of them is not mounted.
    pub fn distinct(&self, controllers: &[&str]) -> Result<Vec<&Path>> {
        let mut found: Vec<&Path> = Vec::new();
        for controller in controllers {
            let mount = self.mount_of(controller)?;
            if !found.contains(&mount) {
                found.push(mount);
            }
        }
        Ok(found)
    }
}

impl V2Hierarchy {
    /// The hierarchy mounted at `mount`.
    ///
    /// # Errors
    /// When its `cgroup.controllers` cannot be read.
    pub fn at(mount: &Path) -> Result<Self> {
        let controllers = file::read(&mount.join("cgroup.controllers"))?;
        Ok(Self {
            mount: mount.to_owned(),
            controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        })
    }

    /// The cgroup `relative` in this hierarchy.
    ///
    /// # Errors
    /// When `relative` is not a plain relative path.
    pub fn cgroup(&self, relative: &str) -> Result<Cgroup> {
        Cgroup::below(&self.mount, relative)
    }
}

/// The interesting fields of one line of mountinfo.
struct Mount<'a> {
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `31 23 0:28 /root /point rw,relatime shared:1 - cgroup cgroup rw,cpu`: optional fields end at a lone `-`.
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let root = before.nth(3)?;
        let point = before.next()?;
        let mut after = after.split(' ');
        let kind = after.next()?;
        let options = after.nth(1)?;
        (root == "/").then(|| Self { point: PathBuf::from(unescape(point)), kind, options })
    }
}

/// Mount options that are not controllers.
fn is_controller(option: &str) -> bool {
    !matches!(
        option,
        "rw" | "ro"
            | "relatime"
            | "noatime"
            | "xattr"
            | "clone_children"
            | "noprefix"
            | "cpuset_v2_mode"
    ) && !option.contains('=')
        && !option.is_empty()
}

/// mountinfo writes space, tab, newline and backslash as `\040` and the like.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        let code = escaped.get(1..4).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = escaped.get(4..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = escaped.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
42 31 0:32 /docker/1 /mnt/part rw - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_machine_counts_as_v1_and_co_mounted_controllers_share_a_hierarchy() {
        let Some(Hierarchies::V1(found)) = detect_in(HYBRID, Path::new(UNIFIED)).unwrap() else {
            unreachable!()
        };
        assert_eq!(found.controllers().collect::<Vec<_>>(), ["cpu", "cpuacct", "memory"]);
        assert_eq!(found.mount_of("cpuacct").unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        let distinct = found.distinct(&["cpu", "cpuacct", "memory"]).unwrap();
        assert_eq!(
            distinct,
            [Path::new("/sys/fs/cgroup/cpu,cpuacct"), Path::new("/sys/fs/cgroup/memory")]
        );
        assert_eq!(
            found.cgroup("memory", "mezzo/c1").unwrap().path(),
            Path::new("/sys/fs/cgroup/memory/mezzo/c1"),
        );
    }

    #[test]
    fn missing_controller_is_named_with_what_exists() {
        let Some(Hierarchies::V1(found)) = detect_in(HYBRID, Path::new(UNIFIED)).unwrap() else {
            unreachable!()
        };
        let message = found.mount_of("pids").unwrap_err().to_string();
        assert_eq!(
            message,
            r#"cgroup controller "pids" is not available; mounted: cpu, cpuacct, memory"#
        );
    }

    #[test]
    fn cgroup2_at_the_top_counts_as_v2() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu memory pids\n").unwrap();
        let text = format!(
            "30 23 0:26 / {} rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            dir.path().display()
        );
        let Some(Hierarchies::V2(found)) = detect_in(&text, dir.path()).unwrap() else {
            unreachable!()
        };
        assert_eq!(found.controllers, ["cpuset", "cpu", "memory", "pids"]);
        assert_eq!(found.cgroup("mezzo").unwrap().path(), dir.path().join("mezzo"));
    }

    #[test]
    fn a_machine_without_cgroups_is_none_and_garbage_is_skipped() {
        assert_eq!(detect_in("", Path::new(UNIFIED)).unwrap(), None);
        assert_eq!(
            detect_in("nonsense\n1 2 - cgroup\n - - -\n", Path::new(UNIFIED)).unwrap(),
            None
        );
    }

    #[test]
    fn escaped_mount_points_are_decoded() {
        assert_eq!(unescape(r"/a\040b\134c\0"), r"/a b\c\0");
    }
}
