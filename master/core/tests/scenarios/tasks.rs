//! Tasks: launched, updated, acknowledged, killed.

use mezzo_proto::v1;
use mezzo_proto::v1::TaskState::{TaskFinished, TaskKilled, TaskRunning, TaskStaging};
use mezzo_proto::v1::link::from_master::Message;
use mezzo_proto::v1::link::{self, from_agent};
use mezzo_proto::v1::scheduler::event::Type;
use mezzo_proto::v1::scheduler::{self, call};
use mezzo_proto::v1::task_status::Reason;

use crate::world::{Story, World, accept, of, task, types, wire};

fn kill(story: &Story, id: &str) -> scheduler::Call {
    scheduler::Call {
        kill: Some(call::Kill {
            task_id: v1::TaskId { value: id.into() },
            agent_id: None,
            kill_policy: None,
        }),
        ..of(&story.framework_id, call::Type::Kill)
    }
}

#[test]
fn a_launched_task_reaches_its_agent_with_the_role_it_counts_for() {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    world.accept(&story, vec![task(&story.agent_id, "t", "cpus:1;mem:128")]);
    let messages = world.messages(story.agent);
    let [Message::RunTask(run)] = &messages[..] else { panic!("{messages:?}") };
    assert!(run.launch_executor);
    assert_eq!(run.framework_info.id.as_ref(), Some(&story.framework_id));
    let role = run.task.resources[0].allocation_info.as_ref().unwrap().role();
    assert_eq!(role, "*");
    assert_eq!(world.task_state(&story, "t"), Some(TaskStaging));
}

#[test]
fn an_update_is_forwarded_and_its_acknowledgement_travels_back() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskRunning, 1);
    let updates = world.updates(story.framework);
    assert_eq!(
        (updates[0].state(), updates[0].agent_id.as_ref()),
        (TaskRunning, Some(&story.agent_id))
    );
    world.acknowledge(&story, "t", 1);
    let messages = world.messages(story.agent);
    let [Message::Acknowledge(ack)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(ack.uuid, vec![1; 16]);
    assert_eq!(world.task_state(&story, "t"), Some(TaskRunning));
}

#[test]
fn resources_are_free_when_the_task_ends_however_late_the_acknowledgement() {
    let (mut world, story) = World::with_task();
    assert_eq!(world.available(&story.agent_id), "cpus:3;mem:896");
    world.update(&story, "t", TaskFinished, 1);
    assert_eq!(world.available(&story.agent_id), "cpus:4;mem:1024");
    assert_eq!(world.task_state(&story, "t"), Some(TaskFinished));
    world.acknowledge(&story, "t", 1);
    assert_eq!(world.task_state(&story, "t"), None);
    let framework = &world.cluster.books.frameworks[story.framework_id.value.as_str()];
    assert_eq!(framework.completed_tasks.len(), 1);
}

#[test]
fn the_newest_state_frees_resources_while_an_older_update_waits() {
    let (mut world, story) = World::with_task();
    world.update_behind(&story, "t", TaskRunning, TaskFinished, 1);
    assert_eq!(world.available(&story.agent_id), "cpus:4;mem:1024");
    world.acknowledge(&story, "t", 1);
    assert_eq!(world.task_state(&story, "t"), Some(TaskFinished), "its last update is to come");
    world.update(&story, "t", TaskFinished, 2);
    world.acknowledge(&story, "t", 2);
    assert_eq!(world.task_state(&story, "t"), None);
    assert_eq!(world.cluster.books.counts.tasks_finished, 1);
}

#[test]
fn an_update_sent_again_is_forwarded_again_and_frees_nothing_twice() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskFinished, 1);
    world.update(&story, "t", TaskFinished, 1);
    assert_eq!(world.updates(story.framework).len(), 2);
    assert_eq!(world.available(&story.agent_id), "cpus:4;mem:1024");
    assert_eq!(world.cluster.books.counts.tasks_finished, 1);
}

