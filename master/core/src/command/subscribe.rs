//! A framework subscribes, comes back, or describes itself anew.

use std::sync::Arc;
use std::time::Duration;

use mezzo_model::FrameworkId;
use mezzo_proto::module::v1 as module;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1;
use mezzo_proto::v1::link::{UpdateFramework, from_master};
use mezzo_proto::v1::scheduler::call::{Subscribe, UpdateFramework as UpdateCall};
use mezzo_proto::v1::scheduler::event::Subscribed;

use super::Turn;
use crate::effect::{Code, Effect, Rejection, SessionId};
use crate::state::Framework;
use crate::validate::framework::{self, Roles};
use crate::{events, views};

/// What a removed framework is told. Frameworks compare this text.
const REMOVED: &str = "Framework has been removed";
/// What the older of two connections is told.
const FAILED_OVER: &str = "Framework failed over";

pub(crate) fn apply(
    turn: &mut Turn<'_>,
    session: SessionId,
    framework_id: Option<v1::FrameworkId>,
    call: Subscribe,
) {
    if let Err(message) = subscribe(turn, session, framework_id, call) {
        turn.reject(Rejection::new(Code::InvalidArgument, message.clone()));
        turn.effect(Effect::ToFramework { session, event: Box::new(events::error(message)) });
        turn.effect(Effect::CloseFramework(session));
    }
}

fn subscribe(
    turn: &mut Turn<'_>,
    session: SessionId,
    framework_id: Option<v1::FrameworkId>,
    call: Subscribe,
) -> Result<(), String> {
    let mut info = call.framework_info;
    let roles = framework::check(&turn.cluster.config, &info, &call.suppressed_roles)?;
    framework::check_constraints(call.offer_constraints.as_ref())?;
    let outer = framework_id.map(|id| id.value).unwrap_or_default();
    let inner = info.id.take().map(|id| id.value).unwrap_or_default();
    if outer != inner {
        return Err(format!(
            "framework_id: is {outer:?}, expected the same as framework_info.id, {inner:?}"
        ));
    }
    if inner.is_empty() {
        let id = new_id(turn);
        enter(turn, session, id, info, roles, call.offer_constraints);
        return Ok(());
    }
    let id = FrameworkId::new(&inner);
    if turn.cluster.books.completed_frameworks.iter().any(|f| f.id == id) {
        return Err(REMOVED.to_owned());
    }
    match turn.framework(&id).cloned() {
        None => enter(turn, session, id, info, roles, call.offer_constraints),
        Some(known) => {
            keep_what_may_not_change(&known, &mut info)?;
            come_back(turn, session, &known, info, roles, call.offer_constraints);
        }
    }
    Ok(())
}

/// UPDATE_FRAMEWORK: everything but user, principal and checkpoint may change.
pub(crate) fn update(
    turn: &mut Turn<'_>,
    id: &FrameworkId,
    call: UpdateCall,
) -> Result<(), Rejection> {
    let known = Arc::clone(turn.need_framework(id)?);
    let mut info = call.framework_info;
    let invalid = |message| Rejection::new(Code::InvalidArgument, message);
    let roles =
        framework::check(&turn.cluster.config, &info, &call.suppressed_roles).map_err(invalid)?;
    framework::check_constraints(call.offer_constraints.as_ref()).map_err(invalid)?;
    if info.user != known.info.user {
        return Err(invalid(format!(
            "framework_info.user: is {:?}, but it cannot change from {:?}",
            info.user, known.info.user
        )));
    }
    if info.checkpoint() != known.info.checkpoint() {
        return Err(invalid(format!(
            "framework_info.checkpoint: is {}, but it cannot change",
            info.checkpoint()
        )));
    }
    keep_what_may_not_change(&known, &mut info).map_err(invalid)?;
    replace(turn, id, info, roles, call.offer_constraints);
    tell_allocator_of_update(turn, id);
    tell_agents(turn, id);
    publish(turn, id, false);
    Ok(())
}

fn new_id(turn: &mut Turn<'_>) -> FrameworkId {
    let n = turn.cluster.next.framework;
    turn.cluster.next.framework += 1;
    FrameworkId::new(&format!("{}-{n:04}", turn.cluster.config.master_id))
}

/// A principal cannot change; user and checkpoint quietly stay as they were.
fn keep_what_may_not_change(known: &Framework, info: &mut v1::FrameworkInfo) -> Result<(), String> {
    if info.principal != known.info.principal {
        return Err(format!(
            "framework_info.principal: is {:?}, but it cannot change from {:?}",
            info.principal(),
            known.info.principal()
        ));
    }
    info.user.clone_from(&known.info.user);
    info.checkpoint = known.info.checkpoint;
    Ok(())
}

