//! Agents whose connection breaks while the registry takes its time, so that they try more than once.

use mezzo_master_core::{Command, Write};
use mezzo_proto::v1::TaskState::{TaskGone, TaskUnreachable};
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::link::Reregister;

use crate::agents::{PORT, returns};
use crate::world::{Story, World, accept, config, framework, task, with_capability};

/// A master that has just taken over: it knows the agent of a story from the registry.
fn after_failover() -> (World, Reregister) {
    let (mut before, story) = World::with_task();
    let message = returns(&mut before, &story, PORT, true);
    let world = World::restarted(config(), vec![message.agent_info.clone()], Vec::new());
    (world, message)
}

#[test]
fn an_agent_that_is_gone_when_the_registry_has_it_is_not_entered() {
    let mut world = World::new();
    world.hold_writes = true;
    let agent = world.register("cpus:4");
    world.apply(Command::AgentLost(agent));
    world.release_writes();
    assert!(world.cluster.books.agents.is_empty());
    assert!(matches!(&world.written[..], [Write::Admit(id, _), Write::Remove(gone)] if id == gone));
}

#[test]
fn an_agent_that_registers_twice_before_the_registry_has_it_is_there_once() {
    let mut world = World::new();
    world.hold_writes = true;
    world.register_at(5051, "cpus:4");
    let second = world.register_at(5051, "cpus:4");
    world.release_writes();
    let id = world.agent_id(second);
    let agents: Vec<_> = world.cluster.books.agents.keys().map(|id| id.as_str()).collect();
    assert_eq!(agents, [id.value.as_str()]);
}

#[test]
fn an_agent_that_comes_back_twice_before_the_registry_has_it_keeps_its_tasks() {
    let (mut world, message) = after_failover();
    world.hold_writes = true;
    let first = world.reregister(message.clone());
    let second = world.reregister(message.clone());
    world.hold_writes = false;
    world.release_writes();
    assert!(world.closed.contains(&first));
    assert_eq!(world.agent_id(second), message.agent_info.id.unwrap());
    let agent = world.cluster.books.agents.values().next().unwrap();
    assert_eq!((agent.tasks.len(), agent.liveness.session), (1, Some(second)));
    assert_eq!(agent.available.to_string(), "cpus:3;mem:896");
}

#[test]
fn an_agent_whose_first_try_came_to_nothing_is_entered_on_its_second() {
    let (mut world, message) = after_failover();
    world.hold_writes = true;
    let first = world.reregister(message.clone());
    world.apply(Command::AgentLost(first));
    let second = world.reregister(message);
    world.hold_writes = false;
    world.release_writes();
    let agent = world.cluster.books.agents.values().next().unwrap();
    assert_eq!((agent.tasks.len(), agent.liveness.session), (1, Some(second)));
}

#[test]
fn a_task_that_an_unreachable_agent_comes_back_without_is_gone() {
    let mut world = World::new();
    let agent = world.register("cpus:4;mem:1024");
    let agent_id = world.agent_id(agent);
    let session = world.subscribe_as(with_capability(framework("f"), Capability::PartitionAware));
    let framework_id = world.framework_id(session);
    world.propose(&framework_id, &agent_id, "cpus:4");
    let offer = world.offers(session).pop().unwrap().id;
    let story = Story { agent, agent_id, framework: session, framework_id, offer };
    let tasks = vec![task(&story.agent_id, "t", "cpus:1")];
    world.call(session, accept(&story.framework_id, &[&story.offer], tasks));
    world.apply(Command::AgentLost(agent));
    world.advance(100);
    assert_eq!(world.updates(session)[0].state(), TaskUnreachable);
    let message = returns(&mut world, &story, PORT, false);
    world.reregister(message);
    assert_eq!(world.updates(session)[0].state(), TaskGone);
    let books = &world.cluster.books;
    let known = books.frameworks.get(story.framework_id.value.as_str()).unwrap();
    assert!(known.unreachable_tasks.is_empty());
    assert_eq!(known.completed_tasks.last().unwrap().state(), TaskGone);
}

#[test]
fn what_an_agent_runs_comes_before_what_is_offered_of_it() {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    let (mut other, known) = World::with_task();
    // It has a task that these books lack, and everything of it is offered.
    let tasks = returns(&mut other, &known, PORT, true).tasks;
    let message = Reregister { tasks, ..returns(&mut world, &story, PORT, false) };
    world.reregister(message);
    assert!(!world.offer_is_open(&story.offer));
    assert_eq!(world.available(&story.agent_id), "cpus:3;mem:896");
}
