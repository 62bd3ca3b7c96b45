//! Copies of libraries: who may write what they are made of, what is kept of them between starts, what is swept away.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod place;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mezzo_module_api::v1::CleanupRequest;
use mezzo_module_host::{LoadError, Modules, Options, inspect};
use place::{Place, full_message};

const FIXTURE: &str = "mezzo_module_fixture";

/// A directory below the test's, with a copy of the fixture in it.
fn directory(place: &Place, name: &str, mode: u32) -> PathBuf {
    let dir = place.dir().join(name);
    fs::create_dir(&dir).unwrap();
    let copy = place.write(&format!("{name}/libmine.so"), &fixture(place));
    fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
    copy
}

fn fixture(place: &Place) -> Vec<u8> {
    fs::read(place.library(FIXTURE)).unwrap()
}

fn load(place: &Place, file: &Path) -> Result<Modules, LoadError> {
    place.load_file(file.to_str().unwrap(), "fixture/strict")
}

/// What root is told; others may load it, for they harm nobody but themselves.
fn refused_if_root(place: &Place, file: &Path, reason: &str) {
    let loaded = load(place, file);
    if rustix::process::geteuid().is_root() {
        let message = full_message(&loaded.unwrap_err());
        let expected = format!("module library `{}` {reason}", file.display());
        assert!(message.starts_with(&expected), "{message}, expected {expected}");
    } else {
        loaded.unwrap();
    }
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let place = Place::new();
    let file = directory(&place, "safe", 0o755);
    for mode in [0o664, 0o646, 0o777] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        refused_if_root(&place, &file, &format!("has mode {mode:04o}, expected it to be writable"));
    }
    // A link to it is no better.
    let link = place.dir().join("link.so");
    symlink(&file, &link).unwrap();
    refused_if_root(&place, &link, "has mode 0777, expected it to be writable by its owner only");
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let place = Place::new();
    for (name, mode) in [("group", 0o775), ("world", 0o757)] {
        let file = directory(&place, name, mode);
        let dir = place.dir().join(name);
        let reason = format!("is reached through `{}`, which has mode {mode:04o}", dir.display());
        refused_if_root(&place, &file, &reason);
        // Further up is as bad.
        let below = dir.join("below");
        fs::create_dir(&below).unwrap();
        let further = place.write(&format!("{name}/below/libmine.so"), &fixture(&place));
        refused_if_root(&place, &further, &reason);
        // And a way through a link.
        let link = place.dir().join(format!("link-to-{name}.so"));
        symlink(&file, &link).unwrap();
        refused_if_root(&place, &link, &reason);
        let safe = directory(&place, &format!("beside-{name}"), 0o755);
        let inside = dir.join("link.so");
        symlink(&safe, &inside).unwrap();
        refused_if_root(&place, &inside, &reason);
        let twice = place.dir().join(format!("link-to-link-{name}.so"));
        symlink(&inside, &twice).unwrap();
        refused_if_root(&place, &twice, &reason);
    }
}

/// `nobody` on most machines; nobody here.
const STRANGER: u32 = 65534;

#[test]
fn what_is_not_roots_is_refused() {
    let place = Place::new();
    let root = rustix::process::geteuid().is_root();
    let give = |path: &Path| {
        if root {
            lchown(path, Some(STRANGER), None).unwrap();
        }
    };
    // To root, and by `mezzo modules inspect` too.
    let refused = |file: &Path, reason: &str| {
        refused_if_root(&place, file, reason);
        if root {
            let told = inspect(file, Some(&place.probe())).unwrap_err().to_string();
            assert_eq!(told, format!("module library `{}` {reason}", file.display()));
        }
    };
    let expected = "expected root or the owner of this program when running as root";
    let owned = format!("is owned by uid {STRANGER}, {expected}");
    let through = |place: &Path| format!("is reached through `{}`, which {owned}", place.display());

    let file = directory(&place, "file", 0o755);
    give(&file);
    refused(&file, &owned);
    let link = place.dir().join("link.so");
    symlink(&file, &link).unwrap();
    refused(&link, &owned);

    let inside = directory(&place, "directory", 0o755);
    give(inside.parent().unwrap());
    refused(&inside, &through(inside.parent().unwrap()));

    let safe = directory(&place, "safe", 0o755);
    let link = place.dir().join("link-of-a-stranger.so");
    symlink(&safe, &link).unwrap();
    give(&link);
    refused(&link, &through(&link));
    load(&place, &safe).unwrap();
}

#[test]
fn in_a_sticky_directory_a_file_is_as_safe_as_it_is() {
    let place = Place::new();
    load(&place, &directory(&place, "sticky", 0o1777)).unwrap();
}

