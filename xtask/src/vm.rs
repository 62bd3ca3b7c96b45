//! `cargo xtask vm-test`: the tests that want another kernel than this machine may have, in a virtual machine.
//!
//! Most machines that build this project have cgroup version 1 or no say in the matter, and no XFS. So what depends on the
//! kernel is tested once more under a kernel of its own: cgroup version 2 and nothing else, project quotas. The test programs
//! are built here as for `cargo xtask test`, which so has built nearly all of them; one boot of `.ci/vm/run` runs them all.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cargo::{self, cargo, root};
use crate::leftovers::Watch;
use crate::{Failure, say};

/// The packages with something to say about a kernel: all of their test programs run, also those that plain `cargo test` leaves
/// out (`test = false` in their manifest).
const PACKAGES: [&str; 6] = [
    "mezzo-linux",
    "mezzo-containerizer",
    "mezzo-isolator-cgroups",
    "mezzo-isolator-disk",
    "mezzo-module-testkit",
    "mezzo-integration-tests",
];

/// Programs that have no place there: package and program.
const LEFT_OUT: [(&str, &str); 10] = [
    // Version 1, which the guest has not.
    ("mezzo-linux", "cgroup_v1"),
    // They ask nothing of the kernel that they did not ask outside.
    ("mezzo-containerizer", "lib"),
    ("mezzo-isolator-disk", "du"),
    ("mezzo-isolator-disk", "many_files"),
    ("mezzo-module-testkit", "lib"),
    ("mezzo-integration-tests", "lib"),
    ("mezzo-integration-tests", "generated_docs"),
    ("mezzo-integration-tests", "programs"),
    ("mezzo-integration-tests", "repo_rules"),
    ("mezzo-integration-tests", "sim"),
];

/// Of the tests with a whole cluster, those that end in the kernel. The guest is slow, and has no time for all of them.
const CLUSTER_TESTS: [&str; 8] = [
    "isolation::",
    "kill::a_daemon_that_outlives",
    "kill::a_task_that_ignores_sigterm",
    "launch::a_task_runs_and_says_so",
    "launch::the_end_of_a_command",
    "memory::",
    "restart::tasks_survive",
    "statistics::",
];

/// Of the contract's tests over every module (`modules/testkit/tests/tree.rs`), those of the isolator that has all subsystems, and
/// of those that a machine may not have.
const CONTRACT_TESTS: [&str; 2] = ["cgroups_all::", "_needs_"];

/// How many times longer than usual tests wait (`mezzo_integration_tests::slowness`).
const SLOWNESS: &str = "5";

/// Seconds that the guest may take, where the processor is done in software on a busy machine.
const PATIENCE: &str = "900";

/// A test program.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Program {
    package: String,
    /// The name of its target; `lib` for the tests inside the library.
    name: String,
    /// Where cargo would run it.
    folder: PathBuf,
    executable: PathBuf,
}

/// Builds and runs; `args` are filters for the names of tests.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    if let Some(flag) = args.iter().find(|arg| arg.starts_with('-')) {
        return Err(Failure::usage(format!("vm-test: got {flag:?}, expected names of tests")));
    }
    cargo::run(&mut cargo(&["build", "--workspace"]))?;
    let wanted =
        wanted(&cargo::output(&mut cargo(&["metadata", "--format-version=1", "--no-deps"]))?)?;
    let programs = build(&wanted)?;
    let watch = Watch::start()?;
    let mut machine = Command::new(root().join(".ci/vm/run"));
    machine.args(["bash", "-c", &script(&programs, args)]).current_dir(root());
    cargo::without_our_own(&mut machine);
    // Nothing is built in there; and a trace of a processor in software takes its time.
    machine.env("CARGO", "true").env("RUST_BACKTRACE", "0").env("MEZZO_TEST_SLOWNESS", SLOWNESS);
    if std::env::var_os("VM_TIMEOUT").is_none() {
        machine.env("VM_TIMEOUT", PATIENCE);
    }
    watch.mark(&mut machine);
    say(format_args!("$ .ci/vm/run … ({} test programs)", programs.len()));
    let status = cargo::status(&mut machine)?;
    let left = watch.finish();
    for line in &left {
        say(format_args!("left behind: {line}"));
    }
    if !status.success() {
        return Err(Failure::task(format!("tests in the virtual machine failed: {status}")));
    }
    if !left.is_empty() {
        return Err(Failure::task(format!("{} thing(s) left behind", left.len())));
    }
    say("all tests passed in the virtual machine; nothing is left behind");
    Ok(())
}

