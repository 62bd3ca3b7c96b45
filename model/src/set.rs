//! Sets of names: a resource such as `{eth0,eth1}`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// A set of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(BTreeSet<Arc<str>>);

/// The same name twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is in the set twice")]
pub struct DuplicateItem(pub String);

impl Set {
    /// No names.
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Takes names of which no two are equal.
    pub fn from_distinct<T: AsRef<str>>(
        items: impl IntoIterator<Item = T>,
    ) -> Result<Self, DuplicateItem> {
        let mut set = BTreeSet::new();
        for item in items {
            if !set.insert(Arc::from(item.as_ref())) {
                return Err(DuplicateItem(item.as_ref().to_owned()));
            }
        }
        Ok(Self(set))
    }

    /// The names in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|item| &**item)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all names of `other` are in this set.
    pub fn contains(&self, other: &Set) -> bool {
        self.0.is_superset(&other.0)
    }

    /// Adds the names of `other`.
    pub(crate) fn insert(&mut self, other: &Set) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Takes the names of `other` away.
    pub(crate) fn remove(&mut self, other: &Set) {
        self.0.retain(|item| !other.0.contains(item));
    }
}

/// Takes names; the same one twice counts once.
impl<'a> FromIterator<&'a str> for Set {
    fn from_iter<I: IntoIterator<Item = &'a str>>(items: I) -> Self {
        Self(items.into_iter().map(Arc::from).collect())
    }
}

/// `{a,b}`
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, item) in self.iter().enumerate() {
            write!(f, "{}{item}", if n == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}
