//! From a path to a checked copy that nobody else changes.
//!
//! Files are read in pieces: what a process has held in memory once stays with it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{LoadError, elf, guard};

const PIECE: usize = 64 * 1024;
/// How often a copy may vanish under our hands.
const ATTEMPTS: usize = 5;

/// A library that has been checked and copied.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    /// Where it came from.
    pub(crate) original: PathBuf,
    /// What is loaded.
    pub(crate) copy: PathBuf,
    /// Of its content, in hexadecimal.
    pub(crate) sha256: String,
    /// Open and locked as long as this process may load it, so that no other one sweeps it away.
    _held: Arc<File>,
}

/// Checks the file, and puts a copy of what was checked at `<dir>/<sha256>.so`, if it is not there already.
pub(crate) fn stage(file: &Path, dir: &Path) -> Result<Staged, LoadError> {
    let (mut source, sha256) = examine(file)?;
    let to = dir.join(format!("{sha256}.so"));
    let failed = |source| LoadError::Copy { file: file.to_owned(), to: to.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    guard::directories(&to)?;
    for _ in 0..ATTEMPTS {
        if let Some(mut held) = hold(&to)
            && same(&mut source, &mut held).unwrap_or(false)
        {
            let staged =
                Staged { original: file.to_owned(), copy: to, sha256, _held: Arc::new(held) };
            return Ok(staged);
        }
        copy(&mut source, &to).map_err(failed)?;
    }
    Err(failed(io::Error::other("the file or its copy is being changed all the time")))
}

/// Opens a library and looks at it from outside: what kind of file it is, who can write it, whether it is whole. Its hash.
pub(crate) fn examine(file: &Path) -> Result<(File, String), LoadError> {
    let failed = |source| LoadError::Read { file: file.to_owned(), source };
    // Not blocking, because opening a named pipe would wait for its writer.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut open = File::options().read(true).custom_flags(nonblock).open(file).map_err(failed)?;
    let metadata = open.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let found = kind_of(metadata.file_type());
        return Err(LoadError::NotAFile { file: file.to_owned(), found });
    }
    guard::file(file, &metadata)?;
    elf::check(&open).map_err(|mismatch| LoadError::Foreign {
        file: file.to_owned(),
        found: mismatch.found,
        expected: mismatch.expected,
    })?;
    let mut hash = Sha256::new();
    io::copy(&mut open, &mut hash).map_err(failed)?;
    Ok((open, hex(&hash.finalize())))
}

fn kind_of(kind: fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Opens and locks a copy, if it is there and is not just being swept away.
fn hold(copy: &Path) -> Option<File> {
    let file = File::open(copy).ok()?;
    file.lock_shared().ok()?;
    let (held, there) = (file.metadata().ok()?, fs::metadata(copy).ok()?);
    ((held.dev(), held.ino()) == (there.dev(), there.ino())).then_some(file)
}

/// Copies under a name of its own first, so that nobody ever sees half of it.
fn copy(source: &mut File, to: &Path) -> io::Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let own = format!(".{name}.{}.{:?}", std::process::id(), std::thread::current().id());
    let partial = to.with_file_name(own);
    let written = (|| {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o555).open(&partial)?;
        file.lock_shared()?;
        source.rewind()?;
        io::copy(source, &mut file)?;
        file.flush()?;
        fs::rename(&partial, to)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Whether two files hold the same.
fn same(one: &mut File, other: &mut File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    one.rewind()?;
    other.rewind()?;
    let (mut expected, mut found) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let read = one.read(&mut expected)?;
        let (Some(expected), Some(found)) = (expected.get(..read), found.get_mut(..read)) else {
            return Ok(false);
        };
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(found)?;
        if found != expected {
            return Ok(false);
        }
    }
}

/// Removes the copies (and what is known of them) that no process holds.
pub(crate) fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let unfinished = name.starts_with('.') && name.contains(".so.");
        if !name.ends_with(".so") && !unfinished {
            continue;
        }
        if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            tracing::debug!(file = %path.display(), "a copy that nobody uses is removed");
            let _ = fs::remove_file(path.with_extension("json"));
            let _ = fs::remove_file(&path);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
