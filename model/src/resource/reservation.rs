//! Reservations: resources kept for one role. They stack: a role may pass what is reserved to it on
//! to a role below.

use std::fmt;
use std::sync::Arc;

use mezzo_proto::v1::resource::ReservationInfo;
use mezzo_proto::v1::resource::reservation_info::Type;

use crate::invalid::quote;
use crate::{InvalidField, Labels, Role};

/// One layer of a stack of reservations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reservation {
    /// For whom.
    pub role: Role,
    /// How it came about.
    pub kind: ReservationKind,
    /// Who made it.
    pub principal: Option<Arc<str>>,
    /// Whatever else the maker wanted to say.
    pub labels: Labels,
}

/// How a reservation came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservationKind {
    /// By the agent's flags; lasts as long as the agent's configuration.
    Static,
    /// By an operation; can be undone by another.
    Dynamic,
}

impl Reservation {
    /// What an agent's flag `cpus(role):2` says.
    pub fn fixed(role: Role) -> Self {
        Self { role, kind: ReservationKind::Static, principal: None, labels: Labels::default() }
    }

    /// What an operation RESERVE says.
    pub fn dynamic(role: Role, principal: Option<&str>) -> Self {
        Self {
            role,
            kind: ReservationKind::Dynamic,
            principal: principal.map(Arc::from),
            labels: Labels::default(),
        }
    }

    /// Whether this one may lie on top of `below` (nothing = the resource is free for all).
    pub fn check_on(&self, below: Option<&Reservation>) -> Result<(), InvalidField> {
        if self.role.is_star() {
            return Err(InvalidField::new("role", "\"*\"", "a role other than \"*\""));
        }
        let Some(below) = below else { return Ok(()) };
        if self.kind == ReservationKind::Static {
            let expected = "DYNAMIC, since only the first reservation of a stack may be static";
            return Err(InvalidField::new("type", "STATIC", expected));
        }
        if !below.role.is_strict_ancestor_of(&self.role) {
            let expected = format!("a role below {}, to which it is reserved already", below.role);
            return Err(InvalidField::new("role", quote(self.role.as_str()), expected));
        }
        Ok(())
    }

    /// Reads one element of `Resource.reservations`.
    pub fn from_proto(wire: &ReservationInfo) -> Result<Self, InvalidField> {
        let kind = match wire.r#type.and_then(|number| Type::try_from(number).ok()) {
            Some(Type::Static) => ReservationKind::Static,
            Some(Type::Dynamic) => ReservationKind::Dynamic,
            Some(Type::Unknown) | None => {
                let found = wire.r#type.map_or_else(|| "nothing".to_owned(), |n| n.to_string());
                return Err(InvalidField::new("type", found, "STATIC or DYNAMIC"));
            }
        };
        let Some(role) = &wire.role else {
            return Err(InvalidField::new("role", "nothing", "a role"));
        };
        let role = Role::parse(role).map_err(|e| InvalidField::new("role", e, "a role"))?;
        Ok(Self {
            role,
            kind,
            principal: wire.principal.as_deref().map(Arc::from),
            labels: wire.labels.as_ref().map(Labels::from).unwrap_or_default(),
        })
    }

    /// Writes one element of `Resource.reservations`.
    pub fn to_proto(&self) -> ReservationInfo {
        let kind = match self.kind {
            ReservationKind::Static => Type::Static,
            ReservationKind::Dynamic => Type::Dynamic,
        };
        ReservationInfo {
            r#type: Some(kind as i32),
            role: Some(self.role.as_str().to_owned()),
            ..self.to_old_proto()
        }
    }

    /// Writes `Resource.reservation`, the form that knows neither type nor role.
    pub(crate) fn to_old_proto(&self) -> ReservationInfo {
        ReservationInfo {
            r#type: None,
            role: None,
            principal: self.principal.as_deref().map(str::to_owned),
            labels: (!self.labels.is_empty()).then(|| (&self.labels).into()),
        }
    }
}

/// `(DYNAMIC,role,principal,{labels})`
impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ReservationKind::Static => "STATIC",
            ReservationKind::Dynamic => "DYNAMIC",
        };
        write!(f, "({kind},{}", self.role)?;
        if let Some(principal) = &self.principal {
            write!(f, ",{principal}")?;
        }
        if !self.labels.is_empty() {
            write!(f, ",{}", self.labels)?;
        }
        f.write_str(")")
    }
}
