//! A small cluster to tell an allocator about: every event changes the books as it is told.

use mezzo_model::{
    AgentCapabilities, Format, FrameworkCapabilities, FrameworkCapability, MinAllocatable,
    Resources, Role,
};
use mezzo_module_api::Allocator;
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::observe_response::Refused;
use mezzo_module_api::v1::{
    AgentActivated, AgentAdded, AgentDeactivated, AgentRemoved, AllocateRequest, AllocateResponse,
    AllocatorEvent, FrameworkActivated, FrameworkAdded, FrameworkDeactivated, FrameworkRemoved,
    FrameworkWishes, HoldOff, Holding, InitializeAllocatorRequest, ObserveRequest, Recovered,
    Revived, RoleAdded, Suppressed, WhitelistUpdated,
};
use mezzo_proto::v1::domain_info::FaultDomain;
use mezzo_proto::v1::domain_info::fault_domain::{RegionInfo, ZoneInfo};
use mezzo_proto::v1::offer_filters::ResourceQuantities;
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{AgentInfo, DomainInfo, FrameworkId, FrameworkInfo};

use super::books::{Agent, Books, Framework, Offer};
use crate::made::Made;
use crate::report::{ensure, good};
use crate::subject::with_causes;
use crate::{Failure, Subject, Verdict};

pub(super) const SECOND: u64 = 1_000_000_000;
/// Where the master is.
const HERE: &str = "here";

/// An allocator and the books about what it has been told.
pub(super) struct Cluster {
    made: Made,
    pub(super) books: Books,
    /// The next key; a key is never given again.
    next: u64,
}

impl Cluster {
    /// Without agents and frameworks; with the roles `*` (0), `a` (1), `a/b` (2) and `c` (3).
    pub(super) fn new(subject: &Subject) -> Result<Self, Failure> {
        Self::with_seed(subject, 1)
    }

    pub(super) fn with_seed(subject: &Subject, seed: u64) -> Result<Self, Failure> {
        let made = subject.make()?;
        good(made.allocator().initialize(options(seed)), "initialize")?;
        let books = Books {
            now: 10 * SECOND,
            interval: SECOND,
            least: MinAllocatable::parse("cpus:0.01|mem:32").unwrap_or_default(),
            region: Some(HERE.to_owned()),
            ..Books::default()
        };
        let mut cluster = Self { made, books, next: 100 };
        for (key, name) in (0..).zip(["*", "a", "a/b", "c"]) {
            cluster.role(key, name)?;
        }
        Ok(cluster)
    }

    pub(super) fn allocator(&self) -> &dyn Allocator {
        self.made.allocator()
    }

    /// Tells events; what was refused of them.
    pub(super) fn tell(&self, events: Vec<Option<Event>>) -> Result<Vec<Refused>, Failure> {
        let events = events.into_iter().map(|event| AllocatorEvent { event }).collect();
        let request = ObserveRequest { now_nanos: Some(self.books.now), events };
        good(self.allocator().observe(request), "observe").map(|response| response.refused)
    }

    /// Tells an event that must be taken.
    pub(super) fn told(&self, event: Event) -> Verdict {
        let shown: String = format!("{event:?}").chars().take(200).collect();
        let refused = self.tell(vec![Some(event)])?;
        ensure(
            refused.is_empty(),
            || format!("{shown} was refused: {refused:?}"),
            "the event is taken",
        )
    }

    fn key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn role(&mut self, key: u32, name: &str) -> Verdict {
        self.told(Event::RoleAdded(RoleAdded {
            role: Some(key),
            name: Some(name.to_owned()),
            weight: None,
        }))?;
        self.books.roles.insert(key, Role::parse(name).unwrap_or(Role::star()));
        Ok(())
    }

    /// A framework that wants offers in these roles.
    pub(super) fn framework(&mut self, roles: &[u32]) -> Result<u64, Failure> {
        self.framework_that_can(roles, FrameworkCapabilities::NONE)
    }

    pub(super) fn framework_that_can(
        &mut self,
        roles: &[u32],
        capabilities: FrameworkCapabilities,
    ) -> Result<u64, Failure> {
        let key = self.key();
        self.told(Event::FrameworkAdded(FrameworkAdded {
            framework: Some(key),
            wishes: Some(wishes(key, roles, capabilities)),
            active: Some(true),
            used: Vec::new(),
        }))?;
        self.books.frameworks.insert(
            key,
            Framework {
                roles: roles.iter().copied().collect(),
                active: true,
                capabilities,
                ..Framework::default()
            },
        );
        Ok(key)
    }

    /// An agent with these resources.
    pub(super) fn agent(&mut self, total: &str) -> Result<u64, Failure> {
        self.agent_in(total, None, Vec::new())
    }

    /// An agent of a region, of which something is in use.
    pub(super) fn agent_in(
        &mut self,
        total: &str,
        region: Option<&str>,
        used: Vec<Holding>,
    ) -> Result<u64, Failure> {
        self.agent_of(parse(total)?, region, used)
    }

