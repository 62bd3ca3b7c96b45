//! Status updates: taken once, written down, told until they are acknowledged.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod scene;

use std::time::Duration;

use mezzo_agent_core::{Command, Effect, Measure, Settings, Termination};
use mezzo_proto::v1::executor::event::Type as Event;
use mezzo_proto::v1::link::{UpdateFramework, from_master};
use mezzo_proto::v1::task_status::{Reason, Source};
use mezzo_proto::v1::{self, TaskState, TaskStatus};
use scene::{
    Scene, command_task, custom_task, destroyed, events, journal, kinds, sent, settings, states,
    status, uuid,
};

const RUNNING: TaskState = TaskState::TaskRunning;
const FINISHED: TaskState = TaskState::TaskFinished;

#[test]
fn an_update_is_written_before_the_executor_and_the_master_hear_of_it() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    let effects = scene.update(1, "t1", status("t1", RUNNING, 1));
    let at = |f: fn(&Effect) -> bool| effects.iter().position(f).unwrap();
    let written = at(|e| matches!(e, Effect::Checkpoint(_)));
    assert!(written < at(|e| matches!(e, Effect::ToExecutor { .. })));
    assert!(written < at(|e| matches!(e, Effect::ToMaster(_))));
    assert_eq!(kinds(&effects), [Event::Acknowledged]);
}

#[test]
fn an_update_is_filled_in_with_what_the_executor_left_out() {
    let mut scene = Scene::registered();
    let container = scene.running_custom_task("t1", "e1", 1);
    let update = sent(&scene.update(1, "e1", status("t1", RUNNING, 1))).remove(0);
    assert_eq!(update.status.source(), Source::Executor);
    assert_eq!(update.status.agent_id.unwrap().value, "m-S1");
    assert!(update.status.timestamp.unwrap() > 1.5e9);
    let place = update.status.container_status.unwrap();
    assert_eq!(place.container_id.unwrap().value, container.as_str());
    assert_eq!(place.network_infos[0].ip_addresses[0].ip_address.as_deref(), Some("127.0.0.1"));
    assert!(update.status.executor_id.is_none(), "only what the executor says");
    assert_eq!(update.executor_id.unwrap().value, "e1");
}

#[test]
fn data_and_message_of_an_update_pass_untouched_and_are_not_kept() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    let data = Some(bytes::Bytes::from_static(b"result"));
    let with_data = TaskStatus {
        data: data.clone(),
        message: Some("hm".to_owned()),
        ..status("t1", RUNNING, 1)
    };
    assert_eq!(sent(&scene.update(1, "t1", with_data))[0].status.data, data);
    assert!(scene.agent.get_tasks().launched_tasks[0].statuses[0].data.is_none());
}

#[test]
fn only_the_head_is_sent_and_the_next_one_follows_its_acknowledgement() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    assert_eq!(sent(&scene.update(1, "t1", status("t1", TaskState::TaskStarting, 1))).len(), 1);
    assert!(sent(&scene.update(1, "t1", status("t1", RUNNING, 2))).is_empty());
    let next = sent(&scene.acknowledge("t1", &uuid(1)));
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].status.state(), RUNNING);
}

#[test]
fn the_newest_state_travels_with_the_head() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", RUNNING, 1));
    let effects = scene.update(1, "t1", status("t1", FINISHED, 2));
    scene.changed(&effects);
    let head = sent(&scene.pass(Duration::from_secs(10))).remove(0);
    assert_eq!(head.status.state(), RUNNING);
    assert_eq!(head.latest_state(), FINISHED);
    let task = scene.agent.get_tasks().terminated_tasks.remove(0);
    assert_eq!(task.state(), FINISHED);
    assert_eq!(task.status_update_state(), RUNNING);
    assert_eq!(task.status_update_uuid.unwrap(), uuid(1));
}

#[test]
fn retries_come_after_10_20_40_seconds_and_never_more_than_ten_minutes_apart() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", RUNNING, 1));
    for seconds in [10, 20, 40, 80, 160, 320, 600, 600, 600] {
        assert!(sent(&scene.pass(Duration::from_secs(seconds - 1))).is_empty());
        let effects = scene.pass(Duration::from_secs(1));
        assert_eq!(sent(&effects).len(), 1, "after {seconds} s");
        assert!(effects.contains_measure(Measure::UpdateRetried));
    }
}

