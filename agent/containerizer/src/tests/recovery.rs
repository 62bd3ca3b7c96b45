//! Restarts of the agent.

use std::fs;

use mezzo_linux::process::ProcessId;
use mezzo_model::ContainerId;

use super::world::{Interference, World};
use crate::{Containerizer, ExitStatus, RecoverError, RecoveredContainer, Termination};

fn expected(ids: &[&str]) -> Vec<RecoveredContainer> {
    ids.iter()
        .map(|id| RecoveredContainer {
            container_id: ContainerId::new(id),
            config: Default::default(),
        })
        .collect()
}

fn write_pid(world: &World, id: &str, text: &str) {
    let files = world.files(id);
    fs::create_dir_all(files.directory()).unwrap();
    fs::write(files.pid(), text).unwrap();
}

#[tokio::test]
async fn containers_run_on_and_their_end_is_seen() {
    let (world, _) = World::begin();
    write_pid(&world, "c", "77 5\n");
    world.adoptable.lock().unwrap().push(ProcessId { pid: 77, start_time: 5 });
    let containerizer = world.containerizer();
    let recovery = containerizer.recover(expected(&["c"])).await.unwrap();
    assert_eq!(recovery.running, [ContainerId::new("c")]);
    let request = world.recovered.lock().unwrap()[0].clone();
    assert_eq!((request.states[0].pid, request.orphans.len()), (77, 0));
    assert_eq!(containerizer.status(&ContainerId::new("c")).await.unwrap().executor_pid, Some(77));
    assert_eq!(
        containerizer.usage(&ContainerId::new("c")).await.unwrap().cpus_soft_limit,
        None,
        "not known any more"
    );

    let wait = containerizer.wait(&ContainerId::new("c"));
    world.process().end(ExitStatus::Exited(1));
    assert_eq!(wait.await.unwrap().exit, Some(ExitStatus::Exited(1)));
    assert!(!world.files("c").directory().exists());
}

#[tokio::test]
async fn what_ended_meanwhile_is_told_by_the_status_file() {
    let (world, _) = World::begin();
    write_pid(&world, "c", "77 5\n");
    fs::write(world.files("c").status(), "768\n").unwrap();
    let containerizer = world.containerizer();
    let recovery = containerizer.recover(expected(&["c", "never-ran"])).await.unwrap();
    assert_eq!(recovery.ended.len(), 2);
    let termination = containerizer.wait(&ContainerId::new("c")).await.unwrap();
    assert_eq!(termination.exit, Some(ExitStatus::Exited(3)));
    assert_eq!(
        containerizer.wait(&ContainerId::new("never-ran")).await,
        Some(Termination::default())
    );
    assert_eq!(
        world.log().iter().filter(|l| *l == "cleanup a").count(),
        2,
        "isolators clean up after both"
    );
    assert!(!world.files("c").directory().exists());
}

#[tokio::test]
async fn orphans_are_destroyed() {
    let (world, _) = World::begin();
    write_pid(&world, "orphan", "77 5\n");
    world.adoptable.lock().unwrap().push(ProcessId { pid: 77, start_time: 5 });
    let containerizer = world.containerizer();
    let recovery = containerizer.recover(Vec::new()).await.unwrap();
    assert_eq!(recovery.orphans, [ContainerId::new("orphan")]);
    assert!(containerizer.wait(&ContainerId::new("orphan")).await.is_some());
    assert!(world.log().contains(&"kill".to_owned()));
    assert!(!world.files("orphan").directory().exists());
}

#[tokio::test]
async fn damaged_records_do_not_stop_the_agent() {
    let (world, _) = World::begin();
    for (id, text) in
        [("empty", ""), ("half", "7"), ("words", "seven eight"), ("huge", "99999999999 1")]
    {
        write_pid(&world, id, text);
        fs::write(world.files(id).status(), "garbage").unwrap();
    }
    let containerizer = world.containerizer();
    let recovery =
        containerizer.recover(expected(&["empty", "half", "words", "huge"])).await.unwrap();
    assert_eq!(recovery.ended.len(), 4);
    for id in recovery.ended {
        assert_eq!(containerizer.wait(&id).await, Some(Termination::default()));
    }
}

#[tokio::test]
async fn a_pid_that_belongs_to_another_process_is_not_adopted() {
    let (world, _) = World::begin();
    write_pid(&world, "c", "77 5\n");
    world.adoptable.lock().unwrap().push(ProcessId { pid: 77, start_time: 6 });
    let containerizer = world.containerizer();
    assert_eq!(
        containerizer.recover(expected(&["c"])).await.unwrap().ended,
        [ContainerId::new("c")]
    );
}

#[tokio::test]
async fn an_isolator_that_cannot_recover_ends_the_start() {
    let (world, _) = World::begin();
    world.at("recover a", Interference::Fail);
    let error = world.containerizer().recover(Vec::new()).await.unwrap_err();
    assert!(
        matches!(&error, RecoverError::Isolator { isolator, .. } if isolator == "a"),
        "{error}"
    );
}

#[tokio::test]
async fn after_a_reboot_no_pid_is_adopted() {
    let (world, _) = World::begin();
    write_pid(&world, "c", "77 5\n");
    world.adoptable.lock().unwrap().push(ProcessId { pid: 77, start_time: 5 });
    fs::write(world.dir.join("run/boot_id"), "another boot").unwrap();
    let recovery = world.containerizer().recover(expected(&["c"])).await.unwrap();
    assert_eq!(recovery.ended, [ContainerId::new("c")]);
    assert!(world.recovered.lock().unwrap()[0].states.is_empty());

    // From now on it is this boot.
    write_pid(&world, "d", "77 5\n");
    let recovery = world.containerizer().recover(expected(&["d"])).await.unwrap();
    assert_eq!(recovery.running, [ContainerId::new("d")]);
}
