//! Tasks, executors and frameworks are told to end.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod scene;

use std::time::Duration;

use mezzo_agent_core::{Command, Effect, Settings, Termination};
use mezzo_proto::v1::TaskState;
use mezzo_proto::v1::executor::event::Type as Event;
use mezzo_proto::v1::link::from_agent::Message;
use mezzo_proto::v1::task_status::Reason;
use scene::{
    Scene, checkpoints, command_task, custom_task, destroyed, events, kinds, launched, sent,
    settings, states, status, to_master, uuid,
};

const DURING_LAUNCH: Option<Reason> = Some(Reason::TaskKilledDuringLaunch);

fn killed(task: &str) -> (String, TaskState, Option<Reason>) {
    (task.to_owned(), TaskState::TaskKilled, DURING_LAUNCH)
}

#[test]
fn a_kill_goes_to_the_executor_that_has_the_task() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    let effects = scene.kill("t1");
    assert_eq!(kinds(&effects), [Event::Kill]);
    assert!(sent(&effects).is_empty());
}

#[test]
fn a_queued_task_is_killed_at_once_and_its_executor_ends_when_it_subscribes() {
    let mut scene = Scene::registered();
    scene.run(command_task("t1"));
    assert_eq!(states(&scene.kill("t1")), [killed("t1")]);
    let effects = scene.subscribe(1, "t1");
    assert_eq!(kinds(&effects), [Event::Subscribed, Event::Shutdown]);
}

#[test]
fn a_killed_task_is_not_delivered_while_the_hooks_look_at_its_end() {
    let mut scene = Scene::with(Settings { decorate_statuses: true, ..settings() });
    scene.run(command_task("t1"));
    scene.kill("t1");
    let effects = scene.subscribe(1, "t1");
    assert_eq!(kinds(&effects), [Event::Subscribed, Event::Shutdown]);
    // The same with an executor that is there and has nothing else.
    scene.run(custom_task("t2", "e1"));
    scene.subscribe(2, "e1");
    scene.launch_executor = false;
    let change = scene.run(custom_task("t3", "e1"));
    scene.kill("t3");
    assert!(kinds(&scene.changed(&change)).is_empty());
}

#[test]
fn the_end_of_an_executor_says_nothing_more_about_a_task_that_was_killed_before() {
    let mut scene = Scene::registered();
    let container = launched(&scene.run(command_task("t1")));
    scene.kill("t1");
    assert!(sent(&scene.ended(&container, Termination::default())).is_empty());
}

#[test]
fn a_queued_group_dies_with_any_of_its_tasks() {
    let mut scene = Scene::registered();
    scene.run_group("e1", vec![command_task("a"), command_task("b")]);
    assert_eq!(states(&scene.kill("b")), [killed("a"), killed("b")]);
}

#[test]
fn a_queued_task_dies_alone_when_it_is_in_no_group() {
    let mut scene = Scene::registered();
    scene.run(custom_task("t1", "e1"));
    scene.launch_executor = false;
    scene.run(custom_task("t2", "e1"));
    assert_eq!(states(&scene.kill("t2")), [killed("t2")]);
    let effects = scene.subscribe(1, "e1");
    let effects = scene.changed(&effects);
    assert_eq!(events(&effects)[0].2.launch.clone().unwrap().task.task_id.value, "t1");
}

#[test]
fn a_task_that_waits_for_the_hooks_is_killed_and_never_launched() {
    let mut scene = Scene::with(Settings { decorate_tasks: true, ..settings() });
    let effects = scene.run(custom_task("t1", "e1"));
    let Some(Effect::DecorateTasks { token, .. }) =
        effects.iter().find(|e| matches!(e, Effect::DecorateTasks { .. }))
    else {
        panic!("no hook was asked");
    };
    let effects = scene.kill("t1");
    assert_eq!(states(&effects), [killed("t1")]);
    assert!(to_master(&effects).iter().any(|m| matches!(m, Message::ExecutorExited(_))));
    let effects = scene.say(Command::TasksDecorated { token: *token, labels: [].into() });
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn a_task_the_agent_does_not_have_is_reported_dropped_if_it_knows_the_framework() {
    let mut scene = Scene::registered();
    assert!(sent(&scene.kill("t9")).is_empty());
    scene.running_command_task("t1", 1);
    let effects = scene.kill("t9");
    assert_eq!(
        states(&effects),
        [("t9".to_owned(), TaskState::TaskDropped, Some(Reason::ExecutorTerminated))]
    );
}

#[test]
fn a_kill_for_an_executor_without_connection_is_told_when_it_is_back() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", TaskState::TaskRunning, 1));
    scene.say(Command::ExecutorLeft { session: 1 });
    assert!(events(&scene.kill("t1")).is_empty());
    assert_eq!(kinds(&scene.subscribe(2, "t1")), [Event::Subscribed, Event::Kill]);
}

