//! The modules of a process: what could be chosen, and what has been.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mezzo_module_abi::{Declared, Library as OpenLibrary};
use mezzo_module_api::v1::{CreateModuleRequest, ModuleKind, ModuleStatus};
use mezzo_module_api::{
    Allocator, Hook, Host, HostProcess, Isolator, Kind, Parameter, Remote, Transport,
};

use crate::file::{self, Staged};
use crate::metered::{CONSTRUCTOR, Meter, Metered, Services};
use crate::watchdog::{StuckCall, Watchdog};
use crate::{Library, LoadError, Options, builtin, known, probe, search};

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
    state: Mutex<State>,
    watchdog: Watchdog,
}

#[derive(Default)]
struct State {
    /// By the hash of their content: one file is loaded once, whatever it is called.
    libraries: HashMap<String, OpenLibrary>,
    /// By name.
    available: BTreeMap<String, Arc<Available>>,
    chosen: Vec<Chosen>,
    /// That there is no probe is told once.
    probe_missed: bool,
}

/// A module that could be made.
struct Available {
    declared: Declared,
    kind: Kind,
    from: Staged,
    /// The version of the boundary its library was built with.
    abi: &'static str,
    parameters: Vec<Parameter>,
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
        let mut state = State::default();
        for library in options.manifests.iter().flat_map(|manifest| &manifest.libraries) {
            state.add(library, Vec::new(), &options)?;
        }
        let watchdog = Watchdog::new(options.watchdog);
        Ok(Self { options, state: Mutex::new(state), watchdog })
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
        let state = self.state();
        let mut all = Vec::with_capacity(state.chosen.len());
        for chosen in &state.chosen {
            let (methods, counters) = (chosen.meter.methods(), chosen.meter.counters());
            all.push(ModuleStatus { methods, counters, ..chosen.status.clone() });
        }
        all
    }

    /// The calls that have been inside a module for longer than [`Options::watchdog`] and are still there. Nobody can end
    /// them: who shuts down does not wait for the threads they are on.
    pub fn stuck(&self) -> Vec<StuckCall> {
        self.watchdog.stuck()
    }

    /// Removes the copies of libraries that earlier versions or other flags have left in the runtime directory. To be called
    /// when everything has been chosen.
    pub fn sweep(&self) {
        file::sweep(&copies(&self.options));
    }

    fn choose(
        &self,
        name: &str,
        wanted: Kind,
    ) -> Result<Remote<impl Transport + use<>>, LoadError> {
        let available = self.available(name, wanted)?;
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
            source,
        })?;
        let status = available.status();
        tracing::info!(module = name, kind = %wanted, version = status.version(), file = status.file(), "module loaded");
        self.state().chosen.push(Chosen { status, meter: Arc::clone(&meter) });
        Ok(Remote::new(Metered::new(transport, meter)))
    }

    /// The module of this name and kind; loads the library of a built-in one.
    fn available(&self, name: &str, wanted: Kind) -> Result<Arc<Available>, LoadError> {
        let mut state = self.state();
        if !state.available.contains_key(name)
            && let Some(library) = builtin::library_of(name)
        {
            let module = crate::Module { name: name.to_owned(), parameters: Vec::new() };
            let library =
                Library { file: None, name: Some(library.to_owned()), modules: vec![module] };
            let defaults = self.options.parameters.of(name);
            state.add(&library, defaults, &self.options)?;
        }
        match state.available.get(name) {
            None => Err(LoadError::Unknown {
                kind: wanted,
                module: name.to_owned(),
                known: state.known(wanted),
            }),
            Some(available) if available.kind != wanted => {
                Err(LoadError::WrongKind { module: name.to_owned(), found: available.kind, wanted })
            }
            Some(available) => Ok(Arc::clone(available)),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Loads a library of a manifest and adds what the manifest names of it. The parameters of the manifest come after
    /// `defaults`.
    fn add(
        &mut self,
        library: &Library,
        defaults: Vec<Parameter>,
        options: &Options,
    ) -> Result<(), LoadError> {
        let path = search::find(library, &options.search)?;
        let staged = file::stage(&path, &copies(options))?;
        let open = self.open(&staged, options)?;
        for module in &library.modules {
            let declared = the_only(open.modules(), &module.name, &path)?;
            let Some(kind) = declared.kind() else {
                let kind = declared.kind_number();
                return Err(LoadError::UnknownKind {
                    file: path,
                    module: module.name.clone(),
                    kind,
                });
            };
            if let Some(other) = self.available.get(&module.name) {
                let (first, second) = (other.from.original.clone(), path);
                return Err(LoadError::Duplicate { module: module.name.clone(), first, second });
            }
            let entry = |entry: &crate::manifest::Entry| Parameter {
                key: entry.key.clone(),
                value: entry.value.clone(),
            };
            let parameters = defaults.iter().cloned().chain(module.parameters.iter().map(entry));
            let available = Available {
                declared,
                kind,
                from: staged.clone(),
                abi: open.abi(),
                parameters: parameters.collect(),
            };
            self.available.insert(module.name.clone(), Arc::new(available));
        }
        Ok(())
    }

    /// Opens the copy, a child process first.
    fn open(&mut self, staged: &Staged, options: &Options) -> Result<OpenLibrary, LoadError> {
        if let Some(library) = self.libraries.get(&staged.sha256) {
            return Ok(*library);
        }
        match options.probe.clone().or_else(probe::find) {
            Some(probe) => {
                known::try_out(&probe, &staged.copy)
                    .map_err(|source| LoadError::Probe { file: staged.original.clone(), source })?;
            }
            None if self.probe_missed => {}
            None => {
                self.probe_missed = true;
                tracing::warn!(
                    "no `mezzo-module-probe` beside this executable: modules are loaded without a trial in a child process"
                );
            }
        }
        let library = OpenLibrary::open(&staged.copy).map_err(|source| {
            if let mezzo_module_abi::OpenError::Layout { full, .. } = &source {
                tracing::debug!(file = %staged.original.display(), "{full}");
            }
            LoadError::Open { file: staged.original.clone(), source }
        })?;
        self.libraries.insert(staged.sha256.clone(), library);
        Ok(library)
    }

    /// What could be chosen, for an error.
    fn known(&self, kind: Kind) -> String {
        let mut known: Vec<&str> = builtin::names(kind).collect();
        for (name, _) in self.available.iter().filter(|(_, available)| available.kind == kind) {
            known.push(name);
        }
        known.sort_unstable();
        known.dedup();
        if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) }
    }
}

