//! Parts of resources: by name, by owner, by kind; and their sums.

use std::collections::BTreeMap;

use super::Resources;
use crate::resource::{Amount, Resource, ResourceName, Terms};
use crate::{
    FrameworkCapabilities, FrameworkCapability, Quantities, Ranges, ResourceProviderId, Role,
    Scalar,
};

impl Resources {
    /// The part that the predicate takes.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&Resource) -> bool) -> Self {
        // A part of a sorted list is sorted.
        let mut kept = Vec::with_capacity(self.0.len());
        kept.extend(self.0.iter().filter(|resource| keep(resource)).cloned());
        Self(kept)
    }

    fn filter_terms(&self, mut keep: impl FnMut(&Terms) -> bool) -> Self {
        self.filter(|resource| keep(resource.terms()))
    }

    /// The sum of all numbers of that name, whatever their terms; shared volumes count once.
    pub fn scalar(&self, name: &str) -> Scalar {
        self.sum(&ResourceName::from(name))
    }

    fn sum(&self, name: &ResourceName) -> Scalar {
        let named = self.0.iter().filter(|resource| resource.name == *name);
        named.filter(|resource| resource.as_scalar().is_some()).map(Resource::quantity).sum()
    }

    /// Cores.
    pub fn cpus(&self) -> Scalar {
        self.sum(&ResourceName::Cpus)
    }

    /// Memory, MiB.
    pub fn mem(&self) -> Scalar {
        self.sum(&ResourceName::Mem)
    }

    /// Disk, MiB.
    pub fn disk(&self) -> Scalar {
        self.sum(&ResourceName::Disk)
    }

    /// GPUs.
    pub fn gpus(&self) -> Scalar {
        self.sum(&ResourceName::Gpus)
    }

    /// All numbers of that name, such as ports, whatever their terms.
    pub fn ranges(&self, name: &str) -> Ranges {
        let name = ResourceName::from(name);
        let mut all = Ranges::new();
        for resource in self.0.iter().filter(|resource| resource.name == name) {
            if let Some(ranges) = resource.as_ranges() {
                all.insert(ranges);
            }
        }
        all
    }

    /// Network ports.
    pub fn ports(&self) -> Ranges {
        self.ranges("ports")
    }

    /// The names, each once, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut last = None;
        self.0.iter().map(Resource::name).filter(move |name| last.replace(*name) != Some(*name))
    }

    /// How much there is by name, numbers only, terms forgotten; shared volumes count once.
    pub fn quantities(&self) -> Quantities {
        let numbers = self.0.iter().filter(|resource| resource.as_scalar().is_some());
        numbers.map(|resource| (resource.name.clone(), resource.quantity())).collect()
    }

    /// The resources of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        self.filter(|resource| resource.name() == name)
    }

    /// What is counted in numbers: everything but ranges and sets.
    #[must_use]
    pub fn scalars(&self) -> Self {
        self.filter(|resource| resource.as_scalar().is_some())
    }

    /// Ranges and sets.
    #[must_use]
    pub fn non_scalars(&self) -> Self {
        self.filter(|resource| resource.as_scalar().is_none())
    }

    /// What is free for all roles.
    #[must_use]
    pub fn unreserved(&self) -> Self {
        self.filter(Resource::is_unreserved)
    }

    /// What is kept for some role.
    #[must_use]
    pub fn reserved(&self) -> Self {
        self.filter(|resource| !resource.is_unreserved())
    }

    /// What is kept for exactly that role.
    #[must_use]
    pub fn reserved_to(&self, role: &Role) -> Self {
        self.filter(|resource| resource.reservation_role() == Some(role))
    }

    /// What is kept, by the role that it is kept for.
    pub fn by_reservation_role(&self) -> BTreeMap<Role, Resources> {
        self.group_by(|resource| resource.reservation_role().cloned())
    }

    /// What may be used on behalf of the role: what is free for all, and what is kept for it or for
    /// a role above it.
    #[must_use]
    pub fn usable_by(&self, role: &Role) -> Self {
        self.filter_terms(|terms| terms.usable_by(role))
    }

    /// Whether somewhere a reservation lies on top of another. Frameworks without
    /// RESERVATION_REFINEMENT do not understand these.
    pub fn has_refined_reservations(&self) -> bool {
        self.0.iter().any(|resource| resource.terms().reservations.len() > 1)
    }

    /// What may be taken back at any time.
    #[must_use]
    pub fn revocable(&self) -> Self {
        self.filter(Resource::is_revocable)
    }

    /// What stays with who has it.
    #[must_use]
    pub fn non_revocable(&self) -> Self {
        self.filter(|resource| !resource.is_revocable())
    }

    /// Volumes that several tasks may use at once.
    #[must_use]
    pub fn shared(&self) -> Self {
        self.filter(Resource::is_shared)
    }

    /// Everything that only one may use.
    #[must_use]
    pub fn non_shared(&self) -> Self {
        self.filter(|resource| !resource.is_shared())
    }

    /// Persistent volumes.
    #[must_use]
    pub fn persistent_volumes(&self) -> Self {
        self.filter(Resource::is_persistent_volume)
    }

    /// What comes from that resource provider (or, without one, from the agent itself).
    #[must_use]
    pub fn provided_by(&self, provider: Option<&ResourceProviderId>) -> Self {
        self.filter_terms(|terms| terms.provider.as_ref() == provider)
    }

    /// What is left after dropping what a framework without some capability cannot understand:
    /// shared, revocable, and reserved more than once.
    #[must_use]
    pub fn understood_by(&self, capabilities: FrameworkCapabilities) -> Self {
        self.filter_terms(|terms| {
            (!terms.shared || capabilities.has(FrameworkCapability::SharedResources))
                && (!terms.revocable || capabilities.has(FrameworkCapability::RevocableResources))
                && (terms.reservations.len() < 2
                    || capabilities.has(FrameworkCapability::ReservationRefinement))
        })
    }

    /// The role on whose account all of this is; nothing if none, or if it is not one for all.
    pub fn allocation_role(&self) -> Option<&Role> {
        let role = self.0.first()?.terms().allocation_role.as_ref()?;
        let one =
            self.0.iter().all(|resource| resource.terms().allocation_role.as_ref() == Some(role));
        one.then_some(role)
    }

    /// What is allocated, by the role on whose account it is.
    pub fn by_allocation_role(&self) -> BTreeMap<Role, Resources> {
        self.group_by(|resource| resource.terms().allocation_role.clone())
    }

    fn group_by(&self, role_of: impl Fn(&Resource) -> Option<Role>) -> BTreeMap<Role, Resources> {
        let mut groups: BTreeMap<Role, Resources> = BTreeMap::new();
        for resource in &self.0 {
            if let Some(role) = role_of(resource) {
                // The order stays, so the groups are sorted.
                groups.entry(role).or_default().0.push(resource.clone());
            }
        }
        groups
    }

    /// One copy of each shared volume instead of many.
    #[must_use]
    pub fn with_shared_once(&self) -> Self {
        let once = |resource: &Resource| match resource.amount {
            Amount::Whole { size, .. } if resource.is_shared() => {
                Resource { amount: Amount::Whole { size, copies: 1 }, ..resource.clone() }
            }
            _ => resource.clone(),
        };
        Self(self.0.iter().map(once).collect())
    }

    /// At most these quantities of each name; names that are not among them are dropped, as is what
    /// does not fit and cannot be split. Numbers only.
    #[must_use]
    pub fn cut_to(&self, most: &Quantities) -> Self {
        let mut left = most.clone();
        let cut = self.0.iter().filter_map(|resource| {
            let part = resource.cut_to(left.get(&resource.name))?;
            left.subtract_one(&part.name, part.quantity());
            Some(part)
        });
        Self(cut.collect())
    }
}
