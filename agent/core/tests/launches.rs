//! Tasks come in: what is started, what is queued, what is dropped.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod scene;

use std::time::Duration;

use mezzo_agent_core::{Command, Effect, Settings};
use mezzo_proto::v1::executor::event::Type as Event;
use mezzo_proto::v1::link::from_agent::Message;
use mezzo_proto::v1::task_status::{Reason, Source};
use mezzo_proto::v1::{self, TaskState, value};
use scene::{
    Scene, checkpoints, command_task, custom_task, destroyed, events, executor_info, journal,
    kinds, launch, launched, sent, settings, states, status, to_master,
};

fn amount(resources: &[v1::Resource], name: &str) -> f64 {
    resources
        .iter()
        .filter(|r| r.name == name)
        .filter_map(|r| r.scalar.as_ref())
        .map(|s| s.value)
        .sum()
}

#[test]
fn a_command_task_gets_an_executor_of_its_own_with_a_little_more_than_it_asked_for() {
    let mut scene = Scene::registered();
    let launch = launch(&scene.run(command_task("t1")));

    let executor = launch.config.executor_info.unwrap();
    assert_eq!(executor.executor_id.value, "t1");
    assert_eq!(
        executor.name.as_deref(),
        Some("Command Executor (Task: t1) (Command: sh -c 'sleep 1')")
    );
    assert_eq!(executor.command.unwrap().value.as_deref(), Some("/opt/mezzo-executor"));
    assert_eq!(executor.shutdown_grace_period.unwrap().nanoseconds, 5_000_000_000);
    assert_eq!(amount(&launch.config.resources, "cpus"), 1.1);
    assert_eq!(amount(&launch.config.resources, "mem"), 96.0);
    assert_eq!(launch.config.task_info.unwrap().task_id.value, "t1");
    let directory =
        format!("/work/agents/m-S1/frameworks/m-0001/executors/t1/runs/{}", launch.container);
    assert_eq!(launch.config.directory, directory);
}

#[test]
fn an_executor_finds_everything_it_needs_in_its_environment() {
    let mut scene = Scene::registered();
    let launch = launch(&scene.run(command_task("t1")));
    let get = |name: &str| {
        launch
            .environment
            .variables
            .iter()
            .find(|v| v.name == name)
            .and_then(|v| v.value.clone())
            .unwrap_or_default()
    };
    assert_eq!(get("MESOS_AGENT_ENDPOINT"), "127.0.0.1:5051");
    assert_eq!(get("MESOS_FRAMEWORK_ID"), "m-0001");
    assert_eq!(get("MESOS_EXECUTOR_ID"), "t1");
    assert_eq!(get("MESOS_DIRECTORY"), launch.config.directory);
    assert_eq!(get("MESOS_SANDBOX"), launch.config.directory);
    assert_eq!(get("MESOS_SLAVE_ID"), "m-S1");
    assert_eq!(get("MESOS_CHECKPOINT"), "1");
    assert_eq!(get("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"), "5secs");
    assert_eq!(get("MESOS_RECOVERY_TIMEOUT"), "15mins");
    assert_eq!(get("MESOS_SUBSCRIPTION_BACKOFF_MAX"), "2secs");
}

#[test]
fn the_journal_of_a_run_is_begun_before_its_container_is_launched() {
    let mut scene = Scene::registered();
    let effects = scene.run(custom_task("t1", "e1"));
    let launch = effects.iter().position(|e| matches!(e, Effect::Launch(_))).unwrap();
    let last_record = effects.iter().rposition(|e| matches!(e, Effect::Checkpoint(_))).unwrap();
    assert!(last_record < launch);
    assert_eq!(journal(&effects).len(), 2);
}

#[test]
fn nothing_is_written_for_a_framework_that_does_not_checkpoint() {
    let mut scene = Scene::registered();
    scene.framework.checkpoint = Some(false);
    let effects = scene.run(command_task("t1"));
    assert!(checkpoints(&effects).is_empty());
    assert!(!launch(&effects).checkpoint);
}

#[test]
fn a_task_is_delivered_when_its_executor_subscribes_without_touching_the_container() {
    let mut scene = Scene::registered();
    scene.run(command_task("t1"));
    let effects = scene.subscribe(1, "t1");
    assert_eq!(kinds(&effects), [Event::Subscribed, Event::Launch]);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Update { .. })));
    let subscribed = events(&effects)[0].2.subscribed.clone().unwrap();
    assert_eq!(subscribed.executor_info.executor_id.value, "t1");
    assert_eq!(subscribed.framework_info.id.unwrap().value, "m-0001");
}

