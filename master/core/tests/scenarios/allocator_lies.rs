//! An allocator that lies: no proposal that does not fit the books becomes an offer, each is counted and given back, and
//! what fits is offered all the same. (That the books add up is checked after every command.)

use mezzo_master_core::{Command, Proposal};
use mezzo_model::Role;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::scheduler::{self, call};
use proptest::prelude::*;

use crate::world::{Story, World, framework, of, wire, with_capability};

const FREE: &str = "cpus:4;mem:1024";

/// One framework, one agent, nothing offered, and a second role that somebody else has.
fn scene() -> (World, Story) {
    let (mut world, story) = World::with_offer(FREE);
    let decline = scheduler::Call {
        decline: Some(call::Decline { offer_ids: vec![story.offer.clone()], filters: None }),
        ..of(&story.framework_id, call::Type::Decline)
    };
    world.call(story.framework, decline);
    let mut other = with_capability(framework("other"), Capability::MultiRole);
    other.roles = vec!["eng".into()];
    world.subscribe_as(other);
    world.allocator.clear();
    (world, story)
}

fn honest(world: &World, story: &Story) -> Proposal {
    Proposal {
        framework: world.key_of_framework(&story.framework_id),
        role: world.cluster.books.roles[&Role::star()],
        agent: world.key_of_agent(&story.agent_id),
        resources: wire("cpus:1"),
    }
}

fn scalar(name: &str, value: f64) -> v1::Resource {
    v1::Resource {
        name: name.into(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    }
}

fn reserved_to(role: &str) -> v1::Resource {
    v1::Resource {
        reservations: vec![v1::resource::ReservationInfo {
            r#type: Some(v1::resource::reservation_info::Type::Static.into()),
            role: Some(role.into()),
            ..Default::default()
        }],
        ..scalar("cpus", 1.0)
    }
}

/// Proposes lies around an honest one; gives what was said of them.
fn refused(lies: impl FnOnce(&World, Proposal) -> Vec<Proposal>) -> String {
    let (mut world, story) = scene();
    let lies = lies(&world, honest(&world, &story));
    let count = lies.len() as u64;
    let mut all = lies.clone();
    all.insert(lies.len() / 2, honest(&world, &story));
    let before = world.cluster.books.counts;
    world.rejections.clear();
    world.apply(Command::Proposed(all));
    let offers = world.offers(story.framework);
    assert_eq!(offers.len(), 1, "the honest one is offered, and no other: {offers:?}");
    assert_eq!(world.available(&story.agent_id), "cpus:3;mem:1024");
    let after = world.cluster.books.counts;
    assert_eq!(after.proposals_refused - before.proposals_refused, count);
    assert_eq!(after.offers_made - before.offers_made, 1);
    let given_back = world.allocator.iter().filter_map(|event| match event {
        Event::Recovered(recovered) => recovered.holding.as_ref(),
        _ => None,
    });
    let given_back: Vec<_> = given_back.map(|h| (h.framework(), h.role(), h.agent())).collect();
    let lied: Vec<_> = lies.iter().map(|p| (p.framework, p.role, p.agent)).collect();
    assert_eq!(given_back, lied, "each is given back as it was made");
    assert_eq!(world.rejections.len(), 1, "one line for all");
    world.rejections[0].message.clone()
}

#[test]
fn keys_that_were_never_given() {
    let said = refused(|_, p| {
        vec![
            Proposal { framework: 77, ..p.clone() },
            Proposal { framework: u64::MAX, ..p.clone() },
            Proposal { role: u32::MAX, ..p.clone() },
            Proposal { agent: 77, ..p },
        ]
    });
    assert_eq!(said, "4 of 5 proposals of the allocator do not fit: framework 77 does not exist");
}

#[test]
fn more_than_is_free_or_something_that_is_not_there() {
    for resources in ["cpus:4.001", "cpus:1;mem:1025", "gpus:1", "ports:[1-2]", "cpus:1;disk:0.001"]
    {
        let said = refused(|_, p| vec![Proposal { resources: wire(resources), ..p }]);
        assert!(said.contains("is more than the"), "{resources}: {said}");
    }
}

#[test]
fn the_same_twice() {
    let said = refused(|_, p| {
        let twice = Proposal { resources: wire("cpus:4"), ..p };
        // Before the honest one stands a lie, so the first of these does not fit either.
        vec![Proposal { resources: wire("cpus:5"), ..twice.clone() }, twice]
    });
    assert!(said.starts_with("2 of 3"), "{said}");
}

#[test]
fn a_role_that_is_not_the_frameworks() {
    let said = refused(|world, p| {
        vec![Proposal { role: world.cluster.books.roles[&Role::parse("eng").unwrap()], ..p }]
    });
    assert!(said.contains("wants no offers for role eng"), "{said}");
}

#[test]
fn what_is_reserved_to_others() {
    let said = refused(|_, p| vec![Proposal { resources: vec![reserved_to("eng")], ..p }]);
    assert!(said.contains("is not all for role *"), "{said}");
}

#[test]
fn amounts_that_are_none() {
    for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308] {
        let lie = vec![scalar("cpus", value)];
        let said = refused(|_, p| vec![Proposal { resources: lie, ..p }]);
        assert!(said.contains("resources[0]"), "{value}: {said}");
    }
    let balanced = vec![scalar("cpus", 2.0), scalar("cpus", -1.0)];
    let said = refused(|_, p| vec![Proposal { resources: balanced, ..p }]);
    assert!(said.contains("resources[1]"), "{said}");
}