impl Available {
    fn status(&self) -> ModuleStatus {
        let kind =
            i32::try_from(self.kind.number()).ok().and_then(|kind| ModuleKind::try_from(kind).ok());
        ModuleStatus {
            name: Some(self.declared.name().to_owned()),
            kind: kind.map(Into::into),
            version: Some(self.declared.version().to_owned()),
            author: Some(self.declared.author().to_owned()),
            description: Some(self.declared.description().to_owned()),
            file: Some(self.from.original.display().to_string()),
            sha256: Some(self.from.sha256.clone()),
            parameters: self.parameters.clone(),
            abi: Some(self.abi.to_owned()),
            ..ModuleStatus::default()
        }
    }
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

/// The one module of this name.
fn the_only(declared: Vec<Declared>, name: &str, file: &Path) -> Result<Declared, LoadError> {
    let has = listed(&declared);
    let mut named = declared.into_iter().filter(|declared| declared.name() == name);
    let (file, module) = (file.to_owned(), name.to_owned());
    match (named.next(), named.next()) {
        (None, _) => Err(LoadError::NoSuchModule { file, module, has }),
        (Some(declared), None) => Ok(declared),
        (Some(_), Some(_)) => Err(LoadError::DeclaredTwice { file, module }),
    }
}

/// Where the copies of the libraries are.
fn copies(options: &Options) -> PathBuf {
    options.runtime_dir.join("modules")
}

fn listed(declared: &[Declared]) -> String {
    let names: Vec<_> = declared.iter().map(|declared| format!("`{}`", declared.name())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modules")
            .field("available", &self.state().available.keys())
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