#[test]
fn tasks_that_come_before_the_executor_subscribes_are_queued_in_order() {
    let mut scene = Scene::registered();
    scene.run(custom_task("t1", "e1"));
    scene.launch_executor = false;
    assert!(events(&scene.run(custom_task("t2", "e1"))).is_empty());
    let effects = scene.subscribe(1, "e1");
    // The container started with room for the first task only.
    assert_eq!(kinds(&effects), [Event::Subscribed]);
    let effects = scene.changed(&effects);
    let tasks: Vec<String> = events(&effects)
        .into_iter()
        .filter_map(|(_, _, e)| e.launch)
        .map(|l| l.task.task_id.value)
        .collect();
    assert_eq!(tasks, ["t1", "t2"]);
}

#[test]
fn a_task_for_a_running_executor_waits_until_the_container_has_room() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    scene.launch_executor = false;
    let effects = scene.run(custom_task("t2", "e1"));
    assert!(events(&effects).is_empty());
    let Some(Effect::Update { requests, .. }) =
        effects.iter().find(|e| matches!(e, Effect::Update { .. }))
    else {
        panic!("no change was asked for");
    };
    assert_eq!(amount(requests, "cpus"), 2.5);
    assert_eq!(kinds(&scene.changed(&effects)), [Event::Launch]);
}

#[test]
fn tasks_that_come_while_a_container_is_being_changed_share_the_next_change() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    scene.launch_executor = false;
    let first = scene.run(custom_task("t2", "e1"));
    for task in ["t3", "t4", "t5"] {
        let effects = scene.run(custom_task(task, "e1"));
        assert!(!effects.iter().any(|e| matches!(e, Effect::Update { .. })));
    }
    let second = scene.changed(&first);
    assert_eq!(kinds(&second), [Event::Launch]);
    assert_eq!(kinds(&scene.changed(&second)), [Event::Launch, Event::Launch, Event::Launch]);
}

#[test]
fn when_a_container_cannot_make_room_it_is_destroyed_and_its_tasks_say_why() {
    let mut scene = Scene::registered();
    let container = scene.running_custom_task("t1", "e1", 1);
    scene.launch_executor = false;
    let effects = scene.run(custom_task("t2", "e1"));
    let Some(Effect::Update { token, .. }) =
        effects.iter().find(|e| matches!(e, Effect::Update { .. }))
    else {
        panic!("no change was asked for");
    };
    let result = Err("no such cgroup".to_owned());
    let effects = scene.say(Command::ContainerUpdated {
        container: container.clone(),
        token: *token,
        result,
    });
    assert_eq!(destroyed(&effects), std::slice::from_ref(&container));
    let effects = scene.ended(&container, mezzo_agent_core::Termination::default());
    let reason = Some(Reason::ContainerUpdateFailed);
    let expected = [
        ("t1".to_owned(), TaskState::TaskGone, reason),
        ("t2".to_owned(), TaskState::TaskGone, reason),
    ];
    assert_eq!(states(&effects), expected);
}

#[test]
fn a_group_is_delivered_as_one() {
    let mut scene = Scene::registered();
    scene.run_group("e1", vec![command_task("a"), command_task("b")]);
    let effects = scene.subscribe(1, "e1");
    assert_eq!(kinds(&effects), [Event::Subscribed, Event::LaunchGroup]);
    let group = events(&effects)[1].2.launch_group.clone().unwrap();
    assert_eq!(group.task_group.tasks.len(), 2);
}

#[test]
fn limits_of_tasks_add_up_with_the_requests_of_the_rest() {
    let mut scene = Scene::registered();
    let mut task = custom_task("t1", "e1");
    task.limits.insert("cpus".to_owned(), value::Scalar { value: 3.0 });
    task.limits.insert("mem".to_owned(), value::Scalar { value: f64::INFINITY });
    let limits = launch(&scene.run(task)).config.limits;
    assert_eq!(limits["cpus"].value, 3.5);
    assert_eq!(limits["mem"].value, f64::INFINITY);
}

#[test]
fn without_limits_of_tasks_there_are_none() {
    let mut scene = Scene::registered();
    assert!(launch(&scene.run(command_task("t1"))).config.limits.is_empty());
}

