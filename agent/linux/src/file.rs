//! Reading and writing small kernel files, with errors that name the file and the data.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use crate::{Error, Result};

/// The whole text of a small file.
pub(crate) fn read(path: &Path) -> Result<String> {
    // Kernel files may hold anything (a comm is bytes chosen by the process): never fail on the encoding.
    let bytes = fs::read(path).map_err(|source| Error::io("read", path, source))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Like [`read`], but a file that is not there is `None`.
pub(crate) fn read_if_exists(path: &Path) -> Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes `data` in one `write(2)`; the file must exist (a missing kernel file must not become an ordinary one).
pub(crate) fn write(path: &Path, data: &str) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(data.as_bytes())
    };
    attempt().map_err(|source| Error::Io {
        operation: "write",
        path: path.to_owned(),
        data: Some(data.to_owned()),
        source,
    })
}

/// Reads a file that holds one unsigned number (or `max`, which is `None`).
pub(crate) fn read_number(path: &Path) -> Result<Option<u64>> {
    let text = read(path)?;
    match text.trim() {
        "max" => Ok(None),
        number => number
            .parse()
            .map(Some)
            .map_err(|_| Error::malformed(path, number, "an unsigned number or \"max\"")),
    }
}