#[test]
fn a_new_head_waits_ten_seconds_again() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", TaskState::TaskStarting, 1));
    scene.update(1, "t1", status("t1", RUNNING, 2));
    scene.pass(Duration::from_secs(10));
    scene.pass(Duration::from_secs(20));
    scene.acknowledge("t1", &uuid(1));
    assert_eq!(sent(&scene.pass(Duration::from_secs(10))).len(), 1);
}

#[test]
fn without_a_master_nothing_is_sent_and_all_heads_follow_the_registration() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.running_command_task("t2", 2);
    scene.update(1, "t1", status("t1", RUNNING, 1));
    scene.say(Command::LinkDown);
    assert!(sent(&scene.update(2, "t2", status("t2", RUNNING, 2))).is_empty());
    assert!(scene.pass(Duration::from_secs(1000)).is_empty());
    scene.say(Command::LinkUp);
    let heads = states(&scene.registered_with(Vec::new()));
    assert_eq!(heads, [("t1".to_owned(), RUNNING, None), ("t2".to_owned(), RUNNING, None)]);
}

#[test]
fn a_framework_that_subscribes_again_gets_all_heads_at_once() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", RUNNING, 1));
    let framework_info =
        v1::FrameworkInfo { name: "renamed".to_owned(), ..scene.framework.clone() };
    let effects =
        scene.master(from_master::Message::UpdateFramework(UpdateFramework { framework_info }));
    assert_eq!(sent(&effects).len(), 1);
    assert_eq!(scene.agent.get_frameworks().frameworks[0].framework_info.name, "renamed");
}

#[test]
fn an_update_that_comes_twice_is_told_once_and_acknowledged_twice() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", RUNNING, 1));
    let again = scene.update(1, "t1", status("t1", RUNNING, 1));
    assert_eq!(kinds(&again), [Event::Acknowledged]);
    assert!(sent(&again).is_empty() && journal(&again).is_empty());
    scene.acknowledge("t1", &uuid(1));
    let again = scene.update(1, "t1", status("t1", RUNNING, 1));
    assert_eq!(kinds(&again), [Event::Acknowledged]);
    assert!(sent(&again).is_empty());
}

#[test]
fn of_two_terminal_updates_only_the_first_counts() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    let effects = scene.update(1, "t1", status("t1", FINISHED, 1));
    let second = scene.update(1, "t1", status("t1", TaskState::TaskFailed, 2));
    assert_eq!(kinds(&second), [Event::Acknowledged], "so that the executor stops");
    assert_eq!(states(&scene.changed(&effects)), [("t1".to_owned(), FINISHED, None)]);
}

#[test]
fn an_old_acknowledgement_changes_nothing() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", TaskState::TaskStarting, 1));
    scene.update(1, "t1", status("t1", RUNNING, 2));
    scene.acknowledge("t1", &uuid(1));
    assert!(scene.acknowledge("t1", &uuid(1)).is_empty());
    assert!(sent(&scene.pass(Duration::from_secs(10)))[0].status.state() == RUNNING);
}

#[test]
fn what_a_task_held_is_taken_from_the_container_before_its_end_is_told() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    let effects = scene.update(1, "t1", status("t1", FINISHED, 1));
    assert!(sent(&effects).is_empty() && kinds(&effects).is_empty());
    let Some(Effect::Update { requests, .. }) =
        effects.iter().find(|e| matches!(e, Effect::Update { .. }))
    else {
        panic!("the container was not changed");
    };
    let cpus: f64 = requests
        .iter()
        .filter(|r| r.name == "cpus")
        .map(|r| r.scalar.as_ref().unwrap().value)
        .sum();
    assert_eq!(cpus, 0.1);
    let effects = scene.changed(&effects);
    assert_eq!(kinds(&effects), [Event::Acknowledged]);
    assert_eq!(sent(&effects)[0].status.state(), FINISHED);
}

