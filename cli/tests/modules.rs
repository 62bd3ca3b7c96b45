//! `mezzo modules inspect` beside a probe that this test plays: what it makes of every way to end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// An installation of two programs: this `mezzo`, and a probe that is this script.
fn installed(probe: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (Path::new(env!("CARGO_BIN_EXE_mezzo")), dir.path().join("mezzo"));
    if fs::hard_link(from, &to).is_err() {
        fs::copy(from, &to).unwrap();
    }
    if let Some(script) = probe {
        let source = dir.path().join("source");
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        // A child makes it, so that no other test's child holds it open for writing.
        let mut install = Command::new("install");
        let to = dir.path().join("mezzo-module-probe");
        assert!(install.args(["-m", "755"]).arg(source).arg(to).status().unwrap().success());
    }
    dir
}

fn inspect(probe: Option<&str>, flags: &[&str]) -> Output {
    let dir = installed(probe);
    let mut mezzo = Command::new(dir.path().join("mezzo"));
    mezzo.args(flags).args(["modules", "inspect", "some/lib.so"]).output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const FOUND: &str = r#"
test "$1 $2" = "--inspect some/lib.so" || exit 9
echo "the library says hello"
echo '{"abi":"1.0.0","sha256":"abc","modules":[{"name":"example/x","kind":"isolator","version":"0.1.0","author":"A. B.","description":"does it","api":1}]}'
"#;

#[test]
fn what_a_library_offers_is_a_table_or_json() {
    let (code, out, err) = told(&inspect(Some(FOUND), &[]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect())
        .collect();
    let expected = [
        ["NAME", "KIND", "VERSION", "AUTHOR", "ABI", "DESCRIPTION"],
        ["example/x", "isolator", "0.1.0", "A. B.", "1.0.0", "does it"],
    ];
    assert_eq!(rows, expected, "{out}");

    let (code, out, _) = told(&inspect(Some(FOUND), &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(
        json,
        serde_json::json!({
            "file": "some/lib.so", "abi": "1.0.0", "sha256": "abc",
            "modules": [{"name": "example/x", "kind": "isolator", "version": "0.1.0", "author": "A. B.",
                         "description": "does it", "api": 1}],
        })
    );
}

#[test]
fn a_library_that_would_be_refused_ends_with_1_and_the_reason() {
    let script = "echo 'module library `some/lib.so` is a text file' >&2; exit 1";
    let (code, out, err) = told(&inspect(Some(script), &[]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err, "mezzo: module library `some/lib.so` is a text file\n");
    let (code, out, _) = told(&inspect(Some(script), &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let reason = "module library `some/lib.so` is a text file";
    assert_eq!(
        (code, json),
        (Some(1), serde_json::json!({"file": "some/lib.so", "error": reason}))
    );

    let (code, _, err) = told(&inspect(Some("kill -SEGV $$"), &[]));
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "mezzo: module library `some/lib.so` killed the process that tried it, by signal 11\n"
    );

    let (code, _, err) = told(&inspect(Some("echo 'ld.so is not amused' >&2; exit 127"), &[]));
    assert_eq!(code, Some(1));
    assert!(
        err.ends_with("process that tried it, with exit code 127: ld.so is not amused\n"),
        "{err}"
    );
}

#[test]
fn when_nobody_can_look_the_exit_code_is_another() {
    let (code, _, err) = told(&inspect(None, &[]));
    assert_eq!(code, Some(125));
    assert!(err.starts_with("mezzo: there is no mezzo-module-probe beside "), "{err}");
    let (code, _, err) = told(&inspect(Some("echo hello"), &[]));
    assert_eq!(code, Some(125));
    assert!(err.contains("answered `hello`, expected a description"), "{err}");
}
