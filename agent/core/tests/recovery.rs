//! Masters come and go, and so does the agent itself.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod scene;

use std::time::Duration;

use mezzo_agent_core::{
    Checkpoint, Command, Effect, ExecutorCall, Phase, Recovered, RecoveredFramework, RecoveredRun,
    Settings, Termination,
};
use mezzo_model::{AgentId, ContainerId, ExecutorId};
use mezzo_proto::state::v1::RunRecord;
use mezzo_proto::v1::executor::call;
use mezzo_proto::v1::executor::event::Type as Event;
use mezzo_proto::v1::link::from_agent::Message;
use mezzo_proto::v1::link::{ReconcileTask, Reregister};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{self, TaskState};
use scene::{
    AGENT, Scene, checkpoints, command_task, custom_task, destroyed, journal, kinds, sent, states,
    status, to_master, uuid,
};

const RUNNING: TaskState = TaskState::TaskRunning;

/// Runs a scene, kills the agent and gives what it left on disk.
fn left_behind(
    play: impl FnOnce(&mut Scene) -> (ExecutorId, ContainerId, Vec<Effect>),
) -> Recovered {
    let mut scene = Scene::registered();
    let (executor, container, effects) = play(&mut scene);
    let run = RecoveredRun { executor, container, records: journal(&effects) };
    let framework = RecoveredFramework { info: scene.framework, runs: vec![run] };
    Recovered { id: Some(AgentId::new(AGENT)), frameworks: vec![framework], ..Recovered::default() }
}

/// A command task that runs, its RUNNING not acknowledged.
fn with_running_task() -> Recovered {
    left_behind(|scene| {
        let mut all = scene.run(command_task("t1"));
        let container = scene::launched(&all);
        all.extend(scene.subscribe(1, "t1"));
        all.extend(scene.update(1, "t1", status("t1", RUNNING, 1)));
        (ExecutorId::new("t1"), container, all)
    })
}

fn reregister(effects: &[Effect]) -> Reregister {
    match to_master(effects).remove(0) {
        Message::Reregister(message) => message,
        other => panic!("not a re-registration: {other:?}"),
    }
}

#[test]
fn a_new_agent_asks_for_an_id_and_writes_it_down() {
    let mut scene = Scene::unborn(scene::settings());
    scene.say(Command::Recovered(Box::default()));
    let effects = scene.say(Command::ContainersRecovered);
    assert!(effects.iter().any(|e| matches!(e, Effect::ConnectMaster)));
    let effects = scene.say(Command::LinkUp);
    assert!(matches!(to_master(&effects).as_slice(), [Message::Register(_)]));
    let effects = scene.registered_with(Vec::new());
    assert!(
        matches!(checkpoints(&effects).as_slice(), [Checkpoint::Agent(info)] if info.id.as_ref().unwrap().value == AGENT)
    );
    assert_eq!(scene.agent.phase(), Phase::Running);
}

#[test]
fn an_agent_that_is_called_by_another_id_stops() {
    let (mut scene, _) =
        Scene::recovering(Recovered { id: Some(AgentId::new("m-S7")), ..Recovered::default() });
    scene.say(Command::ContainersRecovered);
    scene.say(Command::LinkUp);
    let effects = scene.registered_with(Vec::new());
    assert!(matches!(effects.as_slice(), [Effect::Exit { failure: true, .. }]), "{effects:?}");
}

#[test]
fn an_agent_tells_a_new_master_everything_it_has() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    scene.update(1, "e1", status("t1", RUNNING, 1));
    scene.running_command_task("t2", 2);
    scene.run(command_task("t3"));
    scene.say(Command::LinkDown);
    let message = reregister(&scene.say(Command::LinkUp));
    assert_eq!(message.agent_info.id.unwrap().value, AGENT);
    assert_eq!(message.frameworks.len(), 1);
    let executors: Vec<_> =
        message.executors.iter().map(|e| e.executor_id.value.as_str()).collect();
    assert_eq!(executors, ["e1"], "those of command tasks are the agent's own affair");
    assert!(message.executors[0].framework_id.is_some());
    assert_eq!(message.tasks.len(), 3);
    let first = message.tasks.iter().find(|t| t.task_id.value == "t1").unwrap();
    assert_eq!((first.state(), first.status_update_state()), (RUNNING, RUNNING));
    assert_eq!(first.status_update_uuid.clone().unwrap(), uuid(1));
}

