//! From a user name to the numbers that the kernel knows.
//!
//! Asked in the agent, where the name service (which may be LDAP, slow, or threaded) is at home; the launcher is given
//! numbers only.

use std::ffi::CString;

use serde::{Deserialize, Serialize};

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Main group id.
    pub gid: u32,
    /// Supplementary group ids.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The ids.
    pub credentials: Credentials,
    /// The home directory.
    pub home: std::path::PathBuf,
    /// The login shell.
    pub shell: std::path::PathBuf,
}

/// Why a user could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Nobody of this name.
    #[error("user {name:?} does not exist on this machine")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Not a name at all.
    #[error(
        "user name {name:?} is not valid: expected a name without NUL characters that is not empty"
    )]
    Invalid {
        /// The name.
        name: String,
    },
    /// The user database did not answer.
    #[error("cannot look up user {name:?} in the user database")]
    Lookup {
        /// The name.
        name: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

impl User {
    /// Looks a user up by name, with all his groups.
    ///
    /// # Errors
    /// [`UserError`].
    pub fn by_name(name: &str) -> Result<Self, UserError> {
        let invalid = || UserError::Invalid { name: name.to_owned() };
        let failed =
            |errno: nix::Error| UserError::Lookup { name: name.to_owned(), source: errno.into() };
        if name.is_empty() {
            return Err(invalid());
        }
        let c_name = CString::new(name).map_err(|_| invalid())?;
        let entry = nix::unistd::User::from_name(name)
            .map_err(failed)?
            .ok_or_else(|| UserError::Unknown { name: name.to_owned() })?;
        let groups = nix::unistd::getgrouplist(&c_name, entry.gid).map_err(failed)?;
        Ok(Self {
            name: entry.name,
            credentials: Credentials {
                uid: entry.uid.as_raw(),
                gid: entry.gid.as_raw(),
                groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            },
            home: entry.dir,
            shell: entry.shell,
        })
    }

    /// The name of the user this process runs as (its number when it has none).
    #[must_use]
    pub fn current_name() -> String {
        let uid = nix::unistd::Uid::effective();
        match nix::unistd::User::from_uid(uid) {
            Ok(Some(user)) => user.name,
            _ => uid.to_string(),
        }
    }
}

/// True when this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn root_and_nobody_resolve_with_their_groups() {
        let root = User::by_name("root").unwrap();
        assert_eq!((root.credentials.uid, root.credentials.gid), (0, 0));
        assert!(root.credentials.groups.contains(&0));
        let nobody = User::by_name("nobody").unwrap();
        assert!(nobody.credentials.uid > 0);
    }

    #[test]
    fn an_unknown_user_is_named_in_the_error() {
        let error = User::by_name("no-such-user-here").unwrap_err();
        assert_eq!(error.to_string(), r#"user "no-such-user-here" does not exist on this machine"#);
        assert!(matches!(User::by_name("").unwrap_err(), UserError::Invalid { .. }));
        assert!(matches!(User::by_name("a\0b").unwrap_err(), UserError::Invalid { .. }));
    }
}
