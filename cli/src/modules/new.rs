//! `mezzo modules new`: a crate with a module in it that builds, loads and keeps every rule, to be changed into one's own.
//!
//! The crate is outside of this workspace and names ours by path. The templates are in `templates/`; the allocator's is
//! `examples/modules/fifo-allocator`, since the smallest complete allocator is just that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::{ModuleKind, NewModuleOptions};
use crate::{CliError, output};

/// Where this program was built, if it is still there.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What a crate cannot be called: keywords of the language, its own libraries, and ours that the new crate uses.
const TAKEN: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen \
    if impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try type \
    typeof unsafe unsized use virtual where while yield alloc core proc_macro std test mezzo_module_abi mezzo_module_api \
    mezzo_module_testkit";

/// Why there is no new module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewModuleError {
    /// A crate cannot be called so.
    #[error("'{name}' cannot be the name of a crate: {why}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is something in the way.
    #[error("{} exists and is {what}; expected a path that is free, or an empty directory (--path DIR)", .path.display())]
    Exists {
        /// Where the crate was to be.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The crates that a module is written against are not there.
    #[error("{} has no {missing}; expected a checkout of mezzo (--mezzo DIR)", .dir.display())]
    NoCheckout {
        /// Where they were looked for.
        dir: PathBuf,
        /// What was looked for in it.
        missing: &'static str,
    },
    /// A path that cannot stand in a manifest.
    #[error(
        "the path {path:?} cannot be written into Cargo.toml and JSON; expected one of plain characters"
    )]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What is told to programs.
#[derive(Serialize)]
struct Made<'a> {
    path: &'a Path,
    files: Vec<&'a str>,
}

/// Writes the crate.
pub(super) fn run(options: &NewModuleOptions, json: bool) -> Result<u8, CliError> {
    check_name(&options.name)?;
    let mezzo = checkout(options.mezzo.as_deref())?;
    let path = absolute(options.path.as_deref().unwrap_or(Path::new(&options.name)))?;
    let files = files(options, &path, &mezzo);
    write(&path, &files)?;
    if json {
        let files = files.iter().map(|(name, _)| name.as_str()).collect();
        let made = serde_json::to_string(&Made { path: &path, files });
        output::answer(&made.unwrap_or_default());
    } else {
        output::answer(&format!(
            "{} is made, with the {} `{}`",
            path.display(),
            options.kind.word(),
            options.name
        ));
        output::remark(&format!("next: cd {} && cargo test; then read README.md", path.display()));
    }
    Ok(0)
}

