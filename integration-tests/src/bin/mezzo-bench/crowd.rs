//! Many agents and many frameworks, told to an allocator as a master tells it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use mezzo_module_api::Allocator;
use mezzo_module_api::types::offer_filters::ResourceQuantities;
use mezzo_module_api::types::value::Scalar;
use mezzo_module_api::types::{AgentInfo, FrameworkId, FrameworkInfo, Resource, value};
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{
    AgentAdded, AllocateRequest, AllocatorEvent, FrameworkAdded, FrameworkWishes, Holding,
    InitializeAllocatorRequest, ObserveRequest, Recovered, RoleAdded,
};

const SECOND: u64 = 1_000_000_000;

/// An allocator and what it has been told.
pub(crate) struct Crowd {
    allocator: Arc<dyn Allocator>,
    now: u64,
}

/// What one cycle took, in milliseconds.
pub(crate) struct Cycle {
    pub(crate) allocate: f64,
    pub(crate) recover: f64,
    pub(crate) proposals: usize,
}

impl Crowd {
    /// Tells of so many frameworks in one role, and of so many agents of 24 CPUs and 4 GB each.
    pub(crate) fn gather(
        allocator: Arc<dyn Allocator>,
        agents: u64,
        frameworks: u64,
    ) -> anyhow::Result<Self> {
        let least = |name: &str, value| ResourceQuantities {
            quantities: [(name.to_owned(), Scalar { value })].into(),
        };
        allocator.initialize(InitializeAllocatorRequest {
            allocation_interval_nanos: Some(SECOND),
            role_sorter: Some("drf".to_owned()),
            framework_sorter: Some("drf".to_owned()),
            min_allocatable_resources: vec![least("cpus", 0.01), least("mem", 32.0)],
            seed: Some(1),
            ..InitializeAllocatorRequest::default()
        })?;
        let crowd = Self { allocator, now: SECOND };
        let role = RoleAdded { role: Some(0), name: Some("*".to_owned()), weight: None };
        let mut events = vec![Event::RoleAdded(role)];
        events.extend((0..frameworks).map(framework));
        events.extend((0..agents).map(agent));
        crowd.tell(events)?;
        Ok(crowd)
    }

    /// Everything is proposed, everything is given back.
    pub(crate) fn cycle(&mut self) -> anyhow::Result<Cycle> {
        self.now += SECOND;
        let request = AllocateRequest {
            now_nanos: Some(self.now),
            all_agents: Some(true),
            agents: Vec::new(),
        };
        let begun = Instant::now();
        let proposals = self.allocator.allocate(request)?.proposals;
        let allocate = begun.elapsed().as_secs_f64() * 1e3;
        ensure!(!proposals.is_empty(), "nothing was proposed");
        let count = proposals.len();
        let back = proposals.into_iter().map(|proposal| {
            Event::Recovered(Recovered {
                holding: Some(Holding {
                    framework: proposal.framework,
                    role: proposal.role,
                    agent: proposal.agent,
                    resources: proposal.resources,
                }),
                refuse_seconds: None,
            })
        });
        let back = back.collect();
        let begun = Instant::now();
        self.tell(back)?;
        let recover = begun.elapsed().as_secs_f64() * 1e3;
        Ok(Cycle { allocate, recover, proposals: count })
    }

    fn tell(&self, events: Vec<Event>) -> anyhow::Result<()> {
        let events = events.into_iter().map(|event| AllocatorEvent { event: Some(event) });
        let request = ObserveRequest { now_nanos: Some(self.now), events: events.collect() };
        let refused = self.allocator.observe(request)?.refused;
        ensure!(refused.is_empty(), "the allocator refused {refused:?}");
        Ok(())
    }
}

fn framework(key: u64) -> Event {
    let info = FrameworkInfo {
        id: Some(FrameworkId { value: format!("framework-{key}") }),
        ..FrameworkInfo::default()
    };
    let wishes = FrameworkWishes {
        roles: vec![0],
        framework_info: Some(info),
        ..FrameworkWishes::default()
    };
    Event::FrameworkAdded(FrameworkAdded {
        framework: Some(key),
        wishes: Some(wishes),
        active: Some(true),
        used: Vec::new(),
    })
}

fn agent(key: u64) -> Event {
    let info = AgentInfo { hostname: format!("agent-{key}"), ..AgentInfo::default() };
    Event::AgentAdded(AgentAdded {
        agent: Some(key),
        agent_info: Some(info),
        total: vec![scalar("cpus", 24.0), scalar("mem", 4096.0), scalar("disk", 4096.0)],
        ..AgentAdded::default()
    })
}

fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(Scalar { value }),
        ..Resource::default()
    }
}
