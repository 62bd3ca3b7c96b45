//! An XFS file system of a test's own, in a file. For machines that may mount one: see `cargo xtask vm-test`.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a failed test may panic; each test binary uses its part"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sparse: only what is written takes memory. XFS wants at least 300 MB.
const SIZE: u64 = 320 << 20;

/// A mounted file system, gone at the end.
pub(crate) struct XfsMount {
    folder: tempfile::TempDir,
}

impl XfsMount {
    /// Mounted with these options, such as `prjquota`.
    pub(crate) fn new(options: &str) -> Self {
        let mount = Self { folder: tempfile::tempdir().unwrap() };
        let disk = mount.folder.path().join("disk");
        fs::File::create(&disk).unwrap().set_len(SIZE).unwrap();
        fs::create_dir(mount.path()).unwrap();
        run(Command::new("modprobe").arg("loop"));
        run(Command::new("mkfs.xfs").arg("-q").arg(&disk));
        let options = format!("loop,{options}");
        run(Command::new("mount").args(["-o", &options]).arg(&disk).arg(mount.path()));
        mount
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("xfs")
    }

    /// A new directory on it.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for XfsMount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        let gone = unmounted.is_ok_and(|status| status.success());
        assert!(gone || std::thread::panicking(), "cannot unmount {}", self.path().display());
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Writes so many megabytes, or until it is refused: how many bytes there are then, and what the kernel said.
pub(crate) fn fill(file: &Path, megabytes: usize) -> (u64, Option<std::io::Error>) {
    use std::io::Write as _;
    let mut open = fs::File::options().create(true).append(true).open(file).unwrap();
    let block = vec![7_u8; 1 << 16];
    let mut refused = None;
    for _ in 0..megabytes * 16 {
        if let Err(error) = open.write_all(&block) {
            refused = Some(error);
            break;
        }
    }
    (open.metadata().unwrap().len(), refused)
}

/// True for what the kernel says to who has used up a project's quota: "no space left on device", as on a disk that is full.
/// (Quotas of users and groups have an error of their own.)
pub(crate) fn is_quota(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
