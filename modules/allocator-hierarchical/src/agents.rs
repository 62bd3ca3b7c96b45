//! An agent as the allocator sees it: what it has, who holds what of it, what is free.

use std::collections::HashMap;

use mezzo_model::{AgentCapabilities, Quantities, Resources};
use mezzo_proto::v1::{AgentInfo, Attribute};

use crate::filters::Filters;
use crate::state::Owner;

#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) hostname: String,
    pub(crate) region: Option<String>,
    attributes: Vec<Attribute>,
    pub(crate) capabilities: AgentCapabilities,
    pub(crate) active: bool,
    pub(crate) filters: Filters,
    /// The generation of the cluster at which it was last looked at; `None` when something has changed on it since.
    pub(crate) looked_at: Option<u64>,
    total: Resources,
    used: HashMap<Owner, Resources>,
    /// The sum of what is used, without what is shared.
    taken: Resources,
    free: Resources,
}

impl Agent {
    pub(crate) fn total(&self) -> &Resources {
        &self.total
    }

    /// What nobody holds; shared volumes always.
    pub(crate) fn free(&self) -> &Resources {
        &self.free
    }

    pub(crate) fn owners(&self) -> impl Iterator<Item = Owner> {
        self.used.keys().copied()
    }

    pub(crate) fn set_total(&mut self, total: Resources) {
        self.total = total;
        self.changed();
    }

    /// Takes over name and attributes; when the attributes differ, what was refused may look different now.
    pub(crate) fn set_info(&mut self, info: &AgentInfo) {
        self.hostname.clone_from(&info.hostname);
        let domain = info.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        self.region = domain.map(|domain| domain.region.name.clone());
        if self.attributes != info.attributes {
            self.attributes.clone_from(&info.attributes);
            self.filters.clear();
        }
        self.looked_at = None;
    }

    /// Books a holding; what the owner has more by it.
    pub(crate) fn take(&mut self, owner: Owner, resources: &Resources) -> Quantities {
        let held = self.used.entry(owner).or_default();
        let before = held.with_shared_once().quantities();
        *held += resources;
        let after = held.with_shared_once().quantities();
        self.taken += resources.non_shared();
        self.changed();
        after.minus(&before)
    }

    /// Ends a holding, or a part of it; what the owner has less by it. `None` when the owner does not hold that much.
    pub(crate) fn give_back(&mut self, owner: Owner, resources: &Resources) -> Option<Quantities> {
        let held = self.used.get_mut(&owner)?;
        let before = held.with_shared_once().quantities();
        if !held.try_subtract(resources) {
            return None;
        }
        let after = held.with_shared_once().quantities();
        if held.is_empty() {
            self.used.remove(&owner);
        }
        self.taken.subtract(&resources.non_shared());
        self.changed();
        Some(before.minus(&after))
    }

    /// Ends all that an owner holds here.
    pub(crate) fn give_back_all(&mut self, owner: Owner) -> Option<Quantities> {
        let held = self.used.get(&owner)?.clone();
        self.give_back(owner, &held)
    }

    /// What an owner holds.
    pub(crate) fn held(&self, owner: Owner) -> Option<&Resources> {
        self.used.get(&owner)
    }

    fn changed(&mut self) {
        // An agent may have shrunk below what is used of it; then nothing of that kind is free.
        self.free.clone_from(&self.total);
        self.free.subtract(&self.taken);
        self.looked_at = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_model::Role;

    use super::*;

    fn resources(text: &str) -> Resources {
        Resources::parse(text, &Role::star()).unwrap()
    }

    #[test]
    fn what_is_taken_is_not_free_until_it_is_given_back() {
        let mut agent = Agent::default();
        agent.set_total(resources("cpus:4;mem:100;ports:[1-10]"));
        assert_eq!(
            agent.take((1, 1), &resources("cpus:1;ports:[2-3]")),
            Quantities::parse("cpus:1").unwrap()
        );
        assert_eq!(agent.free().to_string(), "cpus:3;mem:100;ports:[1-1,4-10]");
        assert_eq!(agent.give_back((1, 1), &resources("cpus:2")), None, "more than is held");
        assert!(agent.give_back((1, 1), &resources("cpus:1;ports:[2-3]")).is_some());
        assert_eq!(agent.free(), agent.total());
        assert_eq!(agent.owners().count(), 0);
    }

    #[test]
    fn an_agent_that_shrinks_below_its_use_has_nothing_free() {
        let mut agent = Agent::default();
        agent.set_total(resources("cpus:4;mem:100"));
        agent.take((1, 1), &resources("cpus:3"));
        agent.set_total(resources("cpus:2;mem:100"));
        assert_eq!(agent.free().to_string(), "mem:100");
        agent.give_back((1, 1), &resources("cpus:2"));
        assert_eq!(agent.free().to_string(), "cpus:1;mem:100");
    }
}
