//! What an agent says of itself, and whether it is still the one it was before a restart.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mezzo_agent_core::Settings;
use mezzo_containerizer::NamedHook;
use mezzo_model::{Attributes, Resources};
use mezzo_module_api::v1::{AgentAttributesRequest, AgentResourcesRequest};
use mezzo_proto::v1::agent_info::capability::Type as Capability;
use mezzo_proto::v1::{AgentInfo, DomainInfo};

use crate::flags::Flags;
use crate::hooks;

/// What masters are told that this agent can do.
pub(crate) const CAPABILITIES: [Capability; 4] = [
    Capability::MultiRole,
    Capability::HierarchicalRole,
    Capability::ReservationRefinement,
    Capability::TaskResourceLimits,
];

/// Why this agent cannot say who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// `--attributes` are none.
    #[error("flag --attributes")]
    Attributes(#[source] mezzo_model::ParseAttributesError),
    /// `--domain` is none.
    #[error(
        "flag --domain: expected JSON as {{\"fault_domain\":{{\"region\":{{\"name\":\"r\"}},\"zone\":{{\"name\":\"z\"}}}}}}: {0}"
    )]
    Domain(String),
}

/// The agent's info, without an id.
pub(crate) fn info(
    flags: &Flags,
    resources: &Resources,
    port: u16,
) -> Result<AgentInfo, IdentityError> {
    let attributes = flags.attributes.as_deref().unwrap_or_default();
    let attributes = Attributes::parse(attributes).map_err(IdentityError::Attributes)?;
    let domain = flags.domain.as_deref().map(mezzo_proto::json::from_str::<DomainInfo>).transpose();
    Ok(AgentInfo {
        hostname: hostname(flags),
        port: Some(flags.advertise_port.unwrap_or(port).into()),
        resources: resources.to_proto(mezzo_model::Format::PostRefinement),
        attributes: attributes.to_proto(),
        id: None,
        domain: domain.map_err(|error| IdentityError::Domain(error.to_string()))?,
    })
}

