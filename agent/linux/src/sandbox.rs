//! Reading files of a directory that somebody hostile may be writing in.
//!
//! A task owns its sandbox: it can plant symbolic links, swap a directory for a link while we look, or leave a FIFO where a
//! log was. So every path is resolved by the kernel relative to an open directory, may not leave it and may not pass a
//! link (`openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS); files are opened without blocking and must be regular.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The most that one read returns, whatever was asked for.
pub const MAX_READ: usize = 16 * 1024 * 1024;

/// A directory to read in. Holds it open: what is at its path later does not matter.
#[derive(Debug)]
pub struct Sandbox {
    dir: OwnedFd,
    path: PathBuf,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes; shorter than asked for at the end of the file.
    pub data: Vec<u8>,
    /// How long the whole file is now.
    pub size: u64,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name (bytes that are not UTF-8 are replaced).
    pub name: String,
    /// Mode with the file type bits, as in `stat(2)`.
    pub mode: u32,
    /// Hard links.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Last change of the content: whole seconds since 1970.
    pub modified_secs: i64,
    /// … and the nanoseconds on top.
    pub modified_nanos: u32,
    /// Directory, regular file or something else.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file, the only kind that can be read.
    File,
    /// A symbolic link, which is never followed.
    Link,
    /// A FIFO, a socket or a device.
    Special,
}

/// Why something in a sandbox cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Nothing there.
    #[error("{path:?} does not exist in the sandbox")]
    NotFound {
        /// The path that was asked for.
        path: String,
    },
    /// The path goes up, is absolute, or passes a symbolic link.
    #[error(
        "{path:?} is refused: a path in the sandbox may not be absolute, leave it or pass a symbolic link"
    )]
    Escapes {
        /// The path that was asked for.
        path: String,
    },
    /// There, but not readable that way.
    #[error("{path:?} is not {expected}")]
    WrongKind {
        /// The path that was asked for.
        path: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// The system said no.
    #[error("cannot {operation} {path:?} in the sandbox {}", sandbox.display())]
    Io {
        /// The verb.
        operation: &'static str,
        /// The path that was asked for.
        path: String,
        /// The sandbox.
        sandbox: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Sandbox {
    /// Opens the directory. Its own path is trusted (the agent made it).
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SandboxError> {
        let path = path.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Ok(dir) => Ok(Self { dir, path }),
            Err(errno) => Err(failed("open", "", &path, errno)),
        }
    }

    /// Reads up to `length` bytes (at most [`MAX_READ`]) of a regular file from `offset`. Beyond its end there is nothing,
    /// which is not an error. A length of zero tells the size.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn read_at(
        &self,
        relative: &str,
        offset: u64,
        length: usize,
    ) -> Result<Chunk, SandboxError> {
        let (file, size) = self.open_file(relative)?;
        let wanted =
            u64::try_from(length.min(MAX_READ)).unwrap_or(0).min(size.saturating_sub(offset));
        let mut data = vec![0; usize::try_from(wanted).unwrap_or(0)];
        let mut filled = 0;
        while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(0));
            match rustix::io::pread(&file, rest, at) {
                // Truncated while we read: what we have is what there is.
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("read", relative, errno)),
            }
        }
        data.truncate(filled);
        Ok(Chunk { data, size })
    }

    /// Opens a regular file for reading; also tells its size.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn open_file(&self, relative: &str) -> Result<(OwnedFd, u64), SandboxError> {
        // NONBLOCK: opening a FIFO without a writer would hang otherwise. NOCTTY: nor become anyone's terminal.
        let file =
            self.open_beneath(relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat =
            rustix::fs::fstat(&file).map_err(|errno| self.failed("ask about", relative, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SandboxError::WrongKind {
                path: relative.to_owned(),
                expected: "a regular file",
            });
        }
        Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// Lists a directory (`""` or `"."` is the sandbox itself), by name.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn list(&self, relative: &str) -> Result<Vec<Entry>, SandboxError> {
        let at = if relative.is_empty() { "." } else { relative };
        let dir = self.open_beneath(at, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)?;
        let reader = rustix::fs::Dir::read_from(&dir)
            .map_err(|errno| self.failed("list", relative, errno))?;
        let mut entries = Vec::new();
        for entry in reader {
            let entry = entry.map_err(|errno| self.failed("list", relative, errno))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::statat(&dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push(Entry::new(name.to_string_lossy().into_owned(), &stat)),
                // Removed since it was listed.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.failed("ask about", relative, errno)),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What a path is.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn stat(&self, relative: &str) -> Result<Entry, SandboxError> {
        let at = if relative.is_empty() { "." } else { relative };
        let found = self.open_beneath(at, OFlags::PATH | OFlags::NOFOLLOW)?;
        let stat =
            rustix::fs::fstat(&found).map_err(|errno| self.failed("ask about", relative, errno))?;
        let name = Path::new(relative).file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Entry::new(name.unwrap_or_default(), &stat))
    }

    /// Where the sandbox was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_beneath(&self, relative: &str, flags: OFlags) -> Result<OwnedFd, SandboxError> {
        if relative.contains('\0') {
            return Err(SandboxError::NotFound { path: relative.replace('\0', "\u{fffd}") });
        }
        let flags = flags | OFlags::CLOEXEC;
        // NO_SYMLINKS covers the last part of the path, too.
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // The kernel says "again" when something above was renamed meanwhile; a task could keep doing that.
        for _ in 0..16 {
            match rustix::fs::openat2(&self.dir, relative, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(self.failed("open", relative, errno)),
                Ok(found) => return Ok(found),
            }
        }
        Err(self.failed("open", relative, Errno::AGAIN))
    }

    fn failed(&self, operation: &'static str, relative: &str, errno: Errno) -> SandboxError {
        failed(operation, relative, &self.path, errno)
    }
}

