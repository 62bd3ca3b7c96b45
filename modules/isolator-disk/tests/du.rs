//! `disk/du` with real directories: what is measured, what ends a container, and when.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod container;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use container::{PATIENCE, World, disk, file, id, mounted_volume, volume};
use mezzo_isolator_disk::DuIsolator;
use mezzo_module_api::types::ContainerId;
use mezzo_module_api::types::task_status::Reason;
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerState, PrepareRequest, RecoverRequest, UpdateRequest,
    UsageRequest,
};
use mezzo_module_api::{Code, Host, Isolator as _, Parameters};

#[test]
fn a_task_over_its_quota_is_ended_within_two_intervals() {
    // Long enough for a machine that is busy with other tests.
    let interval = Duration::from_secs(2);
    let world = World::with_interval(true, interval);
    let sandbox = world.prepare("c", vec![disk(1.0), disk(0.5)]);
    let limitation = world.watch("c");
    world.wait_for_usage("c", |usage| usage.disk_used_bytes.is_some());
    let written = Instant::now();
    file(sandbox.join("big"), 2048);
    let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
    let took = written.elapsed();
    assert!(took < interval * 2, "it took {took:?}");
    assert_eq!(limitation.reason(), Reason::ContainerLimitationDisk);
    let used = world.usage("c").disk_used_bytes();
    assert!((2 << 20..3 << 20).contains(&used), "{used}");
    let message = format!("Disk usage ({}KB) exceeds quota (1536KB)", used / 1024);
    assert_eq!(limitation.message(), message);
    assert_eq!(limitation.resources, [disk(1.0), disk(0.5)]);
    world.cleanup("c");
}

#[test]
fn a_walk_that_takes_long_ends_when_it_has_found_enough() {
    let world = World::with_interval(true, Duration::from_millis(4));
    let sandbox = world.sandbox("c");
    for number in 0..5000 {
        file(sandbox.join(number.to_string()), 4);
    }
    world.prepare("c", vec![disk(1.0)]);
    assert!(world.watch("c").recv_timeout(PATIENCE).unwrap().is_some());
    let used = world.usage("c").disk_used_bytes();
    assert!((1 << 20..5000 * 4096).contains(&used), "{used}");
}

#[test]
fn without_enforcement_it_is_only_measured() {
    let world = World::new(false);
    let sandbox = world.prepare("c", vec![disk(1.0)]);
    let limitation = world.watch("c");
    file(sandbox.join("big"), 2048);
    world.wait_for_usage("c", |usage| usage.disk_used_bytes() >= 2 << 20);
    assert_eq!(world.usage("c").disk_limit_bytes(), 1 << 20);
    fs::remove_file(sandbox.join("big")).unwrap();
    world.wait_for_usage("c", |usage| usage.disk_used_bytes() < 1 << 20);
    assert!(limitation.try_recv().is_err());
    world.cleanup("c");
    assert_eq!(limitation.recv_timeout(PATIENCE).unwrap(), None, "its watch ends with it");
}

#[test]
fn volumes_are_measured_by_themselves_and_not_with_the_sandbox() {
    let world = World::new(true);
    let sandbox = world.sandbox("c");
    fs::create_dir_all(sandbox.join("data/inner")).unwrap();
    file(sandbox.join("data/big"), 3072);
    file(sandbox.join("data/inner/file"), 1024);
    file(sandbox.join("small"), 100);
    world.prepare("c", vec![disk(1.0), volume(8.0, "data"), volume(2.0, "data/inner")]);
    let limitation = world.watch("c");
    let used = |world: &World| {
        let statistics = world.usage("c").disk_statistics;
        statistics.iter().filter_map(|one| Some(one.used_bytes? >> 10)).collect::<Vec<_>>()
    };
    world.wait_for_usage("c", |_| used(&world).len() == 3);
    let [in_sandbox, in_data, in_inner] = used(&world)[..] else { panic!("three places") };
    assert!((100..200).contains(&in_sandbox), "{in_sandbox}");
    assert!((3072..3172).contains(&in_data), "{in_data}");
    assert!((1024..1124).contains(&in_inner), "{in_inner}");
    let statistics = world.usage("c").disk_statistics;
    assert_eq!(statistics[0].persistence, None);
    assert_eq!(statistics[1].persistence.as_ref().unwrap().id, "an-id");
    assert_eq!(statistics[2].limit_bytes(), 2 << 20);
    assert!(limitation.try_recv().is_err());
    file(sandbox.join("data/inner/more"), 2048);
    let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(limitation.message().ends_with("exceeds quota (2MB)"), "{}", limitation.message());
    assert_eq!(limitation.resources, [volume(2.0, "data/inner")]);
}

