//! Everything the allocator knows.

use std::collections::{BTreeMap, HashMap};

use crate::agents::Agent;
use crate::filters::Expiries;
use crate::frameworks::Framework;
use crate::options::Options;
use crate::random::Random;
use crate::roles::Roles;
use crate::share::Totals;

pub(crate) type FrameworkKey = u64;
pub(crate) type AgentKey = u64;
pub(crate) type RoleKey = u32;
/// Who holds or refuses something: a framework under one of its roles.
pub(crate) type Owner = (FrameworkKey, RoleKey);

/// The books. Changed by events ([`crate::observe`]) and by proposals ([`crate::run`]).
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) roles: Roles,
    pub(crate) frameworks: HashMap<FrameworkKey, Framework>,
    /// Sorted, so that the shuffled order depends on the seed alone.
    pub(crate) agents: BTreeMap<AgentKey, Agent>,
    pub(crate) totals: Totals,
    pub(crate) expiries: Expiries,
    /// Hostnames that may be offered; `None` is all.
    pub(crate) whitelist: Option<Vec<String>>,
    pub(crate) paused: bool,
    pub(crate) random: Random,
    /// Goes up when somebody may want what nobody wanted before: then every agent has to be looked at again.
    pub(crate) generation: u64,
    last_epoch: u64,
}

impl State {
    pub(crate) fn new(mut options: Options) -> Self {
        Self {
            roles: Roles::default(),
            frameworks: HashMap::new(),
            agents: BTreeMap::new(),
            totals: Totals::new(std::mem::take(&mut options.excluded)),
            expiries: Expiries::default(),
            whitelist: None,
            paused: false,
            random: Random::new(options.seed),
            generation: 0,
            last_epoch: 0,
            options,
        }
    }

    /// An epoch that no filter is of.
    pub(crate) fn new_epoch(&mut self) -> u64 {
        self.last_epoch += 1;
        self.last_epoch
    }

    /// The epoch of a framework's filters in a role.
    pub(crate) fn epoch(&self, (framework, role): Owner) -> Option<u64> {
        self.frameworks.get(&framework)?.epochs.get(&role).copied()
    }
}
