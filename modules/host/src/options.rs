//! What a process says about the modules it wants.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mezzo_module_api::Parameter;
use mezzo_module_api::types::Resource;

use crate::{Manifest, search_path};

/// Longer than a call of a module should ever take, on a busy machine too.
const WATCHDOG: Duration = Duration::from_secs(10);

/// How modules are to be loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifests of `--modules` and `--modules_dir`. A module in one of them hides a built-in one of the same name.
    pub manifests: Vec<Manifest>,
    /// Where libraries are looked for, in order; see [`search_path`].
    pub search: Vec<PathBuf>,
    /// The copies of the libraries go to `modules/` below it. They have to stay as long as the process lives.
    pub runtime_dir: PathBuf,
    /// The process's `--work_dir`, told to modules.
    pub work_dir: Option<PathBuf>,
    /// What an agent has, told to modules.
    pub resources: Vec<Resource>,
    /// The name of this process, told to modules.
    pub host: String,
    /// Its version, told to modules.
    pub host_version: String,
    /// Parameters that come from the process's own flags.
    pub parameters: ParameterDefaults,
    /// How long a call may be inside a module until it is told of; zero = for ever. (The call goes on; see
    /// [`Modules::stuck`](crate::Modules::stuck).)
    pub watchdog: Duration,
    /// The probe; `None` = look for `mezzo-module-probe` beside the executable.
    pub probe: Option<PathBuf>,
}

impl Options {
    /// The built-in modules alone, found in the usual places.
    pub fn new(host: &str, host_version: &str, runtime_dir: impl Into<PathBuf>) -> Self {
        Self {
            manifests: Vec::new(),
            search: search_path(&[]),
            runtime_dir: runtime_dir.into(),
            work_dir: None,
            resources: Vec::new(),
            host: host.to_owned(),
            host_version: host_version.to_owned(),
            parameters: ParameterDefaults::default(),
            watchdog: WATCHDOG,
            probe: None,
        }
    }

    /// Where the copies of the libraries are.
    pub(crate) fn copies(&self) -> PathBuf {
        self.runtime_dir.join("modules")
    }
}

/// Parameters that a process gives to modules by name, for flags that exist apart from the manifest (`--cgroups_root`). Only
/// built-in modules get them; a stranger's module may not know them.
#[derive(Clone, Debug, Default)]
pub struct ParameterDefaults {
    by_module: BTreeMap<String, Vec<Parameter>>,
}

impl ParameterDefaults {
    /// Adds one. What the manifest says under the same key wins.
    pub fn add(&mut self, module: &str, key: &str, value: impl ToString) {
        let parameter = Parameter { key: key.to_owned(), value: value.to_string() };
        self.by_module.entry(module.to_owned()).or_default().push(parameter);
    }

    pub(crate) fn of(&self, module: &str) -> Vec<Parameter> {
        self.by_module.get(module).cloned().unwrap_or_default()
    }
}
