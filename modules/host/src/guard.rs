//! Who could change what root is going to run: everybody who can write the file, or a directory on the way to it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::LoadError;

const OTHERS_WRITE: u32 = 0o022;
/// In a directory with this bit nobody can replace what is another one's.
const STICKY: u32 = 0o1000;
/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Whether only its owner can write the file at `path`, whose metadata these are. For root only; others harm themselves.
pub(crate) fn file(path: &Path, metadata: &Metadata) -> Result<(), LoadError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
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
    let Ok(mut file) = std::path::absolute(path) else { return Ok(()) };
    for _ in 0..LINKS {
        let Some(parent) = file.parent() else { return Ok(()) };
        let resolved = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        for dir in parent.ancestors().chain(resolved.ancestors()) {
            // What cannot be looked at cannot be opened either; that is told then.
            let Ok(metadata) = fs::metadata(dir) else { continue };
            let mode = metadata.mode() & 0o7777;
            if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
                return Err(refused(dir.to_owned(), mode));
            }
        }
        match fs::read_link(&file) {
            Ok(target) => file = resolved.join(target),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