/// The programs to run, from what cargo tells of the workspace: package and name of the target.
fn wanted(metadata: &str) -> Result<BTreeSet<(String, String)>, Failure> {
    let metadata = json(metadata)?;
    let mut found = BTreeSet::new();
    for package in PACKAGES {
        let package_is = |known: &&Value| text(known, "name") == package;
        let Some(known) = list(&metadata, "packages").iter().find(package_is) else {
            return Err(Failure::task(format!("there is no package {package} in the workspace")));
        };
        for name in list(known, "targets").iter().filter_map(target_name) {
            if !LEFT_OUT.contains(&(package, &name)) {
                found.insert((package.to_owned(), name));
            }
        }
    }
    Ok(found)
}

/// Builds the programs. With the whole workspace selected, so that crates have the features that they have in `cargo xtask test`
/// and need not be built twice.
fn build(wanted: &BTreeSet<(String, String)>) -> Result<Vec<Program>, Failure> {
    let mut build = cargo(&[
        "test",
        "--workspace",
        "--no-run",
        "--lib",
        "--message-format=json-render-diagnostics",
    ]);
    let names: BTreeSet<&String> =
        wanted.iter().map(|(_, name)| name).filter(|n| *n != "lib").collect();
    for name in names {
        build.args(["--test", name]);
    }
    say("$ cargo test --workspace --no-run …");
    let mut programs = Vec::new();
    for line in cargo::output(&mut build)?.lines() {
        let Some(program) = program(&json(line)?) else { continue };
        if wanted.contains(&(program.package.clone(), program.name.clone())) {
            programs.push(program);
        }
    }
    if programs.len() != wanted.len() {
        let built: Vec<_> = programs.iter().map(|p| format!("{} {}", p.package, p.name)).collect();
        let built = built.join(", ");
        return Err(Failure::task(format!("cargo built {built}, expected {wanted:?}")));
    }
    programs.sort();
    Ok(programs)
}

/// The test program that a message of cargo tells of.
fn program(message: &Value) -> Option<Program> {
    let executable = message.get("executable")?.as_str()?;
    // A binary that a test needs is built as well, but is no test.
    if message.get("profile")?.get("test")? != &Value::Bool(true) {
        return None;
    }
    let manifest = Path::new(text(message, "manifest_path"));
    Some(Program {
        package: package_of(text(message, "package_id"), manifest)?,
        folder: manifest.parent()?.to_owned(),
        name: target_name(message.get("target")?)?,
        executable: executable.into(),
    })
}

/// The name in `path+file:///work/agent/linux#mezzo-linux@0.1.0`, or of the folder when that is the name (`…/sdk#0.1.0`).
fn package_of(id: &str, manifest: &Path) -> Option<String> {
    let (_, package) = id.rsplit_once('#')?;
    match package.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => Some(manifest.parent()?.file_name()?.to_str()?.to_owned()),
    }
}

/// What we call a target that has tests; `None` for one that is not wanted here.
fn target_name(target: &Value) -> Option<String> {
    let kinds: Vec<_> = list(target, "kind").iter().filter_map(Value::as_str).collect();
    match kinds.as_slice() {
        ["test"] => Some(text(target, "name").to_owned()),
        kinds if kinds.iter().any(|kind| matches!(*kind, "lib" | "rlib")) => Some("lib".to_owned()),
        _ => None,
    }
}

