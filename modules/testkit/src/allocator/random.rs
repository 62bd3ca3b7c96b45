//! Random histories: whatever happens, the books are right. And that a history can be repeated.

use super::books::Offer;
use super::cluster::{Cluster, parse, understands_all};
use crate::report::ensure;
use crate::{Failure, Subject, Verdict};

/// Histories, and steps in each.
const HISTORIES: u64 = 100;
const STEPS: usize = 150;

pub(super) fn the_same_calls_give_the_same_proposals(subject: &Subject) -> Verdict {
    for seed in 1000..1005 {
        let first = History::live(subject, seed)?.trace;
        let second = History::live(subject, seed)?.trace;
        let differs = first.iter().zip(&second).position(|(one, two)| one != two);
        ensure(
            first == second,
            || match differs.and_then(|at| Some((first.get(at)?, second.get(at)?))) {
                Some((one, two)) => format!("first {one}, then {two}"),
                None => format!("first {} proposals, then {}", first.len(), second.len()),
            },
            "the same proposals",
        )?;
    }
    Ok(())
}

pub(super) fn random_histories_keep_the_books(subject: &Subject) -> Verdict {
    for seed in 1..=HISTORIES {
        let mut history = History::live(subject, seed)?;
        history.end().map_err(|failure| history.with_past(failure))?;
    }
    Ok(())
}

/// A cluster to which things happen.
struct History {
    cluster: Cluster,
    random: Random,
    seed: u64,
    /// Still out, or in use.
    offers: Vec<Offer>,
    trace: Vec<Offer>,
    /// What has happened, for whoever has to find out why.
    past: Vec<String>,
}

impl History {
    fn live(subject: &Subject, seed: u64) -> Result<Self, Failure> {
        let cluster = Cluster::with_seed(subject, seed)?;
        let random = Random(seed);
        let mut history =
            Self { cluster, random, seed, offers: vec![], trace: vec![], past: vec![] };
        for _ in 0..STEPS {
            history.step().map_err(|failure| history.with_past(failure))?;
        }
        Ok(history)
    }

    fn with_past(&self, failure: Failure) -> Failure {
        let last = self.past.len().saturating_sub(12);
        let past = self.past.get(last..).unwrap_or_default().join("; ");
        let found = format!("{}\n          seed {}, after: {past}", failure.found, self.seed);
        Failure { found, ..failure }
    }

    fn step(&mut self) -> Verdict {
        let what = self.random.below(24);
        match what {
            0..=1 => self.add_agent(),
            2 => match self.some_agent() {
                Some(agent) => {
                    self.note(format!("agent {agent} is removed"));
                    self.offers.retain(|offer| offer.agent != agent);
                    self.cluster.remove_agent(agent)
                }
                None => Ok(()),
            },
            3..=4 => {
                let (agent, on) = (self.some_agent(), self.random.below(3) > 0);
                self.note(format!("agent {agent:?} is active: {on}"));
                agent.map_or(Ok(()), |agent| self.cluster.activate_agent(agent, on))
            }
            5 => self.add_framework(),
            6 => {
                let (framework, on) = (self.some_framework(), self.random.below(3) > 0);
                self.note(format!("framework {framework:?} is active: {on}"));
                framework.map_or(Ok(()), |key| self.cluster.activate_framework(key, on))
            }
            7 => match self.some_framework() {
                Some(key) if self.random.below(3) == 0 => {
                    self.note(format!("framework {key} is removed"));
                    self.offers.retain(|offer| offer.framework != key);
                    self.cluster.remove_framework(key)
                }
                _ => Ok(()),
            },
            8..=9 => self.suppress_or_revive(),
            10 => {
                let paused = !self.cluster.books.paused && self.random.below(3) == 0;
                self.note(format!("paused: {paused}"));
                self.cluster.hold_off(paused)
            }
            11 => {
                let listed = self.random.below(3) == 0;
                let hosts = self.cluster.books.agents.values().map(|agent| agent.hostname.clone());
                let some: Vec<_> = hosts.filter(|host| host.len() % 2 == 0).collect();
                self.note(format!("whitelist: {listed}"));
                self.cluster.whitelist(listed.then_some(some))
            }
            12..=15 => self.return_some(),
            16..=17 => {
                let seconds = self.random.below(40) as f64 / 10.0;
                self.cluster.wait(seconds);
                self.note(format!("{seconds} s pass"));
                Ok(())
            }
            18 => {
                let agents: Vec<u64> = (0..2).filter_map(|_| self.some_agent()).collect();
                self.note(format!("a run over {agents:?}"));
                self.cluster.run_over(&agents).map(|offers| self.keep(offers))
            }
            _ => {
                self.note("a run".to_owned());
                self.cluster.run().map(|offers| self.keep(offers))
            }
        }
    }

