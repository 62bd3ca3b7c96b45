//! Every MUST of an allocator, linked in and loaded from the library; and what this one promises beside them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use example_fifo_allocator::Fifo;
use mezzo_module_api::model::{Format, Resources, Role};
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{
    AgentAdded, AllocateRequest, AllocatorEvent, FrameworkAdded, FrameworkWishes, ObserveRequest,
    RoleAdded,
};
use mezzo_module_api::{Allocator, Host, Parameters};

mod linked_in {
    mezzo_module_testkit::allocator_tests!(mezzo_module_testkit::Subject::allocator(
        "example/fifo",
        example_fifo_allocator::Fifo::new
    ));
}

mod loaded {
    mezzo_module_testkit::allocator_tests!(mezzo_module_testkit::Subject::built(
        "example_fifo_allocator",
        "example/fifo"
    ));
}

#[test]
fn who_came_first_is_served_first() {
    let allocator = Fifo::new(Host::silent(), Parameters::default()).unwrap();
    allocator.initialize(Default::default()).unwrap();
    let role = RoleAdded { role: Some(0), name: Some("*".into()), weight: None };
    let framework = |key| {
        let wishes = FrameworkWishes { roles: vec![0], ..FrameworkWishes::default() };
        Event::FrameworkAdded(FrameworkAdded {
            framework: Some(key),
            wishes: Some(wishes),
            active: Some(true),
            used: vec![],
        })
    };
    let agent = |key| {
        let total = Resources::parse("cpus:1;mem:64", &Role::star()).unwrap();
        Event::AgentAdded(AgentAdded {
            agent: Some(key),
            total: total.to_proto(Format::PostRefinement),
            ..AgentAdded::default()
        })
    };
    let events = [Event::RoleAdded(role), framework(2), framework(1), agent(1), agent(2), agent(3)];
    let events = events.into_iter().map(|event| AllocatorEvent { event: Some(event) }).collect();
    let response = allocator.observe(ObserveRequest { now_nanos: Some(0), events }).unwrap();
    assert_eq!(response.refused, []);
    let request = AllocateRequest { all_agents: Some(true), ..AllocateRequest::default() };
    let proposals = allocator.allocate(request).unwrap().proposals;
    let served: Vec<u64> = proposals.iter().map(|proposal| proposal.framework()).collect();
    assert_eq!(served, [1, 1, 1], "however much it has already");
}
