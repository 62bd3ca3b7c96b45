//! The two small files a launcher leaves behind: who runs, and how it ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::process::{ProcessId, WaitStatus};
use crate::{Error, Result, file};

/// How the program ended; `None` while there is no such file (it still runs, or the launcher was killed).
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`].
pub fn read_status_file(path: &Path) -> Result<Option<WaitStatus>> {
    let Some(text) = file::read_if_exists(path)? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| Error::malformed(path, &text, "a wait status in decimal"))
}

/// The program's own process; `None` while there is no such file.
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`].
pub fn read_pid_file(path: &Path) -> Result<Option<ProcessId>> {
    let Some(text) = file::read_if_exists(path)? else {
        return Ok(None);
    };
    let parsed = text.trim().split_once(' ').and_then(|(pid, start)| {
        Some(ProcessId { pid: pid.parse().ok()?, start_time: start.parse().ok()? })
    });
    parsed.map(Some).ok_or_else(|| Error::malformed(path, &text, "\"PID START\""))
}

/// Writes a file so that a reader sees all of it or nothing. Not synced: after a power cut another boot begins, in which
/// these files mean nothing.
pub(crate) fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn missing_is_none_whole_is_read_and_garbage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        assert_eq!(read_status_file(&path).unwrap(), None);
        write_atomically(&path, "768\n").unwrap();
        assert_eq!(read_status_file(&path).unwrap(), Some(WaitStatus::exited(3)));
        assert!(read_pid_file(&path).is_err());
        write_atomically(&path, "").unwrap();
        assert!(read_status_file(&path).is_err());
        write_atomically(&path, "17 4242\n").unwrap();
        assert_eq!(read_pid_file(&path).unwrap(), Some(ProcessId { pid: 17, start_time: 4242 }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