    /// In the end everybody wants everything: nothing stays behind that somebody could have.
    fn end(&mut self) -> Verdict {
        self.cluster.hold_off(false)?;
        self.cluster.whitelist(None)?;
        for agent in self.cluster.books.agents.keys().copied().collect::<Vec<_>>() {
            self.cluster.activate_agent(agent, true)?;
        }
        for key in self.cluster.books.frameworks.keys().copied().collect::<Vec<_>>() {
            self.cluster.activate_framework(key, true)?;
            let roles = self.cluster.books.frameworks.get(&key).map(|found| found.roles.clone());
            let roles: Vec<u32> = roles.unwrap_or_default().into_iter().collect();
            self.cluster.revive(key, &roles)?;
        }
        let greedy = self.cluster.framework_that_can(&[0, 1, 2, 3], understands_all())?;
        self.cluster.wait(100.0);
        self.note(format!("framework {greedy} wants everything"));
        self.cluster.run()?;
        let worth = |free: &mezzo_model::Resources| free.cpus().to_f64() >= 0.01;
        let left = self.cluster.books.agents.values().map(|agent| agent.free()).find(worth);
        ensure(
            left.is_none(),
            || format!("`{}` is left of an agent", left.clone().unwrap_or_default()),
            "everything that somebody may have is proposed",
        )
    }

    fn note(&mut self, what: String) {
        self.past.push(what);
    }

    fn keep(&mut self, offers: Vec<Offer>) {
        self.trace.extend(offers.iter().cloned());
        self.offers.extend(offers);
    }

    fn some_agent(&mut self) -> Option<u64> {
        let keys: Vec<u64> = self.cluster.books.agents.keys().copied().collect();
        keys.get(self.random.below(keys.len())).copied()
    }

    fn some_framework(&mut self) -> Option<u64> {
        let keys: Vec<u64> = self.cluster.books.frameworks.keys().copied().collect();
        keys.get(self.random.below(keys.len())).copied()
    }

    fn add_agent(&mut self) -> Verdict {
        let size = self.random.below(8) + 1;
        let mut total = format!("cpus:{size};mem:{};ports:[1-{size}]", size * 100);
        if self.random.below(2) == 0 {
            total.push_str(";cpus(a):1;mem(a):64");
        }
        if self.random.below(3) == 0 {
            total.push_str(";cpus(a/b):0.5");
        }
        if self.random.below(6) == 0 {
            total.push_str(";gpus:1");
        }
        let agent = self.cluster.agent(&total)?;
        self.note(format!("agent {agent} with {total}"));
        Ok(())
    }

    fn add_framework(&mut self) -> Verdict {
        let role = u32::try_from(self.random.below(4)).unwrap_or_default();
        let roles = if self.random.below(3) == 0 { vec![role, (role + 1) % 4] } else { vec![role] };
        let key = self.cluster.framework(&roles)?;
        self.note(format!("framework {key} in {roles:?}"));
        Ok(())
    }

    fn suppress_or_revive(&mut self) -> Verdict {
        let Some(key) = self.some_framework() else { return Ok(()) };
        let roles = self.cluster.books.frameworks.get(&key).map(|found| found.roles.clone());
        let roles: Vec<u32> = roles.unwrap_or_default().into_iter().collect();
        let Some(role) = roles.get(self.random.below(roles.len())).copied() else { return Ok(()) };
        let suppress = self.random.below(2) == 0;
        self.note(format!("framework {key} suppresses {role}: {suppress}"));
        if suppress {
            self.cluster.suppress(key, &[role])
        } else {
            self.cluster.revive(key, &[role])
        }
    }

    /// An offer is declined, or a task takes a part of it, or a task ends.
    fn return_some(&mut self) -> Verdict {
        if self.offers.is_empty() {
            return Ok(());
        }
        let offer = self.offers.swap_remove(self.random.below(self.offers.len()));
        let refuse = [None, Some(0.0), Some(0.5), Some(5.0)];
        let refuse = refuse.get(self.random.below(4)).copied().flatten();
        let part = parse("cpus:1;mem:50")?;
        if self.random.below(2) == 0 && offer.resources.contains(&part) && offer.resources != part {
            self.note(format!("`{part}` comes back of {offer}, refused for {refuse:?}"));
            let rest = Offer {
                resources: offer.resources.checked_sub(&part).unwrap_or_default(),
                ..offer.clone()
            };
            self.offers.push(rest);
            return self.cluster.give_back(&offer, &part, refuse);
        }
        self.note(format!("{offer} comes back, refused for {refuse:?}"));
        self.cluster.give_back(&offer, &offer.resources.clone(), refuse)
    }
}

/// SplitMix64: seeded, so that a history can be told again by its number.
struct Random(u64);

impl Random {
    /// A number below this one; 0 below 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        usize::try_from((u128::from(x) * bound as u128) >> 64).unwrap_or(0)
    }
}
