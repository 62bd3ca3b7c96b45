//! The rules of this repository that a compiler does not know, as ordinary tests: who may import whom, who may use the
//! dangerous crates, how long a file may be, what every file says first, what may not be left lying around.
//!
//! Every violation is one line: `file:line: rule`. To change a rule, change it here, in ARCHITECTURE.md and in an ADR.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file.
const LINE_BUDGET: usize = 800;

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"];

/// Folders whose crates may write `unsafe`.
const UNSAFE_FOLDERS: [&str; 3] = ["modules/abi/", "modules/host/", "agent/linux/"];

/// The layers: a crate in this folder may import the crates in those folders, and no other of ours. The longest matching
/// folder counts; `*` is everything. Build dependencies obey the same rule. Dev-dependencies are free, because tests and
/// their fixtures look at a crate from outside.
const LAYERS: &[(&str, &[&str])] = &[
    ("examples/", &["sdk", "modules/abi", "modules/api"]),
    ("integration-tests", &["*"]),
    ("integration-tests/", &["*"]),
    // Tooling: starts the real binaries, and may look at them with the same clients as everybody.
    ("xtask", &["sdk", "proto", "model", "runtime"]),
    ("cli", &["sdk", "proto", "model", "runtime"]),
    ("master", &["master/core", "modules/host", "modules/api", "runtime", "proto", "model"]),
    (
        "agent",
        &[
            "agent/core",
            "agent/containerizer",
            "agent/linux",
            "modules/host",
            "modules/api",
            "runtime",
            "proto",
            "model",
        ],
    ),
    // `proto`: the command executor speaks the wire itself, because one process per task has to stay small.
    ("executor", &["sdk", "agent/linux", "model", "proto"]),
    ("agent/containerizer", &["agent/linux", "modules/api", "runtime", "proto", "model"]),
    ("modules/", &["modules/abi", "modules/api", "model", "proto", "agent/linux"]),
    // Runs a module through its own door, in process or loaded.
    ("modules/testkit", &["modules/host", "modules/abi", "modules/api", "model", "proto"]),
    // `proto`: what crosses the boundary is a message of mezzo.module.v1.
    ("modules/host", &["modules/abi", "modules/api", "proto"]),
    ("modules/abi", &["modules/api", "model", "proto"]),
    ("modules/api", &["model", "proto"]),
    ("master/core", &["model", "proto"]),
    ("agent/core", &["model", "proto"]),
    ("sdk", &["model", "proto"]),
    ("model", &["proto"]),
    ("proto", &[]),
    ("runtime", &[]),
    ("agent/linux", &[]),
];

// ---- imports -------------------------------------------------------------------------------------------------------

#[test]
fn crates_import_only_downwards() {
    let packages = packages();
    let folder_of: BTreeMap<&str, &str> =
        packages.iter().map(|package| (package.name.as_str(), package.folder.as_str())).collect();
    let mut report = Report::default();
    for package in &packages {
        let Some(allowed) = allowed_imports(&package.folder) else {
            report.add(
                &package.manifest(),
                1,
                &format!("folder {} is in no layer: add it to LAYERS", package.folder),
            );
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind != Kind::Dev) {
            let Some(target) = folder_of.get(dependency.name.as_str()) else {
                continue;
            };
            if !allowed.contains(&"*") && !allowed.contains(target) {
                report.add(
                    &package.manifest(),
                    package.line_of(&dependency.name),
                    &format!("{} may not import {target}: allowed are {allowed:?}", package.folder),
                );
            }
        }
    }
    report.check();
}

#[test]
fn crates_that_deny_toml_bans_are_used_by_their_wrappers_only() {
    let mut report = Report::default();
    let bans = bans();
    assert!(!bans.is_empty(), "deny.toml has no bans that this test can read");
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for (line, user, dependency) in lock_edges(&lock) {
        let Some(wrappers) = bans.get(&dependency) else {
            continue;
        };
        if !wrappers.contains(&user) {
            report.add(
                Path::new("Cargo.lock"),
                line,
                &format!("{user} depends on {dependency}: deny.toml allows {wrappers:?}"),
            );
        }
    }
    report.check();
}

