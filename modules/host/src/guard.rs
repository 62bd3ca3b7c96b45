//! Who could change what root is going to run: everybody who owns the file or a directory on the way to
//! it, or can write there.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::LoadError;

const OTHERS_WRITE: u32 = 0o022;
/// In a directory with this bit nobody can replace what is another one's.
const STICKY: u32 = 0o1000;
/// As many links as the kernel follows.
const LINKS: usize = 40;
/// Root.
const ROOT: u32 = 0;

/// Whether a user may own what root runs: root, and whoever owns the very program that runs, who could do no more by a
/// library than by that.
fn trusted(owner: u32) -> bool {
    owner == ROOT || fs::metadata("/proc/self/exe").is_ok_and(|program| program.uid() == owner)
}

/// Whether the file at `path`, whose metadata these are, is in trusted hands and only its owner can write it. For root only;
/// others harm themselves.
pub(crate) fn file(path: &Path, metadata: &Metadata) -> Result<(), LoadError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if !trusted(metadata.uid()) {
        return Err(LoadError::Owner { file: path.to_owned(), owner: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(LoadError::Writable { file: path.to_owned(), mode });
    }
    directories(path)
}

/// The same for the directories that a path leads through, also when it leads through links.
pub(crate) fn directories(path: &Path) -> Result<(), LoadError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let refused =
        |dir: PathBuf, mode| LoadError::OpenDirectory { file: path.to_owned(), dir, mode };
    let not_ours =
        |place: PathBuf, owner| LoadError::OwnerOnTheWay { file: path.to_owned(), place, owner };
    let Ok(mut file) = std::path::absolute(path) else { return Ok(()) };
    for _ in 0..LINKS {
        let Some(parent) = file.parent() else { return Ok(()) };
        let resolved = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        for dir in parent.ancestors().chain(resolved.ancestors()) {
            // What cannot be looked at cannot be opened either; that is told then.
            let Ok(metadata) = fs::metadata(dir) else { continue };
            if !trusted(metadata.uid()) {
                return Err(not_ours(dir.to_owned(), metadata.uid()));
            }
            let mode = metadata.mode() & 0o7777;
            if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
                return Err(refused(dir.to_owned(), mode));
            }
        }
        match fs::read_link(&file) {
            Ok(target) => {
                // In a sticky directory anybody can have one.
                if let Ok(link) = fs::symlink_metadata(&file)
                    && !trusted(link.uid())
                {
                    return Err(not_ours(file, link.uid()));
                }
                file = resolved.join(target);
            }
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