fn failed(operation: &'static str, relative: &str, sandbox: &Path, errno: Errno) -> SandboxError {
    let path = relative.to_owned();
    match errno {
        Errno::NOENT | Errno::NAMETOOLONG => SandboxError::NotFound { path },
        // A file where a directory was expected on the way: nothing by that name exists.
        Errno::NOTDIR => SandboxError::WrongKind { path, expected: "a directory" },
        Errno::XDEV | Errno::LOOP => SandboxError::Escapes { path },
        // A socket, or a FIFO opened for something else.
        Errno::NXIO => SandboxError::WrongKind { path, expected: "a regular file" },
        errno => {
            SandboxError::Io { operation, path, sandbox: sandbox.to_owned(), source: errno.into() }
        }
    }
}

impl Entry {
    #[allow(
        clippy::useless_conversion,
        reason = "the widths of these fields differ between machines"
    )]
    fn new(name: String, stat: &rustix::fs::Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => EntryKind::Directory,
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Link,
            _ => EntryKind::Special,
        };
        Self {
            name,
            mode: stat.st_mode,
            links: u64::try_from(stat.st_nlink).unwrap_or(u64::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_secs: stat.st_mtime,
            modified_nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            kind,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn sandbox() -> (tempfile::TempDir, Sandbox) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("box/sub")).unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::write(dir.path().join("box/stdout"), "0123456789").unwrap();
        fs::write(dir.path().join("box/sub/x"), "").unwrap();
        let sandbox = Sandbox::open(dir.path().join("box")).unwrap();
        (dir, sandbox)
    }

    #[test]
    fn reads_pieces_and_tells_the_size() {
        let (_dir, sandbox) = sandbox();
        let read = |offset, length| sandbox.read_at("stdout", offset, length).unwrap();
        assert_eq!(read(0, 4), Chunk { data: b"0123".to_vec(), size: 10 });
        assert_eq!(read(8, usize::MAX).data, b"89");
        assert_eq!(read(10, 5).data, b"");
        assert_eq!(read(u64::MAX, 5).data, b"");
        assert_eq!(read(0, 0).size, 10);
        assert_eq!(sandbox.read_at("./sub/../stdout", 0, 1).unwrap().data, b"0");
    }

    #[test]
    fn nothing_outside_can_be_reached() {
        let (dir, sandbox) = sandbox();
        symlink("../secret", dir.path().join("box/link")).unwrap();
        symlink("..", dir.path().join("box/up")).unwrap();
        symlink("/proc/self/root", dir.path().join("box/magic")).unwrap();
        for path in [
            "../secret",
            "/etc/passwd",
            "link",
            "up/secret",
            "magic/etc/passwd",
            "sub/../../secret",
        ] {
            let error = sandbox.read_at(path, 0, 10).unwrap_err();
            assert!(matches!(error, SandboxError::Escapes { .. }), "{path}: {error}");
        }
    }

    #[test]
    fn a_link_swapped_in_after_opening_the_sandbox_is_refused() {
        let (dir, sandbox) = sandbox();
        fs::rename(dir.path().join("box/sub"), dir.path().join("box/old")).unwrap();
        symlink(dir.path(), dir.path().join("box/sub")).unwrap();
        assert!(matches!(
            sandbox.read_at("sub/secret", 0, 1).unwrap_err(),
            SandboxError::Escapes { .. }
        ));
        assert!(matches!(sandbox.list("sub").unwrap_err(), SandboxError::Escapes { .. }));
    }

    #[test]
    fn fifo_socket_and_directory_are_refused_without_blocking() {
        let (dir, sandbox) = sandbox();
        nix::unistd::mkfifo(
            &dir.path().join("box/fifo"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();
        let _listener =
            std::os::unix::net::UnixListener::bind(dir.path().join("box/socket")).unwrap();
        for path in ["fifo", "socket", "sub", ""] {
            let error = sandbox.read_at(path, 0, 1).unwrap_err();
            let wanted =
                matches!(error, SandboxError::WrongKind { .. } | SandboxError::NotFound { .. });
            assert!(wanted, "{path}: {error}");
        }
    }

    #[test]
    fn lists_by_name_with_kinds_and_does_not_follow_links() {
        let (dir, sandbox) = sandbox();
        symlink("stdout", dir.path().join("box/latest")).unwrap();
        let entries = sandbox.list("").unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
        assert_eq!(
            seen,
            [
                ("latest", EntryKind::Link),
                ("stdout", EntryKind::File),
                ("sub", EntryKind::Directory)
            ]
        );
        assert_eq!(entries.get(1).unwrap().size, 10);
        assert!(entries.get(1).unwrap().modified_secs > 0);
        assert!(matches!(sandbox.list("none").unwrap_err(), SandboxError::NotFound { .. }));
        assert!(matches!(sandbox.list("stdout").unwrap_err(), SandboxError::WrongKind { .. }));
        assert_eq!(sandbox.stat("stdout").unwrap().size, 10);
        assert_eq!(sandbox.stat("").unwrap().kind, EntryKind::Directory);
    }

    #[test]
    fn strange_names_are_not_found() {
        let (_dir, sandbox) = sandbox();
        let long = "x".repeat(5000);
        for path in ["a\0b", "stdout\0", long.as_str(), "missing/deep"] {
            let error = sandbox.read_at(path, 0, 1).unwrap_err();
            assert!(matches!(error, SandboxError::NotFound { .. }), "{error}");
        }
    }
}