#[test]
fn an_old_acknowledgement_does_not_end_a_task() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskRunning, 1);
    world.update(&story, "t", TaskFinished, 2);
    world.acknowledge(&story, "t", 1);
    assert_eq!(world.task_state(&story, "t"), Some(TaskFinished));
}

#[test]
fn acknowledging_what_was_never_forwarded_is_refused() {
    let (mut world, story) = World::with_task();
    world.acknowledge(&story, "t", 1);
    assert_eq!(world.rejections.len(), 1);
    assert!(world.messages(story.agent).is_empty());
}

#[test]
fn an_acknowledgement_that_names_another_agent_ends_nothing() {
    let (mut world, mut story) = World::with_task();
    world.update(&story, "t", TaskFinished, 1);
    story.agent_id = v1::AgentId { value: "elsewhere".into() };
    world.acknowledge(&story, "t", 1);
    assert_eq!(world.task_state(&story, "t"), Some(TaskFinished));
    assert!(world.rejections[0].message.contains("agent_id"), "{:?}", world.rejections);
}

#[test]
fn an_acknowledgement_waits_for_an_agent_that_is_away() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskFinished, 1);
    world.apply(mezzo_master_core::Command::AgentLost(story.agent));
    world.acknowledge(&story, "t", 1);
    assert_eq!(world.task_state(&story, "t"), Some(TaskFinished), "the agent tells it again");
}

#[test]
fn an_acknowledgement_with_a_nil_uuid_is_refused() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskRunning, 1);
    world.acknowledge(&story, "t", 0);
    assert!(world.rejections[0].message.contains("uuid"), "{:?}", world.rejections);
}

#[test]
fn a_terminal_state_is_final() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskFinished, 1);
    world.update(&story, "t", TaskRunning, 2);
    assert_eq!(world.task_state(&story, "t"), Some(TaskFinished));
}

#[test]
fn kill_reaches_the_agent_each_time_it_is_asked_for() {
    let (mut world, story) = World::with_task();
    world.call(story.framework, kill(&story, "t"));
    world.call(story.framework, kill(&story, "t"));
    let messages = world.messages(story.agent);
    assert!(matches!(&messages[..], [Message::KillTask(_), Message::KillTask(_)]), "{messages:?}");
}

#[test]
fn kill_of_a_task_that_does_not_exist_is_answered_with_what_is_known() {
    let (mut world, story) = World::with_task();
    world.call(story.framework, kill(&story, "nothing"));
    let updates = world.updates(story.framework);
    assert_eq!(updates[0].task_id.value, "nothing");
    assert_eq!(updates[0].reason(), Reason::Reconciliation);
    assert_eq!(updates[0].uuid, None);
}

#[test]
fn a_task_id_can_be_used_again_once_its_task_is_completed() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskKilled, 1);
    world.acknowledge(&story, "t", 1);
    world.propose(&story.framework_id, &story.agent_id, "cpus:1");
    let offer = world.offers(story.framework).remove(0).id;
    world.messages(story.agent);
    let again = vec![task(&story.agent_id, "t", "cpus:1")];
    world.call(story.framework, accept(&story.framework_id, &[&offer], again));
    assert_eq!(world.launched(story.agent).len(), 1);
}

#[test]
fn only_so_many_completed_tasks_are_remembered() {
    let (mut world, story) = World::with_offer("cpus:5;mem:1024");
    let tasks = (0..5).map(|i| task(&story.agent_id, &format!("t{i}"), "cpus:1")).collect();
    world.accept(&story, tasks);
    for i in 0..5 {
        world.update(&story, &format!("t{i}"), TaskFinished, 1);
        world.acknowledge(&story, &format!("t{i}"), 1);
    }
    let framework = &world.cluster.books.frameworks[story.framework_id.value.as_str()];
    let kept: Vec<_> = framework.completed_tasks.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(kept, ["t2", "t3", "t4"]);
}

fn with_executor(story: &Story, id: &str) -> v1::TaskInfo {
    let executor = v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: "e".into() },
        command: Some(v1::CommandInfo::default()),
        resources: wire("cpus:0.5;mem:32"),
        ..Default::default()
    };
    v1::TaskInfo { command: None, executor: Some(executor), ..task(&story.agent_id, id, "cpus:1") }
}

