//! Modules that do not come back: they fail what they were asked for, and nothing else waits for them.

use std::time::Duration;

use mezzo_model::ContainerId;

use super::world::{Interference, World};
use crate::{Containerizer, DestroyError, LaunchError, Launched};

/// Long enough that a module which does answer always answers in time, on a busy machine too.
const WATCHDOG: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Until the log has this line.
async fn logged(world: &World, line: &str, times: usize) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while world.log().iter().filter(|l| *l == line).count() < times {
        assert!(std::time::Instant::now() < deadline, "no {line} in {:?}", world.log());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_launch_whose_isolator_hangs_fails_and_holds_up_no_other() {
    for moment in ["prepare a", "isolate b", "watch a", "prelaunch h"] {
        let (world, containerizer) = World::with_patience(WATCHDOG, TIMEOUT);
        world.at(moment, Interference::Hang);
        let stuck = containerizer.launch(world.spec("stuck"));
        logged(&world, moment, 1).await;
        let other = containerizer.launch(world.spec("c")).await;
        assert_eq!(other.unwrap(), Launched { pid: 4711 }, "{moment}");
        let message = stuck.await.unwrap_err().task_message();
        let (_, who) = moment.split_once(' ').unwrap();
        assert!(message.contains("did not return within 1.5s"), "{moment}: {message}");
        assert!(message.contains(&format!("'{who}'")), "it is named: {message}");
        world.release();
        containerizer.destroy(&ContainerId::new("c")).await.unwrap();
    }
}

#[tokio::test]
async fn a_launch_that_hangs_gives_its_turn_to_the_next() {
    let (world, containerizer) = World::with_patience(WATCHDOG, Duration::from_secs(60));
    world.at("prepare a", Interference::Hang);
    let stuck = containerizer.launch(world.spec("stuck"));
    logged(&world, "prepare a", 1).await;
    // There is one turn in this world, and the first has it.
    assert!(containerizer.launch(world.spec("c")).await.is_ok());
    world.release();
    assert!(stuck.await.is_ok(), "slow is not failed");
}

#[tokio::test]
async fn an_isolator_that_hangs_is_not_asked_to_clean_up_before_it_came_back() {
    let (world, containerizer) = World::with_patience(WATCHDOG, TIMEOUT);
    world.at("prepare a", Interference::Hang);
    let error = containerizer.launch(world.spec("stuck")).await.unwrap_err();
    assert!(matches!(error, LaunchError::Isolator { .. }), "{error}");
    assert_eq!(world.log(), ["prepare a", "cleanup b"]);
    assert!(world.files("stuck").directory().exists(), "the next life of the agent cleans it up");
    world.release();
    logged(&world, "cleanup a", 1).await;
}

#[tokio::test]
async fn a_cleanup_that_hangs_does_not_keep_the_container_from_ending() {
    let (world, containerizer) = World::with_patience(WATCHDOG, TIMEOUT);
    containerizer.launch(world.spec("stuck")).await.unwrap();
    world.at("cleanup b", Interference::Hang);
    let outcome = containerizer.destroy(&ContainerId::new("stuck")).await;
    let Err(DestroyError::Cleanup { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "isolator 'b' has not come back from a call");
    assert_eq!(world.log().iter().filter(|l| *l == "cleanup a").count(), 1, "the others are asked");
    assert!(containerizer.containers().is_empty());
    world.release();
}

#[tokio::test]
async fn an_isolator_that_hangs_is_left_out_of_the_statistics() {
    let (world, containerizer) = World::with_patience(WATCHDOG, TIMEOUT);
    for id in ["stuck", "c"] {
        containerizer.launch(world.spec(id)).await.unwrap();
    }
    world.at("usage a", Interference::Hang);
    // Many more than there are threads for it.
    for _ in 0..40 {
        let usage = containerizer.usage(&ContainerId::new("stuck")).await.unwrap();
        assert_eq!((usage.processes, usage.threads), (None, Some(2)));
    }
    world.release();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while containerizer.usage(&ContainerId::new("c")).await.unwrap().processes.is_none() {
        assert!(std::time::Instant::now() < deadline, "it is asked again when it is well");
        tokio::task::yield_now().await;
    }
}
