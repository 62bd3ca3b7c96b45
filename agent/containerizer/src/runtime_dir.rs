//! What is written down of each container, so that a later life of the agent finds it again.
//!
//! `<runtime_dir>/containers/<id>/` holds `pid` (the launcher: pid and start time), `first` (the same of the container's
//! first process, written by the launcher) and `status` (its wait status, written by the launcher). `boot_id` beside them
//! says in which boot of the machine these pids mean something, so nothing has to be synced to disk.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mezzo_linux::process::ProcessId;
use mezzo_model::ContainerId;

/// The files of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(crate) fn of(runtime_dir: &Path, id: &ContainerId) -> Self {
        Self { directory: runtime_dir.join("containers").join(id.as_str()) }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The launcher: pid and start time.
    pub(crate) fn pid(&self) -> PathBuf {
        self.directory.join("pid")
    }

    /// The container's first process.
    pub(crate) fn first_process(&self) -> PathBuf {
        self.directory.join("first")
    }

    /// How the first process ended.
    pub(crate) fn status(&self) -> PathBuf {
        self.directory.join("status")
    }

    pub(crate) fn create(&self) -> io::Result<()> {
        if let Some(parent) = self.directory.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir(&self.directory)
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The launcher as a line of text, in the form `mezzo-launcher` itself uses.
pub(crate) fn pid_line(id: ProcessId) -> String {
    format!("{} {}\n", id.pid, id.start_time)
}

/// Writes a file whole or not at all, making the directories above it.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    fs::File::create(&temporary)?.write_all(text.as_bytes())?;
    fs::rename(&temporary, path)
}

/// Writes down which boot of the machine this is; true if the directory is from another one. The directory should not
/// survive a reboot, but nobody can be sure where an operator puts it.
pub(crate) fn note_boot(runtime_dir: &Path, boot_id: &str) -> io::Result<bool> {
    let path = runtime_dir.join("boot_id");
    let before = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => Some(other?),
    };
    if before.as_deref() == Some(boot_id) {
        return Ok(false);
    }
    write_whole(&path, boot_id)?;
    Ok(before.is_some())
}

/// The containers that have a directory. A name that cannot be an id is not ours.
pub(crate) fn list(runtime_dir: &Path) -> io::Result<Vec<ContainerId>> {
    let entries = match fs::read_dir(runtime_dir.join("containers")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(entry.file_name().to_str().and_then(|name| ContainerId::parse(name).ok()));
        }
    }
    Ok(found)
}
