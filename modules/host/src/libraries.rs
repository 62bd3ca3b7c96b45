//! The libraries of a process, and the modules in them that could be chosen.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mezzo_module_abi::{Declared, Library as OpenLibrary, OpenError};
use mezzo_module_api::v1::{ModuleKind, ModuleStatus};
use mezzo_module_api::{Kind, Parameter};

use crate::file::{self, Staged};
use crate::{Library, LoadError, Options, builtin, clean, known, probe, search};

/// What has been loaded for a process.
#[derive(Default)]
pub(crate) struct Libraries {
    /// By the path it was found at: ten modules of a library need one copy.
    staged: HashMap<PathBuf, Staged>,
    /// By the hash of their content: one file is loaded once, whatever it is called.
    open: HashMap<String, OpenLibrary>,
    /// By name.
    available: BTreeMap<String, Arc<Available>>,
    /// That there is no probe is told once.
    probe_missed: bool,
}

/// A module that could be made.
pub(crate) struct Available {
    pub(crate) declared: Declared,
    kind: Kind,
    pub(crate) from: Staged,
    /// The version of the boundary its library was built with.
    abi: &'static str,
    pub(crate) parameters: Vec<Parameter>,
}

impl Libraries {
    /// Loads a library of a manifest and adds what the manifest names of it. The parameters of the manifest come after
    /// `defaults`.
    ///
    /// # Errors
    /// For the first thing that is wrong with it.
    pub(crate) fn add(
        &mut self,
        library: &Library,
        defaults: Vec<Parameter>,
        options: &Options,
    ) -> Result<(), LoadError> {
        let path = search::find(library, &options.search)?;
        let staged = self.stage(&path, options)?;
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

    /// The module of this name and kind; loads the library of a built-in one.
    ///
    /// # Errors
    /// When there is none, or its library cannot be loaded.
    pub(crate) fn choose(
        &mut self,
        name: &str,
        wanted: Kind,
        options: &Options,
    ) -> Result<Arc<Available>, LoadError> {
        if !self.available.contains_key(name)
            && let Some(library) = builtin::library_of(name)
        {
            let module = crate::Module { name: name.to_owned(), parameters: Vec::new() };
            let library =
                Library { file: None, name: Some(library.to_owned()), modules: vec![module] };
            self.add(&library, options.parameters.of(name), options)?;
        }
        match self.available.get(name) {
            None => Err(LoadError::Unknown {
                kind: wanted,
                module: name.to_owned(),
                known: self.known(wanted),
            }),
            Some(available) if available.kind != wanted => {
                Err(LoadError::WrongKind { module: name.to_owned(), found: available.kind, wanted })
            }
            Some(available) => Ok(Arc::clone(available)),
        }
    }

    /// Checks and copies a library, unless that was done before.
    fn stage(&mut self, path: &Path, options: &Options) -> Result<Staged, LoadError> {
        if let Some(staged) = self.staged.get(path) {
            return Ok(staged.clone());
        }
        let staged = file::stage(path, &options.copies())?;
        self.staged.insert(path.to_owned(), staged.clone());
        Ok(staged)
    }

    /// Opens the copy, a child process first.
    fn open(&mut self, staged: &Staged, options: &Options) -> Result<OpenLibrary, LoadError> {
        if let Some(library) = self.open.get(&staged.sha256) {
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
            if let OpenError::Layout { full, .. } = &source {
                tracing::debug!(file = %staged.original.display(), "{full}");
            }
            LoadError::Open { file: staged.original.clone(), source }
        })?;
        self.open.insert(staged.sha256.clone(), library);
        Ok(library)
    }

    /// What could be chosen, for an error.
    fn known(&self, kind: Kind) -> String {
        let mut known: Vec<&str> = builtin::builtin_names(kind).collect();
        for (name, _) in self.available.iter().filter(|(_, available)| available.kind == kind) {
            known.push(name);
        }
        known.sort_unstable();
        known.dedup();
        if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) }
    }
}

impl Available {
    pub(crate) fn status(&self) -> ModuleStatus {
        let kind =
            i32::try_from(self.kind.number()).ok().and_then(|kind| ModuleKind::try_from(kind).ok());
        ModuleStatus {
            name: Some(self.declared.name().to_owned()),
            kind: kind.map(Into::into),
            version: Some(clean::line(self.declared.version().to_owned())),
            author: Some(clean::line(self.declared.author().to_owned())),
            description: Some(clean::line(self.declared.description().to_owned())),
            file: Some(self.from.original.display().to_string()),
            sha256: Some(self.from.sha256.clone()),
            parameters: self.parameters.clone(),
            abi: Some(self.abi.to_owned()),
            ..ModuleStatus::default()
        }
    }
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

fn listed(declared: &[Declared]) -> String {
    let names: Vec<_> = declared
        .iter()
        .map(|declared| format!("`{}`", clean::line(declared.name().to_owned())))
        .collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl fmt::Debug for Libraries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.available.keys()).finish()
    }
}
