//! Whatever happens: no more is proposed than is free, nothing to who wants none, and the same calls give the same proposals.
//! (That nothing is proposed twice is checked by the scenario's own books, at every run.)

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod scenario;

use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{
    AgentActivated, AgentDeactivated, AgentRemoved, FrameworkActivated, FrameworkDeactivated,
    Revived, Suppressed, WeightUpdated,
};
use proptest::prelude::*;
use scenario::{Cluster, Offer, resources};

const ROLES: [&str; 4] = ["*", "a", "a/b", "c"];

#[derive(Clone, Debug)]
enum Step {
    AddAgent(u64, u8),
    RemoveAgent(u64),
    AgentActive(u64, bool),
    FrameworkActive(u64, bool),
    Suppress(u64, bool),
    Weight(u32, f64),
    Tick,
    Decline(usize, f64),
    Launch(usize, u8),
    Wait(f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1..6_u64, 1..8_u8).prop_map(|(agent, size)| Step::AddAgent(agent, size)),
        1 => (1..6_u64).prop_map(Step::RemoveAgent),
        1 => (1..6_u64, any::<bool>()).prop_map(|(agent, on)| Step::AgentActive(agent, on)),
        1 => (1..5_u64, any::<bool>()).prop_map(|(framework, on)| Step::FrameworkActive(framework, on)),
        1 => (1..5_u64, any::<bool>()).prop_map(|(framework, on)| Step::Suppress(framework, on)),
        1 => (0..4_u32, 0.1..9.0_f64).prop_map(|(role, weight)| Step::Weight(role, weight)),
        4 => Just(Step::Tick),
        2 => (0..20_usize, 0.0..5.0_f64).prop_map(|(offer, seconds)| Step::Decline(offer, seconds)),
        2 => (0..20_usize, 1..4_u8).prop_map(|(offer, cpus)| Step::Launch(offer, cpus)),
        1 => (0.0..3.0_f64).prop_map(Step::Wait),
    ]
}

struct Run {
    cluster: Cluster,
    offers: Vec<Offer>,
    active: [bool; 5],
    suppressed: [bool; 5],
    /// Keys are never given again.
    agents: std::collections::BTreeMap<u64, u64>,
    next_agent: u64,
    trace: Vec<Offer>,
}

/// Framework 1 to 4, subscribed to the role of its number.
fn role_of(framework: u64) -> u32 {
    u32::try_from(framework).unwrap() - 1
}

impl Run {
    fn new() -> Self {
        let cluster = Cluster::default();
        for (key, name) in (0..).zip(ROLES) {
            cluster.role(key, name);
        }
        for framework in 1..=4 {
            cluster.framework(framework, &format!("f{framework}"), &[role_of(framework)]);
        }
        Self {
            cluster,
            offers: vec![],
            active: [true; 5],
            suppressed: [false; 5],
            agents: Default::default(),
            next_agent: 100,
            trace: vec![],
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::AddAgent(name, size) => {
                if !self.agents.contains_key(&name) {
                    self.next_agent += 1;
                    self.agents.insert(name, self.next_agent);
                    let total = format!(
                        "cpus:{size};mem:{};cpus(a):1;ports:[1-{size}]",
                        u32::from(size) * 100
                    );
                    self.cluster.agent(self.next_agent, &total);
                }
            }
            Step::RemoveAgent(name) => {
                if let Some(key) = self.agents.remove(&name) {
                    self.cluster.tell(Event::AgentRemoved(AgentRemoved { agent: Some(key) }));
                    self.cluster.free.remove(&key);
                    self.offers.retain(|offer| offer.agent != key);
                }
            }
            Step::AgentActive(name, on) => {
                let agent = self.agents.get(&name).copied().or(Some(9999));
                self.cluster.tell(if on {
                    Event::AgentActivated(AgentActivated { agent })
                } else {
                    Event::AgentDeactivated(AgentDeactivated { agent })
                });
            }
            Step::FrameworkActive(key, on) => {
                self.active[usize::try_from(key).unwrap()] = on;
                let framework = Some(key);
                self.cluster.tell(if on {
                    Event::FrameworkActivated(FrameworkActivated { framework })
                } else {
                    Event::FrameworkDeactivated(FrameworkDeactivated { framework })
                });
            }
            Step::Suppress(key, on) => {
                self.suppressed[usize::try_from(key).unwrap()] = on;
                let (framework, roles) = (Some(key), vec![role_of(key)]);
                self.cluster.tell(if on {
                    Event::Suppressed(Suppressed { framework, roles })
                } else {
                    Event::Revived(Revived { framework, roles })
                });
            }
            Step::Weight(role, weight) => {
                self.cluster.tell(Event::WeightUpdated(WeightUpdated {
                    role: Some(role),
                    weight: Some(weight),
                }));
            }
            Step::Tick => {
                let offers = self.cluster.tick();
                for offer in &offers {
                    let framework = usize::try_from(offer.framework).unwrap();
                    assert!(self.active[framework] && !self.suppressed[framework]);
                    assert_eq!(offer.role, role_of(offer.framework));
                    let reserved = offer.resources.reserved();
                    assert!(
                        reserved.is_empty() || [1, 2].contains(&offer.role),
                        "{} to {}",
                        reserved,
                        ROLES[offer.role as usize]
                    );
                }
                self.trace.extend(offers.iter().cloned());
                self.offers.extend(offers);
            }
            Step::Decline(index, seconds) => {
                if !self.offers.is_empty() {
                    let offer = self.offers.swap_remove(index % self.offers.len());
                    self.cluster.decline(&offer, seconds);
                }
            }
            Step::Launch(index, cpus) => {
                if !self.offers.is_empty() {
                    let offer = self.offers.swap_remove(index % self.offers.len());
                    let task = format!("cpus:{cpus};mem:50");
                    if offer.resources.contains(&resources(&task)) {
                        self.cluster.launch(&offer, &task);
                    } else {
                        self.cluster.decline(&offer, 0.0);
                    }
                }
            }
            Step::Wait(seconds) => self.cluster.wait(seconds),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_more_is_proposed_than_is_free_and_a_run_can_be_repeated(steps in prop::collection::vec(step(), 1..80)) {
        let (mut one, mut two) = (Run::new(), Run::new());
        for step in &steps {
            one.step(step);
            two.step(step);
        }
        prop_assert_eq!(&one.trace, &two.trace);

        // In the end everybody wants everything: nothing worth offering stays behind.
        for framework in 1..=4 {
            one.step(&Step::Suppress(framework, false));
            one.step(&Step::FrameworkActive(framework, true));
        }
        for agent in 1..6 {
            one.step(&Step::AgentActive(agent, true));
        }
        one.cluster.wait(10.0);
        one.cluster.tick();
        for free in one.cluster.free.values() {
            prop_assert!(free.cpus().is_zero() && free.mem().to_f64() < 32.0, "{} is left", free);
        }
    }
}
