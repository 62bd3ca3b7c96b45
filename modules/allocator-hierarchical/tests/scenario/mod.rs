//! A small cluster to tell the allocator about, in the words of its tests. Keeps books of its own and checks every proposal
//! against them: what is proposed must be free.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "shared by several test files; a test may panic"
)]

use std::collections::BTreeMap;

use mezzo_allocator_hierarchical::Hierarchical;
use mezzo_model::{AgentCapabilities, Format, FrameworkCapabilities, Resources, Role};
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{
    AgentAdded, AllocateRequest, AllocateResponse, AllocatorEvent, FrameworkAdded, FrameworkWishes,
    Holding, InitializeAllocatorRequest, ObserveRequest, ObserveResponse, Recovered, RoleAdded,
};
use mezzo_module_api::{Allocator, Host, Parameters};
use mezzo_proto::v1::offer_filters::ResourceQuantities;
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{AgentInfo, FrameworkId, FrameworkInfo};

pub const SECOND: u64 = 1_000_000_000;

/// An offer that the allocator has proposed.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    pub framework: u64,
    pub role: u32,
    pub agent: u64,
    pub resources: Resources,
}

pub struct Cluster {
    pub allocator: Hierarchical,
    pub now: u64,
    /// What no offer and no task holds, by agent.
    pub free: BTreeMap<u64, Resources>,
    pub next_expiry: Option<u64>,
}

pub fn resources(text: &str) -> Resources {
    Resources::parse(text, &Role::star()).unwrap()
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl Cluster {
    /// Allocation interval 1 s, cpus:0.01|mem:32, seed 1; `change` changes that.
    pub fn new(change: impl FnOnce(&mut InitializeAllocatorRequest)) -> Self {
        let least = |name: &str, value| ResourceQuantities {
            quantities: [(name.to_owned(), Scalar { value })].into(),
        };
        let mut request = InitializeAllocatorRequest {
            allocation_interval_nanos: Some(SECOND),
            min_allocatable_resources: vec![least("cpus", 0.01), least("mem", 32.0)],
            seed: Some(1),
            ..InitializeAllocatorRequest::default()
        };
        change(&mut request);
        let allocator = Hierarchical::new(Host::silent(), Parameters::default()).unwrap();
        allocator.initialize(request).unwrap();
        Self { allocator, now: SECOND, free: BTreeMap::new(), next_expiry: None }
    }

    pub fn try_tell(&self, event: Event) -> ObserveResponse {
        let events = vec![AllocatorEvent { event: Some(event) }];
        self.allocator.observe(ObserveRequest { now_nanos: Some(self.now), events }).unwrap()
    }

    pub fn tell(&self, event: Event) {
        assert_eq!(self.try_tell(event).refused, []);
    }

    pub fn role(&self, key: u32, name: &str) {
        self.tell(Event::RoleAdded(RoleAdded {
            role: Some(key),
            name: Some(name.into()),
            weight: None,
        }));
    }

    pub fn wishes(
        name: &str,
        roles: &[u32],
        capabilities: FrameworkCapabilities,
    ) -> FrameworkWishes {
        let info = FrameworkInfo {
            id: Some(FrameworkId { value: name.into() }),
            capabilities: capabilities.to_proto(),
            ..FrameworkInfo::default()
        };
        FrameworkWishes {
            roles: roles.to_vec(),
            framework_info: Some(info),
            ..FrameworkWishes::default()
        }
    }

    pub fn framework(&self, key: u64, name: &str, roles: &[u32]) {
        self.framework_with(key, Self::wishes(name, roles, FrameworkCapabilities::NONE));
    }

    pub fn framework_with(&self, key: u64, wishes: FrameworkWishes) {
        let added = FrameworkAdded {
            framework: Some(key),
            wishes: Some(wishes),
            active: Some(true),
            used: vec![],
        };
        self.tell(Event::FrameworkAdded(added));
    }

    pub fn agent(&mut self, key: u64, total: &str) {
        let total = resources(total);
        let info = AgentInfo { hostname: format!("host{key}"), ..AgentInfo::default() };
        self.tell(Event::AgentAdded(AgentAdded {
            agent: Some(key),
            agent_info: Some(info),
            capabilities: AgentCapabilities::all().to_proto(),
            total: total.to_proto(Format::PostRefinement),
            ..AgentAdded::default()
        }));
        self.free.insert(key, total);
    }

    /// The periodic run.
    pub fn tick(&mut self) -> Vec<Offer> {
        self.run(AllocateRequest { all_agents: Some(true), ..AllocateRequest::default() })
    }

    /// A run over some agents.
    pub fn look_at(&mut self, agents: &[u64]) -> Vec<Offer> {
        self.run(AllocateRequest { agents: agents.to_vec(), ..AllocateRequest::default() })
    }

    fn run(&mut self, request: AllocateRequest) -> Vec<Offer> {
        let AllocateResponse { proposals, next_filter_expiry_nanos, .. } = self
            .allocator
            .allocate(AllocateRequest { now_nanos: Some(self.now), ..request })
            .unwrap();
        self.next_expiry = next_filter_expiry_nanos;
        let mut offers = Vec::new();
        for proposal in proposals {
            let resources = Resources::from_proto(&proposal.resources).unwrap();
            assert!(!resources.is_empty());
            let free = self.free.get_mut(&proposal.agent()).expect("an agent that is there");
            assert!(
                free.try_subtract(&resources),
                "{resources} of agent {}, where {free} is free",
                proposal.agent()
            );
            let (framework, role, agent) =
                (proposal.framework(), proposal.role(), proposal.agent());
            offers.push(Offer { framework, role, agent, resources });
        }
        offers
    }

    /// The only offer of a periodic run.
    pub fn tick_one(&mut self) -> Offer {
        let offers = self.tick();
        assert_eq!(offers.len(), 1, "{offers:?}");
        offers[0].clone()
    }

    pub fn recover(&mut self, of: &Offer, resources: &Resources, refuse_seconds: Option<f64>) {
        let holding = Holding {
            framework: Some(of.framework),
            role: Some(of.role),
            agent: Some(of.agent),
            resources: resources.to_proto(Format::PostRefinement),
        };
        self.tell(Event::Recovered(Recovered { holding: Some(holding), refuse_seconds }));
        *self.free.get_mut(&of.agent).unwrap() += resources;
    }

    pub fn decline(&mut self, offer: &Offer, refuse_seconds: f64) {
        self.recover(offer, &offer.resources.clone(), Some(refuse_seconds));
    }

    /// Keeps `used` of the offer and gives the rest back without a filter.
    pub fn launch(&mut self, offer: &Offer, used: &str) {
        let rest = offer.resources.checked_sub(&resources(used)).expect("a task that fits");
        if !rest.is_empty() {
            self.recover(offer, &rest, None);
        }
    }

    pub fn wait(&mut self, seconds: f64) {
        self.now += (seconds * 1e9) as u64;
    }
}
