//! What is loaded, and what is refused with which words.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod place;

use std::fs;
use std::path::Path;

use mezzo_module_host::{LoadError, Manifest, Modules, ProbeError, inspect};
use place::{Place, full_message};

const FIXTURE: &str = "mezzo_module_fixture";
const HIERARCHICAL: &str = "mezzo_allocator_hierarchical";

#[test]
fn two_libraries_are_loaded_and_described() {
    let place = Place::new();
    let modules = place
        .load(&[(FIXTURE, &["fixture/rude", "fixture/strict"]), (HIERARCHICAL, &["hierarchical"])])
        .unwrap();
    modules.allocator("hierarchical").unwrap();
    let isolators = modules.isolators("fixture/rude").unwrap();
    let hooks = modules.hooks(" fixture/strict , ").unwrap();
    assert_eq!(isolators.len() + hooks.len(), 2);

    let status = modules.status();
    let names: Vec<_> = status.iter().map(|module| module.name()).collect();
    assert_eq!(names, ["hierarchical", "fixture/rude", "fixture/strict"]);
    let rude = status.get(1).unwrap();
    assert_eq!(
        (rude.version(), rude.author(), rude.description()),
        ("0.3.1", "A. Stranger", "panics where it is told to")
    );
    assert_eq!(rude.file(), place.library(FIXTURE).display().to_string());
    assert_eq!(rude.sha256().len(), 64);
}

#[test]
fn a_module_of_ours_needs_no_manifest() {
    let place = Place::new();
    let modules = Modules::load(place.options(vec![])).unwrap();
    modules.allocator("hierarchical").unwrap();
    let message = full_message(&modules.allocator("random").err().unwrap());
    assert_eq!(message, "unknown allocator `random`, known are `hierarchical`");
}

#[test]
fn a_module_of_another_kind_is_refused() {
    let place = Place::new();
    let modules = place.load(&[(FIXTURE, &["fixture/rude"])]).unwrap();
    let message = full_message(&modules.allocator("fixture/rude").err().unwrap());
    assert_eq!(message, "module `fixture/rude` is of kind isolator, expected allocator");
    let message = full_message(&modules.hooks("hierarchical").unwrap_err());
    assert_eq!(message, "module `hierarchical` is of kind allocator, expected hook");
}

#[test]
fn a_name_can_be_given_and_chosen_once() {
    let place = Place::new();
    let error =
        place.load(&[(FIXTURE, &["fixture/rude"]), (FIXTURE, &["fixture/rude"])]).unwrap_err();
    assert!(
        matches!(&error, LoadError::Duplicate { module, .. } if module == "fixture/rude"),
        "{error}"
    );
    let modules = place.load(&[(FIXTURE, &["fixture/rude"])]).unwrap();
    let message = full_message(&modules.isolators("fixture/rude,fixture/rude").unwrap_err());
    assert_eq!(message, "isolator `fixture/rude` is listed twice");
}

#[test]
fn an_unknown_module_is_told_with_what_the_library_has() {
    let place = Place::new();
    let message = full_message(&place.load(&[(FIXTURE, &["fixture/polite"])]).unwrap_err());
    let expected = format!(
        "module library `{}` has no module `fixture/polite`, it has `fixture/rude`, `fixture/stillborn`, `fixture/strict`, \
         `fixture/garbler`, `fixture/slow`",
        place.library(FIXTURE).display()
    );
    assert_eq!(message, expected);
}

#[test]
fn an_unknown_parameter_is_refused_when_the_module_is_made() {
    let place = Place::new();
    let file = place.library(FIXTURE);
    let manifest = format!(
        r#"{{"libraries":[{{"file":"{}","modules":[{{"name":"fixture/rude","parameters":[{{"key":"mood","value":"bad"}}]}}]}}]}}"#,
        file.display()
    );
    let modules =
        Modules::load(place.options(vec![Manifest::from_flag(&manifest).unwrap()])).unwrap();
    let message = full_message(&modules.isolators("fixture/rude").unwrap_err());
    assert!(message.contains("module `fixture/rude`"), "{message}");
    assert!(
        message.contains("unknown parameter `mood`, expected one of `drop_panics`"),
        "{message}"
    );
}

#[test]
fn a_constructor_that_panics_is_an_error() {
    let place = Place::new();
    let modules = place.load(&[(FIXTURE, &["fixture/stillborn"])]).unwrap();
    let message = full_message(&modules.isolators("fixture/stillborn").unwrap_err());
    assert!(message.contains("module panicked: never born"), "{message}");
}

#[test]
fn a_missing_library_is_told_with_where_it_was_looked_for() {
    let place = Place::new();
    let message = full_message(&place.load_file("/does/not/exist/libx.so", "x").unwrap_err());
    assert_eq!(
        message,
        "module library `/does/not/exist/libx.so` not found, looked in that very place"
    );
    let message = full_message(&place.load_file("libx.so", "x").unwrap_err());
    assert!(message.starts_with("module library `libx.so` not found, looked in `"), "{message}");
}

