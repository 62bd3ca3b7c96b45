//! The files of a directory tree.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A file that this process can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// Documentation is on most machines and never changes while we look; else our own sources.
pub(crate) fn default_tree() -> Option<PathBuf> {
    let documentation = PathBuf::from("/usr/share/doc");
    if files(&documentation).is_ok_and(|files| files.len() >= 100) {
        return Some(documentation);
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned)
}

/// All regular files below `root` that can be read and whose names can go into a task, in order.
/// Links are not followed, and build output and version control are passed over.
pub(crate) fn files(root: &Path) -> io::Result<Vec<Input>> {
    let mut found = Vec::new();
    let root = fs::canonicalize(root)?;
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        // A folder that may not be read is none of our files.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                let name = entry.file_name();
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if kind.is_file() && path.to_str().is_some() && File::open(&path).is_ok() {
                let size = entry.metadata().map_or(0, |metadata| metadata.len());
                found.push(Input { path, size });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_order_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("b")).unwrap();
        fs::create_dir(root.join("target")).unwrap();
        fs::write(root.join("b/two"), "22").unwrap();
        fs::write(root.join("a one"), "1").unwrap();
        fs::write(root.join("target/x"), "no").unwrap();
        std::os::unix::fs::symlink(root.join("a one"), root.join("link")).unwrap();
        let found = files(&root).unwrap();
        assert_eq!(
            found,
            [
                Input { path: root.join("a one"), size: 1 },
                Input { path: root.join("b/two"), size: 2 },
            ]
        );
    }
}
