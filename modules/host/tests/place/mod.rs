//! A directory for a test's files and copies, and the libraries that cargo has built beside the test.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several test files; a test may panic"
)]

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mezzo_module_host::{Library, LoadError, Manifest, Module, Modules, Options, search_path};

pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file of a library of this workspace.
    pub fn library(&self, name: &str) -> PathBuf {
        let file = format!("lib{name}.so");
        search_path(&[]).into_iter().map(|dir| dir.join(&file)).find(|path| path.exists()).unwrap()
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    pub fn options(&self, manifests: Vec<Manifest>) -> Options {
        let mut options = Options::new("test", "0", self.dir.path());
        options.manifests = manifests;
        options.probe = Some(self.probe());
        options
    }

    pub fn probe(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_mezzo-module-probe"))
    }

    /// A probe that finds nothing wrong with anything.
    pub fn says_yes(&self) -> PathBuf {
        self.script(
            "says-yes.sh",
            r#"#!/bin/sh
echo '{"abi":"1.0.0","modules":[]}'
"#,
        )
    }

    /// A program. Made by a child, so that no other thread's child ever holds it open for writing, which would keep it from
    /// being run.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let source = self.write(&format!("{name}.source"), text.as_bytes());
        let script = self.dir.path().join(name);
        let mut install = Command::new("install");
        let status = install.args(["-m", "755"]).arg(source).arg(&script).status();
        assert!(status.unwrap().success());
        script
    }

    pub fn manifest(&self, libraries: &[(&str, &[&str])]) -> Manifest {
        let module = |name: &&str| Module { name: (*name).to_owned(), parameters: vec![] };
        let library = |(name, modules): &(&str, &[&str])| Library {
            file: None,
            name: Some((*name).to_owned()),
            modules: modules.iter().map(module).collect(),
        };
        Manifest { libraries: libraries.iter().map(library).collect() }
    }

    pub fn load(&self, libraries: &[(&str, &[&str])]) -> Result<Modules, LoadError> {
        Modules::load(self.options(vec![self.manifest(libraries)]))
    }

    pub fn load_file(&self, file: &str, module: &str) -> Result<Modules, LoadError> {
        let module = Module { name: module.to_owned(), parameters: vec![] };
        let library = Library { file: Some(file.into()), name: None, modules: vec![module] };
        Modules::load(self.options(vec![Manifest { libraries: vec![library] }]))
    }
}

/// An error and all that caused it, once.
pub fn full_message(error: &LoadError) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !message.contains(&error.to_string()) {
            message = format!("{message}: {error}");
        }
        cause = error.source();
    }
    message
}
