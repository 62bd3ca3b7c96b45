//! Loads the modules that the operator chose.

use std::path::Path;
use std::sync::Arc;

use mezzo_containerizer::{NamedHook, NamedIsolator};
use mezzo_linux::cgroup::{self, Hierarchies};
use mezzo_module_host::{LoadError, Manifest, ManifestError, Modules, Options};

use crate::flags::Flags;

/// The isolators of an agent that can use cgroups and was not told which.
const CGROUPS: &str = "cgroups/cpu,cgroups/mem";

/// The modules of this agent.
pub(crate) struct Loaded {
    pub(crate) modules: Arc<Modules>,
    pub(crate) isolators: Vec<NamedIsolator>,
    pub(crate) hooks: Vec<NamedHook>,
}

/// Why a module is not there.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// `--modules` or `--modules_dir` cannot be read.
    #[error("flag --{flag}")]
    Manifest {
        /// Which.
        flag: &'static str,
        /// Why not.
        #[source]
        source: ManifestError,
    },
    /// A library of a manifest is no good.
    #[error("cannot load the modules")]
    Load(#[source] LoadError),
    /// A module that was chosen is not there, or does not start.
    #[error("flag --{flag}")]
    Choose {
        /// Which.
        flag: &'static str,
        /// Why not.
        #[source]
        source: LoadError,
    },
}

/// Loads them. Blocks for some tens of milliseconds at most.
pub(crate) fn load(flags: &Flags, runtime_dir: &Path, root: bool) -> Result<Loaded, ModulesError> {
    let mut options = Options::new("mezzo-agent", env!("CARGO_PKG_VERSION"), runtime_dir);
    if let Some(value) = &flags.modules {
        let manifest = Manifest::from_flag(value)
            .map_err(|source| ModulesError::Manifest { flag: "modules", source })?;
        options.manifests.push(manifest);
    }
    if let Some(dir) = &flags.modules_dir {
        let manifest = Manifest::from_dir(dir)
            .map_err(|source| ModulesError::Manifest { flag: "modules_dir", source })?;
        options.manifests.push(manifest);
    }
    for module in CGROUPS.split(',') {
        options.parameters.add(module, "cgroups_root", &flags.cgroups_root);
        options.parameters.add(module, "cgroups_enable_cfs", flags.cgroups_enable_cfs);
        options.parameters.add(module, "cgroups_limit_swap", flags.cgroups_limit_swap);
        if let Some(hierarchy) = &flags.cgroups_hierarchy {
            options.parameters.add(module, "cgroups_hierarchy", hierarchy);
        }
    }
    let modules = Modules::load(options).map_err(ModulesError::Load)?;
    let isolation = flags.isolation.clone().unwrap_or_else(|| default_isolation(root).to_owned());
    let choose = |flag| move |source| ModulesError::Choose { flag, source };
    let isolators = modules.isolators(&isolation).map_err(choose("isolation"))?;
    let hooks =
        modules.hooks(flags.hooks.as_deref().unwrap_or_default()).map_err(choose("hooks"))?;
    Ok(Loaded {
        modules: Arc::new(modules),
        isolators: isolators
            .into_iter()
            .map(|i| NamedIsolator { name: i.name, isolator: i.module })
            .collect(),
        hooks: hooks.into_iter().map(|h| NamedHook { name: h.name, hook: h.module }).collect(),
    })
}

/// What can be isolated here. Says so when that is nothing.
fn default_isolation(root: bool) -> &'static str {
    if !root {
        tracing::warn!(
            "this agent is not root: tasks run without resource isolation, in the agent's own namespaces"
        );
        return "";
    }
    let usable = match cgroup::detect() {
        Ok(Some(Hierarchies::V1(v1))) => v1.has("cpu") && v1.has("cpuacct") && v1.has("memory"),
        Ok(Some(Hierarchies::V2(v2))) => {
            ["cpu", "memory"].iter().all(|c| v2.controllers.iter().any(|have| have == c))
        }
        Ok(None) | Err(_) => false,
    };
    if usable {
        return CGROUPS;
    }
    tracing::warn!("this machine has no usable cgroups: tasks run without resource isolation");
    ""
}