/// What the guest's shell does: one program after the other, each in its package's folder as cargo does it.
fn script(programs: &[Program], filters: &[String]) -> String {
    let mut script = String::from(
        "failed=0\nrun() { printf '     Running %s (in a virtual machine)\\n' \"$1\"; cd \"$2\" || exit; shift 2; \"$@\" || failed=1; }\n",
    );
    for Program { package, name, folder, executable } in programs {
        let chosen: Vec<&str> = match filters {
            [] if name == "cluster" => CLUSTER_TESTS.to_vec(),
            [] if name == "tree" => CONTRACT_TESTS.to_vec(),
            filters => filters.iter().map(String::as_str).collect(),
        };
        let words: Vec<String> = chosen.into_iter().map(quoted).collect();
        let title = quoted(&format!("{package} {name}"));
        let folder = quoted(&folder.display().to_string());
        let program = quoted(&executable.display().to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(script, "run {title} {folder} {program} {}", words.join(" "));
    }
    script + "exit $failed\n"
}

/// The word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn json(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::task(format!("cargo says what is no JSON: {error}: {text}")))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn programs_are_found_in_what_cargo_says() {
        let message = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/agent/linux#mezzo-linux@0.1.0",
                "manifest_path":"/w/agent/linux/Cargo.toml","target":{{"kind":["{kind}"],"name":"root"}},
                "profile":{{"test":{test}}},"executable":"/t/root-1"}}"#
            )
        };
        let found = program(&json(&message("test", true)).unwrap());
        let expected = Program {
            package: "mezzo-linux".into(),
            name: "root".into(),
            folder: "/w/agent/linux".into(),
            executable: "/t/root-1".into(),
        };
        assert_eq!(found, Some(expected));
        let found = program(&json(&message("rlib", true)).unwrap()).unwrap();
        assert_eq!(found.name, "lib");
        assert_eq!(program(&json(&message("bin", true)).unwrap()), None);
        assert_eq!(program(&json(&message("test", false)).unwrap()), None);
        assert_eq!(program(&json(r#"{"reason":"build-finished","success":true}"#).unwrap()), None);
        let folder = package_of("path+file:///w/sdk#0.1.0", Path::new("/w/sdk/Cargo.toml"));
        assert_eq!(folder.as_deref(), Some("sdk"));
    }

    #[test]
    fn every_test_of_a_package_is_wanted_but_those_left_out() {
        let package = |name: &str, tests: &[&str]| {
            let tests: Vec<_> = tests
                .iter()
                .map(|test| format!(r#"{{"kind":["test"],"name":"{test}"}}"#))
                .collect();
            format!(r#"{{"name":"{name}","targets":[{}]}}"#, tests.join(","))
        };
        let packages: Vec<_> =
            PACKAGES.iter().map(|name| package(name, &["cgroup_v1", "new"])).collect();
        let found = wanted(&format!(r#"{{"packages":[{}]}}"#, packages.join(","))).unwrap();
        assert_eq!(found.len(), 2 * PACKAGES.len() - 1);
        assert!(!found.contains(&("mezzo-linux".into(), "cgroup_v1".into())));
        assert!(found.contains(&("mezzo-linux".into(), "new".into())));
        let failure = wanted(r#"{"packages":[]}"#).err().map(|failure| failure.to_string());
        assert_eq!(failure.as_deref(), Some("there is no package mezzo-linux in the workspace"));
    }

    #[test]
    fn the_guest_runs_each_program_with_its_filters_and_ends_as_they_did() {
        let program = |package: &str, name: &str| Program {
            package: package.into(),
            name: name.into(),
            folder: "/w".into(),
            executable: "/a 'b'/x".into(),
        };
        let programs = [program("mezzo-linux", "x"), program("mezzo-integration-tests", "cluster")];
        let said = script(&programs, &[]);
        assert!(said.contains("\nrun 'mezzo-linux x' '/w' '/a '\\''b'\\''/x' \n"), "{said}");
        assert!(said.contains("'isolation::' "), "{said}");
        assert!(said.ends_with("exit $failed\n"), "{said}");
        let said = script(&programs, &["one".into(), "two".into()]);
        assert!(
            said.contains(
                "'mezzo-integration-tests cluster' '/w' '/a '\\''b'\\''/x' 'one' 'two'\n"
            )
        );
    }
}
