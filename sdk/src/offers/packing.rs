//! Placing many tasks on many offers.

use std::collections::BTreeMap;

use mezzo_proto::v1;

use super::pick::{self, Needs};
use super::task::Task;
use crate::sandbox;
use crate::scheduler::{Handle, launch};

/// Offers being filled with tasks. [`Packing::launch`] answers every one of them: those with tasks
/// are accepted, the others declined.
///
/// ```no_run
/// # fn f(handle: &mezzo_sdk::Handle, offers: Vec<mezzo_sdk::v1::Offer>, mut queue: Vec<mezzo_sdk::Task>) {
/// let mut packing = mezzo_sdk::Packing::new(offers);
/// queue.retain(|task| packing.place(task).is_none());
/// packing.launch(handle);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "offers that nobody answers keep their resources from everybody"]
pub struct Packing {
    /// What can be accepted together: offers of one agent and one role.
    bins: Vec<Bin>,
    refuse_seconds: Option<f64>,
}

#[derive(Debug)]
struct Bin {
    agent: v1::AgentId,
    role: Option<String>,
    hostname: String,
    agent_address: Option<String>,
    offers: Vec<v1::OfferId>,
    free: Vec<v1::Resource>,
    /// Executors that run there already or will be started by a task of this packing.
    executors: Vec<v1::ExecutorId>,
    tasks: Vec<v1::TaskInfo>,
}

/// Where a task found room.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Placed {
    /// The task.
    pub task_id: v1::TaskId,
    /// The agent that it will run on.
    pub agent_id: v1::AgentId,
    /// The name of that agent's machine.
    pub hostname: String,
    /// `host:port` of that agent, if the offer told.
    pub agent_address: Option<String>,
    /// The ports that it got.
    pub ports: Vec<u64>,
}

impl Packing {
    /// Starts with `offers`, all free.
    pub fn new(offers: impl IntoIterator<Item = v1::Offer>) -> Self {
        let mut bins: Vec<Bin> = Vec::new();
        let mut index: BTreeMap<(String, Option<String>), usize> = BTreeMap::new();
        for offer in offers {
            let role = offer.allocation_info.clone().and_then(|info| info.role);
            let key = (offer.agent_id.value.clone(), role.clone());
            let at = *index.entry(key).or_insert_with(|| {
                bins.push(Bin {
                    agent_address: sandbox::agent_of(&offer),
                    agent: offer.agent_id.clone(),
                    role,
                    hostname: offer.hostname.clone(),
                    offers: Vec::new(),
                    free: Vec::new(),
                    executors: offer.executor_ids.clone(),
                    tasks: Vec::new(),
                });
                bins.len() - 1
            });
            if let Some(bin) = bins.get_mut(at) {
                bin.offers.push(offer.id);
                bin.free.extend(offer.resources);
            }
        }
        Self { bins, refuse_seconds: None }
    }

    /// For how long the resources that are left over shall not be offered again; the master's
    /// default is 5 seconds.
    pub fn refuse_seconds(mut self, seconds: f64) -> Self {
        self.refuse_seconds = Some(seconds);
        self
    }

    /// Finds room for `task` in the first offer that has it.
    pub fn place(&mut self, task: &Task) -> Option<Placed> {
        self.bins.iter_mut().find_map(|bin| bin.place(task))
    }

    /// The same, but only on agents that `wanted` likes.
    pub fn place_where(
        &mut self,
        task: &Task,
        wanted: impl Fn(&v1::AgentId) -> bool,
    ) -> Option<Placed> {
        self.bins.iter_mut().filter(|bin| wanted(&bin.agent)).find_map(|bin| bin.place(task))
    }

    /// Finds room for `task` where the fewest tasks were placed so far.
    pub fn spread(&mut self, task: &Task) -> Option<Placed> {
        let mut bins: Vec<&mut Bin> = self.bins.iter_mut().collect();
        bins.sort_by_key(|bin| bin.tasks.len());
        bins.into_iter().find_map(|bin| bin.place(task))
    }

    /// The agents whose offers are being filled.
    pub fn agents(&self) -> impl Iterator<Item = &v1::AgentId> {
        self.bins.iter().map(|bin| &bin.agent)
    }

    /// Answers every offer and returns how many tasks were launched.
    pub fn launch(self, handle: &Handle) -> usize {
        let mut launched = 0;
        let mut unused = Vec::new();
        let seconds = self.refuse_seconds;
        for bin in self.bins {
            if bin.tasks.is_empty() {
                unused.extend(bin.offers);
                continue;
            }
            launched += bin.tasks.len();
            let filters = seconds.map(|s| v1::Filters { refuse_seconds: Some(s) });
            handle.accept(bin.offers, vec![launch(bin.tasks)], filters);
        }
        if !unused.is_empty() {
            handle.decline(unused, seconds);
        }
        launched
    }

    /// What would be launched, by agent and role.
    pub fn tasks(&self) -> impl Iterator<Item = &v1::TaskInfo> {
        self.bins.iter().flat_map(|bin| &bin.tasks)
    }

    /// What is left on one agent for one role.
    #[must_use]
    pub fn left(&self, agent: &v1::AgentId, role: Option<&str>) -> &[v1::Resource] {
        let same = |bin: &&Bin| bin.agent == *agent && bin.role.as_deref() == role;
        self.bins.iter().find(same).map_or(&[], |bin| &bin.free)
    }
}

impl Bin {
    fn place(&mut self, task: &Task) -> Option<Placed> {
        let mut free = self.free.clone();
        let resources = task.take_from(&mut free)?;
        let mut new_executor = None;
        let mut executor = None;
        if let Some(wanted) = task.executor() {
            let mut info = wanted.clone();
            if self.executors.contains(&wanted.executor_id) {
                // The same words as when it was started: the master compares them.
                info.resources = self.resources_of(&wanted.executor_id, &wanted.resources);
            } else {
                info.resources = pick::take(&mut free, &needs_of(&wanted.resources)?)?;
                new_executor = Some(wanted.executor_id.clone());
            }
            executor = Some(info);
        }
        self.free = free;
        self.executors.extend(new_executor);
        let mut info = task.placed(self.agent.clone(), resources);
        if executor.is_some() {
            info.executor = executor;
        }
        let placed = Placed {
            task_id: info.task_id.clone(),
            agent_id: self.agent.clone(),
            hostname: self.hostname.clone(),
            agent_address: self.agent_address.clone(),
            ports: pick::ports_of(&info.resources),
        };
        self.tasks.push(info);
        Some(placed)
    }

    fn resources_of(&self, id: &v1::ExecutorId, or: &[v1::Resource]) -> Vec<v1::Resource> {
        let executors = self.tasks.iter().filter_map(|task| task.executor.as_ref());
        let same = executors.into_iter().find(|executor| executor.executor_id == *id);
        same.map_or_else(|| or.to_vec(), |executor| executor.resources.clone())
    }
}

/// An executor states its resources as a list; only what is counted can be picked.
fn needs_of(resources: &[v1::Resource]) -> Option<Needs> {
    let mut needs = Needs::default();
    for resource in resources {
        if let Some(scalar) = &resource.scalar {
            let entry = needs.scalars.entry(resource.name.clone()).or_default();
            *entry += pick::milli(scalar.value)?;
        } else if let Some(ranges) = &resource.ranges {
            needs.fixed_ports.extend(ranges.range.iter().flat_map(|r| r.begin..=r.end));
        }
    }
    Some(needs)
}
