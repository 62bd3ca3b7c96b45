//! Users that no container may run as. What counts is the number the kernel knows, not the name.

use mezzo_module_api::ModuleError;
use nix::unistd::{Uid, User};

use crate::refused;

/// A user as an operator named it.
#[derive(Debug)]
pub(crate) struct RefusedUser {
    name: String,
    /// `None`: there is no such user on this machine.
    uid: Option<Uid>,
}

impl RefusedUser {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), uid: uid(name) }
    }
}

/// Refuses a container of one of these users. Without a user of its own it runs as the agent's.
pub(crate) fn check(users: &[RefusedUser], user: Option<&str>) -> Result<(), ModuleError> {
    if users.is_empty() {
        return Ok(());
    }
    let found = match user {
        Some(name) => uid(name),
        None => Some(nix::unistd::geteuid()),
    };
    let is_it = |refused: &&RefusedUser| {
        Some(refused.name.as_str()) == user || (found.is_some() && refused.uid == found)
    };
    match users.iter().find(is_it) {
        Some(refused_user) => Err(refused(format!(
            "containers of user `{}` are refused on this agent",
            refused_user.name
        ))),
        None => Ok(()),
    }
}

/// The number of a user; of one that does not exist or cannot be looked up, the launch itself fails.
fn uid(name: &str) -> Option<Uid> {
    User::from_name(name).ok().flatten().map(|user| user.uid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_user_is_refused_by_name_and_others_are_not() {
        let users = ["root", "no-such-user-here"].map(RefusedUser::new);
        let verdict = |user| check(&users, Some(user)).map_err(|error| error.message);
        assert_eq!(
            verdict("root").unwrap_err(),
            "containers of user `root` are refused on this agent"
        );
        verdict("no-such-user-here").unwrap_err();
        verdict("nobody").unwrap();
        verdict("another-that-is-not-here").unwrap();
    }

    #[test]
    fn a_container_without_a_user_runs_as_the_agents() {
        let us = User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
        check(&[RefusedUser::new(&us.name)], None).unwrap_err();
        check(&[RefusedUser::new("no-such-user-here")], None).unwrap();
    }

    #[test]
    fn another_name_for_the_same_number_is_refused_too() {
        let alias = RefusedUser { name: "toor".to_owned(), uid: Some(Uid::from_raw(0)) };
        let error = check(&[alias], Some("root")).unwrap_err();
        assert_eq!(error.message, "containers of user `toor` are refused on this agent");
    }
}