#[test]
fn a_runtime_directory_that_others_can_write_is_refused() {
    let place = Place::new();
    let mut options = place.options(vec![place.manifest(&[(FIXTURE, &["fixture/strict"])])]);
    options.runtime_dir = place.dir().join("run");
    fs::create_dir(&options.runtime_dir).unwrap();
    fs::set_permissions(&options.runtime_dir, Permissions::from_mode(0o777)).unwrap();
    let dir = options.runtime_dir.display().to_string();
    let loaded = Modules::load(options);
    if rustix::process::geteuid().is_root() {
        let message = full_message(&loaded.unwrap_err());
        assert!(
            message.contains(&format!("is reached through `{dir}`, which has mode 0777")),
            "{message}"
        );
    } else {
        loaded.unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_by_inspect_too() {
    let place = Place::new();
    let inspect = |file: &Path| inspect(file, Some(&place.probe())).map_err(|e| e.to_string());
    let text = place.write("text.so", b"hello\n");
    assert_eq!(
        inspect(&text).unwrap_err(),
        format!(
            "module library `{}` is a text file, expected an ELF shared library",
            text.display()
        )
    );
    let missing = inspect(Path::new("/does/not/exist.so")).unwrap_err();
    assert!(
        missing.starts_with("cannot read module library `/does/not/exist.so`: No such file"),
        "{missing}"
    );
    let old = place.library("mezzo_revision_before_stable");
    assert_eq!(
        inspect(&old).unwrap_err(),
        format!(
            "module library `{}` was built for module ABI 0.9.0, expected 1.0.0",
            old.display()
        )
    );
    let found = inspect(&place.library(FIXTURE)).unwrap();
    let loaded = place.load(&[(FIXTURE, &["fixture/strict"])]).unwrap();
    loaded.hooks("fixture/strict").unwrap();
    assert_eq!(loaded.status().remove(0).sha256(), found.sha256);
}

/// Options whose probe writes down that it ran, and says yes.
fn counting(place: &Place, name: &str) -> (Options, PathBuf) {
    let runs = place.dir().join(format!("{name}.runs"));
    let text = format!(
        "#!/bin/sh\necho run >> {}\necho '{{\"abi\":\"1.0.0\",\"modules\":[]}}'\n",
        runs.display()
    );
    let mut options = place.options(vec![place.manifest(&[(FIXTURE, &["fixture/strict"])])]);
    options.probe = Some(place.script(name, &text));
    (options, runs)
}

#[test]
fn a_content_that_the_probe_has_seen_is_not_tried_again() {
    let place = Place::new();
    let (options, runs) = counting(&place, "probe");
    let count = |runs: &Path| fs::read_to_string(runs).unwrap_or_default().lines().count();
    for _ in 0..3 {
        Modules::load(options.clone()).unwrap();
    }
    assert_eq!(count(&runs), 1);
    // Another probe may see it otherwise.
    let (other, other_runs) = counting(&place, "other-probe");
    Modules::load(other).unwrap();
    assert_eq!((count(&runs), count(&other_runs)), (1, 1));
    // A note that nobody can read is none.
    for note in notes(&place) {
        fs::write(note, "{").unwrap();
    }
    Modules::load(options).unwrap();
    assert_eq!(count(&runs), 2);
}

fn named(place: &Place, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.dir().join("modules")).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn copies(place: &Place) -> Vec<PathBuf> {
    named(place, "so")
}

fn notes(place: &Place) -> Vec<PathBuf> {
    named(place, "json")
}

#[test]
fn a_library_that_is_refused_is_tried_again() {
    let place = Place::new();
    let mut options = place.options(vec![place.manifest(&[(FIXTURE, &["fixture/strict"])])]);
    let probe = place.script("probe", "#!/bin/sh\nexit 1\n");
    options.probe = Some(probe.clone());
    let message = full_message(&Modules::load(options.clone()).unwrap_err());
    assert!(message.ends_with("so` was refused without a reason"), "{message}");
    assert!(notes(&place).is_empty());
    options.probe = Some(place.probe());
    Modules::load(options).unwrap();
}

#[test]
fn a_damaged_copy_is_made_again() {
    let place = Place::new();
    drop(place.load(&[(FIXTURE, &["fixture/strict"])]).unwrap());
    let copy = copies(&place).remove(0);
    let mut damaged = fixture(&place);
    damaged.truncate(5000);
    // Not in place: this process has it mapped.
    fs::remove_file(&copy).unwrap();
    fs::write(&copy, damaged).unwrap();
    let modules = place.load(&[(FIXTURE, &["fixture/strict"])]).unwrap();
    modules.hooks("fixture/strict").unwrap();
    assert_eq!(fs::read(&copy).unwrap(), fixture(&place));
}

#[test]
fn copies_that_nobody_uses_are_swept_away() {
    let place = Place::new();
    let used = place.load(&[(FIXTURE, &["fixture/rude"])]).unwrap();
    let isolator = used.isolators("fixture/rude").unwrap().remove(0).module;
    let other = place.write("other.so", &[fixture(&place).as_slice(), b"other"].concat());
    let unused = load(&place, &other).unwrap();
    let half = place.dir().join("modules/.half.so.1.ThreadId(1)");
    fs::write(&half, "half").unwrap();
    used.sweep();
    // Both are in use; what nobody finished is not.
    assert_eq!((copies(&place).len(), notes(&place).len()), (2, 2));
    assert!(!half.exists());
    drop(unused);
    // A child that another test is just starting may hold it for a moment.
    let deadline = Instant::now() + Duration::from_secs(60);
    while copies(&place).len() > 1 {
        assert!(Instant::now() < deadline, "{:?}", copies(&place));
        used.sweep();
    }
    let hash = used.status().remove(0).sha256().to_owned();
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    for left in [copies(&place), notes(&place)] {
        let names: Vec<_> = left.into_iter().map(name).collect();
        assert_eq!(names.as_slice(), std::slice::from_ref(&hash));
    }
    isolator.cleanup(CleanupRequest::default()).unwrap();
}

#[test]
fn a_library_that_prints_a_lot_does_not_stop_the_probe() {
    let place = Place::new();
    let mut options = place.options(vec![place.manifest(&[(FIXTURE, &["fixture/strict"])])]);
    options.probe = Some(place.script(
        "probe",
        "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\necho\nhead -c 300000 /dev/zero >&2\n\
         echo '{\"abi\":\"1.0.0\",\"modules\":[]}'\n",
    ));
    Modules::load(options).unwrap();
}