#[test]
fn a_custom_executor_is_charged_once_and_started_once() {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    world.accept(&story, vec![with_executor(&story, "a"), with_executor(&story, "b")]);
    let starts: Vec<bool> = world
        .messages(story.agent)
        .into_iter()
        .filter_map(|m| match m {
            Message::RunTask(run) => Some(run.launch_executor),
            _ => None,
        })
        .collect();
    assert_eq!(starts, [true, false]);
    assert_eq!(world.available(&story.agent_id), "cpus:1.5;mem:992");
}

#[test]
fn an_executor_that_ends_is_reported_and_its_resources_are_free() {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    world.accept(&story, vec![with_executor(&story, "a")]);
    let exited = link::ExecutorExited {
        framework_id: story.framework_id.clone(),
        executor_id: v1::ExecutorId { value: "e".into() },
        status: 1280,
    };
    world.agent_says(story.agent, from_agent::Message::ExecutorExited(exited));
    let events = world.events(story.framework);
    assert_eq!(types(&events), [Type::Failure]);
    assert_eq!(events[0].failure.as_ref().unwrap().status, Some(1280));
    assert_eq!(world.available(&story.agent_id), "cpus:3;mem:1024");
}

#[test]
fn messages_pass_in_both_directions_as_they_are() {
    let (mut world, story) = World::with_task();
    let executor_id = v1::ExecutorId { value: "e".into() };
    let call = scheduler::Call {
        message: Some(call::Message {
            agent_id: story.agent_id.clone(),
            executor_id: executor_id.clone(),
            data: "down".into(),
        }),
        ..of(&story.framework_id, call::Type::Message)
    };
    world.call(story.framework, call);
    let messages = world.messages(story.agent);
    assert!(matches!(&messages[..], [Message::FrameworkMessage(m)] if m.data == "down"));
    let up = link::ExecutorMessage {
        framework_id: story.framework_id.clone(),
        executor_id,
        data: "up".into(),
    };
    world.agent_says(story.agent, from_agent::Message::ExecutorMessage(up));
    let events = world.events(story.framework);
    assert_eq!(events[0].message.as_ref().unwrap().data, "up");
}

#[test]
fn operations_that_do_not_exist_yet_are_refused_and_the_others_go_on() {
    let (mut world, story) = World::with_offer("cpus:4");
    let mut call =
        accept(&story.framework_id, &[&story.offer], vec![task(&story.agent_id, "t", "cpus:1")]);
    let reserve = v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Reserve.into()),
        id: Some(v1::OperationId { value: "op".into() }),
        ..Default::default()
    };
    call.accept.as_mut().unwrap().operations.insert(0, reserve);
    world.call(story.framework, call);
    let events = world.events(story.framework);
    let status = &events[0].update_operation_status.as_ref().unwrap().status;
    assert_eq!(status.state(), v1::OperationState::OperationError);
    assert!(status.message().contains("RESERVE"));
    assert_eq!(world.launched(story.agent).len(), 1);
}

#[test]
fn an_update_of_a_task_that_only_its_agent_knows_can_be_acknowledged() {
    let (mut world, story) = World::with_task();
    world.update(&story, "forgotten", v1::TaskState::TaskDropped, 7);
    assert_eq!(world.updates(story.framework).len(), 1);
    world.acknowledge(&story, "forgotten", 7);
    let messages = world.messages(story.agent);
    assert!(matches!(&messages[..], [Message::Acknowledge(a)] if a.task_id.value == "forgotten"));
}

#[test]
fn an_agent_that_still_tells_of_a_removed_framework_is_told_of_its_end() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskFinished, 1);
    world.acknowledge(&story, "t", 1);
    world.call(story.framework, of(&story.framework_id, call::Type::Teardown));
    // The acknowledgement has not got there, and there was nothing to shut down by the books.
    world.messages(story.agent);
    world.update(&story, "t", TaskFinished, 1);
    assert!(matches!(&world.messages(story.agent)[..], [Message::ShutdownFramework(_)]));
}