fn allowed_imports(folder: &str) -> Option<&'static [&'static str]> {
    LAYERS
        .iter()
        .filter(|(layer, _)| {
            folder == *layer || (layer.ends_with('/') && folder.starts_with(layer))
        })
        .max_by_key(|(layer, _)| layer.len())
        .map(|(_, allowed)| *allowed)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Normal,
    Build,
    Dev,
}

struct Dependency {
    name: String,
    kind: Kind,
}

struct Package {
    name: String,
    folder: String,
    dependencies: Vec<Dependency>,
}

impl Package {
    fn manifest(&self) -> PathBuf {
        Path::new(&self.folder).join("Cargo.toml")
    }

    fn line_of(&self, dependency: &str) -> usize {
        let text = std::fs::read_to_string(root().join(self.manifest())).unwrap();
        let found = text.lines().position(|line| line.starts_with(dependency));
        found.map_or(1, |index| index + 1)
    }
}

/// The packages of the workspace as `cargo metadata` tells them.
fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {errors}");
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            Package {
                name: package["name"].as_str().unwrap().to_owned(),
                folder: folder.to_str().unwrap().to_owned(),
                dependencies: dependencies
                    .map(|dependency| Dependency {
                        name: dependency["name"].as_str().unwrap().to_owned(),
                        kind: match dependency["kind"].as_str() {
                            Some("dev") => Kind::Dev,
                            Some("build") => Kind::Build,
                            _ => Kind::Normal,
                        },
                    })
                    .collect(),
            }
        })
        .collect()
}

/// Banned crate -> who may use it, from the `deny` list of deny.toml (one entry per line).
fn bans() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    text.lines()
        .filter_map(|line| {
            let entry = line.trim().strip_prefix("{ crate = ")?;
            let name = quoted(entry).next()?;
            let wrappers = entry
                .split_once("wrappers = [")
                .and_then(|(_, rest)| rest.split_once(']'))
                .map_or("", |(list, _)| list);
            Some((name, quoted(wrappers).collect()))
        })
        .collect()
}

fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned)
}

/// `(line, user, used)` for every edge of Cargo.lock.
fn lock_edges(lock: &str) -> Vec<(usize, String, String)> {
    let mut edges = Vec::new();
    let mut user = String::new();
    for (number, line) in numbered(lock) {
        if let Some(name) = line.strip_prefix("name = ") {
            user = name.trim_matches('"').to_owned();
        } else if let Some(entry) = line.strip_prefix(" \"") {
            // `"name"`, or `"name version"` when several versions exist.
            let name = entry.trim_end_matches(['"', ',']).split(' ').next();
            edges.push((number, user.clone(), name.unwrap().to_owned()));
        }
    }
    edges
}

// ---- files ---------------------------------------------------------------------------------------------------------

#[test]
fn source_files_stay_within_the_line_budget() {
    let mut report = Report::default();
    for (path, text) in files(&["rs", "proto"]) {
        let lines = text.lines().count();
        if lines > LINE_BUDGET {
            let rule = format!("{lines} lines, the budget is {LINE_BUDGET}: split it");
            report.add(&path, lines, &rule);
        }
    }
    report.check();
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    let mut report = Report::default();
    for (path, text) in files(&["rs"]) {
        let first = text.lines().find(|line| !line.trim().is_empty());
        if !first.is_some_and(|line| line.starts_with("//! ")) {
            report.add(&path, 1, "starts without a //! line that says what the file is for");
        }
    }
    report.check();
}

#[test]
fn nothing_is_left_to_do_without_a_reason() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut report = Report::default();
    for (path, text) in files(&["rs", "proto", "toml", "sh", "py", "yml", "html", "js"]) {
        for (number, line) in numbered(&text) {
            for word in words.iter().filter(|word| has_bare_word(line, word)) {
                let rule = format!("{word} without a reason: write {word}(why it must wait)");
                report.add(&path, number, &rule);
            }
        }
    }
    report.check();
}

