//! Tests of the algebra: by example, and by properties over anything that resources can be.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod algebra;
mod any;
mod check;
mod select;
mod text;
mod wire;

use super::Resources;
use crate::{Disk, DiskSource, DiskSourceKind, Persistence, Resource, Role, Scalar, Terms};

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

fn parse(text: &str) -> Resources {
    Resources::parse(text, &Role::star()).unwrap()
}

fn int(units: i64) -> Scalar {
    Scalar::from_int(units)
}

/// A persistent volume of 64 MiB on the agent's own disk.
fn volume(id: &str, shared: bool) -> Resource {
    let persistence = Some(Persistence { id: id.into(), principal: None });
    let disk = Some(Disk { persistence, ..Disk::default() });
    Resource::scalar("disk", int(64)).with_terms(Terms { disk, shared, ..Terms::default() })
}

/// A disk with a source.
fn disk(kind: DiskSourceKind, root: &str, size: i64) -> Resource {
    let source = Some(DiskSource::new(kind, Some(root)));
    let disk = Some(Disk { source, ..Disk::default() });
    Resource::scalar("disk", int(size)).with_terms(Terms { disk, ..Terms::default() })
}
