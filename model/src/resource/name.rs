//! Names of resources. The five that every cluster has are numbers in disguise, so that comparing
//! them costs nothing; others are counted text.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The name of a resource. Sorts in the order in which people read resources.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceName {
    /// Cores, in fractions.
    Cpus,
    /// Memory, MiB.
    Mem,
    /// Disk, MiB.
    Disk,
    /// GPUs, whole.
    Gpus,
    /// Network ports.
    Ports,
    /// Any other.
    Other(Arc<str>),
}

impl ResourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpus => "cpus",
            Self::Mem => "mem",
            Self::Disk => "disk",
            Self::Gpus => "gpus",
            Self::Ports => "ports",
            Self::Other(name) => name,
        }
    }

    /// The place among the five, or after them.
    const fn rank(&self) -> u8 {
        match self {
            Self::Cpus => 0,
            Self::Mem => 1,
            Self::Disk => 2,
            Self::Gpus => 3,
            Self::Ports => 4,
            Self::Other(_) => 5,
        }
    }

    /// The same order, without looking at text when that is not needed.
    #[inline]
    pub(crate) fn cmp_fast(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Other(a), Self::Other(b)) if !Arc::ptr_eq(a, b) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl From<&str> for ResourceName {
    fn from(name: &str) -> Self {
        match name {
            "cpus" => Self::Cpus,
            "mem" => Self::Mem,
            "disk" => Self::Disk,
            "gpus" => Self::Gpus,
            "ports" => Self::Ports,
            other => Self::Other(Arc::from(other)),
        }
    }
}

impl PartialEq<str> for ResourceName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ResourceName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