#[test]
fn a_kill_of_a_task_that_is_over_does_nothing() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", TaskState::TaskFinished, 1));
    assert!(scene.kill("t1").is_empty());
}

#[test]
fn an_executor_that_was_told_to_end_is_destroyed_after_its_grace() {
    let mut scene = Scene::registered();
    let container = scene.running_custom_task("t1", "e1", 1);
    let effects = scene.shut_down_framework();
    assert_eq!(kinds(&effects), [Event::Shutdown]);
    assert!(destroyed(&scene.pass(Duration::from_millis(4999))).is_empty());
    assert_eq!(destroyed(&scene.pass(Duration::from_millis(1))), [container]);
}

#[test]
fn a_framework_that_is_shut_down_hears_nothing_more_and_leaves_nothing_behind() {
    let mut scene = Scene::registered();
    let container = scene.running_custom_task("t1", "e1", 1);
    scene.update(1, "e1", status("t1", TaskState::TaskRunning, 1));
    scene.shut_down_framework();
    assert!(sent(&scene.update(1, "e1", status("t1", TaskState::TaskKilled, 2))).is_empty());
    let effects = scene.ended(&container, Termination::default());
    assert!(sent(&effects).is_empty());
    let kinds: Vec<String> = checkpoints(&effects).iter().map(|c| format!("{c:?}")).collect();
    assert!(kinds.iter().any(|k| k.starts_with("RemoveRun")), "{kinds:?}");
    assert!(kinds.iter().any(|k| k.starts_with("RemoveFramework")), "{kinds:?}");
    assert!(scene.agent.get_frameworks().frameworks.is_empty());
    assert_eq!(scene.agent.get_frameworks().completed_frameworks.len(), 1);
    assert_eq!(scene.agent.next_deadline(), None);
}

#[test]
fn tasks_for_a_framework_that_is_ending_are_dropped() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    scene.shut_down_framework();
    let effects = scene.run(command_task("t2"));
    assert!(matches!(effects.as_slice(), [Effect::Note(_)]), "{effects:?}");
}

#[test]
fn an_executor_that_only_waits_for_acknowledgements_goes_with_its_framework() {
    let mut scene = Scene::registered();
    let container = scene.running_command_task("t1", 1);
    scene.ended(&container, Termination::default());
    assert_eq!(scene.agent.get_tasks().terminated_tasks.len(), 1);
    scene.shut_down_framework();
    assert!(scene.agent.get_frameworks().frameworks.is_empty());
    assert!(scene.acknowledge("t1", &uuid(1)).iter().all(|e| matches!(e, Effect::Note(_))));
}

#[test]
fn an_agent_that_is_told_to_stop_ends_its_executors_and_then_itself() {
    let mut scene = Scene::registered();
    let container = scene.running_custom_task("t1", "e1", 1);
    let effects = scene.say(Command::Leave { unregister: true });
    assert!(to_master(&effects).iter().any(|m| matches!(m, Message::Unregister(_))));
    assert_eq!(kinds(&effects), [Event::Shutdown]);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Exit { .. })));
    let effects = scene.ended(&container, Termination::default());
    assert!(effects.iter().any(|e| matches!(e, Effect::Exit { failure: false, .. })));
}

#[test]
fn an_idle_agent_that_is_told_to_stop_stops_at_once() {
    let mut scene = Scene::registered();
    let effects = scene.say(Command::Leave { unregister: false });
    assert!(matches!(effects.as_slice(), [Effect::Exit { failure: false, .. }]), "{effects:?}");
}