#[test]
fn nothing_at_all() {
    let said = refused(|_, p| {
        vec![
            Proposal { resources: Vec::new(), ..p.clone() },
            Proposal { resources: vec![scalar("cpus", 0.0)], ..p },
        ]
    });
    assert!(said.contains("it holds nothing"), "{said}");
}

#[test]
fn fields_that_a_resource_cannot_have() {
    let nameless = scalar("", 1.0);
    let valueless = v1::Resource { scalar: None, ..scalar("cpus", 1.0) };
    let allocated = v1::Resource {
        allocation_info: Some(v1::resource::AllocationInfo { role: Some("/..".into()) }),
        ..scalar("cpus", 1.0)
    };
    for lie in [nameless, valueless, allocated] {
        refused(|_, p| vec![Proposal { resources: vec![lie], ..p }]);
    }
}

#[test]
fn a_framework_that_is_away_or_wants_nothing() {
    for away in [true, false] {
        let (mut world, story) = scene();
        if away {
            world.apply(Command::FrameworkLost(story.framework));
        } else {
            let suppress = call::Suppress::default();
            let suppress = scheduler::Call {
                suppress: Some(suppress),
                ..of(&story.framework_id, call::Type::Suppress)
            };
            world.call(story.framework, suppress);
        }
        if world.cluster.books.frameworks.contains_key(story.framework_id.value.as_str()) {
            let proposal = honest(&world, &story);
            world.apply(Command::Proposed(vec![proposal]));
        }
        assert_eq!(world.offers(story.framework), []);
        assert_eq!(world.available(&story.agent_id), FREE);
    }
}

#[test]
fn an_agent_that_is_away_or_on_its_way_out() {
    let (mut world, story) = scene();
    let proposal = honest(&world, &story);
    world.apply(Command::AgentLost(story.agent));
    world.apply(Command::Proposed(vec![proposal.clone()]));
    world.hold_writes = true;
    world.advance(75);
    world.apply(Command::Proposed(vec![proposal]));
    assert_eq!(world.offers(story.framework), []);
    assert_eq!(world.cluster.books.counts.proposals_refused, 2);
}

#[test]
fn a_request_is_told_to_the_allocator_if_it_makes_sense() {
    let (mut world, story) = scene();
    let request = |resources| scheduler::Call {
        request: Some(call::Request {
            requests: vec![v1::Request { agent_id: Some(story.agent_id.clone()), resources }],
        }),
        ..of(&story.framework_id, call::Type::Request)
    };
    world.call(story.framework, request(wire("cpus:2")));
    let Some(Event::ResourcesRequested(told)) = world.allocator.pop() else { panic!("not told") };
    assert_eq!(told.framework(), world.key_of_framework(&story.framework_id));
    assert_eq!(told.requests[0].resources, wire("cpus:2"));
    world.rejections.clear();
    world.call(story.framework, request(vec![scalar("cpus", f64::NAN)]));
    assert_eq!(world.allocator, []);
    let said = &world.rejections[0].message;
    assert!(said.starts_with("request.requests[0].resources[0]"), "{said}");
}

fn lie() -> impl Strategy<Value = (u64, u32, u64, Vec<(u8, f64, bool)>)> {
    let amount =
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), -2.0..6.0_f64, any::<f64>()];
    let resources = prop::collection::vec((0..3_u8, amount, any::<bool>()), 0..4);
    (0..4_u64, 0..3_u32, 0..4_u64, resources)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_proposed_the_books_stay_right(lies in prop::collection::vec(lie(), 0..40)) {
        let (mut world, story) = scene();
        let proposals = lies.into_iter().map(|(framework, role, agent, resources)| Proposal {
            framework,
            role,
            agent,
            resources: resources
                .into_iter()
                .map(|(name, value, reserved)| v1::Resource {
                    name: ["cpus", "mem", "gpus"][usize::from(name)].into(),
                    reservations: if reserved { reserved_to("eng").reservations } else { Vec::new() },
                    ..scalar("", value)
                })
                .collect(),
        });
        let proposals: Vec<_> = proposals.collect();
        let before = world.cluster.books.counts;
        let count = proposals.len() as u64;
        world.apply(Command::Proposed(proposals));
        let after = world.cluster.books.counts;
        prop_assert_eq!(
            after.offers_made - before.offers_made + after.proposals_refused - before.proposals_refused,
            count
        );
        prop_assert!(world.cluster.books.agents.contains_key(story.agent_id.value.as_str()));
    }
}
