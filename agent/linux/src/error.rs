//! The one error of file-shaped work: what was tried, on which path, with which data.
//!
//! An operator who reads "Permission denied" learns nothing; one who reads `cannot write "51200" to
//! /sys/fs/cgroup/cpu/mezzo/x/cpu.shares` knows where to look. So the operation, the path and the data always travel.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why something asked of the kernel through a file did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a path failed.
    #[error("cannot {operation} {}{}", path.display(), Data(.data.as_deref()))]
    Io {
        /// The verb, as in "cannot `write`".
        operation: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What was to be written, when something was.
        data: Option<String>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file was read but does not say what it should.
    #[error("{} says {found:?}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The part of its text that could not be understood (shortened).
        found: String,
        /// What should have been there.
        expected: &'static str,
    },
    /// Something that should end by itself did not within its time.
    #[error("{operation} {} did not finish within {after:?}: {detail}", path.display())]
    TimedOut {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// How long it was tried.
        after: Duration,
        /// What was left at the end, for example the pids still inside.
        detail: String,
    },
    /// A value cannot be used.
    #[error("{what} is {found:?}, expected {expected}")]
    Invalid {
        /// The thing that has the value.
        what: &'static str,
        /// The value.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// The machine has no such cgroup controller (or it is not mounted where we may use it).
    #[error("cgroup controller {controller:?} is not available; mounted: {available}")]
    NoController {
        /// The controller that was asked for.
        controller: String,
        /// Those that exist, separated by commas.
        available: String,
    },
}

impl Error {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { operation, path: path.into(), data: None, source: source.into() }
    }

    pub(crate) fn malformed(path: &Path, found: &str, expected: &'static str) -> Self {
        const SHOWN: usize = 120;
        Self::Malformed {
            path: path.to_owned(),
            found: found.chars().take(SHOWN).collect(),
            expected,
        }
    }

    /// The kind of the underlying I/O error, if there is one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// The errno of the underlying I/O error, if there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// True when the file, directory or process simply is not there (any more).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        // Reading a cgroup file whose directory was just removed says ENODEV; a pid that is gone says ESRCH.
        matches!(
            self.raw_os_error(),
            Some(nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::ESRCH)
        )
    }
}

/// Shows ` (data "...")` only when there is data.
struct Data<'a>(Option<&'a str>);

impl std::fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(data) => write!(f, " (data {data:?})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_error_names_operation_path_and_data() {
        let error = Error::Io {
            operation: "write",
            path: "/sys/fs/cgroup/cpu/x/cpu.shares".into(),
            data: Some("512".into()),
            source: io::Error::from_raw_os_error(nix::libc::EACCES),
        };
        assert_eq!(
            error.to_string(),
            r#"cannot write /sys/fs/cgroup/cpu/x/cpu.shares (data "512")"#
        );
        assert_eq!(error.io_kind(), Some(io::ErrorKind::PermissionDenied));
        assert!(!error.is_not_found());
    }
}
