//! Very many small files: bounded memory, and a container that goes in the middle of it. A program of its own, because it
//! looks at what the whole process uses.
//!
//! `MEZZO_TEST_FILES=1000000 cargo test -p mezzo-isolator-disk --test many_files -- --nocapture` for the figures.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tell figures")]

mod container;

use std::path::Path;
use std::time::{Duration, Instant};

use container::{PATIENCE, World, disk};
use mezzo_linux::procfs::{Procfs, Stat};

/// What the walk may add to the process: its buffers, and what the allocator keeps.
const MEMORY: u64 = 16 * 1024 * 1024;

#[test]
fn many_small_files_are_measured_with_bounded_memory_and_let_go_at_once() {
    let files: u32 = std::env::var("MEZZO_TEST_FILES").map_or(20_000, |text| text.parse().unwrap());
    let world = World::new(false);
    let sandbox = world.sandbox("c");
    for number in 0..files {
        let directory = sandbox.join((number / 1000).to_string());
        if number % 1000 == 0 {
            std::fs::create_dir(&directory).unwrap();
        }
        std::fs::write(directory.join(number.to_string()), "x").unwrap();
    }
    let resident = || {
        let pid = i32::try_from(std::process::id()).unwrap();
        Procfs::default().status(pid).unwrap().unwrap().rss_bytes
    };
    let before = resident();
    let started = Instant::now();
    world.prepare("c", vec![disk(1.0)]);
    let mut most = before;
    world.wait_for_usage("c", |usage| {
        most = most.max(resident());
        usage.disk_used_bytes.is_some()
    });
    let took = started.elapsed();
    let used = world.usage("c").disk_used_bytes();
    println!(
        "{files} files, {used} bytes: {took:?}, {:?} of CPU time, {} KB more resident memory",
        cpu_time(),
        (most - before) / 1024
    );
    assert!(used >= u64::from(files) * 4096, "{used}");
    assert!(most - before < MEMORY, "{} bytes more", most - before);

    // A second container over the same tree goes while it is being walked.
    world.cleanup("c");
    world.prepare("c", vec![disk(1.0)]);
    while !is_open(&sandbox) {
        std::thread::yield_now();
    }
    let started = Instant::now();
    world.cleanup("c");
    println!("cleanup in the middle of a walk: {:?}", started.elapsed());
    // It waits for a second at most; on a machine that is not very busy for a millisecond.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    while is_open(&sandbox) {
        assert!(started.elapsed() < PATIENCE, "the walk has not let go");
        std::thread::yield_now();
    }
}

/// What the walking thread has used.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let path = |task: &std::fs::DirEntry| task.path().join("stat");
    let stat = |path: &Path| Stat::parse(path, &std::fs::read_to_string(path).ok()?).ok();
    let walker =
        tasks.filter_map(|task| stat(&path(&task))).find(|stat| stat.comm == "mezzo-du").unwrap();
    walker.user_time + walker.system_time
}

/// True while this process has a directory below this one open.
fn is_open(directory: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|target| target.starts_with(directory))
}
