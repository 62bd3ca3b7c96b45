//! The manifest of `--modules` and `--modules_dir`, in the JSON that Mesos reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ManifestError;

/// Libraries and the modules wanted from them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// In the order of the file.
    #[serde(default)]
    pub libraries: Vec<Library>,
}

/// One dynamic library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// A path (with a slash), or a file name that is searched for. Wins over `name`.
    pub file: Option<PathBuf>,
    /// `x` stands for the file `libx.so`.
    pub name: Option<String>,
    /// The modules wanted from it.
    #[serde(default)]
    pub modules: Vec<Module>,
}

/// One module of a library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// The name the library declares.
    pub name: String,
    /// For its constructor.
    #[serde(default)]
    pub parameters: Vec<Entry>,
}

/// One parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Manifest {
    /// What `--modules` says: JSON, or the path of a file or of a directory of files (`file://` before it is allowed).
    ///
    /// # Errors
    /// When it cannot be read or is not such JSON.
    pub fn from_flag(value: &str) -> Result<Self, ManifestError> {
        let value = value.trim();
        // No path begins so; who writes a list wants to be told of his JSON.
        if value.starts_with(['{', '[']) {
            return Self::parse(value, "given by the flag");
        }
        let path = Path::new(value.strip_prefix("file://").unwrap_or(value));
        if path.is_dir() { Self::from_dir(path) } else { Self::from_file(path) }
    }

    /// All files of a directory, in the order of their names, as one manifest.
    ///
    /// # Errors
    /// When one cannot be read or is not such JSON.
    pub fn from_dir(dir: &Path) -> Result<Self, ManifestError> {
        let read = |source| ManifestError::Read { path: dir.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        let mut whole = Self::default();
        for file in files {
            whole.libraries.extend(Self::from_file(&file)?.libraries);
        }
        Ok(whole)
    }

    fn from_file(file: &Path) -> Result<Self, ManifestError> {
        let text = fs::read_to_string(file)
            .map_err(|source| ManifestError::Read { path: file.to_owned(), source })?;
        Self::parse(&text, &format!("`{}`", file.display()))
    }

    fn parse(text: &str, origin: &str) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Parse { origin: origin.to_owned(), source };
        // As a list of its fields it could be read.
        if text.trim_start().starts_with('[') {
            return Err(failed(serde::de::Error::custom("found a list, expected an object")));
        }
        let manifest: Self = serde_json::from_str(text).map_err(failed)?;
        match manifest
            .libraries
            .iter()
            .position(|library| library.file.is_none() && library.name.is_none())
        {
            Some(index) => Err(ManifestError::NoFile { origin: origin.to_owned(), index }),
            None => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_manifest_of_mesos_is_read() {
        let text = r#"{"libraries":[{"file":"/path/libx.so","modules":[{"name":"m","parameters":[{"key":"k","value":"v"}]}]},{"name":"y"}]}"#;
        let manifest = Manifest::from_flag(text).unwrap();
        assert_eq!(manifest.libraries[0].file.as_deref(), Some(Path::new("/path/libx.so")));
        assert_eq!(manifest.libraries[0].modules[0].parameters[0].key, "k");
        assert_eq!(manifest.libraries[1].name.as_deref(), Some("y"));
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.json"), r#"{"libraries":[{"name":"second"}]}"#).unwrap();
        fs::write(dir.path().join("a.json"), r#"{"libraries":[{"name":"first"}]}"#).unwrap();
        let manifest = Manifest::from_flag(dir.path().to_str().unwrap()).unwrap();
        let names: Vec<_> =
            manifest.libraries.iter().map(|library| library.name.clone().unwrap()).collect();
        assert_eq!(names, ["first", "second"]);
    }

    #[test]
    fn a_misspelt_field_and_a_library_without_a_file_are_refused() {
        assert!(matches!(
            Manifest::from_flag(r#"{"library":[]}"#),
            Err(ManifestError::Parse { .. })
        ));
        assert!(matches!(Manifest::from_flag(" []"), Err(ManifestError::Parse { .. })));
        assert!(matches!(
            Manifest::from_flag(r#"{"libraries":[{"modules":[]}]}"#),
            Err(ManifestError::NoFile { index: 0, .. })
        ));
        assert!(matches!(
            Manifest::from_flag("/does/not/exist.json"),
            Err(ManifestError::Read { .. })
        ));
    }
}
