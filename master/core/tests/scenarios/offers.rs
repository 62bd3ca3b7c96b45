//! Offers: made, used, declined, rescinded, each at most once.

use mezzo_proto::v1;
use mezzo_proto::v1::TaskState::{TaskDropped, TaskLost};
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::scheduler::event::Type;
use mezzo_proto::v1::scheduler::{self, call};
use mezzo_proto::v1::task_status::Reason;

use crate::world::{Story, World, accept, config, framework, of, task, types, with_capability};

fn decline(story: &Story, filters: Option<v1::Filters>) -> scheduler::Call {
    scheduler::Call {
        decline: Some(call::Decline { offer_ids: vec![story.offer.clone()], filters }),
        ..of(&story.framework_id, call::Type::Decline)
    }
}

#[test]
fn an_offer_holds_its_resources_until_it_ends() {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    assert_eq!(world.available(&story.agent_id), "");
    world.call(story.framework, decline(&story, None));
    assert_eq!(world.available(&story.agent_id), "cpus:4;mem:1024");
    assert!(!world.offer_is_open(&story.offer));
}

#[test]
fn decline_without_filters_hides_the_offer_for_five_seconds() {
    let (mut world, story) = World::with_offer("cpus:4");
    world.call(story.framework, decline(&story, None));
    assert_eq!(world.last_refusal(), Some(5.0));
}

#[test]
fn decline_with_refuse_zero_installs_no_filter() {
    let (mut world, story) = World::with_offer("cpus:4");
    world.call(story.framework, decline(&story, Some(v1::Filters { refuse_seconds: Some(0.0) })));
    assert_eq!(world.last_refusal(), None);
}

#[test]
fn declining_twice_or_an_offer_of_nobody_is_no_error() {
    let (mut world, story) = World::with_offer("cpus:4");
    world.call(story.framework, decline(&story, None));
    world.call(story.framework, decline(&story, None));
    assert!(world.rejections.is_empty());
    assert_eq!(world.available(&story.agent_id), "cpus:4");
}

#[test]
fn an_offer_used_twice_launches_once_and_reports_the_second_task_as_lost() {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    world.accept(&story, vec![task(&story.agent_id, "first", "cpus:1")]);
    world.accept(&story, vec![task(&story.agent_id, "second", "cpus:1")]);
    let launched = world.launched(story.agent);
    assert_eq!(launched.len(), 1);
    assert_eq!(launched[0].task_id.value, "first");
    let updates = world.updates(story.framework);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].task_id.value, "second");
    assert_eq!((updates[0].state(), updates[0].reason()), (TaskLost, Reason::InvalidOffers));
    assert_eq!(updates[0].uuid, None);
}

#[test]
fn a_partition_aware_framework_hears_dropped_instead_of_lost() {
    let mut world = World::new();
    let info = with_capability(framework("f"), Capability::PartitionAware);
    let session = world.subscribe_as(info);
    let id = world.framework_id(session);
    let agent = v1::AgentId { value: "none".into() };
    let nothing = v1::OfferId { value: "nothing".into() };
    world.call(session, accept(&id, &[&nothing], vec![task(&agent, "t", "cpus:1")]));
    assert_eq!(world.updates(session)[0].state(), TaskDropped);
}

#[test]
fn accept_after_rescind_is_rejected() {
    let (mut world, story) = World::with_offer("cpus:4");
    world.apply(mezzo_master_core::Command::AgentLost(story.agent));
    assert_eq!(types(&world.events(story.framework)), [Type::Rescind]);
    world.accept(&story, vec![task(&story.agent_id, "t", "cpus:1")]);
    assert_eq!(world.updates(story.framework)[0].reason(), Reason::InvalidOffers);
    assert!(world.launched(story.agent).is_empty());
}

#[test]
fn accepting_a_valid_and_an_unknown_offer_discards_the_valid_one() {
    let (mut world, story) = World::with_offer("cpus:4");
    let unknown = v1::OfferId { value: "unknown".into() };
    let tasks = vec![task(&story.agent_id, "t", "cpus:1")];
    world.call(story.framework, accept(&story.framework_id, &[&story.offer, &unknown], tasks));
    assert!(!world.offer_is_open(&story.offer));
    assert_eq!(world.available(&story.agent_id), "cpus:4");
    assert_eq!(world.last_refusal(), None);
    assert_eq!(world.updates(story.framework)[0].reason(), Reason::InvalidOffers);
}

#[test]
fn an_offer_of_another_framework_can_be_neither_used_nor_ended() {
    let (mut world, story) = World::with_offer("cpus:4");
    let thief = world.subscribe_as(framework("thief"));
    let thief_id = world.framework_id(thief);
    let tasks = vec![task(&story.agent_id, "t", "cpus:1")];
    world.call(thief, accept(&thief_id, &[&story.offer], tasks));
    assert_eq!(world.updates(thief)[0].reason(), Reason::InvalidOffers);
    assert!(world.offer_is_open(&story.offer));
    let call = scheduler::Call {
        decline: Some(call::Decline { offer_ids: vec![story.offer.clone()], filters: None }),
        ..of(&thief_id, call::Type::Decline)
    };
    world.call(thief, call);
    assert!(world.offer_is_open(&story.offer));
}

#[test]
fn offers_of_one_agent_can_be_used_together() {
    let mut world = World::new();
    let agent = world.register("cpus:4;mem:1024");
    let agent_id = world.agent_id(agent);
    let session = world.subscribe();
    let id = world.framework_id(session);
    world.propose(&id, &agent_id, "cpus:1;mem:512");
    world.propose(&id, &agent_id, "cpus:3;mem:512");
    let offers: Vec<_> = world.offers(session).into_iter().map(|o| o.id).collect();
    let tasks = vec![task(&agent_id, "t", "cpus:4;mem:1000")];
    world.call(session, accept(&id, &[&offers[0], &offers[1]], tasks));
    assert_eq!(world.launched(agent).len(), 1);
    assert_eq!(world.available(&agent_id), "mem:24");
}