    pub(super) fn agent_of(
        &mut self,
        total: Resources,
        region: Option<&str>,
        used: Vec<Holding>,
    ) -> Result<u64, Failure> {
        let key = self.key();
        let hostname = format!("host{key}");
        let mut agent = Agent {
            total: total.clone(),
            active: true,
            hostname: hostname.clone(),
            region: region.map(str::to_owned),
            capabilities: AgentCapabilities::all(),
            ..Agent::default()
        };
        for holding in &used {
            let resources = Resources::from_proto(&holding.resources)
                .map_err(|error| Failure::new(error.to_string(), "resources of the testkit"))?;
            agent.take((holding.framework(), holding.role()), &resources);
        }
        let info = AgentInfo { hostname, domain: region.map(domain), ..AgentInfo::default() };
        self.told(Event::AgentAdded(AgentAdded {
            agent: Some(key),
            agent_info: Some(info),
            capabilities: AgentCapabilities::all().to_proto(),
            total: total.to_proto(Format::PostRefinement),
            used,
            ..AgentAdded::default()
        }))?;
        self.books.agents.insert(key, agent);
        Ok(key)
    }

    pub(super) fn remove_agent(&mut self, key: u64) -> Verdict {
        self.told(Event::AgentRemoved(AgentRemoved { agent: Some(key) }))?;
        self.books.agents.remove(&key);
        self.books.end_filters(|filter| filter.agent == key);
        Ok(())
    }

    pub(super) fn activate_agent(&mut self, key: u64, active: bool) -> Verdict {
        let agent = Some(key);
        self.told(if active {
            Event::AgentActivated(AgentActivated { agent })
        } else {
            Event::AgentDeactivated(AgentDeactivated { agent })
        })?;
        if let Some(agent) = self.books.agents.get_mut(&key) {
            agent.active = active;
        }
        Ok(())
    }

    pub(super) fn activate_framework(&mut self, key: u64, active: bool) -> Verdict {
        let framework = Some(key);
        self.told(if active {
            Event::FrameworkActivated(FrameworkActivated { framework })
        } else {
            Event::FrameworkDeactivated(FrameworkDeactivated { framework })
        })?;
        if let Some(framework) = self.books.frameworks.get_mut(&key) {
            framework.active = active;
        }
        if !active {
            self.books.end_filters(|filter| filter.framework == key);
        }
        Ok(())
    }

    /// Gives back what it holds, and removes it.
    pub(super) fn remove_framework(&mut self, key: u64) -> Verdict {
        let mut held = Vec::new();
        for (agent, found) in &self.books.agents {
            for ((framework, role), resources) in &found.used {
                held.push(Offer {
                    framework: *framework,
                    role: *role,
                    agent: *agent,
                    resources: resources.clone(),
                });
            }
        }
        for offer in held.iter().filter(|offer| offer.framework == key) {
            self.give_back(offer, &offer.resources.clone(), None)?;
        }
        self.told(Event::FrameworkRemoved(FrameworkRemoved { framework: Some(key) }))?;
        self.books.frameworks.remove(&key);
        self.books.end_filters(|filter| filter.framework == key);
        Ok(())
    }

    pub(super) fn suppress(&mut self, key: u64, roles: &[u32]) -> Verdict {
        let roles = roles.to_vec();
        self.told(Event::Suppressed(Suppressed { framework: Some(key), roles: roles.clone() }))?;
        if let Some(framework) = self.books.frameworks.get_mut(&key) {
            framework.suppressed.extend(roles);
        }
        Ok(())
    }

    pub(super) fn revive(&mut self, key: u64, roles: &[u32]) -> Verdict {
        let roles = roles.to_vec();
        self.told(Event::Revived(Revived { framework: Some(key), roles: roles.clone() }))?;
        if let Some(framework) = self.books.frameworks.get_mut(&key) {
            framework.suppressed.retain(|role| !roles.contains(role));
        }
        self.books.end_filters(|filter| filter.framework == key && roles.contains(&filter.role));
        Ok(())
    }

    pub(super) fn whitelist(&mut self, hostnames: Option<Vec<String>>) -> Verdict {
        self.told(Event::WhitelistUpdated(WhitelistUpdated {
            enabled: Some(hostnames.is_some()),
            hostnames: hostnames.clone().unwrap_or_default(),
        }))?;
        self.books.whitelist = hostnames;
        Ok(())
    }

    pub(super) fn hold_off(&mut self, paused: bool) -> Verdict {
        self.told(Event::HoldOff(HoldOff { paused: Some(paused) }))?;
        self.books.paused = paused;
        Ok(())
    }