#[test]
fn a_command_task_whose_id_is_that_of_an_executor_is_dropped() {
    let mut scene = Scene::registered();
    scene.running_custom_task("other", "t1", 1);
    let effects = scene.run(command_task("t1"));
    assert_eq!(
        states(&effects),
        [("t1".to_owned(), TaskState::TaskDropped, Some(Reason::TaskInvalid))]
    );
    assert_eq!(sent(&effects)[0].status.source(), Source::Agent);
}

#[test]
fn a_framework_that_does_not_know_partitions_hears_lost_instead_of_dropped() {
    let mut scene = Scene::registered();
    scene.framework.capabilities.clear();
    scene.launch_executor = false;
    let effects = scene.run(custom_task("t1", "e1"));
    assert_eq!(
        states(&effects),
        [("t1".to_owned(), TaskState::TaskLost, Some(Reason::ExecutorTerminated))]
    );
}

#[test]
fn a_task_for_an_executor_that_is_not_there_is_dropped() {
    let mut scene = Scene::registered();
    scene.launch_executor = false;
    let effects = scene.run(custom_task("t1", "e1"));
    assert_eq!(
        states(&effects),
        [("t1".to_owned(), TaskState::TaskDropped, Some(Reason::ExecutorTerminated))]
    );
    assert!(!effects.iter().any(|e| matches!(e, Effect::Launch(_))));
}

#[test]
fn an_executor_the_master_does_not_know_of_is_shut_down() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    let effects = scene.run(custom_task("t2", "e1"));
    assert_eq!(
        states(&effects),
        [("t2".to_owned(), TaskState::TaskDropped, Some(Reason::ExecutorTerminated))]
    );
    assert_eq!(kinds(&effects), [Event::Shutdown]);
}

#[test]
fn a_task_for_an_executor_that_is_ending_is_dropped() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    scene.master(v1::link::from_master::Message::ShutdownExecutor(v1::link::ShutdownExecutor {
        framework_id: scene::framework_id(),
        executor_id: v1::ExecutorId { value: "e1".to_owned() },
    }));
    scene.launch_executor = false;
    let effects = scene.run(custom_task("t2", "e1"));
    assert_eq!(
        states(&effects),
        [("t2".to_owned(), TaskState::TaskDropped, Some(Reason::ExecutorTerminated))]
    );
}

#[test]
fn the_master_hears_that_an_executor_did_not_start_when_its_launch_failed() {
    let mut scene = Scene::registered();
    let container = launched(&scene.run(custom_task("t1", "e1")));
    let effects = scene.say(Command::ContainerLaunched {
        container,
        result: Err("Failed to launch container: no".to_owned()),
    });
    let expected = ("t1".to_owned(), TaskState::TaskFailed, Some(Reason::ContainerLaunchFailed));
    assert_eq!(states(&effects), [expected]);
    assert!(to_master(&effects).iter().any(|m| matches!(m, Message::ExecutorExited(_))));
    assert_eq!(sent(&effects)[0].status.message.as_deref(), Some("Failed to launch container: no"));
}

#[test]
fn an_executor_that_does_not_register_in_time_is_destroyed_and_its_task_failed() {
    let mut scene = Scene::registered();
    let container = launched(&scene.run(command_task("t1")));
    scene.say(Command::ContainerLaunched { container: container.clone(), result: Ok(()) });
    assert!(scene.pass(Duration::from_secs(59)).is_empty());
    assert_eq!(destroyed(&scene.pass(Duration::from_secs(1))), std::slice::from_ref(&container));
    let effects = scene.ended(&container, mezzo_agent_core::Termination::default());
    let expected =
        ("t1".to_owned(), TaskState::TaskFailed, Some(Reason::ExecutorRegistrationTimeout));
    assert_eq!(states(&effects), [expected]);
}

#[test]
fn an_executor_that_dies_before_it_registers_fails_its_task() {
    let mut scene = Scene::registered();
    let container = launched(&scene.run(command_task("t1")));
    let effects = scene.ended(&container, mezzo_agent_core::Termination::default());
    let expected = ("t1".to_owned(), TaskState::TaskFailed, Some(Reason::ExecutorTerminated));
    assert_eq!(states(&effects), [expected]);
    assert_eq!(
        scene.agent.next_deadline(),
        Some(scene.at + Duration::from_secs(10)),
        "only the retry is left"
    );
}

