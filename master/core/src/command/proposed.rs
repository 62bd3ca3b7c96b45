//! The allocator proposes; what fits the books becomes an offer.
//!
//! Each proposal is held against the books as they are now, not as the allocator saw them. One that
//! does not fit goes back to the allocator, is counted, and harms nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use mezzo_model::{AgentId, FrameworkId, OfferId, Resources, Role};
use mezzo_proto::module::v1 as module;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1;

use super::{Proposal, Turn};
use crate::effect::{Code, Rejection};
use crate::state::{Offer, Timer};
use crate::{events, views};

pub(crate) fn apply(turn: &mut Turn<'_>, proposals: Vec<Proposal>) {
    let mut offers: BTreeMap<FrameworkId, Vec<v1::Offer>> = BTreeMap::new();
    let (all, mut refused, mut first) = (proposals.len(), 0_u64, None);
    for proposal in proposals {
        match make(turn, &proposal) {
            Ok((framework, offer)) => offers.entry(framework).or_default().push(offer),
            Err(message) => {
                refused += 1;
                first.get_or_insert(message);
                give_back(turn, proposal);
            }
        }
    }
    if let Some(first) = first {
        turn.books().counts.proposals_refused += refused;
        // One line for all: an allocator that lies does it fast.
        let message = format!("{refused} of {all} proposals of the allocator do not fit: {first}");
        turn.reject(Rejection::new(Code::FailedPrecondition, message));
    }
    for (framework, offers) in offers {
        turn.tell_framework(&framework, events::offers(offers));
    }
}

fn make(turn: &mut Turn<'_>, proposal: &Proposal) -> Result<(FrameworkId, v1::Offer), String> {
    let role = turn
        .cluster
        .roles_by_key
        .get(&proposal.role)
        .cloned()
        .ok_or_else(|| format!("role {} does not exist", proposal.role))?;
    let (framework, agent) = parties(turn, proposal, &role)?;
    let resources =
        Resources::from_proto(&proposal.resources).map_err(|e| e.to_string())?.unallocate();
    if resources.is_empty() {
        return Err("it holds nothing".to_owned());
    }
    let Some(entry) = turn.agent_mut(&agent) else { return Err("the agent is gone".to_owned()) };
    let usable = resources.usable_by(&role);
    if usable != resources {
        return Err(format!("{resources} is not all for role {role}"));
    }
    let Some(available) = entry.available.checked_sub(&resources) else {
        return Err(format!(
            "{resources} is more than the {} that agent {agent} has free",
            entry.available
        ));
    };
    entry.available = available;

    let number = turn.cluster.next.offer;
    turn.cluster.next.offer += 1;
    let id = OfferId::new(&format!("{}-O{number}", turn.cluster.config.master_id));
    let offer = Offer {
        id: id.clone(),
        framework: framework.clone(),
        agent: agent.clone(),
        resources: resources.allocate_to(&role),
        role,
    };
    if let Some(agent) = turn.agent_mut(&agent) {
        agent.offers.insert(id.clone());
    }
    if let Some(framework) = turn.framework_mut(&framework) {
        framework.offers.insert(id.clone());
    }
    if let Some(timeout) = turn.cluster.config.offer_timeout {
        let due = turn.now.instant.after(timeout);
        turn.cluster.timers.set(due, Timer::Offer(id.clone()));
    }
    let shown = views::offer(&turn.cluster.books, &offer);
    turn.books().offers.insert(id, Arc::new(offer));
    turn.books().counts.offers_made += 1;
    Ok((framework, shown))
}

/// The framework and the agent, if an offer between them is possible now.
fn parties(
    turn: &Turn<'_>,
    proposal: &Proposal,
    role: &Role,
) -> Result<(FrameworkId, AgentId), String> {
    let framework = turn
        .cluster
        .frameworks_by_key
        .get(&proposal.framework)
        .and_then(|id| turn.framework(id))
        .ok_or_else(|| format!("framework {} does not exist", proposal.framework))?;
    let agent = turn
        .cluster
        .agents_by_key
        .get(&proposal.agent)
        .and_then(|id| turn.agent(id))
        .ok_or_else(|| format!("agent {} does not exist", proposal.agent))?;
    if !framework.connected() {
        return Err(format!("framework {} is not connected", framework.id));
    }
    if !framework.roles.contains(role) || framework.suppressed_roles.contains(role) {
        return Err(format!("framework {} wants no offers for role {role}", framework.id));
    }
    if !agent.connected() || agent.liveness.leaving {
        return Err(format!("agent {} is not connected", agent.id));
    }
    Ok((framework.id.clone(), agent.id.clone()))
}

/// Gives a proposal back to the allocator, which holds it for allocated.
fn give_back(turn: &mut Turn<'_>, proposal: Proposal) {
    turn.allocator(Event::Recovered(module::Recovered {
        holding: Some(module::Holding {
            framework: Some(proposal.framework),
            role: Some(proposal.role),
            agent: Some(proposal.agent),
            resources: proposal.resources,
        }),
        refuse_seconds: None,
    }));
}
