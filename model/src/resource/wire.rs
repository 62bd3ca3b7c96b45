//! One resource as a message, in each of the three forms that Mesos has.
//!
//! A message says to whom it is reserved either the old way (`role` and `reservation`: one layer at
//! most) or the new way (the stack `reservations`). Endpoints write both at once. Reading takes any
//! form, and refuses a message in which two forms contradict each other.

#![expect(deprecated, reason = "the old form is deprecated, and many frameworks read nothing else")]

use mezzo_proto::v1;
use mezzo_proto::v1::value::Type;

use super::{
    Amount, Disk, Reservation, ReservationKind, Resource, ResourceName, Terms, TermsCache,
};
use crate::invalid::quote;
use crate::value::{
    ranges_from_proto, ranges_to_proto, scalar_from_proto, scalar_to_proto, set_from_proto,
    set_to_proto,
};
use crate::{
    FrameworkCapabilities, FrameworkCapability, InvalidField, Labels, ResourceProviderId, Role,
};

/// How messages say to whom a resource is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `role` and `reservation`. A stack of two and more cannot be said so and is written the new
    /// way; frameworks that read this form are not offered such resources.
    PreRefinement,
    /// `reservations`.
    PostRefinement,
    /// Both at once, as far as the old form can say it. For operators.
    Endpoint,
}

impl Format {
    /// The form that a framework understands.
    pub fn for_framework(capabilities: FrameworkCapabilities) -> Self {
        if capabilities.has(FrameworkCapability::ReservationRefinement) {
            Self::PostRefinement
        } else {
            Self::PreRefinement
        }
    }
}

impl Resource {
    /// Reads a message. An amount of 0 is fine and gives an empty resource.
    pub fn from_proto(wire: &v1::Resource) -> Result<Self, InvalidField> {
        Self::from_proto_sharing(wire, &mut TermsCache::default())
    }

    pub(crate) fn from_proto_sharing(
        wire: &v1::Resource,
        cache: &mut TermsCache,
    ) -> Result<Self, InvalidField> {
        if wire.name.is_empty() {
            return Err(InvalidField::new("name", "\"\"", "the name of a resource"));
        }
        let name = ResourceName::from(wire.name.as_str());
        let amount = amount_from_proto(&name, wire)?;
        let terms = terms_from_proto(&name, wire)?;
        let amount = match amount {
            Amount::Scalar(size) if terms.is_indivisible() => Amount::Whole { size, copies: 1 },
            amount => amount,
        };
        Ok(Self { name, terms: cache.share(terms), amount })
    }

    /// Writes the message of one copy.
    pub fn to_proto(&self, format: Format) -> v1::Resource {
        let terms = self.terms();
        let mut wire = v1::Resource {
            provider_id: terms.provider.as_ref().map(Into::into),
            name: self.name().to_owned(),
            allocation_info: terms
                .allocation_role
                .as_ref()
                .map(|role| v1::resource::AllocationInfo { role: Some(role.as_str().to_owned()) }),
            disk: terms.disk.as_ref().map(Disk::to_proto),
            revocable: terms.revocable.then_some(v1::resource::RevocableInfo {}),
            shared: terms.shared.then_some(v1::resource::SharedInfo {}),
            ..v1::Resource::default()
        };
        match &self.amount {
            Amount::Scalar(size) | Amount::Whole { size, .. } => {
                wire.r#type = Type::Scalar as i32;
                wire.scalar = Some(scalar_to_proto(*size));
            }
            Amount::Ranges(ranges) => {
                wire.r#type = Type::Ranges as i32;
                wire.ranges = Some(ranges_to_proto(ranges));
            }
            Amount::Set(set) => {
                wire.r#type = Type::Set as i32;
                wire.set = Some(set_to_proto(set));
            }
        }
        let old = format != Format::PostRefinement && terms.reservations.len() <= 1;
        if old {
            let only = terms.reservations.first();
            wire.role = Some(only.map_or("*", |reservation| reservation.role.as_str()).to_owned());
            wire.reservation = only
                .filter(|reservation| reservation.kind == ReservationKind::Dynamic)
                .map(Reservation::to_old_proto);
        }
        if !old || format == Format::Endpoint {
            wire.reservations = terms.reservations.iter().map(Reservation::to_proto).collect();
        }
        wire
    }
}