#[test]
fn an_executor_that_ends_while_the_master_has_not_answered_is_told_after_the_answer() {
    let mut scene = Scene::registered();
    let container = scene.running_custom_task("t1", "e1", 1);
    scene.say(Command::LinkDown);
    assert_eq!(reregister(&scene.say(Command::LinkUp)).executors.len(), 1);
    assert!(to_master(&scene.ended(&container, Termination::default())).is_empty());
    let told = to_master(&scene.registered_with(Vec::new()));
    let exits = told.iter().filter(|m| matches!(m, Message::ExecutorExited(_)));
    assert_eq!(exits.count(), 1);
    // The next list does without it.
    scene.say(Command::LinkDown);
    assert!(reregister(&scene.say(Command::LinkUp)).executors.is_empty());
    let told = to_master(&scene.registered_with(Vec::new()));
    assert!(told.iter().all(|m| matches!(m, Message::StatusUpdate(_))));
}

#[test]
fn an_executor_that_is_about_to_be_started_is_on_the_list() {
    let mut scene = Scene::with(Settings { decorate_tasks: true, ..scene::settings() });
    scene.run(custom_task("t1", "e1"));
    scene.say(Command::LinkDown);
    let message = reregister(&scene.say(Command::LinkUp));
    assert_eq!((message.tasks.len(), message.executors.len()), (1, 1));
    assert_eq!(message.executors[0].executor_id.value, "e1");
}

#[test]
fn tasks_the_master_knows_and_the_agent_does_not_are_answered() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.say(Command::LinkDown);
    scene.say(Command::LinkUp);
    let ask = |task: &str, framework: &str, partition_aware| ReconcileTask {
        framework_id: v1::FrameworkId { value: framework.to_owned() },
        task_id: scene::task_id(task),
        partition_aware,
    };
    let list =
        vec![ask("t1", "m-0001", true), ask("t8", "m-0001", true), ask("t9", "m-0009", false)];
    let effects = scene.registered_with(list);
    let reason = Some(Reason::Reconciliation);
    let expected = [
        ("t8".to_owned(), TaskState::TaskDropped, reason),
        ("t9".to_owned(), TaskState::TaskLost, reason),
    ];
    assert_eq!(states(&effects), expected);
    // Sent until acknowledged, like any other; a second registration does not make a second one.
    assert_eq!(sent(&scene.pass(Duration::from_secs(10))).len(), 2);
    scene.say(Command::LinkDown);
    scene.say(Command::LinkUp);
    assert_eq!(sent(&scene.registered_with(vec![ask("t9", "m-0009", false)])).len(), 2);
    let answer = sent(&scene.pass(Duration::from_secs(10))).remove(1).status.uuid.unwrap();
    scene.master(v1::link::from_master::Message::Acknowledge(v1::link::Acknowledge {
        framework_id: v1::FrameworkId { value: "m-0009".to_owned() },
        task_id: scene::task_id("t9"),
        uuid: answer,
    }));
    assert_eq!(sent(&scene.pass(Duration::from_secs(20))).len(), 1);
}

#[test]
fn a_killed_agent_takes_its_executors_over_and_tells_what_was_not_acknowledged() {
    let (mut scene, effects) = Scene::recovering(with_running_task());
    let Some(Effect::Recover(containers)) =
        effects.iter().find(|e| matches!(e, Effect::Recover(_)))
    else {
        panic!("no container is recovered: {effects:?}");
    };
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].config.task_info.as_ref().unwrap().task_id.value, "t1");
    assert!(
        !scene.say(Command::ContainersRecovered).iter().any(|e| matches!(e, Effect::ConnectMaster))
    );
    // The executor is back: no need to wait any longer.
    let effects = scene.subscribe(1, "t1");
    assert!(effects.iter().any(|e| matches!(e, Effect::ConnectMaster)));
    assert_eq!(kinds(&effects), [Event::Subscribed]);
    let update = effects.iter().find(|e| matches!(e, Effect::Update { .. }));
    assert!(update.is_some(), "isolators learn what the container may use");
    let effects = scene.register();
    assert_eq!(states(&effects), [("t1".to_owned(), RUNNING, None)]);
    assert_eq!(sent(&effects)[0].status.uuid.clone().unwrap(), uuid(1));
}