#[test]
fn no_test_is_switched_off() {
    let starts = [concat!("#[ign", "ore]"), concat!("#[ign", "ore =")];
    let mut report = Report::default();
    for (path, text) in files(&["rs"]) {
        for (number, line) in numbered(&text) {
            if starts.iter().any(|start| line.trim_start().starts_with(start)) {
                report.add(&path, number, "a test is switched off: make it work or remove it");
            }
        }
    }
    report.check();
}

#[test]
fn no_lint_is_switched_off_for_a_whole_crate_or_without_a_reason() {
    let mut report = Report::default();
    for (path, text) in files(&["rs"]) {
        let mut rest = numbered(&text).peekable();
        while let Some((number, line)) = rest.next() {
            if !line.starts_with("#![allow(") && !line.starts_with("#![expect(") {
                continue;
            }
            let mut attribute = line.to_owned();
            while !attribute.ends_with(")]") {
                let Some((_, next)) = rest.next() else { break };
                attribute += next;
            }
            if is_product_root(&path) {
                let rule = "a lint is switched off for a whole crate: do it where it is needed";
                report.add(&path, number, rule);
            } else if !attribute.contains("reason = ") {
                report.add(&path, number, "a lint is switched off without a reason");
            }
        }
    }
    report.check();
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    let mut report = Report::default();
    for (path, text) in files(&["rs"]) {
        let folder = path.to_str().unwrap();
        if UNSAFE_FOLDERS.iter().any(|allowed| folder.starts_with(allowed)) {
            continue;
        }
        for (number, line) in numbered(&text) {
            if writes_unsafe(line) {
                report.add(&path, number, &format!("unsafe code outside {UNSAFE_FOLDERS:?}"));
            }
        }
    }
    report.check();
}

#[test]
fn names_of_files_and_folders_say_something() {
    let mut report = Report::default();
    for (path, _) in files(&["rs", "proto"]) {
        for component in path.components() {
            let name = Path::new(&component).file_stem().unwrap().to_str().unwrap();
            if EMPTY_NAMES.contains(&name) {
                let rule = format!("the name {name} says nothing: name the one idea inside");
                report.add(&path, 1, &rule);
            }
        }
    }
    report.check();
}

#[test]
fn links_in_documents_resolve() {
    let mut report = Report::default();
    for (path, text) in files(&["md"]) {
        let mut in_code = false;
        for (number, line) in numbered(&text) {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            }
            if in_code {
                continue;
            }
            for target in links(line) {
                if let Some(problem) = broken(&path, &target) {
                    report.add(&path, number, &problem);
                }
            }
        }
    }
    report.check();
}

/// The targets of `[text](target)` in a line, without code spans.
fn links(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split(' ').next().unwrap_or_default())
        .map(|target| target.trim_matches(['<', '>']).to_owned())
        .collect()
}

fn broken(document: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() {
        root().join(document)
    } else if let Some(from_root) = file.strip_prefix('/') {
        root().join(from_root)
    } else {
        root().join(document.parent().unwrap()).join(file)
    };
    if !file.exists() {
        return Some(format!("the link {target} leads nowhere"));
    }
    if anchor.is_empty() || file.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let exists = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| slug(line.trim_start_matches('#')) == anchor);
    (!exists).then(|| format!("the link {target} names a heading that does not exist"))
}

/// The anchor of a heading, as the usual renderers make it.
fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

// ---- what the rules stand on ---------------------------------------------------------------------------------------

/// Violations, told all at once.
#[derive(Default)]
struct Report {
    lines: BTreeSet<String>,
}

impl Report {
    fn add(&mut self, file: &Path, line: usize, rule: &str) {
        self.lines.insert(format!("{}:{line}: {rule}", file.display()));
    }

