//! Opening the places that are measured, without being led astray by who owns them.
//!
//! A sandbox belongs to its task. A volume in it is a directory, a mount point, or (where containers share the host's file
//! system) a link to the volume, which the task may have replaced. So a link is not followed but read, and where it leads
//! is opened only if that is where the agent keeps volumes.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::places::inside;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Why a place cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It is not a directory, or not there.
    #[error("cannot open {}: {errno}", path.display())]
    Failed {
        /// The place.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// It leads to where no volumes are.
    #[error("{} leads to {}, where no volumes are kept", path.display(), target.display())]
    Astray {
        /// The place.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
}

/// A directory by a path that the agent made.
pub(crate) fn directory(path: &Path) -> Result<OwnedFd, OpenError> {
    rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()).map_err(failed(path))
}

/// A volume of a sandbox. `roots` are where volumes may be.
pub(crate) fn volume(
    sandbox: &Path,
    container_path: &str,
    roots: &[PathBuf],
) -> Result<OwnedFd, OpenError> {
    let Some(relative) = inside(container_path, sandbox) else {
        return below_a_root(Path::new(container_path), Path::new(container_path), roots);
    };
    let base = directory(sandbox)?;
    let path = sandbox.join(relative);
    match rustix::fs::openat2(&base, relative, DIRECTORY, Mode::empty(), BENEATH) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let above = relative.parent().filter(|above| !above.as_os_str().is_empty());
            let above = above.unwrap_or(Path::new("."));
            let above = rustix::fs::openat2(&base, above, DIRECTORY, Mode::empty(), BENEATH)
                .map_err(failed(&path))?;
            let name = relative.file_name().unwrap_or_default();
            let target = rustix::fs::readlinkat(&above, name, Vec::new()).map_err(failed(&path))?;
            let target = Path::new(std::ffi::OsStr::from_bytes(target.to_bytes())).to_owned();
            below_a_root(&path, &target, roots)
        }
        opened => opened.map_err(failed(&path)),
    }
}

/// Opens `target`, where `path` leads, if it is below a root.
fn below_a_root(path: &Path, target: &Path, roots: &[PathBuf]) -> Result<OwnedFd, OpenError> {
    let found = roots.iter().find_map(|root| Some((root, target.strip_prefix(root).ok()?)));
    let Some((root, rest)) = found else {
        return Err(OpenError::Astray { path: path.to_owned(), target: target.to_owned() });
    };
    let root = directory(root)?;
    if rest.as_os_str().is_empty() {
        return Ok(root);
    }
    rustix::fs::openat2(&root, rest, DIRECTORY, Mode::empty(), BENEATH).map_err(failed(target))
}

fn failed(path: &Path) -> impl FnOnce(Errno) -> OpenError {
    let path = path.to_owned();
    move |errno| OpenError::Failed { path, errno }
}