#[test]
fn when_the_container_cannot_be_changed_the_end_is_told_all_the_same() {
    let mut scene = Scene::registered();
    let container = scene.running_custom_task("t1", "e1", 1);
    let effects = scene.update(1, "e1", status("t1", FINISHED, 1));
    let Some(Effect::Update { token, .. }) =
        effects.iter().find(|e| matches!(e, Effect::Update { .. }))
    else {
        panic!("the container was not changed");
    };
    let result = Err("no".to_owned());
    let effects = scene.say(Command::ContainerUpdated {
        container: container.clone(),
        token: *token,
        result,
    });
    assert_eq!(destroyed(&effects), [container]);
    assert_eq!(states(&effects), [("t1".to_owned(), FINISHED, None)]);
}

#[test]
fn an_end_that_waits_for_its_container_is_told_when_the_container_is_gone() {
    let mut scene = Scene::registered();
    let container = scene.running_command_task("t1", 1);
    scene.update(1, "t1", status("t1", FINISHED, 1));
    let effects = scene.ended(&container, Termination::default());
    assert_eq!(states(&effects), [("t1".to_owned(), FINISHED, None)]);
}

#[test]
fn updates_that_make_no_sense_are_dropped() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    let foreign = v1::AgentId { value: "m-S2".to_owned() };
    let wrong = [
        TaskStatus { uuid: None, ..status("t1", RUNNING, 1) },
        TaskStatus { uuid: Some(bytes::Bytes::from_static(b"short")), ..status("t1", RUNNING, 1) },
        TaskStatus { agent_id: Some(foreign), ..status("t1", RUNNING, 1) },
    ];
    for status in wrong {
        let effects = scene.update(1, "t1", status);
        assert!(effects.contains_measure(Measure::UpdateInvalid));
        assert!(sent(&effects).is_empty() && kinds(&effects).is_empty());
    }
    let unknown = scene.update(1, "t1", status("t9", RUNNING, 2));
    assert_eq!(kinds(&unknown), [Event::Acknowledged], "so that the executor stops");
    assert!(sent(&unknown).is_empty());
}

#[test]
fn an_executor_that_says_staging_is_shut_down() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    assert_eq!(
        kinds(&scene.update(1, "e1", status("t1", TaskState::TaskStaging, 1))),
        [Event::Shutdown]
    );
}

#[test]
fn a_task_that_was_not_delivered_takes_only_its_end() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t1", "e1", 1);
    scene.launch_executor = false;
    scene.run(custom_task("t2", "e1"));
    assert!(sent(&scene.update(1, "e1", status("t2", RUNNING, 1))).is_empty());
    assert_eq!(sent(&scene.update(1, "e1", status("t2", TaskState::TaskError, 2))).len(), 1);
}

#[test]
fn equal_states_replace_each_other_in_the_history_of_a_task() {
    let mut scene = Scene::registered();
    scene.running_command_task("t1", 1);
    for number in 1..=3 {
        let healthy =
            TaskStatus { healthy: Some(number % 2 == 0), ..status("t1", RUNNING, number) };
        scene.update(1, "t1", healthy);
    }
    let task = scene.agent.get_tasks().launched_tasks.remove(0);
    assert_eq!(task.statuses.len(), 1);
    assert_eq!(task.statuses[0].healthy, Some(false));
}

#[test]
fn the_time_from_arrival_to_running_is_measured_once() {
    let mut scene = Scene::registered();
    scene.run(command_task("t1"));
    scene.pass(Duration::from_millis(40));
    scene.subscribe(1, "t1");
    let first = scene.update(1, "t1", status("t1", RUNNING, 1));
    assert!(first.contains_measure(Measure::LaunchTime(Duration::from_millis(40))));
    let again = scene.update(1, "t1", status("t1", RUNNING, 2));
    assert!(!again.iter().any(|e| matches!(e, Effect::Measure(Measure::LaunchTime(_)))));
}

#[test]
fn hooks_see_every_update_and_it_goes_on_after_them() {
    let mut scene = Scene::with(Settings { decorate_statuses: true, ..settings() });
    scene.running_command_task("t1", 1);
    let effects = scene.update(1, "t1", status("t1", RUNNING, 1));
    let Some(Effect::DecorateStatus(update)) =
        effects.iter().find(|e| matches!(e, Effect::DecorateStatus(_)))
    else {
        panic!("no hook was asked: {effects:?}");
    };
    assert!(sent(&effects).is_empty());
    // A retry of the executor in the meantime is not a second update.
    assert!(scene.update(1, "t1", status("t1", RUNNING, 1)).is_empty());
    let mut update = update.clone();
    update.status.labels = Some(v1::Labels::default());
    let effects = scene.say(Command::StatusDecorated(update));
    assert!(sent(&effects)[0].status.labels.is_some());
    assert_eq!(kinds(&effects), [Event::Acknowledged]);
}

