//! Container ids: a name and, for a nested container, the chain of containers around it.

use std::fmt;
use std::sync::Arc;

use mezzo_proto::v1;

use crate::id::{InvalidId, check};

/// How deep containers may nest; far beyond use, but recursion over the chain stays harmless.
pub const DEEPEST_CONTAINER: usize = 32;

/// Names a container on an agent; shown as `parent.child`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId {
    // Parent first, so that a container sorts just before those inside it.
    parent: Option<Arc<ContainerId>>,
    value: Arc<str>,
}

impl ContainerId {
    /// A container that is in no other.
    pub fn new(value: &str) -> Self {
        Self { parent: None, value: Arc::from(value) }
    }

    /// A container within this one.
    #[must_use]
    pub fn child(&self, value: &str) -> Self {
        Self { parent: Some(Arc::new(self.clone())), value: Arc::from(value) }
    }

    /// Takes the text if it can be the id of a container that is in no other.
    pub fn parse(value: &str) -> Result<Self, InvalidId> {
        check("container id", value)?;
        Ok(Self::new(value))
    }

    /// Takes an id from the wire if every name in its chain is fit for a path and the chain is not
    /// absurdly long.
    pub fn from_proto(wire: &v1::ContainerId) -> Result<Self, InvalidId> {
        let mut chain = Vec::new();
        let mut next = Some(wire);
        while let Some(id) = next {
            check("container id", &id.value)?;
            if chain.len() == DEEPEST_CONTAINER {
                return Err(InvalidId {
                    kind: "container id",
                    found: format!("{:?}", wire.value),
                    problem: "is nested too deep",
                });
            }
            chain.push(id.value.as_str());
            next = id.parent.as_deref();
        }
        let mut parent = None;
        let mut id = Self::new(chain.pop().unwrap_or(""));
        while let Some(value) = chain.pop() {
            parent.replace(Arc::new(id));
            id = Self { parent: parent.clone(), value: Arc::from(value) };
        }
        Ok(id)
    }

    /// The name within the parent.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// The container around this one.
    pub fn parent(&self) -> Option<&ContainerId> {
        self.parent.as_deref()
    }

    /// The outermost container: this one, when it is in no other.
    pub fn root(&self) -> &ContainerId {
        let mut id = self;
        while let Some(parent) = id.parent() {
            id = parent;
        }
        id
    }

    /// Whether this container is inside another.
    pub fn is_nested(&self) -> bool {
        self.parent.is_some()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent() {
            write!(f, "{parent}.")?;
        }
        f.write_str(&self.value)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContainerId({:?})", self.to_string())
    }
}

impl From<&ContainerId> for v1::ContainerId {
    fn from(id: &ContainerId) -> Self {
        Self {
            value: id.as_str().to_owned(),
            parent: id.parent().map(|parent| Box::new(Self::from(parent))),
        }
    }
}

impl From<ContainerId> for v1::ContainerId {
    fn from(id: ContainerId) -> Self {
        Self::from(&id)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn a_nested_id_keeps_its_chain_on_the_wire() {
        let id = ContainerId::new("a").child("b").child("c");
        assert_eq!(id.to_string(), "a.b.c");
        assert_eq!(id.root().as_str(), "a");
        assert_eq!(ContainerId::from_proto(&v1::ContainerId::from(&id)).unwrap(), id);
    }

    #[test]
    fn a_chain_with_a_bad_link_or_without_end_is_refused() {
        let bad = ContainerId::new("../..").child("b");
        assert!(ContainerId::from_proto(&bad.into()).is_err());
        let mut deep = ContainerId::new("a");
        for _ in 0..DEEPEST_CONTAINER {
            deep = deep.child("a");
        }
        let error = ContainerId::from_proto(&deep.into()).unwrap_err();
        assert_eq!(error.problem, "is nested too deep");
    }
}
