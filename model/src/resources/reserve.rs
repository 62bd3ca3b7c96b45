//! The same resources on other terms: reserved, freed, allocated.

use super::Resources;
use crate::resource::{Reservation, Resource, SharedTerms, Terms};
use crate::{InvalidField, Role};

impl Resources {
    /// All of this, each on the terms that `change` makes of its own.
    #[must_use]
    pub fn map_terms(&self, mut change: impl FnMut(&mut Terms)) -> Self {
        let mut last: Option<(SharedTerms, SharedTerms)> = None;
        let changed = self.0.iter().map(|resource| {
            // Neighbours often share their terms; then they share the new ones too.
            if let Some((old, new)) = &last
                && old.same_address(&resource.terms)
            {
                return resource.on(new.clone());
            }
            let mut terms = resource.terms().clone();
            change(&mut terms);
            let new = SharedTerms::new(terms);
            last = Some((resource.terms.clone(), new.clone()));
            resource.on(new)
        });
        Self::from_any(changed.collect())
    }

    /// All of this on the account of the role.
    #[must_use]
    pub fn allocate_to(&self, role: &Role) -> Self {
        self.map_terms(|terms| terms.allocation_role = Some(role.clone()))
    }

    /// What is on nobody's account yet is put on the account of the role.
    #[must_use]
    pub fn allocate_rest_to(&self, role: &Role) -> Self {
        self.map_terms(|terms| {
            terms.allocation_role.get_or_insert_with(|| role.clone());
        })
    }

    /// All of this on nobody's account.
    #[must_use]
    pub fn unallocate(&self) -> Self {
        if self.0.iter().all(|resource| resource.terms().allocation_role.is_none()) {
            return self.clone();
        }
        self.map_terms(|terms| terms.allocation_role = None)
    }

    /// All of this free for all roles; reservations are forgotten, volumes stay.
    #[must_use]
    pub fn to_unreserved(&self) -> Self {
        self.map_terms(|terms| terms.reservations.clear())
    }

    /// All of this with one more reservation on top; an error if the stack does not bear it.
    pub fn push_reservation(&self, reservation: &Reservation) -> Result<Self, InvalidField> {
        for resource in &self.0 {
            reservation
                .check_on(resource.terms().reservations.last())
                .map_err(|error| error.within("reservation"))?;
            if resource.is_revocable() {
                let expected = "resources that are not revocable, as only those can be reserved";
                return Err(InvalidField::new("resources", resource, expected));
            }
        }
        Ok(self.map_terms(|terms| terms.reservations.push(reservation.clone())))
    }

    /// All of this without the topmost reservation, as it was before the last RESERVE.
    #[must_use]
    pub fn pop_reservation(&self) -> Self {
        self.map_terms(|terms| {
            terms.reservations.pop();
        })
    }

    /// All of this without persistent volumes, as it was before CREATE.
    #[must_use]
    pub fn without_volumes(&self) -> Self {
        self.map_terms(|terms| {
            terms.shared = false;
            if let Some(disk) = &mut terms.disk {
                disk.persistence = None;
                disk.mount = None;
                if disk.source.is_none() {
                    terms.disk = None;
                }
            }
        })
    }

    /// All of this revocable, as an estimator of unused resources offers it.
    #[must_use]
    pub fn to_revocable(&self) -> Self {
        self.map_terms(|terms| terms.revocable = true)
    }

    /// Each resource as a list of its own.
    pub fn split(&self) -> impl Iterator<Item = Resources> + '_ {
        self.0.iter().map(|resource: &Resource| Self(vec![resource.clone()]))
    }
}
