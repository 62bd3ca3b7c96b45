//! The container's mounts.

use std::ffi::CString;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::mount::MsFlags;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::Failure;
use crate::launch::{LaunchSpec, MountSpec, Propagation};

/// What `mount(2)` may change on an existing bind mount.
const CHANGEABLE: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_NOATIME);

/// Cuts the mount namespace off from the host's, then makes the mounts of the spec.
pub(super) fn make_all(spec: &LaunchSpec) -> Result<(), Failure> {
    let propagation = match spec.propagation {
        Propagation::FromHost => MsFlags::MS_SLAVE,
        Propagation::Private => MsFlags::MS_PRIVATE,
    };
    call(None, Path::new("/"), None, MsFlags::MS_REC | propagation, None)
        .map_err(|errno| format!("cannot separate the mounts from the host's: {errno}"))?;
    spec.mounts.iter().try_for_each(make)?;
    if spec.mount_proc {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        call(Some("proc"), Path::new("/proc"), Some("proc"), flags, None)
            .map_err(|errno| format!("cannot mount /proc: {errno}"))?;
    }
    Ok(())
}

fn make(mount: &MountSpec) -> Result<(), Failure> {
    let failed = |errno: nix::Error| {
        let source = mount.source.as_deref().or(mount.kind.as_deref()).unwrap_or("nothing");
        format!("cannot mount {source} at {}: {errno}", mount.target.display())
    };
    let flags = MsFlags::from_bits_retain(mount.flags);
    let (kind, source) = (mount.kind.as_deref(), mount.source.as_deref());
    call(source, &pin(&mount.target)?.path, kind, flags, mount.options.as_deref())
        .map_err(failed)?;
    // The kernel ignores all other flags when it makes a bind mount; they need a second call, on the new mount.
    let extra = flags & CHANGEABLE;
    if flags.contains(MsFlags::MS_BIND) && !flags.contains(MsFlags::MS_REMOUNT) && !extra.is_empty()
    {
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | extra;
        call(None, &pin(&mount.target)?.path, None, again, None).map_err(failed)?;
    }
    Ok(())
}

/// A mount target held open, and the path that means exactly it.
struct Pinned {
    path: std::path::PathBuf,
    _held: std::os::fd::OwnedFd,
}

/// Resolves the target without passing a symbolic link and keeps it: a task that shares the directory with us could
/// otherwise swap it for a link between check and mount.
fn pin(target: &Path) -> Result<Pinned, Failure> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let held =
        rustix::fs::openat2(CWD, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
            .map_err(|errno| {
                let hint = if errno == rustix::io::Errno::LOOP {
                    " (it may not pass a symbolic link)"
                } else {
                    ""
                };
                format!("cannot use the mount target {}: {errno}{hint}", target.display())
            })?;
    Ok(Pinned { path: format!("/proc/self/fd/{}", held.as_raw_fd()).into(), _held: held })
}

fn call(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> nix::Result<()> {
    // Validated before, but a NUL must not cut a path short whatever happens.
    let text = |text: &str| CString::new(text).map_err(|_| nix::Error::EINVAL);
    let source = source.map(text).transpose()?;
    let kind = kind.map(text).transpose()?;
    let options = options.map(text).transpose()?;
    nix::mount::mount(source.as_deref(), target, kind.as_deref(), flags, options.as_deref())
}
