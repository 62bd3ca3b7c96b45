//! From a path to a checked copy that nobody else changes.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{LoadError, elf};

/// A library that has been checked and copied.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    /// Where it came from.
    pub(crate) original: PathBuf,
    /// What is loaded.
    pub(crate) copy: PathBuf,
    /// Of its content, in hexadecimal.
    pub(crate) sha256: String,
}

/// Reads the file once, checks it, and puts a copy of what was checked at `<dir>/<sha256>.so`.
pub(crate) fn stage(file: &Path, dir: &Path) -> Result<Staged, LoadError> {
    let content = read(file)?;
    elf::check(&content).map_err(|mismatch| LoadError::Foreign {
        file: file.to_owned(),
        found: mismatch.found,
        expected: mismatch.expected,
    })?;
    let sha256 = hex(&Sha256::digest(&content));
    let copy = dir.join(format!("{sha256}.so"));
    write(&content, &copy).map_err(|source| LoadError::Copy {
        file: file.to_owned(),
        to: copy.clone(),
        source,
    })?;
    Ok(Staged { original: file.to_owned(), copy, sha256 })
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let error = |source| LoadError::Read { file: path.to_owned(), source };
    // Not blocking, because opening a named pipe would wait for its writer.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(nonblock).open(path).map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    if !metadata.is_file() {
        return Err(LoadError::NotAFile { file: path.to_owned(), found: kind_of(&metadata) });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 && rustix::process::geteuid().is_root() {
        return Err(LoadError::Writable { file: path.to_owned(), mode });
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(error)?;
    Ok(content)
}

fn kind_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
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

/// Writes the copy under a name of its own first, so that nobody ever sees half of it.
fn write(content: &[u8], copy: &Path) -> io::Result<()> {
    if holds(copy, content).unwrap_or(false) {
        return Ok(());
    }
    let dir = copy.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    let partial =
        dir.join(format!(".{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
    let written = (|| {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o555).open(&partial)?;
        file.write_all(content)?;
        fs::rename(&partial, copy)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Whether a file holds just this. Read in pieces: what is read whole stays with the process.
fn holds(file: &Path, content: &[u8]) -> io::Result<bool> {
    let mut file = File::open(file)?;
    if file.metadata()?.len() != content.len() as u64 {
        return Ok(false);
    }
    let mut piece = vec![0; 64 * 1024];
    for expected in content.chunks(piece.len()) {
        let Some(found) = piece.get_mut(..expected.len()) else { return Ok(false) };
        file.read_exact(found)?;
        if found != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
