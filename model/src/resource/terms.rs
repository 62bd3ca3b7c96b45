//! Terms: everything about a resource except its name and amount. Only resources on the same terms
//! can be added up.
//!
//! Most resources have none (free for all, allocated to nobody, plain), and the others share a few:
//! all resources of an offer carry the same role. So terms are counted and compared by address
//! first, and having none costs nothing.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::resource::{Disk, Reservation};
use crate::{ResourceProviderId, Role};

/// Under which conditions a resource may be used, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Terms {
    /// For whom it is kept, the last one being who has it now. Empty: for all.
    pub reservations: Vec<Reservation>,
    /// The role on whose account it is offered or used.
    pub allocation_role: Option<Role>,
    /// Disks: source and persistent volume.
    pub disk: Option<Disk>,
    /// Whether it may be taken back at any time.
    pub revocable: bool,
    /// Whether several tasks may use it at once (persistent volumes only).
    pub shared: bool,
    /// The resource provider it comes from; the agent itself if unset.
    pub provider: Option<ResourceProviderId>,
}

/// What resources without terms have.
static PLAIN: Terms = Terms {
    reservations: Vec::new(),
    allocation_role: None,
    disk: None,
    revocable: false,
    shared: false,
    provider: None,
};

impl Terms {
    /// Who has it, if it is reserved.
    pub fn reservation_role(&self) -> Option<&Role> {
        self.reservations.last().map(|reservation| &reservation.role)
    }

    /// Whether amounts on these terms cannot be split or merged: volumes and whole disks.
    pub fn is_indivisible(&self) -> bool {
        self.shared || self.disk.as_ref().is_some_and(Disk::is_indivisible)
    }

    /// Whether a resource on these terms may be used on behalf of the role: it is free for all, or
    /// kept for the role or for one above it.
    pub fn usable_by(&self, role: &Role) -> bool {
        self.reservation_role().is_none_or(|owner| owner.is_or_is_above(role))
    }
}

/// Counted terms; nothing for the plain ones, so that equal terms compare equal by address often.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedTerms(Option<Arc<Terms>>);

impl SharedTerms {
    /// The terms of plain resources.
    pub(crate) const PLAIN: Self = Self(None);

    pub(crate) fn new(terms: Terms) -> Self {
        if terms == PLAIN { Self(None) } else { Self(Some(Arc::new(terms))) }
    }

    pub(crate) fn get(&self) -> &Terms {
        self.0.as_deref().unwrap_or(&PLAIN)
    }

    pub(crate) fn same_address(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl PartialEq for SharedTerms {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SharedTerms {}

impl Hash for SharedTerms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.get().hash(state);
    }
}

impl PartialOrd for SharedTerms {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedTerms {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        if self.same_address(other) { Ordering::Equal } else { self.get().cmp(other.get()) }
    }
}

/// Makes one shared copy of terms that come again and again, as they do in one message.
#[derive(Default)]
pub(crate) struct TermsCache(Vec<SharedTerms>);

impl TermsCache {
    /// Enough for what real messages mix; a bound, so that a strange one is not searched forever.
    const KEPT: usize = 8;

    pub(crate) fn share(&mut self, terms: Terms) -> SharedTerms {
        if terms == PLAIN {
            return SharedTerms::PLAIN;
        }
        if let Some(known) =
            self.0.iter().find(|known| *known.get() == terms && same_mount(known.get(), &terms))
        {
            return known.clone();
        }
        let shared = SharedTerms::new(terms);
        if self.0.len() < Self::KEPT {
            self.0.push(shared.clone());
        }
        shared
    }
}

/// Equal terms can still differ in how a task sees the volume; then they must not be shared.
fn same_mount(a: &Terms, b: &Terms) -> bool {
    let all = |terms: &Terms| terms.disk.as_ref().map(Disk::to_proto);
    a.disk.is_none() && b.disk.is_none() || all(a) == all(b)
}