#[test]
fn an_acknowledged_update_is_not_told_again_after_a_restart() {
    let left = left_behind(|scene| {
        let mut all = scene.run(command_task("t1"));
        let container = scene::launched(&all);
        all.extend(scene.subscribe(1, "t1"));
        all.extend(scene.update(1, "t1", status("t1", RUNNING, 1)));
        all.extend(scene.acknowledge("t1", &uuid(1)));
        (ExecutorId::new("t1"), container, all)
    });
    let (mut scene, _) = Scene::recovering(left);
    scene.say(Command::ContainersRecovered);
    scene.subscribe(1, "t1");
    assert!(sent(&scene.register()).is_empty());
    assert_eq!(scene.agent.get_tasks().launched_tasks[0].state(), RUNNING);
    // The executor did not hear that the agent has it.
    let again = scene.update(1, "t1", status("t1", RUNNING, 1));
    assert_eq!(kinds(&again), [Event::Acknowledged]);
    assert!(sent(&again).is_empty());
}

#[test]
fn updates_the_executor_could_not_deliver_come_with_its_subscription() {
    let (mut scene, _) = Scene::recovering(with_running_task());
    scene.say(Command::ContainersRecovered);
    let unacknowledged_updates = vec![
        call::Update { status: status("t1", RUNNING, 1) },
        call::Update { status: status("t1", TaskState::TaskFinished, 2) },
    ];
    let subscribe = call::Subscribe { unacknowledged_updates, ..call::Subscribe::default() };
    let effects = scene.executor(1, "t1", ExecutorCall::Subscribe(subscribe));
    scene.changed(&effects);
    scene.register();
    assert_eq!(
        states(&scene.acknowledge("t1", &uuid(1))),
        [("t1".to_owned(), TaskState::TaskFinished, None)]
    );
}

#[test]
fn an_executor_that_is_not_back_in_time_is_destroyed() {
    let (mut scene, _) = Scene::recovering(with_running_task());
    scene.say(Command::ContainersRecovered);
    assert!(scene.pass(Duration::from_millis(1999)).is_empty());
    let effects = scene.pass(Duration::from_millis(1));
    let container = destroyed(&effects).remove(0);
    assert!(effects.iter().any(|e| matches!(e, Effect::ConnectMaster)));
    scene.ended(&container, Termination::default());
    scene.register();
    let expected =
        ("t1".to_owned(), TaskState::TaskGone, Some(Reason::ExecutorReregistrationTimeout));
    assert_eq!(states(&scene.acknowledge("t1", &uuid(1))), [expected]);
}

#[test]
fn an_executor_that_died_while_the_agent_was_away_fails_its_tasks() {
    let left = with_running_task();
    let container = left.frameworks[0].runs[0].container.clone();
    let (mut scene, _) = Scene::recovering(left);
    scene.ended(&container, Termination::default());
    let effects = scene.say(Command::ContainersRecovered);
    assert!(
        effects.iter().any(|e| matches!(e, Effect::ConnectMaster)),
        "nobody is left to wait for"
    );
    scene.register();
    let expected = ("t1".to_owned(), TaskState::TaskFailed, Some(Reason::ExecutorTerminated));
    assert_eq!(states(&scene.acknowledge("t1", &uuid(1))), [expected]);
}

#[test]
fn a_task_that_was_on_its_way_when_the_agent_died_is_dropped() {
    let left = left_behind(|scene| {
        let all = scene.run(custom_task("t1", "e1"));
        (ExecutorId::new("e1"), scene::launched(&all), all)
    });
    let (mut scene, _) = Scene::recovering(left);
    scene.say(Command::ContainersRecovered);
    let effects = scene.subscribe(1, "e1");
    assert_eq!(kinds(&effects), [Event::Subscribed, Event::Shutdown], "it would wait for a task");
    scene.changed(&effects);
    let effects = scene.register();
    assert_eq!(
        states(&effects),
        [("t1".to_owned(), TaskState::TaskDropped, Some(Reason::AgentRestarted))]
    );
}

