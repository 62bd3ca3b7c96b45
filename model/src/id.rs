//! Ids: one type for each kind of thing, so that an agent's id can never be taken for a task's.
//!
//! They are text made by the master or chosen by a framework, cheap to clone (one counted pointer)
//! and compare. `new` and the conversions from the wire take any text as it is; [`parse`] is what
//! an edge calls on an id that a stranger chose, because ids become names of directories.
//!
//! [`parse`]: TaskId::parse

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use mezzo_proto::v1;

use crate::invalid::quote;

/// The longest id, in bytes: what file systems allow for one component of a path.
pub const LONGEST_ID: usize = 255;

/// Text that cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {found} {problem}; expected {EXPECTED}")]
pub struct InvalidId {
    /// What kind of id, as in `task id`.
    pub kind: &'static str,
    /// The text, quoted and shortened.
    pub found: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

const EXPECTED: &str =
    "1 to 255 bytes without control characters, '/' or '\\', and neither \".\" nor \"..\"";

/// The rule that all ids keep: fit to be one component of a path, on any file system.
pub(crate) fn check(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.len() > LONGEST_ID {
        "is too long"
    } else if text == "." || text == ".." {
        "means a directory"
    } else if text.chars().any(char::is_control) {
        "has a control character"
    } else if text.contains(['/', '\\']) {
        "has a slash"
    } else {
        return Ok(());
    };
    Err(InvalidId { kind, found: quote(text), problem })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is. For text from a stranger, see [`Self::parse`].
            pub fn new(text: &str) -> Self {
                Self(Arc::from(text))
            }

            /// Takes the text if it can be an id (and so a component of a path).
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check($kind, text)?;
                Ok(Self::new(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &self.0)
            }
        }

        /// Lets maps keyed by ids be asked with plain text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    )*};
}

/// Conversions to and from the message of the same name.
macro_rules! on_the_wire {
    ($($name:ident),*) => {$(
        impl From<&v1::$name> for $name {
            fn from(wire: &v1::$name) -> Self {
                Self::new(&wire.value)
            }
        }

        impl From<v1::$name> for $name {
            fn from(wire: v1::$name) -> Self {
                Self::from(wire.value)
            }
        }

        impl From<&$name> for v1::$name {
            fn from(id: &$name) -> Self {
                Self { value: id.as_str().to_owned() }
            }
        }

        impl From<$name> for v1::$name {
            fn from(id: $name) -> Self {
                Self::from(&id)
            }
        }
    )*};
}

ids! {
    /// Names a master process: a fresh one each time a master starts.
    MasterId, "master id";
    /// Names an agent, `<master>-S<n>`, from its admission until it is removed.
    AgentId, "agent id";
    /// Names a framework, `<master>-<nnnn>`, across its reconnections and failovers.
    FrameworkId, "framework id";
    /// Names an offer, `<master>-O<n>`; no two offers ever share one.
    OfferId, "offer id";
    /// Names a task within its framework. Chosen by the framework.
    TaskId, "task id";
    /// Names an executor within its framework and agent. Chosen by the framework.
    ExecutorId, "executor id";
    /// Names a resource provider.
    ResourceProviderId, "resource provider id";
    /// Names an operation within its framework. Chosen by the framework.
    OperationId, "operation id";
}

on_the_wire!(AgentId, FrameworkId, OfferId, TaskId, ExecutorId, ResourceProviderId, OperationId);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_id_fit_for_a_path_component_is_taken() {
        for text in ["a", "task-1", "ünï", "...", ".hidden", &"x".repeat(255), "a b"] {
            assert_eq!(TaskId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn an_id_that_would_escape_its_directory_is_refused() {
        for text in ["", ".", "..", "a/b", "a\\b", "a\nb", "\u{7f}", "\0", &"x".repeat(256)] {
            let error = TaskId::parse(text).unwrap_err();
            assert!(error.to_string().starts_with("task id \""), "{error}");
        }
    }

    #[test]
    fn ids_go_to_the_wire_and_back() {
        let id = AgentId::new("m-S1");
        assert_eq!(AgentId::from(v1::AgentId::from(&id)), id);
        assert_eq!(format!("{id} {id:?}"), "m-S1 AgentId(\"m-S1\")");
    }

    #[test]
    fn a_map_of_ids_can_be_asked_with_text() {
        let map = BTreeMap::from([(OfferId::new("o"), 1)]);
        assert_eq!(map.get("o"), Some(&1));
    }
}
