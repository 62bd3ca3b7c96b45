//! Agents: admitted, pinged, lost, and back again.

use mezzo_master_core::Command;
use mezzo_proto::module::v1::allocator_event::Event as ToAllocator;
use mezzo_proto::v1;
use mezzo_proto::v1::TaskState::{TaskLost, TaskRunning, TaskUnreachable};
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::link::from_master::Message;
use mezzo_proto::v1::link::{Reregister, from_agent};
use mezzo_proto::v1::scheduler::event::Type;
use mezzo_proto::v1::task_status::Reason;

use crate::world::{
    Story, World, accept, agent_info, config, framework, task, types, with_capability,
};

/// The agent of a story comes back and reports what the master has of it, or nothing.
pub fn returns(world: &mut World, story: &Story, port: i32, with_tasks: bool) -> Reregister {
    let books = &world.cluster.books;
    let framework = books.frameworks.get(story.framework_id.value.as_str());
    let tasks = framework.map_or_else(Vec::new, |f| {
        f.tasks.values().chain(f.unreachable_tasks.values()).map(|t| t.view.clone()).collect()
    });
    let mut info = agent_info(port, "cpus:4;mem:1024");
    info.id = Some(story.agent_id.clone());
    Reregister {
        agent_info: info,
        version: "0.1.0".into(),
        frameworks: framework.map(|f| (*f.info).clone()).into_iter().collect(),
        tasks: if with_tasks { tasks } else { Vec::new() },
        ..Default::default()
    }
}

/// The port that `World::register` gives the first agent.
pub const PORT: i32 = 5051;

#[test]
fn an_agent_is_seen_by_nobody_until_the_registry_has_it() {
    let mut world = World::new();
    world.hold_writes = true;
    let agent = world.register("cpus:4");
    assert!(world.cluster.books.agents.is_empty());
    assert!(world.messages(agent).is_empty());
    assert!(world.allocator.is_empty());
    world.release_writes();
    assert_eq!(world.agent_id(agent).value, "master-S0");
    assert!(world.allocator.iter().any(|e| matches!(e, ToAllocator::AgentAdded(_))));
}

#[test]
fn an_agent_that_missed_the_answer_keeps_its_id() {
    let mut world = World::new();
    let first = world.register_at(5051, "cpus:4");
    let id = world.agent_id(first);
    let second = world.register_at(5051, "cpus:4");
    assert_eq!(world.agent_id(second), id);
    assert!(world.closed.contains(&first));
    assert_eq!(world.cluster.books.agents.len(), 1);
}

#[test]
fn a_new_agent_at_the_address_of_a_lost_one_ends_the_lost_ones_tasks() {
    let (mut world, story) = World::with_task();
    world.apply(Command::AgentLost(story.agent));
    let fresh = world.register_at(PORT, "cpus:4;mem:1024");
    assert_ne!(world.agent_id(fresh), story.agent_id);
    let updates = world.updates(story.framework);
    assert_eq!((updates[0].state(), updates[0].reason()), (TaskLost, Reason::AgentRemoved));
}

#[test]
fn an_agent_that_answers_its_pings_stays() {
    let mut world = World::new();
    let agent = world.register("cpus:4");
    world.agent_id(agent);
    world.advance_answering(300, &[agent]);
    assert_eq!(world.cluster.books.agents.len(), 1);
}

#[test]
fn an_agent_that_is_silent_for_75_seconds_is_unreachable() {
    let (mut world, story) = World::with_task();
    world.advance_answering(0, &[]);
    for _ in 0..74 {
        world.advance(1);
    }
    assert_eq!(world.cluster.books.agents.len(), 1);
    world.advance(1);
    assert!(world.cluster.books.agents.is_empty());
    let events = world.events(story.framework);
    assert_eq!(types(&events), [Type::Update, Type::Failure]);
    let status = &events[0].update.as_ref().unwrap().status;
    assert_eq!((status.state(), status.reason()), (TaskLost, Reason::AgentRemoved));
    assert!(status.unreachable_time.is_some());
}