fn check_name(name: &str) -> Result<(), NewModuleError> {
    let wrong = |why| Err(NewModuleError::Name { name: name.to_owned(), why });
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 {
        return wrong("expected 1 to 64 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return wrong("expected a small letter at the beginning");
    }
    if !name.chars().all(plain) {
        return wrong("expected small letters, digits, '-' and '_'");
    }
    let identifier = name.replace('-', "_");
    if TAKEN.split_whitespace().any(|taken| taken == identifier) {
        return wrong("it has a meaning of its own in Rust, or is a crate that every module uses");
    }
    Ok(())
}

/// The checkout whose crates the new one uses.
fn checkout(given: Option<&Path>) -> Result<PathBuf, NewModuleError> {
    let dir = absolute(given.unwrap_or(Path::new(CHECKOUT)))?;
    for missing in
        ["modules/abi/Cargo.toml", "modules/api/Cargo.toml", "modules/testkit/Cargo.toml"]
    {
        if !dir.join(missing).is_file() {
            return Err(NewModuleError::NoCheckout { dir, missing });
        }
    }
    Ok(dir)
}

/// Without `..` where that can be told, and of characters that need no escape anywhere.
fn absolute(path: &Path) -> Result<PathBuf, NewModuleError> {
    let whole = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let whole = whole.map_err(|source| NewModuleError::Write { path: path.to_owned(), source })?;
    let plain = |c: char| !c.is_control() && !"\"\\{}".contains(c);
    if whole.to_str().is_some_and(|text| text.chars().all(plain)) {
        return Ok(whole);
    }
    Err(NewModuleError::Path { path: whole })
}

/// Names and contents.
fn files(options: &NewModuleOptions, path: &Path, mezzo: &Path) -> Vec<(String, String)> {
    let crate_name = options.name.replace('-', "_");
    let template = Template::of(options.kind);
    let path = path.display().to_string();
    let mezzo_dir = mezzo.display().to_string();
    let parameters: String = template
        .parameters
        .iter()
        .map(|(key, value)| format!("\n            .parameter(\"{key}\", \"{value}\")"))
        .collect();
    let json_parameters: Vec<String> = template
        .parameters
        .iter()
        .map(|(key, value)| format!("{{ \"key\": \"{key}\", \"value\": \"{value}\" }}"))
        .collect();
    let json_parameters = json_parameters.join(", ");
    let start = template.start.replace("{{name}}", &options.name);
    let filled = |text: &str| {
        [
            ("{{start}}", start.as_str()),
            ("{{name}}", &options.name),
            ("{{crate}}", &crate_name),
            ("{{kind}}", options.kind.word()),
            ("{{type}}", template.type_name),
            ("{{what}}", template.what),
            ("{{parameters}}", &parameters),
            ("{{json_parameters}}", &json_parameters),
            ("{{path}}", &path),
            ("{{mezzo}}", &mezzo_dir),
        ]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    let mut files = vec![
        ("Cargo.toml".to_owned(), filled(include_str!("templates/Cargo.toml.in"))),
        (".gitignore".to_owned(), "/target\n".to_owned()),
        ("rustfmt.toml".to_owned(), include_str!("../../../rustfmt.toml").to_owned()),
        ("README.md".to_owned(), filled(include_str!("templates/README.md.in"))),
        ("modules.json".to_owned(), filled(include_str!("templates/modules.json.in"))),
        ("tests/conformance.rs".to_owned(), filled(include_str!("templates/conformance.rs.in"))),
    ];
    for (file, text) in template.sources {
        files.push((format!("src/{file}"), filled(text).replace("example/fifo", &options.name)));
    }
    // The versions that the checkout was tested with. Cargo drops what is not needed.
    if let Ok(lock) = fs::read_to_string(mezzo.join("Cargo.lock")) {
        files.push(("Cargo.lock".to_owned(), lock));
    }
    files
}

/// What differs between the kinds.
struct Template {
    sources: &'static [(&'static str, &'static str)],
    type_name: &'static str,
    what: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    start: &'static str,
}

impl Template {
    fn of(kind: ModuleKind) -> Self {
        match kind {
            ModuleKind::Allocator => Self {
                sources: &[
                    ("lib.rs", include_str!("../../../examples/modules/fifo-allocator/src/lib.rs")),
                    (
                        "books.rs",
                        include_str!("../../../examples/modules/fifo-allocator/src/books.rs"),
                    ),
                    (
                        "events.rs",
                        include_str!("../../../examples/modules/fifo-allocator/src/events.rs"),
                    ),
                    (
                        "offers.rs",
                        include_str!("../../../examples/modules/fifo-allocator/src/offers.rs"),
                    ),
                ],
                type_name: "Fifo",
                what: "it offers everything to who came first.",
                parameters: &[],
                start: "mezzo-master --modules=modules.json --allocator={{name}} …",
            },
            ModuleKind::Isolator => Self {
                sources: &[("lib.rs", include_str!("templates/isolator.rs.in"))],
                type_name: "Lifetime",
                what: "it ends containers that live longer than they may.",
                parameters: &[("max_lifetime", "1hrs")],
                start: "mezzo-agent --modules=modules.json --isolation=posix/cpu,posix/mem,{{name}} …",
            },
            ModuleKind::Hook => Self {
                sources: &[("lib.rs", include_str!("templates/hook.rs.in"))],
                type_name: "Gate",
                what: "it keeps containers from starting while a file exists, and labels tasks.",
                parameters: &[("label", "site=north")],
                start: "mezzo-agent --modules=modules.json --hooks={{name}} …",
            },
        }
    }
}

/// Writes all, beside the place first: nobody finds half of a crate.
fn write(path: &Path, files: &[(String, String)]) -> Result<(), NewModuleError> {
    free(path)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| NewModuleError::Write { path, source }
    };
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let beside = tempfile::Builder::new()
        .prefix(".mezzo-new-")
        .tempdir_in(parent)
        .map_err(failed(parent))?;
    let whole = beside.path().join("crate");
    for (name, content) in files {
        let file = whole.join(name);
        let dir = file.parent().unwrap_or(&whole);
        fs::create_dir_all(dir).map_err(failed(dir))?;
        fs::write(&file, content).map_err(failed(&file))?;
    }
    // Takes the place of an empty directory, and of nothing else.
    fs::rename(&whole, path).map_err(failed(path))
}

fn free(path: &Path) -> Result<(), NewModuleError> {
    let taken = |what| Err(NewModuleError::Exists { path: path.to_owned(), what });
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.is_dir() => taken("no directory"),
        Ok(_) if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()) => Ok(()),
        Ok(_) => taken("a directory with something in it"),
    }
}
