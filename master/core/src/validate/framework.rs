//! Whether a framework may subscribe as it describes itself.

use mezzo_model::{FrameworkId, Role};
use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::capability::Type as Capability;
use std::collections::BTreeSet;

use crate::state::Config;

/// The longest failover timeout, in seconds, that a duration in nanoseconds can hold.
const MAX_FAILOVER: f64 = 9.2e9;

/// The roles that a framework subscribes to, and those of them that it suppresses.
pub(crate) struct Roles {
    pub(crate) subscribed: BTreeSet<Role>,
    pub(crate) suppressed: BTreeSet<Role>,
}

/// Checks a framework's description.
pub(crate) fn check(
    config: &Config,
    info: &v1::FrameworkInfo,
    suppressed: &[String],
) -> Result<Roles, String> {
    if info.name.is_empty() {
        return Err("framework_info.name: is empty, expected a name for people".to_owned());
    }
    if !config.root_submissions && info.user == "root" {
        return Err(
            "framework_info.user: is \"root\", but this master takes no frameworks of root \
             (--no-root_submissions)"
                .to_owned(),
        );
    }
    let timeout = info.failover_timeout();
    if timeout.is_nan() || timeout > MAX_FAILOVER {
        return Err(format!(
            "framework_info.failover_timeout: is {timeout} s, expected at most {MAX_FAILOVER} s"
        ));
    }
    if let Some(id) = info.id.as_ref().filter(|id| !id.value.is_empty()) {
        FrameworkId::parse(&id.value).map_err(|e| format!("framework_info.id: {e}"))?;
    }
    let subscribed = roles(info)?;
    let mut unwanted = BTreeSet::new();
    for role in suppressed {
        let Some(known) = subscribed.get(role.as_str()) else {
            return Err(format!("suppressed_roles: {role:?} is not one of the framework's roles"));
        };
        unwanted.insert(known.clone());
    }
    Ok(Roles { subscribed, suppressed: unwanted })
}

/// Constraints are refused rather than overlooked: a framework that sets them relies on them.
pub(crate) fn check_constraints(
    constraints: Option<&v1::scheduler::OfferConstraints>,
) -> Result<(), String> {
    match constraints {
        Some(given) if !given.role_constraints.is_empty() => {
            Err("offer_constraints: are not available in this version, expected none".to_owned())
        }
        _ => Ok(()),
    }
}

/// Either `roles`, for a framework that knows several, or `role`.
#[expect(deprecated, reason = "`role` is how frameworks without MULTI_ROLE say it")]
fn roles(info: &v1::FrameworkInfo) -> Result<BTreeSet<Role>, String> {
    let multi = info.capabilities.iter().any(|c| c.r#type() == Capability::MultiRole);
    if multi && info.role.is_some() {
        return Err("framework_info.role: is set, expected only roles for a MULTI_ROLE framework"
            .to_owned());
    }
    if !multi && !info.roles.is_empty() {
        return Err("framework_info.roles: is set, expected only role for a framework without \
                    MULTI_ROLE"
            .to_owned());
    }
    let mut subscribed = BTreeSet::new();
    let (field, named) = if multi {
        ("roles", info.roles.iter().map(String::as_str).collect::<Vec<_>>())
    } else {
        ("role", vec![info.role()])
    };
    for name in named {
        let role = Role::parse(name).map_err(|e| format!("framework_info.{field}: {e}"))?;
        if !subscribed.insert(role) {
            return Err(format!("framework_info.{field}: {name:?} is there twice"));
        }
    }
    Ok(subscribed)
}
