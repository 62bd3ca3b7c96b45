//! Loads the modules that the operator chose.

use std::path::Path;
use std::sync::Arc;

use mezzo_containerizer::{NamedHook, NamedIsolator};
use mezzo_model::{Format, Resources};
use mezzo_module_api::v1::IsolatorCapabilitiesRequest;
use mezzo_module_api::{Code, ModuleError};
use mezzo_module_host::{LoadError, Manifest, ManifestError, Modules, Options};

use crate::flags::Flags;
use crate::parameters;

/// The modules of this agent.
#[derive(Clone)]
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
    Load(#[source] Box<LoadError>),
    /// A module that was chosen is not there, or does not start.
    #[error("flag --{flag}")]
    Choose {
        /// Which.
        flag: &'static str,
        /// Why not.
        #[source]
        source: Box<LoadError>,
    },
    /// An isolator cannot say what it can do.
    #[error("isolator '{isolator}' does not say what it is capable of")]
    Capabilities {
        /// Which.
        isolator: String,
        /// In its words.
        #[source]
        source: ModuleError,
    },
}

/// Loads them. Blocks for some tens of milliseconds, or as long as a module takes to be made. `resources` are those of this
/// agent, before hooks change them.
pub(crate) fn load(
    flags: &Flags,
    runtime_dir: &Path,
    root: bool,
    resources: &Resources,
) -> Result<Loaded, ModulesError> {
    let mut options = Options::new("mezzo-agent", env!("CARGO_PKG_VERSION"), runtime_dir);
    options.work_dir = Some(flags.work_dir.clone());
    options.resources = resources.to_proto(Format::PostRefinement);
    options.watchdog = flags.module_watchdog.get();
    parameters::add_flags(&mut options.parameters, &flags.isolation_flags);
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
    let modules = Modules::load(options).map_err(|source| ModulesError::Load(Box::new(source)))?;
    let isolation = match &flags.isolation {
        Some(isolation) => parameters::in_order(isolation),
        None => parameters::default_isolation(root).to_owned(),
    };
    let choose = |flag| move |source| ModulesError::Choose { flag, source: Box::new(source) };
    let chosen = modules.isolators(&isolation).map_err(choose("isolation"))?;
    let mut isolators = Vec::with_capacity(chosen.len());
    for one in chosen {
        // Asked as the contract says. There is nobody to keep the answer for: containers inside containers and containers
        // without an executor are refused before any isolator is asked.
        match one.module.capabilities(IsolatorCapabilitiesRequest {}) {
            Ok(can) => tracing::debug!(isolator = one.name, ?can, "an isolator"),
            Err(error) if error.code == Code::Unimplemented => {}
            Err(source) => {
                return Err(ModulesError::Capabilities { isolator: one.name, source });
            }
        }
        isolators.push(mezzo_containerizer::isolator(&one.name, one.module));
    }
    let hooks =
        modules.hooks(flags.hooks.as_deref().unwrap_or_default()).map_err(choose("hooks"))?;
    let named = |hook: mezzo_module_host::NamedHook| -> NamedHook {
        mezzo_containerizer::hook(&hook.name, hook.module)
    };
    modules.sweep();
    Ok(Loaded {
        modules: Arc::new(modules),
        isolators,
        hooks: hooks.into_iter().map(named).collect(),
    })
}