#[test]
fn a_pong_at_the_last_second_saves_an_agent() {
    let mut world = World::new();
    let agent = world.register("cpus:4");
    world.agent_id(agent);
    for _ in 0..74 {
        world.advance(1);
    }
    world.agent_says(agent, from_agent::Message::Pong(v1::link::Pong {}));
    world.advance(1);
    assert_eq!(world.cluster.books.agents.len(), 1);
}

#[test]
fn a_broken_connection_ends_offers_but_not_tasks() {
    let (mut world, story) = World::with_task();
    world.propose(&story.framework_id, &story.agent_id, "cpus:3");
    world.events(story.framework);
    world.apply(Command::AgentLost(story.agent));
    assert_eq!(types(&world.events(story.framework)), [Type::Rescind]);
    let message = returns(&mut world, &story, PORT, true);
    world.advance(70);
    let back = world.reregister(message);
    assert_eq!(world.agent_id(back), story.agent_id);
    world.advance(70);
    assert_eq!(world.cluster.books.agents.len(), 1, "the timer of the absence must not fire");
    assert_eq!(world.task_state(&story, "t"), Some(v1::TaskState::TaskStaging));
}

#[test]
fn unreachable_is_written_before_anybody_hears_of_it() {
    let (mut world, story) = World::with_task();
    world.hold_writes = true;
    world.apply(Command::AgentLost(story.agent));
    world.advance(75);
    assert!(world.updates(story.framework).is_empty());
    assert_eq!(world.held.len(), 1);
    world.release_writes();
    assert_eq!(world.updates(story.framework).len(), 1);
}

#[test]
fn tasks_of_an_unreachable_agent_come_back_with_it() {
    let mut world = World::new();
    let agent = world.register("cpus:4;mem:1024");
    let agent_id = world.agent_id(agent);
    let framework = world.subscribe_as(with_capability(framework("f"), Capability::PartitionAware));
    let framework_id = world.framework_id(framework);
    world.propose(&framework_id, &agent_id, "cpus:4;mem:1024");
    let offer = world.offers(framework).remove(0).id;
    world.call(framework, accept(&framework_id, &[&offer], vec![task(&agent_id, "t", "cpus:1")]));
    let story = Story { agent, agent_id, framework, framework_id, offer };
    world.update(&story, "t", TaskRunning, 1);
    world.events(framework);

    let mut message = returns(&mut world, &story, PORT, true);
    world.apply(Command::AgentLost(agent));
    world.advance(75);
    assert_eq!(world.updates(framework)[0].state(), TaskUnreachable);
    assert_eq!(world.task_state(&story, "t"), None);

    message.tasks[0].state = TaskRunning.into();
    let back = world.reregister(message);
    assert_eq!(world.agent_id(back), story.agent_id);
    let updates = world.updates(framework);
    assert_eq!((updates[0].state(), updates[0].reason()), (TaskRunning, Reason::AgentReregistered));
    assert_eq!(world.task_state(&story, "t"), Some(TaskRunning));
    assert_eq!(world.available(&story.agent_id), "cpus:3;mem:1024");
    assert!(world.cluster.books.unreachable_agents.is_empty());
}

#[test]
fn a_task_that_the_agent_did_not_report_is_asked_about_not_declared_lost() {
    let (mut world, story) = World::with_task();
    world.apply(Command::AgentLost(story.agent));
    let message = returns(&mut world, &story, PORT, false);
    let back = world.reregister(message);
    let messages = world.messages(back);
    let Some(Message::Registered(registered)) = messages.first() else { panic!("{messages:?}") };
    assert_eq!(registered.reconcile[0].task_id.value, "t");
    assert!(world.updates(story.framework).is_empty());
}

#[test]
fn kills_asked_for_while_the_agent_was_away_reach_it_when_it_is_back() {
    let (mut world, story) = World::with_task();
    world.apply(Command::AgentLost(story.agent));
    let kill = v1::scheduler::Call {
        kill: Some(v1::scheduler::call::Kill {
            task_id: v1::TaskId { value: "t".into() },
            agent_id: None,
            kill_policy: None,
        }),
        ..crate::world::of(&story.framework_id, v1::scheduler::call::Type::Kill)
    };
    world.call(story.framework, kill);
    let message = returns(&mut world, &story, PORT, true);
    let back = world.reregister(message);
    assert!(world.messages(back).iter().any(|m| matches!(m, Message::KillTask(_))));
}

