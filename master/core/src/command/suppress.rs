//! SUPPRESS and REVIVE: a framework wants no offers for a role, or wants them again.

use std::collections::BTreeSet;

use mezzo_model::{FrameworkId, Role};
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::module::v1::{Revived, Suppressed};

use super::Turn;
use crate::effect::{Code, Effect, Rejection};

pub(crate) fn suppress(
    turn: &mut Turn<'_>,
    id: &FrameworkId,
    roles: &[String],
) -> Result<(), Rejection> {
    let (framework, roles) = named(turn, id, roles)?;
    if let Some(entry) = turn.framework_mut(id) {
        entry.suppressed_roles.extend(roles.iter().cloned());
    }
    let roles = keys(turn, &roles);
    turn.allocator(Event::Suppressed(Suppressed { framework: Some(framework), roles }));
    Ok(())
}

/// Also lets the framework see again what it declined.
pub(crate) fn revive(
    turn: &mut Turn<'_>,
    id: &FrameworkId,
    roles: &[String],
) -> Result<(), Rejection> {
    let (framework, roles) = named(turn, id, roles)?;
    if let Some(entry) = turn.framework_mut(id) {
        entry.suppressed_roles.retain(|role| !roles.contains(role));
    }
    let roles = keys(turn, &roles);
    turn.allocator(Event::Revived(Revived { framework: Some(framework), roles }));
    turn.effect(Effect::Allocate(None));
    Ok(())
}

/// The framework's key and the roles that are meant: all of them if none is named. One that it is
/// not subscribed to voids the whole call.
fn named(
    turn: &Turn<'_>,
    id: &FrameworkId,
    roles: &[String],
) -> Result<(u64, BTreeSet<Role>), Rejection> {
    let framework = turn.need_framework(id)?;
    if roles.is_empty() {
        return Ok((framework.key, framework.roles.clone()));
    }
    let mut meant = BTreeSet::new();
    for role in roles {
        let Some(known) = framework.roles.get(role.as_str()) else {
            return Err(Rejection::new(
                Code::InvalidArgument,
                format!("roles: {role:?} is not one of the framework's roles"),
            ));
        };
        meant.insert(known.clone());
    }
    Ok((framework.key, meant))
}

fn keys(turn: &mut Turn<'_>, roles: &BTreeSet<Role>) -> Vec<u32> {
    roles.iter().map(|role| turn.role_key(role)).collect()
}
