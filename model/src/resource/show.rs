//! How one resource is shown: `cpus:2`, `cpus(role):2`, and with everything that there can be
//! `disk(allocated: eng)(reservations: [(STATIC,eng)])[MOUNT:/mnt/a,id:data]<SHARED>:1024`.

use std::fmt;

use super::{Amount, ReservationKind, Resource};

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let terms = self.terms();
        if let Some(role) = &terms.allocation_role {
            write!(f, "(allocated: {role})")?;
        }
        match terms.reservations.as_slice() {
            [] => {}
            // What the flag can say is shown as the flag says it.
            [one]
                if one.kind == ReservationKind::Static
                    && one.principal.is_none()
                    && one.labels.is_empty()
                    && terms.allocation_role.is_none() =>
            {
                write!(f, "({})", one.role)?;
            }
            stack => {
                f.write_str("(reservations: [")?;
                for (n, reservation) in stack.iter().enumerate() {
                    write!(f, "{}{reservation}", if n == 0 { "" } else { "," })?;
                }
                f.write_str("])")?;
            }
        }
        if let Some(disk) = &terms.disk {
            write!(f, "[{disk}]")?;
        }
        if terms.revocable {
            f.write_str("{REV}")?;
        }
        if terms.shared {
            f.write_str("<SHARED>")?;
        }
        match &self.amount {
            Amount::Scalar(size) => write!(f, ":{size}"),
            Amount::Whole { size, copies: 1 } => write!(f, ":{size}"),
            Amount::Whole { size, copies } => write!(f, "<{copies}>:{size}"),
            Amount::Ranges(ranges) => write!(f, ":{ranges}"),
            Amount::Set(set) => write!(f, ":{set}"),
        }
    }
}
