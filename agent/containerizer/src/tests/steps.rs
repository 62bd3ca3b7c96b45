//! Launches that fail or are destroyed at every moment.

use mezzo_model::ContainerId;
use mezzo_proto::v1::TaskState;
use mezzo_proto::v1::task_status::Reason;

use super::world::{Interference, World};
use crate::{Containerizer, DestroyError, ExitStatus, LaunchError, Launched, Termination};

const MOMENTS: [&str; 10] = [
    "prepare a",
    "prepare b",
    "prelaunch h",
    "spawn",
    "watch a",
    "watch b",
    "isolate a",
    "isolate b",
    "go",
    "never",
];

fn id() -> ContainerId {
    ContainerId::new("c")
}

/// Whatever was begun has been ended, once, and nothing is left but the sandbox.
fn assert_undone(world: &World) {
    let log = world.log();
    let count = |what: &str| log.iter().filter(|line| *line == what).count();
    assert_eq!(count("cleanup a"), count("cleanup b"), "{log:?}");
    assert_eq!(count("cleanup a"), count("prepare a"), "{log:?}");
    let position = |what: &str| log.iter().position(|line| line == what);
    assert!(
        position("cleanup b") < position("cleanup a") || count("cleanup a") == 0,
        "in reverse: {log:?}"
    );
    for kill in ["kill", "launcher dropped"] {
        assert!(
            count(kill) <= 1 && position(kill) < position("cleanup b"),
            "killed before it is cleaned up: {log:?}"
        );
    }
    if world.specs.lock().unwrap().len() == 1
        && count("go") == 0
        && log.last().is_some_and(|l| l != "spawn")
    {
        assert!(count("launcher dropped") == 1 || count("spawn") == 1, "{log:?}");
    }
    assert!(!world.files("c").directory().exists(), "the runtime directory is gone");
}

#[tokio::test]
async fn a_launch_does_all_steps_in_order_and_its_end_undoes_them() {
    let (world, containerizer) = World::begin();
    assert_eq!(containerizer.launch(world.spec("c")).await.unwrap(), Launched { pid: 4711 });
    let mut log = world.log();
    // These two run in parallel.
    log[6..8].sort();
    assert_eq!(
        log,
        [
            "prepare a",
            "prepare b",
            "prelaunch h",
            "spawn",
            "watch a",
            "watch b",
            "isolate a",
            "isolate b",
            "post-fetch h",
            "go"
        ]
    );
    assert_eq!(containerizer.containers(), [id()]);
    assert_eq!(std::fs::read_to_string(world.dir.join("meta/c/forked.pid")).unwrap(), "4711\n");
    assert_eq!(std::fs::read_to_string(world.files("c").pid()).unwrap(), "4711 1\n");

    let end = containerizer.wait(&id());
    world.process().end(ExitStatus::Exited(3));
    assert_eq!(
        end.await,
        Some(Termination { exit: Some(ExitStatus::Exited(3)), ..Termination::default() })
    );
    assert_eq!(world.log()[10..], ["cleanup b", "cleanup a"]);
    assert_undone(&world);
    assert!(containerizer.containers().is_empty());
    let late = containerizer.wait(&id()).await;
    assert_eq!(
        late.unwrap().exit,
        Some(ExitStatus::Exited(3)),
        "a wait that comes late is answered"
    );
}

#[tokio::test]
async fn a_failure_at_any_step_undoes_what_was_done() {
    for moment in MOMENTS {
        let (world, containerizer) = World::begin();
        world.at(moment, Interference::Fail);
        let outcome = containerizer.launch(world.spec("c")).await;
        // An isolator's watch cannot fail, and the last moment never comes.
        if moment.starts_with("watch") || moment == "never" {
            outcome.unwrap();
            containerizer.destroy(&id()).await.unwrap();
        } else {
            let message = outcome.unwrap_err().task_message();
            assert!(message.starts_with("Failed to launch container: "), "{message}");
            assert!(
                moment == "spawn" || moment == "go" || message.contains(&format!("{moment} fails")),
                "{message}"
            );
            assert_eq!(containerizer.wait(&id()).await, None, "unknown after {moment}");
            assert!(world.processes.lock().unwrap().is_empty(), "nothing has run after {moment}");
        }
        assert_undone(&world);
        *world.interfere.lock().unwrap() = None;
        containerizer.launch(world.spec("d")).await.unwrap();
    }
}

#[tokio::test]
async fn a_destroy_at_any_step_undoes_what_was_done() {
    for moment in MOMENTS {
        let (world, containerizer) = World::begin();
        world.at(moment, Interference::Destroy);
        match containerizer.launch(world.spec("c")).await {
            Err(LaunchError::Destroyed(_)) => {
                assert!(moment != "go" && moment != "never", "{moment}")
            }
            // When the command runs already, it was launched and has ended.
            Ok(_) => {
                assert!(moment == "go" || moment == "never", "{moment}");
                containerizer.destroy(&id()).await.unwrap();
            }
            Err(other) => panic!("{moment}: {other}"),
        }
        assert_undone(&world);
    }
}