#[test]
fn an_executor_whose_command_was_killed_before_delivery_ends_after_a_restart_too() {
    let left = left_behind(|scene| {
        let mut all = scene.run(command_task("t1"));
        let container = scene::launched(&all);
        all.extend(scene.kill("t1"));
        // Told to end, it takes its time.
        all.extend(scene.subscribe(1, "t1"));
        (ExecutorId::new("t1"), container, all)
    });
    let (mut scene, _) = Scene::recovering(left);
    scene.say(Command::ContainersRecovered);
    assert_eq!(kinds(&scene.subscribe(1, "t1")), [Event::Subscribed, Event::Shutdown]);
}

#[test]
fn a_task_the_executor_has_but_never_told_of_lives_on() {
    let left = left_behind(|scene| {
        let all = scene.run(custom_task("t1", "e1"));
        (ExecutorId::new("e1"), scene::launched(&all), all)
    });
    let (mut scene, _) = Scene::recovering(left);
    scene.say(Command::ContainersRecovered);
    let subscribe = call::Subscribe {
        unacknowledged_tasks: vec![custom_task("t1", "e1")],
        ..call::Subscribe::default()
    };
    scene.executor(1, "e1", ExecutorCall::Subscribe(subscribe));
    assert!(sent(&scene.register()).is_empty());
    assert_eq!(scene.agent.get_tasks().launched_tasks.len(), 1);
}

#[test]
fn after_a_reboot_every_task_is_gone_and_no_container_is_taken_over() {
    let (mut scene, effects) =
        Scene::recovering(Recovered { rebooted: true, ..with_running_task() });
    assert!(matches!(effects.last(), Some(Effect::Recover(containers)) if containers.is_empty()));
    scene.say(Command::ContainersRecovered);
    scene.register();
    let effects = scene.acknowledge("t1", &uuid(1));
    assert_eq!(
        states(&effects),
        [("t1".to_owned(), TaskState::TaskGone, Some(Reason::AgentRestarted))]
    );
}

#[test]
fn a_journal_that_cannot_be_read_costs_only_its_own_container() {
    let mut left = with_running_task();
    let broken = RecoveredRun {
        executor: ExecutorId::new("e9"),
        container: ContainerId::new("c9"),
        records: vec![RunRecord { record: None }],
    };
    let empty =
        RecoveredRun { container: ContainerId::new("c8"), records: Vec::new(), ..broken.clone() };
    left.frameworks[0].runs.extend([broken, empty]);
    let (scene, effects) = Scene::recovering(left);
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Note(_))).count(), 2);
    let removed =
        checkpoints(&effects).into_iter().filter(|c| matches!(c, Checkpoint::RemoveRun { .. }));
    assert_eq!(removed.count(), 2);
    assert_eq!(scene.agent.get_executors().executors.len(), 1);
}

#[test]
fn cleanup_ends_everything_and_stops() {
    let left = with_running_task();
    let container = left.frameworks[0].runs[0].container.clone();
    let (mut scene, _) = Scene::recovering(Recovered { cleanup: true, ..left });
    let effects = scene.say(Command::ContainersRecovered);
    assert_eq!(destroyed(&effects), std::slice::from_ref(&container));
    let effects = scene.ended(&container, Termination::default());
    assert!(effects.iter().any(|e| matches!(e, Effect::Exit { failure: false, .. })));
}

#[test]
fn the_same_commands_give_the_same_effects() {
    let play = || {
        let mut scene = Scene::registered();
        let mut all = scene.run(command_task("t1"));
        all.extend(scene.run(custom_task("t2", "e1")));
        all.extend(scene.kill("t1"));
        all.extend(scene.pass(Duration::from_secs(10)));
        format!("{all:?}")
    };
    assert_eq!(play(), play());
}