    /// A part of an offer comes back.
    pub(super) fn give_back(
        &mut self,
        offer: &Offer,
        resources: &Resources,
        refuse_seconds: Option<f64>,
    ) -> Verdict {
        self.told(Event::Recovered(Recovered {
            holding: Some(holding(offer, resources)),
            refuse_seconds,
        }))?;
        if let Some(agent) = self.books.agents.get_mut(&offer.agent) {
            agent.give_back((offer.framework, offer.role), resources);
            self.books.refuse(offer, resources, refuse_seconds.unwrap_or_default());
        }
        Ok(())
    }

    pub(super) fn decline(&mut self, offer: &Offer, refuse_seconds: f64) -> Verdict {
        self.give_back(offer, &offer.resources.clone(), Some(refuse_seconds))
    }

    pub(super) fn wait(&mut self, seconds: f64) {
        self.books.now += (seconds * 1e9) as u64;
    }

    /// The periodic run.
    pub(super) fn run(&mut self) -> Result<Vec<Offer>, Failure> {
        self.ask(&AllocateRequest {
            now_nanos: Some(self.books.now),
            all_agents: Some(true),
            agents: Vec::new(),
        })
        .map(|(offers, _)| offers)
    }

    /// A run over some agents.
    pub(super) fn run_over(&mut self, agents: &[u64]) -> Result<Vec<Offer>, Failure> {
        self.ask(&AllocateRequest {
            now_nanos: Some(self.books.now),
            all_agents: None,
            agents: agents.to_vec(),
        })
        .map(|(offers, _)| offers)
    }

    /// The offers of the answer, judged and booked, and the answer.
    pub(super) fn ask(
        &mut self,
        request: &AllocateRequest,
    ) -> Result<(Vec<Offer>, AllocateResponse), Failure> {
        let response = good(self.allocator().allocate(request.clone()), "allocate")?;
        let offers = self.books.judge(request, &response).map_err(|wrong| {
            Failure::new(wrong, "proposals that fit what the allocator has been told")
        })?;
        Ok((offers, response))
    }

    /// The one offer of a run.
    pub(super) fn one(&mut self, why: &str) -> Result<Offer, Failure> {
        let mut offers = self.run()?;
        match (offers.pop(), offers.is_empty()) {
            (Some(offer), true) => Ok(offer),
            (last, _) => {
                offers.extend(last);
                Err(Failure::new(format!("{} offers: {offers:?}", offers.len()), why))
            }
        }
    }

    /// A run that offers nothing.
    pub(super) fn none(&mut self, why: &str) -> Verdict {
        let offers = self.run()?;
        ensure(offers.is_empty(), || format!("{offers:?}"), why)
    }
}

/// As a master sends them by default.
pub(super) fn options(seed: u64) -> InitializeAllocatorRequest {
    let least = |name: &str, value| ResourceQuantities {
        quantities: [(name.to_owned(), Scalar { value })].into(),
    };
    InitializeAllocatorRequest {
        allocation_interval_nanos: Some(SECOND),
        role_sorter: Some("drf".into()),
        framework_sorter: Some("drf".into()),
        min_allocatable_resources: vec![least("cpus", 0.01), least("mem", 32.0)],
        filter_gpu_resources: Some(true),
        domain: Some(domain(HERE)),
        seed: Some(seed),
        ..InitializeAllocatorRequest::default()
    }
}

pub(super) fn wishes(
    key: u64,
    roles: &[u32],
    capabilities: FrameworkCapabilities,
) -> FrameworkWishes {
    let info = FrameworkInfo {
        id: Some(FrameworkId { value: format!("framework-{key}") }),
        capabilities: capabilities.to_proto(),
        ..FrameworkInfo::default()
    };
    FrameworkWishes {
        roles: roles.to_vec(),
        framework_info: Some(info),
        ..FrameworkWishes::default()
    }
}

pub(super) fn holding(offer: &Offer, resources: &Resources) -> Holding {
    Holding {
        framework: Some(offer.framework),
        role: Some(offer.role),
        agent: Some(offer.agent),
        resources: resources.to_proto(Format::PostRefinement),
    }
}

fn domain(region: &str) -> DomainInfo {
    let fault_domain = FaultDomain {
        region: RegionInfo { name: region.to_owned() },
        zone: ZoneInfo { name: "zone".to_owned() },
    };
    DomainInfo { fault_domain: Some(fault_domain) }
}

/// All that a framework can say it understands, and no more roles than others.
pub(super) fn understands_all() -> FrameworkCapabilities {
    FrameworkCapabilities::NONE
        .with(FrameworkCapability::GpuResources)
        .with(FrameworkCapability::SharedResources)
        .with(FrameworkCapability::RevocableResources)
        .with(FrameworkCapability::ReservationRefinement)
        .with(FrameworkCapability::RegionAware)
}

pub(super) fn parse(text: &str) -> Result<Resources, Failure> {
    Resources::parse(text, &Role::star())
        .map_err(|error| Failure::new(with_causes(&error), "resources of the testkit"))
}
