//! Frameworks: subscribing, failing over, leaving.

use mezzo_master_core::Command;
use mezzo_proto::module::v1::allocator_event::Event as ToAllocator;
use mezzo_proto::v1;
use mezzo_proto::v1::link::from_master::Message;
use mezzo_proto::v1::scheduler::event::Type;
use mezzo_proto::v1::scheduler::{self, call};

use crate::world::{World, framework, of, task, types};

fn patient(timeout: f64) -> v1::FrameworkInfo {
    v1::FrameworkInfo { failover_timeout: Some(timeout), ..framework("f") }
}

fn again(info: v1::FrameworkInfo, id: &v1::FrameworkId) -> v1::FrameworkInfo {
    v1::FrameworkInfo { id: Some(id.clone()), ..info }
}

#[test]
fn the_first_events_are_subscribed_and_a_heartbeat() {
    let mut world = World::new();
    let session = world.subscribe();
    let events = world.events(session);
    assert_eq!(types(&events), [Type::Subscribed, Type::Heartbeat]);
    let subscribed = events[0].subscribed.as_ref().unwrap();
    assert_eq!(subscribed.framework_id.value, "master-0000");
    assert_eq!(subscribed.heartbeat_interval_seconds, Some(15.0));
    assert_eq!(subscribed.master_info.as_ref().unwrap().id, "master");
}

#[test]
fn subscribing_again_takes_over_and_the_old_stream_is_told() {
    let mut world = World::new();
    let old = world.subscribe_as(patient(60.0));
    let id = world.framework_id(old);
    let new = world.subscribe_as(again(patient(60.0), &id));
    let events = world.events(old);
    assert_eq!(events[0].error.as_ref().unwrap().message, "Framework failed over");
    assert!(world.closed.contains(&old));
    assert_eq!(world.framework_id(new), id);
    // The end of the old stream comes late and must not disconnect the new one.
    world.apply(Command::FrameworkLost(old));
    assert!(world.cluster.books.frameworks[id.value.as_str()].connected());
}

#[test]
fn failing_over_discards_old_offers_without_a_word() {
    let (mut world, story) = World::with_offer("cpus:4");
    let new = world.subscribe_as(again(framework("f"), &story.framework_id));
    assert!(!world.offer_is_open(&story.offer));
    assert_eq!(world.available(&story.agent_id), "cpus:4");
    assert_eq!(types(&world.events(new)), [Type::Subscribed, Type::Heartbeat]);
}

#[test]
fn without_a_failover_timeout_a_framework_is_removed_when_its_stream_ends() {
    let (mut world, story) = World::with_task();
    world.apply(Command::FrameworkLost(story.framework));
    world.advance(0);
    assert!(world.cluster.books.frameworks.is_empty());
    assert!(matches!(&world.messages(story.agent)[..], [Message::ShutdownFramework(_)]));
    assert_eq!(world.available(&story.agent_id), "cpus:4;mem:1024");
    let done = &world.cluster.books.completed_frameworks[0];
    assert_eq!(done.completed_tasks[0].state(), v1::TaskState::TaskKilled);
}

#[test]
fn within_its_failover_timeout_a_framework_finds_its_tasks_again() {
    let mut world = World::new();
    let agent = world.register("cpus:4");
    let agent_id = world.agent_id(agent);
    let session = world.subscribe_as(patient(60.0));
    let id = world.framework_id(session);
    world.propose(&id, &agent_id, "cpus:4");
    let offer = world.offers(session).remove(0).id;
    world.call(session, crate::world::accept(&id, &[&offer], vec![task(&agent_id, "t", "cpus:1")]));
    world.messages(agent);
    world.apply(Command::FrameworkLost(session));
    world.advance_answering(59, &[agent]);
    let back = world.subscribe_as(again(patient(60.0), &id));
    assert_eq!(world.framework_id(back), id);
    world.advance_answering(120, &[agent]);
    let framework = &world.cluster.books.frameworks[id.value.as_str()];
    assert!(framework.connected(), "the timer of the first absence must not fire later");
    assert_eq!(framework.tasks.len(), 1);
    let updated = world.messages(agent);
    assert!(updated.iter().any(|m| matches!(m, Message::UpdateFramework(_))));
}

#[test]
fn a_removed_framework_cannot_come_back() {
    let mut world = World::new();
    let session = world.subscribe();
    let id = world.framework_id(session);
    world.call(session, of(&id, call::Type::Teardown));
    assert!(world.closed.contains(&session));
    let back = world.subscribe_as(again(framework("f"), &id));
    let events = world.events(back);
    assert_eq!(events[0].error.as_ref().unwrap().message, "Framework has been removed");
}

#[test]
fn an_unknown_id_is_taken_for_a_framework_of_an_earlier_master() {
    let mut world = World::new();
    let id = v1::FrameworkId { value: "earlier-0007".into() };
    let session = world.subscribe_as(again(framework("f"), &id));
    assert_eq!(world.framework_id(session), id);
}

#[test]
fn an_id_beside_the_call_that_differs_is_an_error() {
    let mut world = World::new();
    let session = world.session();
    let info = again(framework("f"), &v1::FrameworkId { value: "a".into() });
    world.apply(Command::Subscribe {
        session,
        framework_id: Some(v1::FrameworkId { value: "b".into() }),
        subscribe: Box::new(call::Subscribe { framework_info: info, ..Default::default() }),
    });
    let events = world.events(session);
    assert!(events[0].error.as_ref().unwrap().message.contains("framework_id"));
}

#[test]
fn a_principal_cannot_change() {
    let mut world = World::new();
    let session = world.subscribe_as(patient(60.0));
    let id = world.framework_id(session);
    let mut info = again(patient(60.0), &id);
    info.principal = Some("somebody".into());
    let other = world.subscribe_as(info);
    let events = world.events(other);
    assert!(events[0].error.as_ref().unwrap().message.contains("principal"));
    assert!(world.cluster.books.frameworks[id.value.as_str()].connected());
}

#[test]
fn suppressing_and_reviving_is_told_to_the_allocator() {
    let mut world = World::new();
    let session = world.subscribe();
    let id = world.framework_id(session);
    world.call(session, of(&id, call::Type::Suppress));
    assert!(matches!(world.allocator.last(), Some(ToAllocator::Suppressed(s)) if s.roles == [0]));
    world.call(session, of(&id, call::Type::Revive));
    assert!(matches!(world.allocator.last(), Some(ToAllocator::Revived(r)) if r.roles == [0]));
}

#[test]
fn a_role_that_is_not_subscribed_voids_the_whole_call() {
    let mut world = World::new();
    let session = world.subscribe();
    let id = world.framework_id(session);
    let told = world.allocator.len();
    let suppress = scheduler::Call {
        suppress: Some(call::Suppress { roles: vec!["*".into(), "other".into()] }),
        ..of(&id, call::Type::Suppress)
    };
    world.call(session, suppress);
    assert_eq!(world.allocator.len(), told);
    assert!(world.rejections[0].message.contains("other"));
}

#[test]
fn only_so_many_completed_frameworks_are_remembered() {
    let mut world = World::new();
    for _ in 0..4 {
        let session = world.subscribe();
        let id = world.framework_id(session);
        world.call(session, of(&id, call::Type::Teardown));
    }
    let kept: Vec<_> =
        world.cluster.books.completed_frameworks.iter().map(|f| f.id.to_string()).collect();
    assert_eq!(kept, ["master-0002", "master-0003"]);
}
