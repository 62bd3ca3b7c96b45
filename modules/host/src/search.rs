//! Where libraries are looked for.

use std::env;
use std::path::{Path, PathBuf};

use crate::{Library, LoadError};

/// `first`, then the places beside the running executable: `deps/` below its folder (where cargo puts libraries; before the
/// folder itself, whose copies go stale in tests), its folder, and `../lib/mezzo/modules` of an installation.
pub fn search_path(first: &[PathBuf]) -> Vec<PathBuf> {
    let mut path = first.to_vec();
    if let Some(dir) = executable_dir() {
        path.push(dir.join("deps"));
        if dir.ends_with("examples") {
            path.push(dir.join("../deps"));
        }
        path.push(dir.clone());
        path.push(dir.join("../lib/mezzo/modules"));
    }
    path
}

/// The folder of the running executable.
pub(crate) fn executable_dir() -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    executable.parent().map(Path::to_owned)
}

/// The file of a library of the manifest.
pub(crate) fn find(library: &Library, search: &[PathBuf]) -> Result<PathBuf, LoadError> {
    let file = match (&library.file, &library.name) {
        (Some(file), _) => file.clone(),
        (None, name) => PathBuf::from(format!("lib{}.so", name.as_deref().unwrap_or_default())),
    };
    if file.components().count() > 1 {
        // The rest of what can be wrong with it is told when it is read.
        return match file.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(LoadError::NotFound {
                    name: file.display().to_string(),
                    looked_in: "that very place".to_owned(),
                })
            }
            _ => Ok(file),
        };
    }
    let found = search.iter().map(|dir| dir.join(&file)).find(|path| path.exists());
    found.ok_or_else(|| LoadError::NotFound {
        name: file.display().to_string(),
        looked_in: listed(search),
    })
}

fn listed(search: &[PathBuf]) -> String {
    let places: Vec<_> = search.iter().map(|dir| format!("`{}`", dir.display())).collect();
    if places.is_empty() { "no place at all".to_owned() } else { places.join(", ") }
}
