//! ACCEPT: a framework uses offers.
//!
//! First the offers are taken out of the books, whatever comes of the call: that is what makes an
//! offer usable at most once. Then the operations are carried out in their order against what the
//! offers held; one that fails is reported and the next goes on. What is left goes back.

mod launch;
mod unavailable;

use std::collections::BTreeSet;

use mezzo_model::{AgentId, FrameworkId, OfferId, Resources, Role, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::offer::operation::Type;
use mezzo_proto::v1::scheduler::call::Accept;
use mezzo_proto::v1::task_status::Reason;

use super::Turn;
use crate::effect::{Code, Effect, Rejection};
use crate::{events, filters};

/// What an ACCEPT works on.
pub(crate) struct Bargain {
    pub(crate) framework: FrameworkId,
    pub(crate) agent: AgentId,
    pub(crate) role: Role,
    /// What is left of the offers, allocated to the role.
    pub(crate) remaining: Resources,
}

pub(crate) fn apply(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    call: Accept,
) -> Result<(), Rejection> {
    let ids: Vec<OfferId> = call.offer_ids.iter().map(|id| OfferId::new(&id.value)).collect();
    let mut bargain = match take(turn, framework, &ids) {
        Ok(bargain) => bargain,
        Err(message) => {
            refuse_all(turn, framework, &call.operations, &message);
            return Err(Rejection::new(Code::FailedPrecondition, message));
        }
    };
    turn.books().counts.offers_accepted += ids.len() as u64;
    let away = turn.agent(&bargain.agent).is_none_or(|a| !a.connected());
    for operation in call.operations {
        if away {
            agent_away(turn, &bargain, &operation);
            continue;
        }
        match operation.r#type() {
            Type::Launch => {
                launch::apply(turn, &mut bargain, operation.launch.unwrap_or_default());
            }
            // Mesos skips what it does not know, and so do those who were written for it.
            Type::Unknown => turn.reject(Rejection::new(
                Code::InvalidArgument,
                "accept.operations.type: is not set or unknown; the operation is skipped",
            )),
            _ => unavailable::apply(turn, framework, &operation),
        }
    }
    let refuse = filters::refuse_seconds(call.filters.as_ref());
    give_back(turn, &bargain, refuse);
    Ok(())
}

/// Ends the offers. Unless all of them may be used together, none of them may.
fn take(turn: &mut Turn<'_>, framework: &FrameworkId, ids: &[OfferId]) -> Result<Bargain, String> {
    let verdict = check(turn, framework, ids);
    if verdict.is_err() {
        // The framework believes that these are used: end its own, leave those of others alone.
        for id in ids {
            if turn.cluster.books.offers.get(id).is_some_and(|o| o.framework == *framework) {
                turn.discard_offer(id, false);
            }
        }
    }
    let (agent, role) = verdict?;
    let mut remaining = Resources::default();
    for id in ids {
        if let Some(offer) = turn.take_offer(id) {
            remaining += &offer.resources;
        }
    }
    // Not free until the bargain is over: what is used must not be free in between.
    if let Some(agent) = turn.agent_mut(&agent) {
        agent.available.subtract(&remaining.unallocate());
    }
    Ok(Bargain { framework: framework.clone(), agent, role, remaining })
}

fn check(
    turn: &Turn<'_>,
    framework: &FrameworkId,
    ids: &[OfferId],
) -> Result<(AgentId, Role), String> {
    let mut seen = BTreeSet::new();
    let mut found: Option<(AgentId, Role)> = None;
    for id in ids {
        if !seen.insert(id) {
            return Err(format!("accept.offer_ids: {:?} is there twice", id.as_str()));
        }
        let Some(offer) = turn.cluster.books.offers.get(id).filter(|o| o.framework == *framework)
        else {
            return Err(format!("accept.offer_ids: offer {:?} is no longer valid", id.as_str()));
        };
        match &found {
            None => found = Some((offer.agent.clone(), offer.role.clone())),
            Some((agent, _)) if *agent != offer.agent => {
                return Err(format!(
                    "accept.offer_ids: {:?} is of agent {:?}, expected all of one agent ({:?})",
                    id.as_str(),
                    offer.agent.as_str(),
                    agent.as_str()
                ));
            }
            Some((_, role)) if *role != offer.role => {
                return Err(format!(
                    "accept.offer_ids: {:?} is for role {}, expected all for one role ({role})",
                    id.as_str(),
                    offer.role
                ));
            }
            Some(_) => {}
        }
    }
    found.ok_or_else(|| "accept.offer_ids: is empty, expected at least one offer".to_owned())
}

/// What an ACCEPT did not use is free again, and hidden from this framework for a while.
fn give_back(turn: &mut Turn<'_>, bargain: &Bargain, refuse: Option<f64>) {
    if bargain.remaining.is_empty() {
        return;
    }
    let free = bargain.remaining.unallocate();
    if let Some(agent) = turn.agent_mut(&bargain.agent) {
        agent.available += &free;
    }
    turn.recovered(&bargain.framework, &bargain.role, &bargain.agent, &bargain.remaining, refuse);
    if let Some(key) = turn.agent(&bargain.agent).map(|a| a.key) {
        turn.effect(Effect::Allocate(Some(key)));
    }
}

/// The tasks of an operation, if it has any.
fn tasks_of(operation: &v1::offer::Operation) -> &[v1::TaskInfo] {
    match operation.r#type() {
        Type::Launch => operation.launch.as_ref().map_or(&[], |l| &l.task_infos),
        Type::LaunchGroup => operation.launch_group.as_ref().map_or(&[], |l| &l.task_group.tasks),
        _ => &[],
    }
}

/// Every task of a call whose offers cannot be used is reported as never launched.
fn refuse_all(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    operations: &[v1::offer::Operation],
    message: &str,
) {
    for operation in operations {
        for task in tasks_of(operation) {
            never_launched(turn, framework, task, Reason::InvalidOffers, message);
        }
        unavailable::report(turn, framework, operation, message);
    }
}

fn agent_away(turn: &mut Turn<'_>, bargain: &Bargain, operation: &v1::offer::Operation) {
    let (reason, what) = match turn.agent(&bargain.agent) {
        None => (Reason::AgentRemoved, "the agent was removed"),
        Some(_) => (Reason::AgentDisconnected, "the agent is disconnected"),
    };
    for task in tasks_of(operation) {
        never_launched(turn, &bargain.framework, task, reason, what);
    }
    unavailable::report(turn, &bargain.framework, operation, what);
}

/// Tells that a task was dropped before it reached its agent.
fn never_launched(
    turn: &mut Turn<'_>,
    id: &FrameworkId,
    task: &v1::TaskInfo,
    reason: Reason,
    message: &str,
) {
    let Some(framework) = turn.framework(id) else { return };
    let state = framework.state_for(v1::TaskState::TaskDropped);
    report_task(turn, id, task, state, reason, message);
}

/// Sends a status of a task that is not in the books.
fn report_task(
    turn: &mut Turn<'_>,
    id: &FrameworkId,
    task: &v1::TaskInfo,
    state: v1::TaskState,
    reason: Reason,
    message: &str,
) {
    let task_id = TaskId::new(&task.task_id.value);
    let agent = AgentId::new(&task.agent_id.value);
    let status = events::status(&task_id, Some(&agent), state, reason, message, turn.now);
    turn.count_end(state);
    turn.tell_framework(id, events::update(status));
}