#[test]
fn a_link_is_followed_only_to_where_volumes_are_kept() {
    let world = World::new(true);
    let kept = world.dir.path().join("volumes/roles/a/an-id");
    let elsewhere = world.dir.path().join("elsewhere");
    for directory in [&kept, &elsewhere] {
        fs::create_dir_all(directory).unwrap();
        file(directory.join("file"), 500);
    }
    let sandbox = world.sandbox("c");
    symlink(&kept, sandbox.join("good")).unwrap();
    symlink(&elsewhere, sandbox.join("bad")).unwrap();
    symlink("good", sandbox.join("sly")).unwrap();
    let volumes = ["bad", "good", "sly"].map(|path| volume(10.0, path));
    world.prepare("c", volumes.to_vec());
    let complaints: Vec<String> =
        (0..2).map(|_| world.log.recv_timeout(PATIENCE).unwrap()).collect();
    world.wait_for_usage("c", |usage| usage.disk_statistics[1].used_bytes.is_some());
    let statistics = world.usage("c").disk_statistics;
    assert!(statistics[1].used_bytes() >= 500 << 10);
    assert_eq!((statistics[0].used_bytes, statistics[2].used_bytes), (None, None));
    assert!(complaints[0].contains("where no volumes are kept"), "{complaints:?}");
    assert!(complaints[1].contains("volume `sly`"), "{complaints:?}");
    // Complained about once, not in every interval.
    world.prepare("other", vec![disk(1.0)]);
    world.wait_for_usage("other", |usage| usage.disk_used_bytes.is_some());
    let mut seen = world.log.try_iter();
    assert_eq!(seen.next(), None);
}

#[test]
fn a_disk_of_its_own_is_measured_and_never_ends_the_container() {
    let world = World::new(true);
    let root = world.dir.path().join("mnt");
    fs::create_dir(&root).unwrap();
    file(root.join("big"), 4096);
    let sandbox = world.sandbox("c");
    symlink(&root, sandbox.join("data")).unwrap();
    world.prepare("c", vec![mounted_volume(1.0, "data", &root)]);
    let limitation = world.watch("c");
    world.wait_for_usage("c", |usage| usage.disk_statistics[0].used_bytes() >= 4 << 20);
    assert_eq!(world.usage("c").disk_used_bytes, None, "nothing of it is the sandbox's");
    assert!(limitation.try_recv().is_err());
}

#[test]
fn ephemeral_volumes_share_the_quota_of_the_sandbox() {
    let world = World::new(true);
    let upper = world.dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    let inside = world.sandbox("c").join("scratch");
    fs::create_dir(&inside).unwrap();
    file(inside.join("file"), 300);
    let missing = world.dir.path().join("missing");
    let sandbox = world.prepare_with("c", vec![disk(1.0)], &[&upper, &inside, &missing]);
    let limitation = world.watch("c");
    file(sandbox.join("half"), 400);
    world.wait_for_usage("c", |usage| usage.disk_used_bytes() >= 700 << 10);
    assert!(world.usage("c").disk_used_bytes() < 1000 << 10, "counted once");
    assert!(limitation.try_recv().is_err());
    file(upper.join("other-half"), 700);
    let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(limitation.message().ends_with("exceeds quota (1MB)"), "{}", limitation.message());
}

#[test]
fn an_update_changes_quotas_and_places() {
    let world = World::new(true);
    let sandbox = world.sandbox("c");
    fs::create_dir(sandbox.join("data")).unwrap();
    file(sandbox.join("data/file"), 2048);
    world.prepare("c", vec![disk(1.0), volume(4.0, "data")]);
    world.wait_for_usage("c", |usage| usage.disk_statistics[1].used_bytes.is_some());
    let limitation = world.watch("c");
    // The volume is gone, what is in it is the sandbox's now, and the sandbox may have it.
    world.update("c", vec![disk(4.0)]);
    world.wait_for_usage("c", |usage| usage.disk_used_bytes() >= 2 << 20);
    assert_eq!(world.usage("c").disk_statistics.len(), 1);
    assert!(limitation.try_recv().is_err());
    world.update("c", vec![disk(1.0)]);
    assert!(limitation.recv_timeout(PATIENCE).unwrap().is_some());
    world.update("c", vec![]);
    assert_eq!(world.usage("c").disk_limit_bytes, None);
}

#[test]
fn who_asks_late_is_told_what_happened() {
    let world = World::new(true);
    file(world.sandbox("c").join("big"), 2048);
    world.prepare("c", vec![disk(1.0)]);
    let message = world.log.recv_timeout(PATIENCE).unwrap();
    assert!(message.contains("exceeds quota (1MB)"), "{message}");
    assert!(world.watch("c").recv_timeout(PATIENCE).unwrap().is_some());
}

