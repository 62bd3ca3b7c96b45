//! `mezzo modules new`: what it makes builds, loads and keeps every rule as it is; and what it does not make, with which words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn new_module(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mezzo"))
        .args(["modules", "new"])
        .args(arguments)
        .current_dir(dir)
        .env_remove("MEZZO_MASTER")
        .output()
        .unwrap()
}

fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = new_module(dir, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} was done: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    said
}

/// Makes one of this kind, and runs the tests that it was made with. The kinds share what they are built on.
fn builds_loads_and_keeps_every_rule(kind: &str) {
    let dir = TempDir::new().unwrap();
    let name = format!("my-{kind}");
    let output = new_module(dir.path(), &["--kind", kind, &name]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = dir.path().join(&name);

    // Warnings would be the first thing that a newcomer sees.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-modules");
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--quiet"])
        .current_dir(&made)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-D warnings")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    // Not because there was nothing to run: each MUST is there twice.
    let passed: usize = said
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .filter_map(|line| line.split(' ').next()?.parse::<usize>().ok())
        .sum();
    assert!(passed >= 30, "{said}");

    // The manifest names a library that a host loads.
    let manifest = fs::read_to_string(made.join("modules.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let file = manifest.pointer("/libraries/0/file").and_then(|file| file.as_str()).unwrap();
    let file_name = Path::new(file).file_name().unwrap();
    assert!(target.join("debug/deps").join(file_name).is_file(), "{file} is what is built");
    assert_eq!(manifest.pointer("/libraries/0/modules/0/name").unwrap(), name.as_str());
}

#[test]
fn a_new_allocator_builds_loads_and_keeps_every_rule() {
    builds_loads_and_keeps_every_rule("allocator");
}

#[test]
fn a_new_isolator_builds_loads_and_keeps_every_rule() {
    builds_loads_and_keeps_every_rule("isolator");
}

#[test]
fn a_new_hook_builds_loads_and_keeps_every_rule() {
    builds_loads_and_keeps_every_rule("hook");
}

#[test]
fn names_that_no_crate_can_have_are_refused() {
    let dir = TempDir::new().unwrap();
    for (name, words) in [
        ("Upper", "small letter at the beginning"),
        ("9lives", "small letter at the beginning"),
        ("a b", "small letters, digits"),
        ("ä", "small letter at the beginning"),
        ("../x", "small letter at the beginning"),
        ("a/b", "small letters, digits"),
        ("", "1 to 64"),
        ("match", "meaning of its own"),
        ("std", "meaning of its own"),
        ("mezzo-module-api", "meaning of its own"),
    ] {
        let said = refused(dir.path(), &["--kind", "hook", "--", name]);
        assert!(said.contains(words), "{name}: {said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_there_is_not_written_over() {
    let dir = TempDir::new().unwrap();
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.tex"), "years of work").unwrap();
    let said = refused(dir.path(), &["--kind", "hook", "full"]);
    assert!(said.contains("a directory with something in it"), "{said}");
    fs::write(dir.path().join("file"), "").unwrap();
    let said = refused(dir.path(), &["--kind", "hook", "x", "--path", "file"]);
    assert!(said.contains("no directory"), "{said}");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);

    // An empty directory is as good as none, and directories above are made.
    fs::create_dir(dir.path().join("empty")).unwrap();
    for place in ["empty", "deep/er"] {
        let output = new_module(dir.path(), &["--kind", "hook", "x", "--path", place]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(dir.path().join(place).join("src/lib.rs").is_file());
    }
    let left: Vec<PathBuf> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn a_checkout_that_is_none_is_told_with_what_it_lacks() {
    let dir = TempDir::new().unwrap();
    let said = refused(dir.path(), &["--kind", "hook", "x", "--mezzo", "/usr"]);
    assert!(said.contains("/usr has no modules/abi/Cargo.toml"), "{said}");
    assert!(said.contains("--mezzo DIR"), "{said}");
    let said = refused(dir.path(), &["--kind", "anonymous", "x"]);
    assert!(said.contains("allocator, isolator, hook"), "{said}");
}

#[test]
fn programs_are_told_in_json() {
    let dir = TempDir::new().unwrap();
    let output = new_module(dir.path(), &["--kind", "isolator", "x", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let path = fs::canonicalize(dir.path()).unwrap().join("x");
    assert_eq!(told.get("path").unwrap(), path.to_str().unwrap());
    assert!(told.get("files").unwrap().as_array().unwrap().contains(&"src/lib.rs".into()));
}