#[test]
fn offers_of_two_agents_cannot_be_used_together() {
    let mut world = World::new();
    let (a, b) = (world.register("cpus:4"), world.register("cpus:4"));
    let (a_id, b_id) = (world.agent_id(a), world.agent_id(b));
    let session = world.subscribe();
    let id = world.framework_id(session);
    world.propose(&id, &a_id, "cpus:4");
    world.propose(&id, &b_id, "cpus:4");
    let offers: Vec<_> = world.offers(session).into_iter().map(|o| o.id).collect();
    world.call(session, accept(&id, &[&offers[0], &offers[1]], vec![task(&a_id, "t", "cpus:1")]));
    assert_eq!(world.updates(session)[0].reason(), Reason::InvalidOffers);
    assert_eq!(
        (world.available(&a_id), world.available(&b_id)),
        ("cpus:4".into(), "cpus:4".into())
    );
}

#[test]
fn the_same_offer_named_twice_in_one_accept_is_invalid() {
    let (mut world, story) = World::with_offer("cpus:4");
    let tasks = vec![task(&story.agent_id, "t", "cpus:8")];
    let twice = [&story.offer, &story.offer];
    world.call(story.framework, accept(&story.framework_id, &twice, tasks));
    assert_eq!(world.updates(story.framework)[0].reason(), Reason::InvalidOffers);
    assert_eq!(world.available(&story.agent_id), "cpus:4");
}

#[test]
fn what_an_accept_leaves_goes_back_with_the_default_filter() {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    world.accept(&story, vec![task(&story.agent_id, "t", "cpus:1;mem:24")]);
    assert_eq!(world.available(&story.agent_id), "cpus:3;mem:1000");
    assert_eq!(world.last_refusal(), Some(5.0));
}

#[test]
fn a_launch_of_no_tasks_is_a_decline() {
    let (mut world, story) = World::with_offer("cpus:4");
    world.accept(&story, Vec::new());
    assert_eq!(world.available(&story.agent_id), "cpus:4");
    assert_eq!(world.last_refusal(), Some(5.0));
}

#[test]
fn an_offer_held_beyond_the_offer_timeout_is_rescinded() {
    let mut config = config();
    config.offer_timeout = Some(std::time::Duration::from_secs(10));
    let mut world = World::with(config);
    let agent = world.register("cpus:4");
    let agent_id = world.agent_id(agent);
    let session = world.subscribe();
    let id = world.framework_id(session);
    world.propose(&id, &agent_id, "cpus:4");
    let offer = world.offers(session).remove(0);
    world.advance_answering(9, &[agent]);
    assert!(world.offer_is_open(&offer.id));
    world.advance_answering(1, &[agent]);
    let events = world.events(session);
    assert_eq!(types(&events), [Type::Rescind]);
    assert_eq!(events[0].rescind.as_ref().unwrap().offer_id, offer.id);
    assert_eq!(world.available(&agent_id), "cpus:4");
}

#[test]
fn a_proposal_of_more_than_is_free_is_refused_and_given_back() {
    let (mut world, story) = World::with_offer("cpus:4");
    world.propose(&story.framework_id, &story.agent_id, "cpus:1");
    assert!(world.offers(story.framework).is_empty());
    assert_eq!(world.cluster.books.counts.proposals_refused, 1);
    assert!(matches!(
        world.allocator.last(),
        Some(mezzo_proto::module::v1::allocator_event::Event::Recovered(_))
    ));
}

#[test]
fn a_proposal_to_a_framework_that_left_is_refused() {
    let mut world = World::new();
    let agent = world.register("cpus:4");
    let agent_id = world.agent_id(agent);
    let mut info = framework("f");
    info.failover_timeout = Some(60.0);
    let session = world.subscribe_as(info);
    let id = world.framework_id(session);
    world.apply(mezzo_master_core::Command::FrameworkLost(session));
    world.propose(&id, &agent_id, "cpus:4");
    assert!(world.cluster.books.offers.is_empty());
    assert_eq!(world.available(&agent_id), "cpus:4");
}

#[test]
fn offers_are_in_the_words_that_the_framework_understands() {
    let (mut world, story) = World::with_offer("cpus:4");
    let plain = &world.cluster.books.get_frameworks().frameworks[0].offers[0];
    assert_eq!(plain.allocation_info, None);
    assert_eq!(plain.resources[0].allocation_info, None);
    #[expect(deprecated, reason = "what frameworks without refinement read")]
    let role = plain.resources[0].role.clone();
    assert_eq!(role.as_deref(), Some("*"));
    assert!(plain.url.as_ref().is_some_and(|u| u.address.ip.is_some()));

    let mut info = with_capability(framework("m"), Capability::MultiRole);
    info = with_capability(info, Capability::ReservationRefinement);
    info.roles = vec!["eng".into()];
    let session = world.subscribe_as(info);
    let id = world.framework_id(session);
    world.call(story.framework, decline(&story, None));
    world.propose(&id, &story.agent_id, "cpus:4");
    let offer = world.offers(session).remove(0);
    assert_eq!(offer.allocation_info.unwrap().role.as_deref(), Some("eng"));
    let resource = &offer.resources[0];
    assert_eq!(resource.allocation_info.as_ref().unwrap().role.as_deref(), Some("eng"));
    #[expect(deprecated, reason = "must be absent in this format")]
    let role = resource.role.clone();
    assert_eq!(role, None);
}
