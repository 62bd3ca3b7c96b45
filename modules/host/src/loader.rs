//! The modules of a process: made when they are chosen.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mezzo_module_api::v1::{CreateModuleRequest, ModuleStatus};
use mezzo_module_api::{Allocator, Hook, Host, HostProcess, Isolator, Kind, Remote, Transport};

use crate::libraries::Libraries;
use crate::metered::{CONSTRUCTOR, Meter, Metered, Services};
use crate::watchdog::{StuckCall, Watchdog};
use crate::{LoadError, Options, clean, file};

/// An isolator and the name it was chosen by.
#[derive(Clone)]
pub struct NamedIsolator {
    /// As in `--isolation`.
    pub name: String,
    /// The module.
    pub module: Arc<dyn Isolator>,
}

/// A hook and the name it was chosen by.
#[derive(Clone)]
pub struct NamedHook {
    /// As in `--hooks`.
    pub name: String,
    /// The module.
    pub module: Arc<dyn Hook>,
}

/// The modules of this process.
///
/// The libraries of the manifests are loaded and checked at once, so that a bad one stops the start even if nothing of it is
/// chosen. A built-in library is loaded when one of its modules is chosen. A module is made when it is chosen.
pub struct Modules {
    options: Options,
    libraries: Mutex<Libraries>,
    chosen: Mutex<Vec<Chosen>>,
    watchdog: Watchdog,
}

/// A module that has been made.
struct Chosen {
    status: ModuleStatus,
    meter: Arc<Meter>,
}

impl Modules {
    /// Loads what the manifests name. May take tens of milliseconds; blocks.
    ///
    /// # Errors
    /// For the first thing that is wrong; nothing of it is chosen then.
    pub fn load(options: Options) -> Result<Self, LoadError> {
        let mut libraries = Libraries::default();
        for library in options.manifests.iter().flat_map(|manifest| &manifest.libraries) {
            libraries.add(library, Vec::new(), &options)?;
        }
        let watchdog = Watchdog::new(options.watchdog);
        Ok(Self { options, libraries: Mutex::new(libraries), chosen: Mutex::default(), watchdog })
    }

    /// Makes the allocator of `--allocator`.
    ///
    /// # Errors
    /// When there is none of this name, or its constructor fails.
    pub fn allocator(&self, name: &str) -> Result<Arc<dyn Allocator>, LoadError> {
        Ok(Arc::new(self.choose(name.trim(), Kind::Allocator)?))
    }

    /// Makes the isolators of `--isolation`, a list with commas, in its order.
    ///
    /// # Errors
    /// When there is none of a name, a name comes twice, or a constructor fails.
    pub fn isolators(&self, list: &str) -> Result<Vec<NamedIsolator>, LoadError> {
        let make = |name: &str| {
            let module: Arc<dyn Isolator> = Arc::new(self.choose(name, Kind::Isolator)?);
            Ok(NamedIsolator { name: name.to_owned(), module })
        };
        names(list, Kind::Isolator)?.into_iter().map(make).collect()
    }

    /// Makes the hooks of `--hooks`, a list with commas, in its order.
    ///
    /// # Errors
    /// As for [`Modules::isolators`].
    pub fn hooks(&self, list: &str) -> Result<Vec<NamedHook>, LoadError> {
        let make = |name: &str| {
            let module: Arc<dyn Hook> = Arc::new(self.choose(name, Kind::Hook)?);
            Ok(NamedHook { name: name.to_owned(), module })
        };
        names(list, Kind::Hook)?.into_iter().map(make).collect()
    }

    /// Every module that has been chosen, with what has been asked of it so far.
    pub fn status(&self) -> Vec<ModuleStatus> {
        let status = |chosen: &Chosen| ModuleStatus {
            methods: chosen.meter.methods(),
            counters: chosen.meter.counters(),
            ..chosen.status.clone()
        };
        lock(&self.chosen).iter().map(status).collect()
    }

    /// The calls that have been inside a module for longer than [`Options::watchdog`] and are still there. Nobody can end
    /// them: who shuts down does not wait for the threads they are on.
    pub fn stuck(&self) -> Vec<StuckCall> {
        self.watchdog.stuck()
    }

    /// Removes the copies of libraries that earlier versions or other flags have left in the runtime directory. To be called
    /// when everything has been chosen.
    pub fn sweep(&self) {
        file::sweep(&self.options.copies());
    }

    fn choose(
        &self,
        name: &str,
        wanted: Kind,
    ) -> Result<Remote<impl Transport + use<>>, LoadError> {
        let available = lock(&self.libraries).choose(name, wanted, &self.options)?;
        let meter = Meter::new(name, wanted, self.options.watchdog);
        self.watchdog.watch(&meter);
        let request = CreateModuleRequest {
            parameters: available.parameters.clone(),
            host: Some(self.options.host.clone()),
            host_version: Some(self.options.host_version.clone()),
            runtime_dir: Some(self.options.runtime_dir.display().to_string()),
            work_dir: self.options.work_dir.as_ref().map(|dir| dir.display().to_string()),
            resources: self.options.resources.clone(),
        };
        let host = Host::new(Services { meter: Arc::clone(&meter) }, HostProcess::from(&request));
        let inside = meter.enter(CONSTRUCTOR);
        let made = available.declared.create(host, &request);
        drop(inside);
        let transport = made.map_err(|source| LoadError::Create {
            file: available.from.original.clone(),
            module: name.to_owned(),
            source: clean::error(source),
        })?;
        let status = available.status();
        tracing::info!(module = name, kind = %wanted, version = status.version(), file = status.file(), "module loaded");
        lock(&self.chosen).push(Chosen { status, meter: Arc::clone(&meter) });
        Ok(Remote::new(Metered::new(transport, meter)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names of a flag's list.
fn names(list: &str, kind: Kind) -> Result<Vec<&str>, LoadError> {
    let mut names: Vec<&str> = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if names.contains(&name) {
            return Err(LoadError::ListedTwice { kind, module: name.to_owned() });
        }
        names.push(name);
    }
    Ok(names)
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modules")
            .field("libraries", &*lock(&self.libraries))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NamedIsolator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedIsolator").field(&self.name).finish()
    }
}

impl fmt::Debug for NamedHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedHook").field(&self.name).finish()
    }
}