    fn check(self) {
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        assert!(self.lines.is_empty(), "{} violation(s):\n{text}", self.lines.len());
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a crate that is shipped begins in this file. (Test crates may switch lints off, with a reason.)
fn is_product_root(path: &Path) -> bool {
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    !in_tests
        && (folder == Some("src") && matches!(name, "lib.rs" | "main.rs")
            || folder == Some("bin")
            || name == "build.rs")
}

fn writes_unsafe(line: &str) -> bool {
    let keyword = concat!("uns", "afe");
    let code = line.split("//").next().unwrap_or_default();
    code.contains(&format!("allow({keyword}_code"))
        || code.match_indices(keyword).any(|(at, _)| {
            let after = &code[at + keyword.len()..];
            let before = code[..at].chars().next_back();
            !before.is_some_and(is_word)
                && [" {", " fn", " impl", " extern", " trait", "("]
                    .iter()
                    .any(|next| after.starts_with(next))
        })
}

/// Whether the word stands in the line without `(reason)` after it.
fn has_bare_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        let reason = after.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        !before.is_some_and(is_word)
            && !after.chars().next().is_some_and(is_word)
            && reason.is_none_or(|(reason, _)| reason.trim().is_empty())
    })
}

/// All files of the tree with one of these extensions, as `(path from the root, text)`: no build output, no hidden folders
/// but ours.
fn files(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let kind = entry.file_type().unwrap();
            let wanted = || path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
            if kind.is_dir() {
                let hidden = name.starts_with('.') && ![".ci", ".cargo", ".config"].contains(&name);
                if !hidden && !matches!(name, "target" | "node_modules" | "__pycache__") {
                    folders.push(path);
                }
            } else if kind.is_file() && wanted() {
                // A file that another process removed meanwhile is no file of the tree.
                if let Ok(text) = std::fs::read_to_string(&path) {
                    found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
                }
            }
        }
    }
    assert!(!found.is_empty() || extensions == ["md"], "no {extensions:?} found");
    found.sort();
    found
}

// ---- the rules hold what they promise ------------------------------------------------------------------------------

#[test]
fn the_longest_layer_counts() {
    assert!(allowed_imports("agent/linux").unwrap().is_empty());
    assert!(allowed_imports("agent").unwrap().contains(&"agent/core"));
    assert!(allowed_imports("modules/hook-x").unwrap().contains(&"modules/abi"));
    assert!(!allowed_imports("modules/hook-x").unwrap().contains(&"modules/host"));
    assert!(!allowed_imports("modules/api").unwrap().contains(&"modules/abi"));
    assert!(allowed_imports("somewhere/else").is_none());
}

#[test]
fn a_word_with_a_reason_is_no_violation() {
    let word = concat!("TO", "DO");
    for (line, expected) in [
        (format!("// {word}: later"), true),
        (format!("// {word}() later"), true),
        (format!("// {word}(needs etcd) later"), false),
        (format!("// {word}S are no such word"), false),
    ] {
        assert_eq!(has_bare_word(&line, word), expected, "{line}");
    }
}

#[test]
fn unsafe_is_found_in_code_and_not_in_prose() {
    let keyword = concat!("uns", "afe");
    assert!(writes_unsafe(&format!("let x = {keyword} {{ y }};")));
    assert!(writes_unsafe(&format!("#[allow({keyword}_code, reason = \"x\")]")));
    assert!(!writes_unsafe(&format!("// {keyword} {{ in prose }}")));
    assert!(!writes_unsafe(&format!("fn not_{keyword}(x: u8)")));
}

#[test]
fn links_are_found_outside_code() {
    let line = "see [a](docs/a.md#b) and `[no](x)` and [c](<d.md> \"title\")";
    assert_eq!(links(line), ["docs/a.md#b", "d.md"]);
    assert_eq!(slug(" The heart: pure cores, thin shells"), "the-heart-pure-cores-thin-shells");
}

#[test]
fn lock_edges_and_bans_are_read() {
    let lock = "[[package]]\nname = \"a\"\ndependencies = [\n \"b\",\n \"c 1.2.3\",\n]\n";
    let edges: Vec<_> = lock_edges(lock).into_iter().map(|(_, a, b)| (a, b)).collect();
    assert_eq!(edges, [("a".into(), "b".into()), ("a".into(), "c".into())]);
    let bans = bans();
    assert!(bans["abi_stable"].contains("mezzo-module-abi"));
    assert!(bans["openssl-sys"].is_empty());
}