#[test]
fn a_task_that_is_here_already_is_not_launched_again() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    let effects = scene.run(command_task("t1"));
    assert!(matches!(effects.as_slice(), [Effect::Note(_)]), "{effects:?}");
}

#[test]
fn a_task_for_another_agent_is_not_launched() {
    let mut scene = Scene::registered();
    let mut task = command_task("t1");
    task.agent_id.value = "m-S2".to_owned();
    let effects = scene.run(task);
    assert!(matches!(effects.as_slice(), [Effect::Note(_)]), "{effects:?}");
}

#[test]
fn ids_that_would_leave_the_work_directory_are_not_launched() {
    let mut scene = Scene::registered();
    for task in [command_task("../../etc"), command_task(""), custom_task("t1", "..")] {
        let effects = scene.run(task);
        assert!(matches!(effects.as_slice(), [Effect::Note(_)]), "{effects:?}");
    }
}

#[test]
fn hooks_see_a_task_before_it_is_launched_and_may_change_its_labels() {
    let mut scene = Scene::with(Settings { decorate_tasks: true, ..settings() });
    let effects = scene.run(command_task("t1"));
    let Some(Effect::DecorateTasks { token, .. }) =
        effects.iter().find(|e| matches!(e, Effect::DecorateTasks { .. }))
    else {
        panic!("no hook was asked: {effects:?}");
    };
    assert!(!effects.iter().any(|e| matches!(e, Effect::Launch(_))));
    assert_eq!(scene.agent.get_tasks().pending_tasks.len(), 1);
    let labels = v1::Labels { labels: vec![v1::Label { key: "k".to_owned(), value: None }] };
    let labels = [("t1".to_owned(), labels.clone())].into();
    let effects = scene.say(Command::TasksDecorated { token: *token, labels });
    assert_eq!(launch(&effects).config.task_info.unwrap().labels.unwrap().labels[0].key, "k");
}

#[test]
fn delivery_waits_for_an_executor_whose_connection_broke() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    scene.update(1, "e1", status("t1", TaskState::TaskRunning, 1));
    scene.say(Command::ExecutorLeft { session: 1 });
    scene.launch_executor = false;
    let effects = scene.run(custom_task("t2", "e1"));
    assert!(events(&scene.changed(&effects)).is_empty());
    assert_eq!(kinds(&scene.subscribe(2, "e1")), [Event::Subscribed, Event::Launch]);
}

#[test]
fn an_unknown_executor_is_refused() {
    let mut scene = Scene::registered();
    let effects = scene.subscribe(9, "nobody");
    assert!(
        matches!(effects.as_slice(), [Effect::CloseExecutor { session: 9, refusal: Some(_) }]),
        "{effects:?}"
    );
    scene.running_custom_task("t1", "e1", 1);
    let effects = scene.subscribe(9, "nobody");
    assert!(
        matches!(effects.as_slice(), [Effect::CloseExecutor { session: 9, refusal: Some(_) }]),
        "{effects:?}"
    );
}

#[test]
fn an_executor_that_subscribes_again_replaces_its_old_connection() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    let effects = scene.subscribe(2, "e1");
    assert!(
        effects.iter().any(|e| matches!(e, Effect::CloseExecutor { session: 1, refusal: None }))
    );
    // What the old one still says does not count, and its end is not that of the new one.
    assert!(scene.update(1, "e1", status("t1", TaskState::TaskRunning, 1)).is_empty());
    scene.say(Command::ExecutorLeft { session: 1 });
    assert_eq!(
        sent(&scene.update(2, "e1", status("t1", TaskState::TaskRunning, 2))).len(),
        0,
        "the task was lost"
    );
}

#[test]
fn a_custom_executor_keeps_its_grace_and_its_name() {
    let mut scene = Scene::registered();
    let mut task = custom_task("t1", "e1");
    let grace = v1::DurationInfo { nanoseconds: 7_000_000_000 };
    task.executor =
        Some(v1::ExecutorInfo { shutdown_grace_period: Some(grace), ..executor_info("e1") });
    let container = launched(&scene.run(task));
    scene.subscribe(1, "e1");
    scene.shut_down_framework();
    assert!(destroyed(&scene.pass(Duration::from_secs(6))).is_empty());
    assert_eq!(destroyed(&scene.pass(Duration::from_secs(1))), [container]);
}
