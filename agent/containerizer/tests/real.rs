//! Real processes as any user: no namespaces, no cgroups.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod support;

use mezzo_containerizer::{Containerizer, ExitStatus, RecoveredContainer, Termination};
use mezzo_linux::launch::Namespaces;
use mezzo_model::ContainerId;
use mezzo_proto::v1::CommandInfo;

use support::{Scene, end, gone, process, run};

fn scene() -> Scene {
    Scene::new(Namespaces::NONE)
}

fn exited(code: i32) -> Termination {
    Termination { exit: Some(ExitStatus::Exited(code)), ..Termination::default() }
}

#[tokio::test]
async fn a_command_runs_in_its_sandbox_and_its_exit_is_told() {
    let scene = scene();
    let containerizer = scene.containerizer();
    let termination = run(&containerizer, scene.spec("c", "pwd; echo err >&2; exit 3")).await;
    assert_eq!(termination, exited(3));
    let sandbox = scene.dir.path().join("c").canonicalize().unwrap();
    assert_eq!(scene.text("c", "stdout").trim(), sandbox.to_str().unwrap());
    assert_eq!(scene.text("c", "stderr"), "err\n");
    assert!(!scene.is_recorded("c"));
}

#[tokio::test]
async fn the_agents_environment_is_not_inherited() {
    let scene = scene();
    run(&scene.containerizer(), scene.spec("c", "env | cut -d= -f1 | sort | tr '\\n' ' '")).await;
    let names = scene.text("c", "stdout");
    assert!(!names.contains("CARGO") && !names.contains("HOME"), "{names}");
    assert!(names.contains("PATH"));
}

#[tokio::test]
async fn a_program_that_is_not_there_ends_at_once_and_says_so() {
    let scene = scene();
    let mut spec = scene.spec("c", "");
    spec.config.command_info = CommandInfo {
        shell: Some(false),
        value: Some("/no/such/program".to_owned()),
        ..CommandInfo::default()
    };
    assert_eq!(run(&scene.containerizer(), spec).await, exited(127));
    assert!(scene.text("c", "stderr").contains("/no/such/program"));
}

#[tokio::test]
async fn destroy_ends_daemons_that_left_session_and_tree() {
    let scene = scene();
    let containerizer = scene.containerizer();
    let script = "trap '' TERM; (setsid sh -c 'echo $$ > daemon; exec sleep 600' &); \
                  sleep 600 & echo $! > child; echo $$ > self; while :; do sleep 600; done";
    containerizer.launch(scene.spec("c", script)).await.unwrap();
    let mut members = Vec::new();
    for name in ["daemon", "child", "self"] {
        members.push(process(&scene.line("c", name).await));
    }
    let id = ContainerId::new("c");
    let (first, second) = tokio::join!(containerizer.destroy(&id), containerizer.destroy(&id));
    assert_eq!(first.unwrap().unwrap().exit, Some(ExitStatus::Signaled(9)));
    assert!(second.unwrap().is_some());
    for member in members {
        gone(member).await;
    }
    assert!(!scene.is_recorded("c"));
}

#[tokio::test]
async fn what_a_finished_command_leaves_behind_is_killed() {
    let scene = scene();
    let containerizer = scene.containerizer();
    let script = "setsid sh -c 'echo $$ > daemon; while [ ! -e go ]; do sleep 0.01; done; \
                  echo seen > seen; exec sleep 600' & while [ ! -e go ]; do sleep 0.01; done";
    containerizer.launch(scene.spec("c", script)).await.unwrap();
    let daemon = process(&scene.line("c", "daemon").await);
    std::fs::write(scene.dir.path().join("c/go"), "").unwrap();
    assert_eq!(end(&containerizer, &ContainerId::new("c")).await, exited(0));
    gone(daemon).await;
}

#[tokio::test]
async fn many_launches_at_once_all_end() {
    let scene = scene();
    let containerizer = scene.containerizer();
    let launches = (0..40).map(|n| containerizer.launch(scene.spec(&n.to_string(), "exit 7")));
    for launched in futures_util::future::join_all(launches).await {
        launched.unwrap();
    }
    for n in 0..40 {
        assert_eq!(end(&containerizer, &ContainerId::new(&n.to_string())).await, exited(7));
    }
    assert!(containerizer.containers().is_empty());
}

/// Runs `life` as one life of an agent; whatever it holds is gone afterwards, as after a SIGKILL.
fn life<T>(life: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(life)
}

fn expected(scene: &Scene, id: &str) -> Vec<RecoveredContainer> {
    vec![RecoveredContainer {
        container_id: ContainerId::new(id),
        config: scene.spec(id, "").config,
    }]
}

#[test]
fn a_container_outlives_its_agent_and_is_taken_over() {
    let scene = scene();
    let script = "echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; exit 4";
    let launched =
        life(async { scene.containerizer().launch(scene.spec("c", script)).await.unwrap() });
    life(async {
        let containerizer = scene.containerizer();
        let recovery = containerizer.recover(expected(&scene, "c")).await.unwrap();
        assert_eq!(recovery.running, [ContainerId::new("c")]);
        let status = containerizer.status(&ContainerId::new("c")).await.unwrap();
        assert_eq!(status.executor_pid, Some(launched.pid));
        std::fs::write(scene.dir.path().join("c/go"), "").unwrap();
        assert_eq!(end(&containerizer, &ContainerId::new("c")).await, exited(4));
    });
}

#[test]
fn an_end_without_an_agent_is_told_to_the_next_one() {
    let scene = scene();
    let launched =
        life(async { scene.containerizer().launch(scene.spec("c", "exit 5")).await.unwrap() });
    life(async {
        gone(process(&launched.pid.to_string())).await;
        let containerizer = scene.containerizer();
        let recovery = containerizer.recover(expected(&scene, "c")).await.unwrap();
        assert_eq!(recovery.ended, [ContainerId::new("c")]);
        assert_eq!(end(&containerizer, &ContainerId::new("c")).await, exited(5));
        assert!(!scene.is_recorded("c"));
    });
}

#[test]
fn a_container_nobody_wants_any_more_is_destroyed() {
    let scene = scene();
    let id = ContainerId::new("c");
    let pid = life(async {
        scene
            .containerizer()
            .launch(scene.spec("c", "echo $$ > pid; exec sleep 600"))
            .await
            .unwrap();
        process(&scene.line("c", "pid").await)
    });
    life(async {
        let containerizer = scene.containerizer();
        assert_eq!(
            containerizer.recover(Vec::new()).await.unwrap().orphans,
            std::slice::from_ref(&id)
        );
        end(&containerizer, &id).await;
        gone(pid).await;
        assert!(!scene.is_recorded("c"));
    });
}