#[tokio::test]
async fn a_hook_that_fails_after_the_fetch_is_passed_over() {
    let (world, containerizer) = World::begin();
    world.at("post-fetch h", Interference::Fail);
    containerizer.launch(world.spec("c")).await.unwrap();
    assert_eq!(world.log().last().map(String::as_str), Some("go"));
}

#[tokio::test]
async fn all_who_destroy_a_container_get_the_same_answer() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    let (wait, first, second) =
        (containerizer.wait(&id()), containerizer.destroy(&id()), containerizer.destroy(&id()));
    let (wait, first, second) = tokio::join!(wait, first, second);
    assert_eq!(wait.as_ref().unwrap().exit, Some(ExitStatus::Signaled(9)));
    assert_eq!(wait, first.unwrap());
    assert_eq!(wait, second.unwrap());
    assert_eq!(containerizer.destroy(&id()).await.unwrap(), wait, "also afterwards");
    assert_eq!(world.log().iter().filter(|l| *l == "kill").count(), 1);
    assert_undone(&world);
    assert_eq!(containerizer.destroy(&ContainerId::new("unknown")).await.unwrap(), None);
}

#[tokio::test]
async fn an_id_is_used_once() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    assert!(matches!(containerizer.launch(world.spec("c")).await, Err(LaunchError::Exists(_))));
    let mut nested = world.spec("c");
    nested.container_id = id().child("d");
    assert!(matches!(containerizer.launch(nested).await, Err(LaunchError::InvalidId(_))));
    let mut outside = world.spec("c");
    outside.container_id = ContainerId::new("../c");
    assert!(matches!(containerizer.launch(outside).await, Err(LaunchError::InvalidId(_))));
}

#[tokio::test]
async fn dropping_the_future_does_not_stop_the_launch() {
    let (world, containerizer) = World::begin();
    drop(containerizer.launch(world.spec("c")));
    let wait = containerizer.wait(&id());
    let end = async {
        // The process exists once the launch has come that far.
        while world.processes.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        world.process().end(ExitStatus::Exited(0));
    };
    let (termination, ()) = tokio::join!(wait, end);
    assert_eq!(termination.unwrap().exit, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn an_unknown_user_and_a_sandbox_that_cannot_be_made_are_named() {
    let (world, containerizer) = World::begin();
    let mut spec = world.spec("c");
    spec.config.user = Some("no-such-user".to_owned());
    let error = containerizer.launch(spec).await.unwrap_err();
    assert_eq!(
        error.task_message(),
        "Failed to launch container: user 'no-such-user' does not exist on this agent"
    );

    let mut spec = world.spec("c");
    std::fs::write(world.dir.join("file"), "").unwrap();
    spec.config.directory = world.dir.join("file/x").display().to_string();
    let message = containerizer.launch(spec).await.unwrap_err().task_message();
    assert!(
        message.contains("cannot create the directories above") && message.contains("file/x"),
        "{message}"
    );

    let mut spec = world.spec("c");
    spec.forked_pid = Some(world.dir.join("file/x/forked.pid"));
    let error = containerizer.launch(spec).await.unwrap_err();
    assert!(
        matches!(&error, LaunchError::Checkpoint { path, .. } if path.ends_with("file/x/forked.pid")),
        "{error}"
    );
    assert_undone(&world);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_killed_is_reported_and_tried_again() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    *world.immortal.lock().unwrap() = true;
    let error = containerizer.destroy(&id()).await.unwrap_err();
    assert!(
        matches!(&error, DestroyError::Stuck { .. }) && error.to_string().contains("4711"),
        "{error}"
    );
    assert!(
        !world.log().iter().any(|l| l.starts_with("cleanup")),
        "its isolators keep what it uses"
    );
    assert_eq!(containerizer.containers(), [id()]);

    *world.immortal.lock().unwrap() = false;
    assert!(containerizer.destroy(&id()).await.unwrap().is_some());
    assert!(world.log().ends_with(&["cleanup b".to_owned(), "cleanup a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn isolators_that_cannot_clean_up_do_not_keep_the_others_from_it() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    world.at("cleanup b", Interference::Fail);
    let error = containerizer.destroy(&id()).await.unwrap_err();
    assert!(
        matches!(&error, DestroyError::Cleanup { .. })
            && error.to_string().contains("isolator 'b': cleanup b fails"),
        "{error}"
    );
    assert_eq!(
        world.log().iter().filter(|l| *l == "cleanup a").count(),
        4,
        "tried again, all of them"
    );
    assert!(world.files("c").directory().exists(), "so that a restarted agent finds it");
    assert!(containerizer.wait(&id()).await.is_some());
}

#[tokio::test]
async fn the_reason_of_a_failed_launch_reaches_those_who_wait() {
    let (world, containerizer) = World::begin();
    world.at("isolate a", Interference::Fail);
    let launch = containerizer.launch(world.spec("c"));
    let wait = containerizer.wait(&id());
    assert!(launch.await.is_err());
    let termination = wait.await.unwrap();
    assert_eq!(
        (termination.state, termination.reason),
        (Some(TaskState::TaskFailed), Some(Reason::ContainerLaunchFailed))
    );
    assert!(termination.message.unwrap().contains("isolate a fails"));
}
