//! Manifests for modules of this tree.

use std::path::PathBuf;

use serde_json::{Value, json};

/// The library `lib{name}.so` beside this program, or one or two folders up.
#[must_use]
pub fn library(name: &str) -> PathBuf {
    let file = format!("lib{name}.so");
    let here = std::env::current_exe().unwrap_or_default();
    let found = here.ancestors().map(|folder| folder.join(&file)).find(|path| path.is_file());
    // As it is: then the process that is to load it says that it is not there.
    found.unwrap_or_else(|| file.into())
}

/// `--modules=` with modules of one library, each with its parameters.
#[must_use]
pub fn manifest(library: &str, modules: &[(&str, &[(&str, &str)])]) -> String {
    let modules: Vec<Value> = modules
        .iter()
        .map(|(name, parameters)| {
            let parameters: Vec<Value> =
                parameters.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
            json!({"name": name, "parameters": parameters})
        })
        .collect();
    let file = self::library(library);
    let manifest = json!({"libraries": [{"file": file, "modules": modules}]});
    format!("--modules={manifest}")
}

/// The library of the modules that are made for tests (`fixtures/modules`).
pub const TEST_MODULES: &str = "mezzo_test_modules";
