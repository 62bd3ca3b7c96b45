//! Trees that are ordinary, odd, deep, hostile and changing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, mkdirat, openat};
use tempfile::TempDir;

use super::*;

fn open(path: &Path) -> OwnedFd {
    openat(CWD, path, OPEN, Mode::empty()).unwrap()
}

fn walk(path: &Path, excluded: &[&str]) -> Usage {
    let excluded = Excluded::new(excluded.iter().map(Path::new));
    measure(open(path), excluded, &mut |_| true).unwrap()
}

/// What the program says.
fn du(path: &Path, arguments: &[&str]) -> u64 {
    let output = Command::new("du").args(["-k", "-s"]).args(arguments).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn file(path: impl AsRef<Path>, kilobytes: usize) {
    // Content that no file system can leave out.
    fs::write(path, vec![b'x'; kilobytes * 1024]).unwrap();
}

/// A tree of everything that may be in a sandbox.
fn odd_tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::create_dir_all(at("volume/below")).unwrap();
    file(at("a/one"), 10);
    file(at("a/b/c/two"), 100);
    file(at("volume/below/three"), 50);
    fs::hard_link(at("a/one"), at("a/b/again")).unwrap();
    fs::hard_link(at("a/one"), at("linked")).unwrap();
    symlink("/usr", at("a/usr")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
    file(dir.path().join(OsStr::from_bytes(b"not \xff\xfe utf-8\n")), 7);
    fs::create_dir(dir.path().join(OsStr::from_bytes(b"\x80\x81"))).unwrap();
    file(dir.path().join(OsStr::from_bytes(b"\x80\x81/inside")), 3);
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    for number in 0..2000 {
        file(at("a/b").join(format!("{number:060}")), 0);
    }
    dir
}

#[test]
fn agrees_with_the_program_du() {
    let dir = odd_tree();
    let usage = walk(dir.path(), &[]);
    assert_eq!(usage.bytes, du(dir.path(), &[]));
    assert!(usage.finished && usage.unreadable == 0 && usage.lost == 0, "{usage:?}");
    assert!(usage.entries > 2015, "{usage:?}");
    let without = walk(dir.path(), &["volume", "a/b/c/two"]);
    let volume = dir.path().join("volume");
    let two = dir.path().join("a/b/c/two");
    let exclude = [&volume, &two].map(|path| format!("--exclude={}", path.display()));
    assert_eq!(without.bytes, du(dir.path(), &[&exclude[0], &exclude[1]]));
    assert!(without.bytes + 150 * 1024 <= usage.bytes);
}

#[test]
fn what_is_mounted_inside_is_not_counted() {
    assert_ne!(
        fs::metadata("/dev").unwrap().dev(),
        fs::metadata("/dev/pts").unwrap().dev(),
        "this test needs /dev/pts to be mounted"
    );
    assert_eq!(
        walk(Path::new("/dev"), &["shm"]).bytes,
        du(Path::new("/dev"), &["-x", "--exclude=/dev/shm"])
    );
}

#[test]
fn a_deep_tree_needs_no_stack_and_few_descriptors() {
    const DEPTH: usize = 1500;
    let dir = tempfile::tempdir().unwrap();
    let mut level = open(dir.path());
    for _ in 0..DEPTH {
        mkdirat(&level, "d", Mode::RWXU).unwrap();
        // In any order with `d`: some are read before the walk goes down, some after it has come back.
        for name in ["a", "z"] {
            let created = OFlags::CREATE | OFlags::WRONLY;
            let file = openat(&level, name, created, Mode::RUSR).unwrap();
            rustix::io::write(&file, b"x").unwrap();
        }
        level = openat(&level, "d", OPEN, Mode::empty()).unwrap();
    }
    let mut most_open = 0;
    let thread = std::thread::Builder::new().stack_size(64 * 1024);
    let path = dir.path().to_owned();
    let usage = std::thread::scope(|scope| {
        let walk = move || {
            let count = || fs::read_dir("/proc/self/fd").unwrap().count();
            let before = count();
            let mut asked = 0;
            let mut ask = |_: &Usage| {
                asked += 1;
                if asked % 50 == 0 {
                    most_open = most_open.max(count().saturating_sub(before));
                }
                true
            };
            let usage = measure(open(&path), Excluded::default(), &mut ask).unwrap();
            // Other tests open files meanwhile.
            assert!(most_open < OPEN_DIRECTORIES + 200, "{most_open}");
            usage
        };
        thread.spawn_scoped(scope, walk).unwrap().join().unwrap()
    });
    assert_eq!(usage.entries, u64::try_from(DEPTH * 3 + 1).unwrap());
    assert_eq!((usage.lost, usage.unreadable), (0, 0));
    drop(level);
    // The standard library recurses.
    assert!(Command::new("rm").arg("-rf").arg(dir.path()).status().unwrap().success());
}

#[test]
fn a_directory_that_is_moved_away_takes_its_rest_with_it_but_not_the_walk() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, elsewhere) = (dir.path().join("tree"), dir.path().join("elsewhere"));
    let mut deep = tree.clone();
    for _ in 0..OPEN_DIRECTORIES + 10 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    for number in 0..100 {
        file(deep.join(number.to_string()), 1);
    }
    file(tree.join("rest"), 40);
    let mut moved = false;
    let usage = measure(open(&tree), Excluded::default(), &mut |so_far| {
        if so_far.entries > 60 && !moved {
            // From a level that is closed by now.
            fs::rename(tree.join("d/d/d/d"), elsewhere.join("d")).unwrap();
            moved = true;
        }
        true
    })
    .unwrap();
    assert!(moved && usage.finished);
    assert!(usage.lost > 0, "{usage:?}");
    assert!(usage.bytes >= 140 * 1024, "what was open and the root's rest are counted: {usage:?}");
}