/// A name that others can reach this agent by.
fn hostname(flags: &Flags) -> String {
    if let Some(name) = &flags.hostname {
        return name.clone();
    }
    let address = flags.advertise_ip.unwrap_or(flags.ip);
    if !flags.hostname_lookup {
        return address.to_string();
    }
    if address.is_loopback() {
        return "localhost".to_owned();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { address.to_string() } else { name }
}

/// Lets the hooks change resources, then attributes, each seeing what the one before it made. What is none is passed over.
pub(crate) async fn decorate(
    mut info: AgentInfo,
    hooks: &[NamedHook],
    patience: Duration,
) -> AgentInfo {
    for hook in hooks {
        let request = AgentResourcesRequest { agent: Some(info.clone()) };
        let answer = hooks::ask(hook, "agent_resources", patience, move |hook| {
            hook.agent_resources(request)
        });
        let Some(list) = answer.await.and_then(|a| a.resources) else { continue };
        match Resources::from_proto(&list.resources) {
            Ok(resources) => {
                info.resources = resources.to_proto(mezzo_model::Format::PostRefinement);
            }
            Err(error) => passed_over(hook, "resources", &error),
        }
    }
    for hook in hooks {
        let request = AgentAttributesRequest { agent: Some(info.clone()) };
        let answer = hooks::ask(hook, "agent_attributes", patience, move |hook| {
            hook.agent_attributes(request)
        });
        let Some(list) = answer.await.and_then(|a| a.attributes) else { continue };
        match Attributes::from_proto(&list.attributes) {
            Ok(attributes) => info.attributes = attributes.to_proto(),
            Err(error) => passed_over(hook, "attributes", &error),
        }
    }
    info
}

fn passed_over(hook: &NamedHook, what: &str, error: &dyn std::error::Error) {
    tracing::error!(hook = hook.name(), "the {what} that a hook answered are none: {error}");
}

/// What changed since the earlier run in a way that the policy does not allow; none if the agent may go on as who it was.
pub(crate) fn changed(old: &AgentInfo, new: &AgentInfo, additive: bool) -> Option<String> {
    if old.hostname != new.hostname {
        return Some(format!("hostname was {:?} and is {:?}", old.hostname, new.hostname));
    }
    if old.port() != new.port() {
        return Some(format!("port was {} and is {}", old.port(), new.port()));
    }
    if old.domain != new.domain && !(additive && old.domain.is_none()) {
        return Some("the domain is another one".to_owned());
    }
    let resources = |info: &AgentInfo| Resources::from_proto(&info.resources).unwrap_or_default();
    let (before, now) = (resources(old), resources(new));
    if before != now && !(additive && now.contains(&before)) {
        return Some(format!("resources were {before} and are {now}"));
    }
    let attributes =
        |info: &AgentInfo| Attributes::from_proto(&info.attributes).unwrap_or_default();
    let (before, now) = (attributes(old), attributes(new));
    let kept = || before.iter().all(|(name, value)| now.get(name) == Some(value));
    if before != now && !(additive && kept()) {
        return Some("the attributes are others".to_owned());
    }
    None
}

/// The settings of the core.
pub(crate) fn settings(flags: &Flags, info: AgentInfo, facts: Facts) -> Settings {
    // Executors are on this machine: for an agent that listens everywhere the loopback will do.
    let everywhere = flags.advertise_ip.is_none() && flags.ip.is_unspecified();
    let ip = if everywhere {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        flags.advertise_ip.unwrap_or(flags.ip)
    };
    let endpoint = SocketAddr::new(ip, flags.advertise_port.unwrap_or(facts.port));
    Settings {
        info,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: CAPABILITIES.to_vec(),
        ip: ip.to_string(),
        endpoint: endpoint.to_string(),
        work_dir: flags.work_dir.to_string_lossy().into_owned(),
        command_executor: facts.command_executor,
        switch_user: flags.switch_user && facts.root,
        executor_environment: facts.executor_environment,
        executor_registration_timeout: flags.executor_registration_timeout.get(),
        executor_reregistration_timeout: flags.executor_reregistration_timeout.get(),
        executor_shutdown_grace_period: flags.executor_shutdown_grace_period.get(),
        recovery_timeout: flags.recovery_timeout.get(),
        decorate_tasks: facts.hooks,
        decorate_statuses: facts.hooks,
        history: mezzo_agent_core::History::default(),
        seed: [rand::random(), rand::random()],
    }
}

/// What is known only when everything else is there.
pub(crate) struct Facts {
    pub(crate) port: u16,
    pub(crate) command_executor: String,
    pub(crate) executor_environment: std::collections::BTreeMap<String, String>,
    pub(crate) root: bool,
    pub(crate) hooks: bool,
}

#[cfg(test)]
mod tests {
    use mezzo_model::{Resources, Role};
    use mezzo_proto::v1::AgentInfo;

    use super::changed;

    fn with(resources: &str) -> AgentInfo {
        let resources = Resources::parse(resources, &Role::star()).unwrap_or_default();
        let resources = resources.to_proto(mezzo_model::Format::PostRefinement);
        AgentInfo { hostname: "h".to_owned(), resources, ..AgentInfo::default() }
    }

    #[test]
    fn an_agent_that_is_as_it_was_goes_on() {
        assert_eq!(changed(&with("cpus:2;mem:10"), &with("mem:10;cpus:2"), false), None);
    }

    #[test]
    fn more_is_allowed_only_when_the_operator_says_so() {
        let (old, new) = (with("cpus:2"), with("cpus:3;mem:10"));
        assert_eq!(changed(&old, &new, true), None);
        assert_eq!(
            changed(&old, &new, false).as_deref(),
            Some("resources were cpus:2 and are cpus:3;mem:10")
        );
        assert!(changed(&new, &old, true).is_some(), "less is never allowed");
    }

    #[test]
    fn another_hostname_is_another_agent() {
        let renamed = AgentInfo { hostname: "i".to_owned(), ..with("cpus:2") };
        assert_eq!(
            changed(&with("cpus:2"), &renamed, true).as_deref(),
            Some("hostname was \"h\" and is \"i\"")
        );
    }
}
