//! RECONCILE: what is known of tasks, by the table of the specification.

use mezzo_master_core::Command;
use mezzo_proto::v1;
use mezzo_proto::v1::TaskState::{TaskGone, TaskLost, TaskRunning, TaskUnknown, TaskUnreachable};
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::scheduler::{self, call};
use mezzo_proto::v1::task_status::Reason;

use crate::world::{Story, World, agent_info, config, framework, of, with_capability};

fn ask(world: &mut World, story: &Story, tasks: &[(&str, Option<&str>)]) -> Vec<v1::TaskStatus> {
    let tasks = tasks.iter().map(|(task, agent)| call::reconcile::Task {
        task_id: v1::TaskId { value: (*task).into() },
        agent_id: agent.map(|a| v1::AgentId { value: a.into() }),
    });
    let call = scheduler::Call {
        reconcile: Some(call::Reconcile { tasks: tasks.collect() }),
        ..of(&story.framework_id, call::Type::Reconcile)
    };
    world.call(story.framework, call);
    world.updates(story.framework)
}

/// A partition-aware framework, in a world where nothing else exists.
fn aware(mut world: World) -> (World, Story) {
    let info = with_capability(framework("f"), Capability::PartitionAware);
    let session = world.subscribe_as(info);
    let framework_id = world.framework_id(session);
    let story = Story {
        agent: session,
        agent_id: v1::AgentId { value: "none".into() },
        framework: session,
        framework_id,
        offer: v1::OfferId { value: "none".into() },
    };
    (world, story)
}

#[test]
fn implicit_reconciliation_tells_every_live_task_once() {
    let (mut world, story) = World::with_task();
    world.update(&story, "t", TaskRunning, 1);
    world.events(story.framework);
    let answers = ask(&mut world, &story, &[]);
    assert_eq!(answers.len(), 1);
    let answer = &answers[0];
    assert_eq!((answer.state(), answer.reason()), (TaskRunning, Reason::Reconciliation));
    assert_eq!(answer.uuid, None, "nobody acknowledges an answer");
}

#[test]
fn a_live_task_is_answered_whatever_agent_is_named() {
    let (mut world, story) = World::with_task();
    assert_eq!(ask(&mut world, &story, &[("t", Some("elsewhere"))]).len(), 1);
}

#[test]
fn the_answer_is_the_state_that_was_sent_last_not_a_newer_one() {
    let (mut world, story) = World::with_task();
    world.update_behind(&story, "t", TaskRunning, v1::TaskState::TaskFinished, 1);
    world.events(story.framework);
    assert_eq!(ask(&mut world, &story, &[("t", None)])[0].state(), TaskRunning);
}

#[test]
fn an_unknown_task_of_a_registered_agent_is_gone() {
    let mut world = World::new();
    let agent = world.register("cpus:1");
    let agent_id = world.agent_id(agent);
    let (mut world, story) = aware(world);
    assert_eq!(ask(&mut world, &story, &[("x", Some(&agent_id.value))])[0].state(), TaskGone);
}

#[test]
fn an_unknown_task_of_an_unreachable_agent_is_unreachable_since_then() {
    let mut world = World::new();
    let agent = world.register("cpus:1");
    let agent_id = world.agent_id(agent);
    world.apply(Command::AgentLost(agent));
    world.advance(75);
    let (mut world, story) = aware(world);
    let answers = ask(&mut world, &story, &[("x", Some(&agent_id.value))]);
    assert_eq!(answers[0].state(), TaskUnreachable);
    assert!(answers[0].unreachable_time.is_some());
}

#[test]
fn an_unknown_task_of_an_unknown_agent_or_of_none_is_unknown() {
    let (mut world, story) = aware(World::new());
    let answers = ask(&mut world, &story, &[("x", Some("nobody")), ("y", None)]);
    assert_eq!(answers.iter().map(|a| a.state()).collect::<Vec<_>>(), [TaskUnknown, TaskUnknown]);
}

#[test]
fn while_agents_are_awaited_there_is_no_answer() {
    let mut info = agent_info(5051, "cpus:4");
    info.id = Some(v1::AgentId { value: "old".into() });
    let (mut world, story) = aware(World::restarted(config(), vec![info], Vec::new()));
    assert!(ask(&mut world, &story, &[("x", Some("old")), ("y", None)]).is_empty());
    assert_eq!(ask(&mut world, &story, &[("x", Some("other"))])[0].state(), TaskUnknown);
}

#[test]
fn a_framework_that_knows_no_partitions_hears_lost() {
    let (mut world, story) = World::with_task();
    assert_eq!(ask(&mut world, &story, &[("x", None)])[0].state(), TaskLost);
}