#[test]
fn an_executor_is_forgotten_when_it_has_ended_and_everything_is_acknowledged() {
    let mut scene = Scene::registered();
    let container = scene.running_command_task("t1", 1);
    let effects = scene.update(1, "t1", status("t1", FINISHED, 1));
    scene.changed(&effects);
    scene.ended(&container, Termination::default());
    assert_eq!(scene.agent.get_executors().executors.len(), 1);
    let effects = scene.acknowledge("t1", &uuid(1));
    assert!(effects.iter().any(|e| matches!(e, Effect::ExecutorRemoved(_))));
    assert!(scene.agent.get_executors().executors.is_empty());
    assert_eq!(scene.agent.get_tasks().completed_tasks.len(), 1);
    assert_eq!(scene.agent.next_deadline(), None);
}

#[test]
fn the_journal_of_a_busy_executor_is_rewritten_with_what_counts() {
    let mut scene = Scene::registered();
    scene.running_custom_task("t0", "e1", 1);
    scene.launch_executor = false;
    let mut rewrites = 0;
    for number in 1..3000_u32 {
        let task = format!("t{number}");
        let effects = scene.run(custom_task(&task, "e1"));
        scene.changed(&effects);
        let mut finished = status(&task, FINISHED, 0);
        finished.uuid = Some(bytes::Bytes::from(u128::from(number).to_be_bytes().to_vec()));
        let uuid = finished.uuid.clone().unwrap();
        let effects = scene.update(1, "e1", finished);
        scene.changed(&effects);
        for checkpoint in scene::checkpoints(&scene.acknowledge(&task, &uuid)) {
            if let mezzo_agent_core::Checkpoint::Rewrite { records, .. } = checkpoint {
                assert_eq!(records.len(), 2, "the executor and the one task that is left");
                rewrites += 1;
            }
        }
    }
    assert_eq!(rewrites, 2);
}

#[test]
fn the_containerizer_knows_best_why_a_task_ended() {
    let mut scene = Scene::registered();
    let container = scene.running_command_task("t1", 1);
    let termination = Termination {
        status: Some(9),
        state: Some(TaskState::TaskFailed),
        reason: Some(Reason::ContainerLimitationMemory),
        message: Some("Memory limit exceeded".to_owned()),
        limited: vec![scene::scalar("mem", 96.0)],
    };
    let update = sent(&scene.ended(&container, termination)).remove(0);
    assert_eq!(update.status.reason(), Reason::ContainerLimitationMemory);
    assert_eq!(update.status.message.as_deref(), Some("Memory limit exceeded"));
    assert_eq!(update.status.limitation.unwrap().resources[0].name, "mem");
    assert!(events(&scene.kill("t1")).is_empty());
}

trait Measures {
    fn contains_measure(&self, measure: Measure) -> bool;
}

impl Measures for Vec<Effect> {
    fn contains_measure(&self, measure: Measure) -> bool {
        self.iter().any(|e| matches!(e, Effect::Measure(m) if *m == measure))
    }
}

#[test]
fn a_verdict_that_the_hooks_hold_back_until_the_task_is_acknowledged_is_dropped() {
    let mut scene = Scene::with(Settings { decorate_statuses: true, ..settings() });
    let container = scene.running_command_task("t1", 1);
    let at_hooks = |effects: &[Effect]| {
        let asked = effects.iter().filter_map(|e| match e {
            Effect::DecorateStatus(update) => Some(update.clone()),
            _ => None,
        });
        asked.collect::<Vec<_>>().remove(0)
    };
    let finished = at_hooks(&scene.update(1, "t1", status("t1", FINISHED, 1)));
    let failed = at_hooks(&scene.ended(&container, Termination::default()));
    assert_eq!(sent(&scene.say(Command::StatusDecorated(finished))).len(), 1);
    scene.acknowledge("t1", &uuid(1));
    assert!(sent(&scene.say(Command::StatusDecorated(failed))).is_empty());
}
