//! Modules as a process has them: loaded from their libraries beside this program, with everything that a host puts around
//! a call.

use std::path::PathBuf;

use anyhow::Context as _;
use mezzo_module_host::{Library, Manifest, Module, Modules, Options};

/// Modules of the libraries beside this program. `also` is a module that is not built in, and its library.
pub(crate) fn load(
    folder: &tempfile::TempDir,
    also: Option<(&str, &str)>,
    configure: impl FnOnce(&mut Options),
) -> anyhow::Result<Modules> {
    let mut options = Options::new("mezzo-bench", env!("CARGO_PKG_VERSION"), folder.path());
    if let Some((module, file)) = also {
        let library = Library {
            file: Some(library(file)?),
            name: None,
            modules: vec![Module { name: module.to_owned(), parameters: Vec::new() }],
        };
        options.manifests.push(Manifest { libraries: vec![library] });
    }
    configure(&mut options);
    Ok(Modules::load(options)?)
}

/// The library of this name beside this program.
pub(crate) fn library(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let beside = here.parent().context("no folder")?;
    let file = format!("lib{name}.so");
    let found = [beside.join(&file), beside.join("deps").join(&file)];
    found.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("{file} is not beside {}: `cargo build --workspace` makes it", here.display())
    })
}