/// A framework that this master does not know.
fn enter(
    turn: &mut Turn<'_>,
    session: SessionId,
    id: FrameworkId,
    mut info: v1::FrameworkInfo,
    roles: Roles,
    offer_constraints: Option<v1::scheduler::OfferConstraints>,
) {
    info.id = Some((&id).into());
    let framework = Framework {
        roles: roles.subscribed,
        suppressed_roles: roles.suppressed,
        offer_constraints,
        session: Some(session),
        recovered: false,
        registered: Some(turn.now.time_info()),
        ..Framework::unknown(id.clone(), turn.cluster.next_key(), info)
    };
    add(turn, framework, Vec::new());
    turn.cluster.frameworks_by_session.insert(session, id.clone());
    greet(turn, &id);
    publish(turn, &id, true);
    turn.effect(Effect::Allocate(None));
}

/// Puts a framework into the books and lets the allocator know.
pub(crate) fn add(turn: &mut Turn<'_>, framework: Framework, used: Vec<module::Holding>) {
    let wishes = turn.wishes(&framework);
    turn.allocator(Event::FrameworkAdded(module::FrameworkAdded {
        framework: Some(framework.key),
        wishes: Some(wishes),
        active: Some(framework.connected()),
        used,
    }));
    let id = framework.id.clone();
    turn.cluster.frameworks_by_key.insert(framework.key, id.clone());
    turn.books().frameworks.insert(id, Arc::new(framework));
}

/// A framework that is known takes its place again, whoever held it.
fn come_back(
    turn: &mut Turn<'_>,
    session: SessionId,
    known: &Framework,
    info: v1::FrameworkInfo,
    roles: Roles,
    offer_constraints: Option<v1::scheduler::OfferConstraints>,
) {
    let id = known.id.clone();
    if let Some(old) = known.session {
        turn.cluster.frameworks_by_session.remove(&old);
        turn.tell_framework(&id, events::error(FAILED_OVER));
        turn.effect(Effect::CloseFramework(old));
    }
    for offer in &known.offers {
        turn.discard_offer(offer, false);
    }
    replace(turn, &id, info, roles, offer_constraints);
    let now = turn.now.time_info();
    if let Some(framework) = turn.framework_mut(&id) {
        framework.session = Some(session);
        framework.recovered = false;
        framework.absence += 1;
        framework.registered.get_or_insert(now);
        framework.reregistered = Some(now);
    }
    turn.cluster.frameworks_by_session.insert(session, id.clone());
    greet(turn, &id);
    tell_allocator_of_update(turn, &id);
    turn.allocator(Event::FrameworkActivated(module::FrameworkActivated {
        framework: Some(known.key),
    }));
    tell_agents(turn, &id);
    publish(turn, &id, false);
    turn.effect(Effect::Allocate(None));
}

fn replace(
    turn: &mut Turn<'_>,
    id: &FrameworkId,
    mut info: v1::FrameworkInfo,
    roles: Roles,
    offer_constraints: Option<v1::scheduler::OfferConstraints>,
) {
    info.id = Some(id.into());
    if let Some(framework) = turn.framework_mut(id) {
        framework.info = Arc::new(info);
        framework.roles = roles.subscribed;
        framework.suppressed_roles = roles.suppressed;
        framework.offer_constraints = offer_constraints;
    }
}

fn tell_allocator_of_update(turn: &mut Turn<'_>, id: &FrameworkId) {
    let Some(framework) = turn.framework(id).cloned() else { return };
    let wishes = turn.wishes(&framework);
    turn.allocator(Event::FrameworkUpdated(module::FrameworkUpdated {
        framework: Some(framework.key),
        wishes: Some(wishes),
    }));
}

/// SUBSCRIBED, and a heartbeat so that clients that read by line see it at once.
fn greet(turn: &mut Turn<'_>, id: &FrameworkId) {
    let config = &turn.cluster.config;
    let subscribed = Subscribed {
        framework_id: id.into(),
        heartbeat_interval_seconds: Some(seconds(config.heartbeat_interval)),
        master_info: Some(config.master_info.clone()),
    };
    turn.tell_framework(id, events::subscribed(subscribed));
    turn.tell_framework(id, events::heartbeat());
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Agents that run something for the framework hear what it is now, and send it again what it has
/// not acknowledged.
fn tell_agents(turn: &mut Turn<'_>, id: &FrameworkId) {
    let Some(framework) = turn.framework(id).cloned() else { return };
    for agent in framework.agents() {
        turn.tell_agent(
            &agent,
            from_master::Message::UpdateFramework(UpdateFramework {
                framework_info: (*framework.info).clone(),
            }),
        );
    }
}

fn publish(turn: &mut Turn<'_>, id: &FrameworkId, added: bool) {
    let Some(framework) = turn.framework(id).cloned() else { return };
    let event = views::framework_event(&turn.cluster.books, &framework, added);
    turn.publish(event);
}
