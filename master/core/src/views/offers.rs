//! An offer, in the words that its framework understands.

use mezzo_model::Format;
use mezzo_proto::v1;
use mezzo_proto::v1::framework_info::capability::Type as Capability;

use crate::state::{Agent, Books, Framework, Offer};

/// The offer as its framework reads it: roles of allocation only for those that know several roles,
/// stacked reservations only for those that know them.
pub(crate) fn offer(books: &Books, offer: &Offer) -> v1::Offer {
    let framework = books.frameworks.get(&offer.framework);
    let agent = books.agents.get(&offer.agent);
    let multi_role = framework.is_some_and(|f| f.can(Capability::MultiRole));
    let refined = framework.is_some_and(|f| f.can(Capability::ReservationRefinement));
    let format = if refined { Format::PostRefinement } else { Format::PreRefinement };
    let resources = if multi_role { offer.resources.clone() } else { offer.resources.unallocate() };
    v1::Offer {
        id: (&offer.id).into(),
        framework_id: (&offer.framework).into(),
        agent_id: (&offer.agent).into(),
        hostname: agent.map(|a| a.info.hostname.clone()).unwrap_or_default(),
        url: agent.map(|a| url(a)),
        domain: agent.and_then(|a| a.info.domain.clone()),
        resources: resources.to_proto(format),
        attributes: agent.map(|a| a.info.attributes.clone()).unwrap_or_default(),
        executor_ids: framework.map(|f| executors(f, offer)).unwrap_or_default(),
        unavailability: None,
        allocation_info: multi_role
            .then(|| v1::resource::AllocationInfo { role: Some(offer.role.to_string()) }),
    }
}

/// Where the agent's own API is.
fn url(agent: &Agent) -> v1::Url {
    v1::Url {
        scheme: "http".to_owned(),
        address: v1::Address {
            hostname: Some(agent.info.hostname.clone()),
            ip: Some(agent.info.hostname.clone()),
            port: agent.info.port(),
        },
        path: Some("/".to_owned()),
        ..v1::Url::default()
    }
}

/// The framework's executors that run on the agent already.
fn executors(framework: &Framework, offer: &Offer) -> Vec<v1::ExecutorId> {
    framework
        .executors
        .keys()
        .filter(|(agent, _)| *agent == offer.agent)
        .map(|(_, executor)| executor.into())
        .collect()
}
