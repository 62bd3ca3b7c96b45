//! Roles: paths such as `eng/backend`, in whose names resources are offered, reserved and limited.

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::invalid::quote;

/// A role. `*` is the role of those who name none; resources reserved to nobody are written so too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(Arc<str>);

/// Text that cannot be a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "role {found} {problem}; expected \"*\" or names joined by '/', each not empty, not \".\", \"..\" or \"*\", \
     not starting with '-' and without whitespace or control characters"
)]
pub struct InvalidRole {
    /// The text, quoted and shortened.
    pub found: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// The longest role, in bytes. Mesos sets no limit; this one keeps a hostile name from growing
/// every table that is keyed by roles.
const LONGEST: usize = 1024;

static STAR: LazyLock<Role> = LazyLock::new(|| Role(Arc::from("*")));

impl Role {
    /// The role `*`.
    pub fn star() -> Self {
        STAR.clone()
    }

    /// Takes the text if it is a role.
    pub fn parse(text: &str) -> Result<Self, InvalidRole> {
        if text == "*" {
            return Ok(Self::star());
        }
        match problem(text) {
            None => Ok(Self(Arc::from(text))),
            Some(problem) => Err(InvalidRole { found: quote(text), problem }),
        }
    }

    /// The role as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `*`.
    pub fn is_star(&self) -> bool {
        &*self.0 == "*"
    }

    /// Whether this role is below another one (has a `/`).
    pub fn is_nested(&self) -> bool {
        self.0.contains('/')
    }

    /// The role just above, if any: `eng` for `eng/backend`.
    pub fn parent(&self) -> Option<Role> {
        self.0.rsplit_once('/').map(|(above, _)| Self(Arc::from(above)))
    }

    /// The roles above, nearest first: `a/b`, then `a`, for `a/b/c`. Not this role itself.
    pub fn ancestors(&self) -> impl Iterator<Item = Role> + use<> {
        std::iter::successors(self.parent(), Role::parent)
    }

    /// The first name of the path; quota is set there.
    pub fn top(&self) -> Role {
        match self.0.split_once('/') {
            None => self.clone(),
            Some((top, _)) => Self(Arc::from(top)),
        }
    }

    /// Whether `other` lies strictly below this role. `*` has nothing below it.
    pub fn is_strict_ancestor_of(&self, other: &Role) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether `other` is this role or lies below it.
    pub fn is_or_is_above(&self, other: &Role) -> bool {
        self == other || self.is_strict_ancestor_of(other)
    }
}

fn problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is empty");
    }
    if text.len() > LONGEST {
        return Some("is longer than 1024 bytes");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("has whitespace or a control character");
    }
    text.split('/').find_map(|name| match name {
        "" => Some("has an empty name"),
        "." | ".." => Some("has a name that means a directory"),
        "*" => Some("has a \"*\" among its names"),
        _ if name.starts_with('-') => Some("has a name that starts with '-'"),
        _ => None,
    })
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({:?})", &self.0)
    }
}

/// Lets maps keyed by roles be asked with plain text.
impl Borrow<str> for Role {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Role {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        Self::parse(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn role(text: &str) -> Role {
        Role::parse(text).unwrap()
    }

    #[test]
    fn paths_of_plain_names_are_roles() {
        for text in ["*", "a", "eng/backend/x", "a-b", "a.b", "*a", "a/b*", "ü"] {
            assert_eq!(role(text).as_str(), text);
        }
    }

    #[test]
    fn what_breaks_the_syntax_is_refused() {
        for text in [
            "", "/", "/a", "a/", "a//b", ".", "a/..", "*/a", "a/*", "-a", "a/-b", "a b", "a\tb",
            "a\u{7f}",
        ] {
            assert!(Role::parse(text).is_err(), "{text:?}");
        }
        assert!(Role::parse(&"a".repeat(2000)).is_err());
    }

    #[test]
    fn ancestors_go_from_the_nearest_to_the_top() {
        let above: Vec<_> = role("a/b/c").ancestors().collect();
        assert_eq!(above, [role("a/b"), role("a")]);
        assert_eq!(role("a/b/c").top(), role("a"));
        assert_eq!(Role::star().ancestors().count(), 0);
    }

    #[test]
    fn a_name_that_begins_alike_is_no_ancestor() {
        assert!(role("a").is_strict_ancestor_of(&role("a/b")));
        assert!(!role("a").is_strict_ancestor_of(&role("ab/c")));
        assert!(!role("a").is_strict_ancestor_of(&role("a")));
        assert!(role("a").is_or_is_above(&role("a")));
        assert!(!Role::star().is_strict_ancestor_of(&role("a")));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in ".*") {
            let _ = Role::parse(&text);
        }
    }
}