#[test]
fn files_that_are_no_library_are_told_apart() {
    let place = Place::new();
    let refused = |name: &str, content: &[u8]| {
        let path = place.write(name, content);
        full_message(&place.load_file(path.to_str().unwrap(), "x").unwrap_err())
    };
    assert!(
        refused("text.so", b"not a library at all\n")
            .contains("text.so` is a text file, expected an ELF shared library")
    );
    assert!(refused("empty.so", b"").contains("is an empty file"));
    assert!(refused("noise.so", &[0xab; 5000]).contains("is no ELF file"));

    let whole = fs::read(place.library(FIXTURE)).unwrap();
    let message = refused("half.so", whole.get(..whole.len() / 2).unwrap());
    let sizes = format!(
        "is a truncated ELF library of {} bytes, expected {} bytes",
        whole.len() / 2,
        whole.len()
    );
    assert!(message.contains(&sizes), "{message}");

    let mut foreign = whole;
    foreign.splice(18..20, [8, 0]);
    assert!(
        refused("mips.so", &foreign).contains("is an ELF file for machine 8, expected machine"),
        "another machine"
    );

    let message = full_message(&place.load_file(place.dir().to_str().unwrap(), "x").unwrap_err());
    assert!(message.contains("is a directory, expected a regular file"), "{message}");
}

#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let place = Place::new();
    let pipe = place.dir().join("pipe.so");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let message = full_message(&place.load_file(pipe.to_str().unwrap(), "x").unwrap_err());
    assert!(message.contains("is a named pipe, expected a regular file"), "{message}");
}

#[test]
fn a_library_without_our_symbol_is_refused_before_it_is_loaded() {
    let place = Place::new();
    let libc = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = libc
        .lines()
        .find(|line| line.contains("libc.so"))
        .and_then(|line| line.split_whitespace().last())
        .unwrap();
    let copy = place.write("libc-copy.so", &fs::read(libc).unwrap());
    let message = full_message(&place.load_file(copy.to_str().unwrap(), "x").unwrap_err());
    assert!(
        message
            .contains("is a library that is no Mezzo module, expected one that exports `_1as_0lib"),
        "{message}"
    );
}

#[test]
fn a_library_that_damages_its_process_damages_the_probe_only() {
    let place = Place::new();
    // Everything is where the headers say, but what the dynamic loader is to do with it is nonsense.
    let mut broken = fs::read(place.library(FIXTURE)).unwrap();
    let word = |at: usize| {
        usize::try_from(u64::from_ne_bytes(broken.get(at..at + 8).unwrap().try_into().unwrap()))
            .unwrap()
    };
    let headers = (0..20).map(|index| word(32) + index * 56);
    let dynamic =
        headers.into_iter().find(|at| broken.get(*at..*at + 4) == Some(&[2, 0, 0, 0])).unwrap();
    let (offset, size) = (word(dynamic + 8), word(dynamic + 32));
    broken.get_mut(offset..offset + size).unwrap().fill(0xff);
    let path = place.write("broken.so", &broken);
    match place.load_file(path.to_str().unwrap(), "fixture/rude").unwrap_err() {
        LoadError::Probe {
            source: ProbeError::Refused(_) | ProbeError::Killed { .. } | ProbeError::Ended { .. },
            ..
        } => {}
        other => panic!("{other}"),
    }
}

#[test]
fn a_probe_that_is_killed_or_talks_nonsense_is_an_error() {
    let place = Place::new();
    let load_with = |script: &str| {
        let probe = place.script("probe.sh", script);
        let mut options = place.options(vec![place.manifest(&[(FIXTURE, &["fixture/rude"])])]);
        options.probe = Some(probe);
        full_message(&Modules::load(options).unwrap_err())
    };
    assert!(
        load_with("#!/bin/sh\nkill -BUS $$\n")
            .contains("so` killed the process that tried it, by signal 7")
    );
    assert!(
        load_with("#!/bin/sh\necho 'ld.so is not amused' >&2; exit 127\n").contains(
            "so` ended the process that tried it, with exit code 127: ld.so is not amused"
        )
    );
    assert!(load_with("#!/bin/sh\necho hello\n").contains("the probe answered `hello`"));
    assert!(
        load_with("#!/bin/sh\necho 'has another layout' >&2; exit 1\n")
            .contains("so` has another layout")
    );
}

#[test]
fn a_library_can_be_inspected_without_loading_it() {
    let place = Place::new();
    let found = inspect(&place.library(FIXTURE), Some(&place.probe())).unwrap();
    assert_eq!(found.abi, "1.0.0");
    let modules: Vec<_> =
        found.modules.iter().map(|module| (module.name.as_str(), module.kind.as_str())).collect();
    let expected = [
        ("fixture/rude", "isolator"),
        ("fixture/stillborn", "isolator"),
        ("fixture/strict", "hook"),
        ("fixture/garbler", "isolator"),
        ("fixture/slow", "isolator"),
    ];
    assert_eq!(modules, expected);
}

#[test]
fn a_library_that_is_replaced_on_disk_does_not_hurt_who_has_loaded_it() {
    let place = Place::new();
    let copy = place.write("mine.so", &fs::read(place.library(FIXTURE)).unwrap());
    let modules = place.load_file(copy.to_str().unwrap(), "fixture/strict").unwrap();
    let hooks = modules.hooks("fixture/strict").unwrap();
    // In place, as `cp` does it: without the copy this would end the process.
    fs::write(&copy, b"gone").unwrap();
    let error = hooks.first().unwrap().module.agent_prelaunch(Default::default()).unwrap_err();
    assert!(error.message.contains("may not run"), "{error}");
    assert!(Path::new(&place.dir().join("modules")).read_dir().unwrap().count() >= 1);
}