#[test]
fn a_directory_that_is_swapped_for_a_link_is_never_followed() {
    let outside = tempfile::tempdir().unwrap();
    file(outside.path().join("big"), 4096);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("victim")).unwrap();
    for number in 0..20 {
        fs::create_dir(at(&format!("other-{number}"))).unwrap();
    }
    symlink(outside.path(), at("link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, at("victim"), CWD, at("link"), exchange).unwrap();
            }
        });
        for _ in 0..500 {
            let usage = walk(dir.path(), &[]);
            assert!(usage.bytes < 1024 * 1024, "{usage:?}");
            assert_eq!(usage.unreadable, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn files_that_come_and_go_do_not_end_the_walk() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..50 {
        fs::create_dir(dir.path().join(number.to_string())).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (0..50).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let directory = dir.path().join(number.to_string());
                file(directory.join("f"), 1);
                fs::remove_dir_all(&directory).unwrap();
                fs::create_dir(&directory).unwrap();
            }
        });
        for _ in 0..300 {
            let usage = walk(dir.path(), &[]);
            assert!(usage.finished && usage.unreadable == 0, "{usage:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_may_not_be_read_is_counted_as_such_and_the_rest_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("closed")).unwrap();
    file(at("closed/inside"), 100);
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    file(at("open"), 20);
    let usage = std::thread::scope(|scope| {
        // Of this thread only; for who is not root it changes nothing, and `closed` is its own.
        let walk = || {
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            walk(dir.path(), &[])
        };
        scope.spawn(walk).join().unwrap()
    });
    assert_eq!(usage.unreadable, 1, "{usage:?}");
    assert!(usage.bytes >= 20 * 1024 && usage.bytes < 100 * 1024, "{usage:?}");
    assert_eq!(usage.complaint().unwrap(), "1 of 3 entries cannot be read and are not counted");
}

#[test]
fn with_too_many_linked_files_each_link_counts_for_its_part() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: String| dir.path().join(name);
    for number in 0..10 {
        file(at(format!("{number}")), 8);
        for link in 1..4 {
            fs::hard_link(at(format!("{number}")), at(format!("{number}-{link}"))).unwrap();
        }
    }
    let exact = du(dir.path(), &[]);
    for told_apart in [0, 3, 10, 1000] {
        let usage =
            measure_telling_apart(told_apart, open(dir.path()), Excluded::default(), &mut |_| true)
                .unwrap();
        assert_eq!(usage.bytes, exact, "{told_apart} told apart");
    }
}

#[test]
fn a_walk_ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..1000 {
        file(dir.path().join(number.to_string()), 1);
    }
    let mut asked = 0;
    let usage = measure(open(dir.path()), Excluded::default(), &mut |_| {
        asked += 1;
        asked < 3
    })
    .unwrap();
    assert!(!usage.finished);
    assert!(usage.entries < 100 && usage.bytes > 0, "{usage:?}");
}