#[test]
fn a_recovered_container_is_measured_after_its_first_update() {
    let world = World::new(true);
    let sandbox = world.sandbox("c");
    file(sandbox.join("big"), 2048);
    let state = |container_id: ContainerId, directory: &Path| ContainerState {
        container_id,
        pid: 1,
        directory: directory.display().to_string(),
        ..ContainerState::default()
    };
    let nested = ContainerId { value: "n".into(), parent: Some(Box::new(id("c"))) };
    let states = vec![state(id("c"), &sandbox), state(nested.clone(), &sandbox)];
    world.isolator.recover(RecoverRequest { states, orphans: vec![id("orphan")] }).unwrap();
    let limitation = world.watch("c");
    assert_eq!(world.usage("c").disk_limit_bytes, None);
    let nested_usage = world.isolator.usage(UsageRequest { container_id: Some(nested) });
    assert_eq!(nested_usage.unwrap_err().code, Code::NotFound);
    world.update("c", vec![disk(1.0)]);
    assert!(limitation.recv_timeout(PATIENCE).unwrap().is_some());
    world.cleanup("c");
    world.cleanup("orphan");
}

#[test]
fn calls_about_unknown_and_nested_containers_do_no_harm() {
    let world = World::new(true);
    let nested = ContainerId { value: "n".into(), parent: Some(Box::new(id("c"))) };
    let config = Some(ContainerConfig { resources: vec![disk(1.0)], ..ContainerConfig::default() });
    world
        .isolator
        .prepare(PrepareRequest { container_id: Some(nested.clone()), config: config.clone() })
        .unwrap();
    for container_id in [Some(nested), Some(id("unknown")), None] {
        let requests = vec![disk(1.0)];
        let update = UpdateRequest {
            container_id: container_id.clone(),
            requests,
            ..UpdateRequest::default()
        };
        world.isolator.update(update).unwrap();
        let usage = world.isolator.usage(UsageRequest { container_id: container_id.clone() });
        assert_eq!(usage.unwrap_err().code, Code::NotFound);
        for _ in 0..2 {
            let container_id = container_id.clone();
            world.isolator.cleanup(CleanupRequest { container_id }).unwrap();
        }
    }
    assert_eq!(world.watch("unknown").recv_timeout(PATIENCE).unwrap(), None);
    world.prepare("twice", vec![]);
    let again = PrepareRequest { container_id: Some(id("twice")), config };
    assert_eq!(world.isolator.prepare(again).unwrap_err().code, Code::AlreadyExists);
}

#[test]
fn a_sandbox_that_is_gone_is_told_once_and_others_go_on() {
    let world = World::new(true);
    let sandbox = world.prepare("c", vec![disk(1.0)]);
    world.wait_for_usage("c", |usage| usage.disk_used_bytes.is_some());
    let before = world.usage("c").disk_used_bytes;
    fs::remove_dir_all(&sandbox).unwrap();
    let complaint = world.log.recv_timeout(PATIENCE).unwrap();
    assert!(complaint.contains("container `c`, sandbox: cannot open"), "{complaint}");
    assert_eq!(world.usage("c").disk_used_bytes, before, "the last figure stays");
    let other = world.prepare("other", vec![disk(1.0)]);
    file(other.join("big"), 2048);
    assert!(world.watch("other").recv_timeout(PATIENCE).unwrap().is_some());
}

#[test]
fn one_thread_gives_way_to_all_others_and_ends_with_the_isolator() {
    let nice_of_walkers = || -> Vec<i64> {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        stats
            .filter(|stat| stat.contains("(mezzo-du)"))
            .map(|stat| {
                stat.rsplit(')')
                    .next()
                    .unwrap()
                    .split_whitespace()
                    .nth(16)
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect()
    };
    let world = World::new(false);
    world.prepare("c", vec![disk(1.0)]);
    world.prepare("d", vec![disk(1.0)]);
    world.wait_for_usage("d", |usage| usage.disk_used_bytes.is_some());
    // Those of tests that run at the same time are among them.
    assert!(nice_of_walkers().contains(&19), "{:?}", nice_of_walkers());
    let started = Instant::now();
    let limitation = world.watch("c");
    drop(world);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(limitation.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn wrong_parameters_are_refused_by_name() {
    let refused = |pairs: &[(&str, &str)]| {
        DuIsolator::new(Host::silent(), Parameters::from_pairs(pairs)).unwrap_err().message
    };
    assert!(refused(&[("container_disk_watch_interval", "0secs")]).contains("above 0"));
    assert!(refused(&[("container_disk_watch_interval", "often")]).contains("`often`"));
    assert!(refused(&[("enforce_container_disk_quota", "maybe")]).contains("`maybe`"));
    assert!(refused(&[("enforce", "true")]).contains("unknown parameter `enforce`"));
}
