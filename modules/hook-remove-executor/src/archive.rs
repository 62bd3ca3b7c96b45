//! Packs a sandbox into a compressed archive.
//!
//! The sandbox belongs to a task, which may be hostile and whose other processes may still write: every directory is opened
//! by the kernel beneath the sandbox without passing a link (`openat2`), everything in it relative to it, and what is on
//! another file system is not entered. Nothing is kept per depth but a path, so that no tree is too deep.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

/// What may go into one archive, in bytes of the sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of one file.
    pub(crate) file: u64,
    /// Of all files.
    pub(crate) sandbox: u64,
}

/// What is not in an archive, or not as it was.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// How much there is.
    pub(crate) count: u64,
    /// The first few, with why.
    pub(crate) examples: Vec<String>,
}

impl LeftOut {
    const EXAMPLES: usize = 10;

    fn note(&mut self, path: &Path, why: impl std::fmt::Display) {
        self.count += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(format!("`{}` ({why})", path.display()));
        }
    }
}

/// Packs `sandbox` into `archive` by way of `partial`, which is removed whatever happens. An archive of the same name is
/// replaced at the end, at once.
pub(crate) fn pack(
    sandbox: &Path,
    archive: &Path,
    partial: &Path,
    limits: Limits,
) -> io::Result<LeftOut> {
    let root = File::from(rustix::fs::openat(CWD, sandbox, DIRECTORY, Mode::empty())?);
    let _ = fs::remove_file(partial);
    let file = File::options().write(true).create_new(true).mode(0o600).open(partial)?;
    let mut packer = Packer {
        device: root.metadata()?.dev(),
        root: root.into(),
        builder: tar::Builder::new(GzEncoder::new(file, Compression::fast())),
        limits,
        packed: 0,
        left_out: LeftOut::default(),
    };
    let packed = packer.all().and_then(|()| {
        packer.builder.into_inner()?.finish()?.sync_data()?;
        fs::rename(partial, archive)?;
        Ok(packer.left_out)
    });
    if packed.is_err() {
        let _ = fs::remove_file(partial);
    }
    packed
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// What was a file a moment ago may be a link or a pipe now.
const FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

struct Packer<W: Write> {
    root: OwnedFd,
    device: u64,
    builder: tar::Builder<W>,
    limits: Limits,
    /// Bytes of files so far.
    packed: u64,
    left_out: LeftOut,
}

impl<W: Write> Packer<W> {
    /// Every error is one of the archive; what cannot be read is left out.
    fn all(&mut self) -> io::Result<()> {
        let mut todo = vec![PathBuf::new()];
        while let Some(path) = todo.pop() {
            match self.open(&path) {
                Ok(Some(dir)) => self.directory(&path, dir, &mut todo)?,
                Ok(None) => self.left_out.note(&path, "on another file system"),
                Err(error) => self.left_out.note(&path, error),
            }
        }
        Ok(())
    }

    /// A directory of the sandbox; `None` when it is on another file system.
    fn open(&self, path: &Path) -> io::Result<Option<File>> {
        let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let dir =
            File::from(rustix::fs::openat2(&self.root, at, DIRECTORY, Mode::empty(), resolve)?);
        Ok((dir.metadata()?.dev() == self.device).then_some(dir))
    }

    fn directory(&mut self, path: &Path, dir: File, todo: &mut Vec<PathBuf>) -> io::Result<()> {
        if !path.as_os_str().is_empty() {
            let mut header = tar::Header::new_gnu();
            header.set_metadata(&dir.metadata()?);
            header.set_size(0);
            self.builder.append_data(&mut header, path, io::empty())?;
        }
        let entries = match Dir::read_from(&dir) {
            Ok(entries) => entries,
            Err(error) => {
                self.left_out.note(path, error);
                return Ok(());
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // The rest of it cannot be listed.
                Err(error) => {
                    self.left_out.note(path, error);
                    return Ok(());
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            // One that vanishes meanwhile is not missed.
            let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => todo.push(below),
                FileType::RegularFile => self.file(&below, &dir, name)?,
                FileType::Symlink => self.link(&below, &dir, name, &stat)?,
                _ => self.left_out.note(&below, "neither file, directory nor link"),
            }
        }
        Ok(())
    }

    /// Adds a file with exactly the size its header says: one that grows is cut, one that shrinks or cannot be read any
    /// further is filled up with zeros.
    fn file(&mut self, path: &Path, dir: &File, name: &CStr) -> io::Result<()> {
        let opened = rustix::fs::openat(dir, name, FILE, Mode::empty()).map(File::from);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                self.left_out.note(path, error);
                return Ok(());
            }
        };
        let metadata = file.metadata()?;
        let size = metadata.len();
        let total = self.packed.saturating_add(size);
        let why = if !metadata.is_file() || metadata.dev() != self.device {
            "no longer a file of the sandbox"
        } else if size > self.limits.file {
            "larger than max_file_size"
        } else if total > self.limits.sandbox {
            "beyond max_sandbox_size"
        } else {
            self.packed = total;
            let mut header = tar::Header::new_gnu();
            header.set_metadata(&metadata);
            header.set_size(size);
            let mut content = Content { file, left: size, problem: None };
            self.builder.append_data(&mut header, path, &mut content)?;
            if let Some(problem) = content.problem {
                self.left_out.note(path, format_args!("the end of it: {problem}"));
            }
            return Ok(());
        };
        self.left_out.note(path, why);
        Ok(())
    }

    fn link(&mut self, path: &Path, dir: &File, name: &CStr, stat: &Stat) -> io::Result<()> {
        let target = match rustix::fs::readlinkat(dir, name, Vec::new()) {
            Ok(target) => target,
            Err(error) => {
                self.left_out.note(path, error);
                return Ok(());
            }
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        self.builder.append_link(&mut header, path, OsStr::from_bytes(target.to_bytes()))
    }
}

/// The bytes of a file that an archive was promised.
struct Content {
    file: File,
    left: u64,
    /// Why it is filled up.
    problem: Option<String>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let mut length = 0;
        if self.problem.is_none() {
            match self.file.read(buffer) {
                Ok(0) => self.problem = Some("it became shorter".to_owned()),
                Ok(read) => length = read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => self.problem = Some(error.to_string()),
            }
        }
        if self.problem.is_some() {
            buffer.fill(0);
            length = room;
        }
        self.left = self.left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_file_that_became_shorter_is_filled_up_to_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "abc").unwrap();
        let mut content = Content { file: File::open(path).unwrap(), left: 5, problem: None };
        let mut read = Vec::new();
        content.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"abc\0\0");
        assert_eq!(content.problem.as_deref(), Some("it became shorter"));
    }

    #[test]
    fn a_directory_that_became_a_link_or_lies_outside_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = dir.path().join("sandbox");
        fs::create_dir_all(sandbox.join("real/below")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("../outside", sandbox.join("link")).unwrap();
        std::os::unix::fs::symlink("real", sandbox.join("inside")).unwrap();
        let root = File::open(&sandbox).unwrap();
        let mut packer = Packer {
            device: root.metadata().unwrap().dev(),
            root: root.into(),
            builder: tar::Builder::new(Vec::new()),
            limits: Limits { file: 0, sandbox: 0 },
            packed: 0,
            left_out: LeftOut::default(),
        };
        for refused in ["link", "inside/below", "../outside", "real/../../outside", "/tmp"] {
            packer.open(Path::new(refused)).unwrap_err();
        }
        assert!(packer.open(Path::new("real/below")).unwrap().is_some());
        packer.device += 1;
        assert!(packer.open(Path::new("real")).unwrap().is_none(), "another file system");
    }

    #[test]
    fn only_the_first_few_are_named() {
        let mut left_out = LeftOut::default();
        (0..100).for_each(|number| left_out.note(Path::new("x"), number));
        assert_eq!((left_out.count, left_out.examples.len()), (100, 10));
        assert_eq!(left_out.examples.first().unwrap(), "`x` (0)");
    }
}
