//! Who holds which key: in memory, and in a file for each container.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mezzo_module_api::{Code, ModuleError};

/// A name longer than this is none for a file.
const LONGEST: usize = 200;

/// The pool, and what has been handed out of it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pool: Vec<String>,
    /// Container -> keys.
    held: BTreeMap<String, Vec<String>>,
    dir: PathBuf,
}

impl Ledger {
    pub(crate) fn open(dir: &Path, pool: Vec<String>) -> Result<Self, ModuleError> {
        fs::create_dir_all(dir).map_err(|error| broken(dir, &error))?;
        Ok(Self { pool, held: BTreeMap::new(), dir: dir.to_owned() })
    }

    /// Reads back what these containers hold, and forgets what others have left. How many keys are in use now.
    pub(crate) fn recover(&mut self, known: &[String]) -> Result<usize, ModuleError> {
        for entry in fs::read_dir(&self.dir).map_err(|error| broken(&self.dir, &error))? {
            let path = entry.map_err(|error| broken(&self.dir, &error))?.path();
            let container = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if known.contains(&container) {
                let text = fs::read_to_string(&path).map_err(|error| broken(&path, &error))?;
                self.held.insert(container, text.lines().map(str::to_owned).collect());
            } else {
                remove(&path)?;
            }
        }
        Ok(self.held.values().map(Vec::len).sum())
    }

    /// Hands out so many keys. All or none.
    pub(crate) fn take(
        &mut self,
        container: &str,
        wanted: usize,
    ) -> Result<Vec<String>, ModuleError> {
        let path = self.path(container)?;
        if self.held.contains_key(container) {
            return Err(ModuleError::new(
                Code::AlreadyExists,
                format!("container `{container}` has its licences already"),
            ));
        }
        let in_use = |key: &String| self.held.values().any(|keys| keys.contains(key));
        let free: Vec<String> = self.pool.iter().filter(|key| !in_use(key)).cloned().collect();
        let Some(keys) = free.get(..wanted).map(<[String]>::to_vec) else {
            return Err(ModuleError::new(
                Code::ResourceExhausted,
                format!(
                    "container `{container}` wants {wanted} licences, {} of {} are free",
                    free.len(),
                    self.pool.len()
                ),
            ));
        };
        // The file first: a key that is held by nobody's memory is found by `recover`, the other way round it is handed out twice.
        // No half of it is ever read: an agent that dies here has not started the container.
        fs::write(&path, keys.join("\n")).map_err(|error| broken(&path, &error))?;
        self.held.insert(container.to_owned(), keys.clone());
        Ok(keys)
    }

    /// How many a container holds; `None` when it is not known.
    pub(crate) fn held(&self, container: &str) -> Option<usize> {
        self.held.get(container).map(Vec::len)
    }

    /// Takes back what a container holds, if anything. How many there were.
    pub(crate) fn give_back(&mut self, container: &str) -> Result<usize, ModuleError> {
        // What has no file name was never handed anything.
        if let Ok(path) = self.path(container) {
            remove(&path)?;
        }
        Ok(self.held.remove(container).map_or(0, |keys| keys.len()))
    }

    /// The file of a container, inside our directory whatever its id is.
    fn path(&self, container: &str) -> Result<PathBuf, ModuleError> {
        let plain =
            |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        let named =
            !container.is_empty() && container.len() <= LONGEST && !container.starts_with('.');
        if !named || !container.chars().all(plain) {
            return Err(ModuleError::invalid(format!(
                "container id `{container}`, expected letters, digits, `.`, `_` and `-`"
            )));
        }
        Ok(self.dir.join(container))
    }
}

/// Removes a file; one that is not there is fine.
fn remove(path: &Path) -> Result<(), ModuleError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(broken(path, &error)),
        _ => Ok(()),
    }
}

fn broken(path: &Path, error: &io::Error) -> ModuleError {
    ModuleError::internal(format!("{}: {error}", path.display()))
}
