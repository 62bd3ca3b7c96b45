//! One agent for one work directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use super::Layout;

/// Held as long as the agent lives; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why this agent cannot have the work directory.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent has it.
    #[error("flag --work_dir: {} is in use by another agent{}", path.display(), pid.as_deref().map(|p| format!(" (pid {p})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other one.
        pid: Option<String>,
    },
    /// It cannot be written.
    #[error("flag --work_dir: cannot write in {}", path.display())]
    Write {
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Makes the directories and takes the lock.
    pub(crate) fn take(layout: &Layout) -> Result<Self, LockError> {
        let path = layout.meta();
        let failed = |path: PathBuf| move |source| LockError::Write { path, source };
        std::fs::create_dir_all(layout.agents()).map_err(failed(path.clone()))?;
        let lock = path.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock)
            .map_err(failed(lock.clone()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Only for the message.
                let _ = file.read_to_string(&mut text);
                let pid = Some(text.trim().to_owned()).filter(|pid| !pid.is_empty());
                return Err(LockError::InUse { path: layout.work_dir().to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(lock)(source)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(failed(lock))?;
        Ok(Self { _file: file })
    }
}