#[test]
fn an_agent_that_claims_the_id_of_another_is_sent_away() {
    let (mut world, story) = World::with_task();
    let message = returns(&mut world, &story, 6000, true);
    let imposter = world.reregister(message);
    let messages = world.messages(imposter);
    let [Message::Shutdown(away)] = &messages[..] else { panic!("{messages:?}") };
    assert!(away.message.contains("agent_info.id") && away.message.contains("host:5051"));
    assert!(world.closed.contains(&imposter));
    assert!(world.cluster.books.agents[story.agent_id.value.as_str()].connected());
}

#[test]
fn after_a_failover_agents_and_frameworks_rebuild_the_books() {
    let (mut before, story) = World::with_task();
    before.update(&story, "t", TaskRunning, 1);
    let message = returns(&mut before, &story, PORT, true);
    let admitted = v1::AgentInfo { id: Some(story.agent_id.clone()), ..message.agent_info.clone() };

    let mut after = World::restarted(config(), vec![admitted], Vec::new());
    assert_eq!(after.cluster.books.recovered_agents.len(), 1);
    let agent = after.reregister(message);
    assert_eq!(after.agent_id(agent), story.agent_id);
    assert!(after.cluster.books.recovered_agents.is_empty());
    let framework = &after.cluster.books.frameworks[story.framework_id.value.as_str()];
    assert!(framework.recovered && framework.tasks.len() == 1);
    assert_eq!(after.available(&story.agent_id), "cpus:3;mem:896");
    let info =
        v1::FrameworkInfo { id: Some(story.framework_id.clone()), ..crate::world::framework("f") };
    let session = after.subscribe_as(info);
    assert_eq!(after.framework_id(session), story.framework_id);
    assert!(!after.cluster.books.frameworks[story.framework_id.value.as_str()].recovered);
}

#[test]
fn agents_that_do_not_come_back_after_a_failover_become_unreachable() {
    let mut info = agent_info(5051, "cpus:4");
    info.id = Some(v1::AgentId { value: "old-S1".into() });
    let mut world = World::restarted(config(), vec![info], Vec::new());
    world.advance(599);
    assert_eq!(world.cluster.books.recovered_agents.len(), 1);
    world.advance(1);
    assert!(world.cluster.books.recovered_agents.is_empty());
    assert_eq!(world.cluster.books.unreachable_agents.len(), 1);
    assert_eq!(world.writes, 1);
}

#[test]
fn a_returning_agent_with_an_unchanged_description_costs_no_write() {
    let (mut world, story) = World::with_task();
    let writes = world.writes;
    world.apply(Command::AgentLost(story.agent));
    let mut message = returns(&mut world, &story, PORT, true);
    message.agent_info = (*world.cluster.books.agents[story.agent_id.value.as_str()].info).clone();
    world.reregister(message);
    assert_eq!(world.writes, writes);
}

#[test]
fn an_agent_that_unregisters_takes_its_tasks_along() {
    let (mut world, story) = World::with_task();
    world.agent_says(story.agent, from_agent::Message::Unregister(v1::link::Unregister {}));
    assert_eq!(world.updates(story.framework)[0].state(), TaskLost);
    assert!(world.cluster.books.agents.is_empty());
}

#[test]
fn hooks_hear_of_an_agent_that_is_lost_once_whether_it_was_ever_back_or_not() {
    let (mut world, story) = World::with_task();
    world.apply(Command::AgentLost(story.agent));
    assert_eq!(world.lost, [], "it may come back");
    world.advance(75);
    let lost: Vec<_> = world.lost.iter().map(|a| a.id.clone()).collect();
    assert_eq!(lost, [Some(story.agent_id.clone())]);

    let admitted = v1::AgentInfo { id: Some(story.agent_id.clone()), ..agent_info(5051, "cpus:1") };
    let mut world = World::restarted(config(), vec![admitted.clone()], Vec::new());
    let framework = world.subscribe();
    world.events(framework);
    world.advance(600);
    assert_eq!(world.lost, [admitted]);
    let failures = world.events(framework).into_iter().filter_map(|e| e.failure);
    assert_eq!(failures.map(|f| f.agent_id).collect::<Vec<_>>(), [Some(story.agent_id)]);
}
