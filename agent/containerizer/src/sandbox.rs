//! The sandbox: a directory of the task's user, with the files its output goes to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown, lchown};
use std::path::Path;

use mezzo_linux::user::Credentials;
use rustix::fs::OFlags;

use crate::LaunchError;

/// What a container writes to.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

/// Makes the directory (mode 0750) and the files in it, all owned by `owner`. What is there already is kept.
pub(crate) fn make(directory: &Path, owner: Option<&Credentials>) -> Result<Output, LaunchError> {
    let failed =
        |action| move |source| LaunchError::Sandbox { action, path: directory.to_owned(), source };
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(failed("create the directories above"))?;
    }
    match DirBuilder::new().mode(0o750).create(directory) {
        // Not through a symbolic link: what is behind it is not ours to give away.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_directory(directory) => {}
        other => other.map_err(failed("create"))?,
    }
    if let Some(owner) = owner {
        lchown(directory, Some(owner.uid), Some(owner.gid))
            .map_err(failed("change the owner of"))?;
    }
    Ok(Output {
        stdout: output(directory, "stdout", owner)?,
        stderr: output(directory, "stderr", owner)?,
    })
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Appended to, so that whoever shortens the file later does not leave a hole in it.
fn output(directory: &Path, name: &str, owner: Option<&Credentials>) -> Result<File, LaunchError> {
    let path = directory.join(name);
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file =
        OpenOptions::new().create(true).append(true).mode(0o644).custom_flags(flags).open(&path);
    let file = file.and_then(|file| {
        if let Some(owner) = owner {
            fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
        // A regular file never blocks; the task should not find an odd flag on its output.
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
        Ok(file)
    });
    file.map_err(|source| LaunchError::Sandbox { action: "open", path, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_sandbox_is_closed_to_others_and_has_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = dir.path().join("a/b/c");
        make(&sandbox, None).unwrap();
        assert_eq!(fs::metadata(&sandbox).unwrap().permissions().mode() & 0o7777, 0o750);
        assert!(sandbox.join("stdout").is_file() && sandbox.join("stderr").is_file());
        make(&sandbox, None).unwrap();
    }

    #[test]
    fn output_does_not_go_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        symlink(dir.path().join("precious"), dir.path().join("stdout")).unwrap();
        let error = make(dir.path(), None).unwrap_err();
        assert!(matches!(error, LaunchError::Sandbox { action: "open", .. }), "{error}");

        symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(matches!(
            make(&dir.path().join("link"), None).unwrap_err(),
            LaunchError::Sandbox { action: "create", .. }
        ));
    }
}