fn amount_from_proto(name: &ResourceName, wire: &v1::Resource) -> Result<Amount, InvalidField> {
    let kind = Type::try_from(wire.r#type).ok();
    let fits = match name {
        ResourceName::Cpus | ResourceName::Mem | ResourceName::Disk | ResourceName::Gpus => {
            kind == Some(Type::Scalar)
        }
        ResourceName::Ports => kind == Some(Type::Ranges),
        ResourceName::Other(_) => matches!(kind, Some(Type::Scalar | Type::Ranges | Type::Set)),
    };
    if !fits {
        let found =
            kind.map_or_else(|| wire.r#type.to_string(), |kind| kind.as_str_name().to_owned());
        let expected = match name {
            ResourceName::Ports => "RANGES, as ports are",
            ResourceName::Other(_) => "SCALAR, RANGES or SET",
            _ => "SCALAR, as cpus, mem, disk and gpus are",
        };
        return Err(InvalidField::new("type", found, expected));
    }
    let set_fields = [
        ("scalar", wire.scalar.is_some(), Type::Scalar),
        ("ranges", wire.ranges.is_some(), Type::Ranges),
        ("set", wire.set.is_some(), Type::Set),
    ];
    for (field, is_set, belongs_to) in set_fields {
        if is_set && kind != Some(belongs_to) {
            let expected = format!("nothing, as the type is not {}", belongs_to.as_str_name());
            return Err(InvalidField::new(field, "a value", expected));
        }
    }
    if let Some(scalar) = &wire.scalar {
        let scalar = scalar_from_proto("scalar", scalar)?;
        if *name == ResourceName::Gpus && scalar.millis() % 1000 != 0 {
            return Err(InvalidField::new(
                "scalar.value",
                scalar,
                "a whole number, as GPUs are not split",
            ));
        }
        return Ok(Amount::Scalar(scalar));
    }
    if let Some(ranges) = &wire.ranges {
        return ranges_from_proto("ranges", ranges).map(Amount::Ranges);
    }
    if let Some(set) = &wire.set {
        return set_from_proto("set", set).map(Amount::Set);
    }
    let field = match kind {
        Some(Type::Ranges) => "ranges",
        Some(Type::Set) => "set",
        _ => "scalar",
    };
    Err(InvalidField::new(field, "nothing", "a value, as the type says"))
}

fn terms_from_proto(name: &ResourceName, wire: &v1::Resource) -> Result<Terms, InvalidField> {
    let terms = Terms {
        reservations: reservations_from_proto(wire)?,
        allocation_role: match wire.allocation_info.as_ref().and_then(|info| info.role.as_deref()) {
            None => None,
            Some(role) => Some(parse_role("allocation_info.role", role)?),
        },
        disk: match &wire.disk {
            None => None,
            Some(disk) => Some(Disk::from_proto(disk).map_err(|e| e.within("disk"))?),
        },
        revocable: wire.revocable.is_some(),
        shared: wire.shared.is_some(),
        provider: match &wire.provider_id {
            None => None,
            Some(id) => Some(
                ResourceProviderId::parse(&id.value)
                    .map_err(|e| InvalidField::new("provider_id.value", e, "an id"))?,
            ),
        },
    };
    let volume = terms.disk.as_ref().is_some_and(|disk| disk.persistence.is_some());
    if terms.disk.is_some() && *name != ResourceName::Disk {
        return Err(InvalidField::new(
            "disk",
            "a disk",
            format!("nothing, as the resource is {name}"),
        ));
    }
    if terms.revocable && volume {
        return Err(InvalidField::new(
            "revocable",
            "set",
            "nothing, as the resource is a persistent volume",
        ));
    }
    if terms.revocable && !terms.reservations.is_empty() {
        return Err(InvalidField::new("revocable", "set", "nothing, as the resource is reserved"));
    }
    if terms.shared && !volume {
        return Err(InvalidField::new(
            "shared",
            "set",
            "nothing, as only persistent volumes can be shared",
        ));
    }
    Ok(terms)
}

fn parse_role(path: &str, role: &str) -> Result<Role, InvalidField> {
    Role::parse(role).map_err(|error| InvalidField::new(path, error, "a role"))
}

fn reservations_from_proto(wire: &v1::Resource) -> Result<Vec<Reservation>, InvalidField> {
    if wire.reservations.is_empty() {
        return old_reservation_from_proto(wire);
    }
    let mut stack: Vec<Reservation> = Vec::with_capacity(wire.reservations.len());
    for (n, layer) in wire.reservations.iter().enumerate() {
        let layer = Reservation::from_proto(layer)
            .and_then(|layer| layer.check_on(stack.last()).map(|()| layer))
            .map_err(|error| error.within(&format!("reservations[{n}]")))?;
        stack.push(layer);
    }
    agrees_with_old_form(wire, &stack)?;
    Ok(stack)
}

/// Endpoint form: what the old fields say, if they say anything, must be what the stack says.
fn agrees_with_old_form(wire: &v1::Resource, stack: &[Reservation]) -> Result<(), InvalidField> {
    let Some(top) = stack.last() else { return Ok(()) };
    if let Some(role) = &wire.role
        && role != top.role.as_str()
    {
        let expected = format!("nothing or {}, as reservations says", top.role);
        return Err(InvalidField::new("role", quote(role), expected));
    }
    if let Some(old) = &wire.reservation {
        let labels = old.labels.as_ref().map(Labels::from).unwrap_or_default();
        let same = old.principal.as_deref() == top.principal.as_deref() && labels == top.labels;
        if !same || top.kind != ReservationKind::Dynamic {
            let expected = "nothing or the same as the last of reservations";
            return Err(InvalidField::new("reservation", "something else", expected));
        }
    }
    Ok(())
}

fn old_reservation_from_proto(wire: &v1::Resource) -> Result<Vec<Reservation>, InvalidField> {
    let role = match wire.role.as_deref() {
        None | Some("*") => Role::star(),
        Some(role) => parse_role("role", role)?,
    };
    let Some(old) = &wire.reservation else {
        return Ok(if role.is_star() { Vec::new() } else { vec![Reservation::fixed(role)] });
    };
    if role.is_star() {
        return Err(InvalidField::new("role", "\"*\"", "the role that the reservation is for"));
    }
    if old.role.is_some() || old.r#type.is_some() {
        let expected = "neither type nor role; those go into reservations";
        return Err(InvalidField::new("reservation", "a type or a role", expected));
    }
    let mut reservation = Reservation::dynamic(role, old.principal.as_deref());
    reservation.labels = old.labels.as_ref().map(Labels::from).unwrap_or_default();
    Ok(vec![reservation])
}
