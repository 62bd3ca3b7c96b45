//! A framework is removed: by its own TEARDOWN, by an operator, or because it stayed away.

use std::sync::Arc;

use mezzo_model::FrameworkId;
use mezzo_proto::module::v1::FrameworkRemoved;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1;
use mezzo_proto::v1::link::{ShutdownFramework, from_master};
use mezzo_proto::v1::task_status::Reason;

use super::Turn;
use crate::effect::{Effect, Rejection};
use crate::state::trim;
use crate::{events, views};

/// Removes a framework that somebody names.
pub(crate) fn on_request(turn: &mut Turn<'_>, id: &FrameworkId) -> Result<(), Rejection> {
    turn.need_framework(id)?;
    apply(turn, id);
    Ok(())
}

/// Removes a framework: its executors are shut down, its tasks count as killed, nobody is told of
/// each one.
pub(crate) fn apply(turn: &mut Turn<'_>, id: &FrameworkId) {
    let Some(framework) = turn.framework(id).cloned() else { return };
    for agent in framework.agents() {
        turn.tell_agent(
            &agent,
            from_master::Message::ShutdownFramework(ShutdownFramework { framework_id: id.into() }),
        );
    }
    for offer in &framework.offers {
        turn.discard_offer(offer, false);
    }
    for key in framework.executors.keys() {
        turn.drop_executor(id, &key.0, &key.1);
    }
    let ended: Vec<_> =
        framework.tasks.keys().chain(framework.unreachable_tasks.keys()).cloned().collect();
    for task in &ended {
        let agent = framework.tasks.get(task).map(|t| t.agent.clone());
        let status = events::status(
            task,
            agent.as_ref(),
            v1::TaskState::TaskKilled,
            Reason::FrameworkRemoved,
            "the framework was removed",
            turn.now,
        );
        turn.end_task(id, task, &status);
    }
    turn.allocator(Event::FrameworkRemoved(FrameworkRemoved { framework: Some(framework.key) }));
    turn.cluster.frameworks_by_key.remove(&framework.key);
    if let Some(session) = framework.session {
        turn.cluster.frameworks_by_session.remove(&session);
        turn.effect(Effect::CloseFramework(session));
    }
    let now = turn.now.time_info();
    let limit = turn.cluster.config.max_completed_frameworks;
    let books = turn.books();
    if let Some(mut removed) = books.frameworks.remove(id) {
        let entry = Arc::make_mut(&mut removed);
        entry.session = None;
        entry.unregistered = Some(now);
        books.completed_frameworks.push_back(removed);
        trim(&mut books.completed_frameworks, limit);
    }
    turn.publish(views::framework_removed(&framework));
    turn.effect(Effect::Allocate(None));
}
