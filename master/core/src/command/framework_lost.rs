//! A framework's connection is gone.
//!
//! Its tasks go on; its offers do not. If it does not come back within its failover timeout it is
//! removed, and a timeout of zero (the default) means at once.

use std::time::Duration;

use mezzo_model::FrameworkId;
use mezzo_proto::module::v1::FrameworkDeactivated;
use mezzo_proto::module::v1::allocator_event::Event;

use super::{Turn, remove_framework};
use crate::effect::SessionId;
use crate::state::Timer;
use crate::views;

pub(crate) fn apply(turn: &mut Turn<'_>, session: SessionId) {
    let Some(id) = turn.cluster.frameworks_by_session.remove(&session) else { return };
    let Some(framework) = turn.framework_mut(&id) else { return };
    if framework.session != Some(session) {
        return;
    }
    framework.session = None;
    framework.absence += 1;
    let (key, absence) = (framework.key, framework.absence);
    let offers = framework.offers.clone();
    let timeout = framework.info.failover_timeout().max(0.0);
    for offer in &offers {
        turn.discard_offer(offer, false);
    }
    turn.allocator(Event::FrameworkDeactivated(FrameworkDeactivated { framework: Some(key) }));
    // `check` has bounded the timeout; a zero one removes with the next tick, which is now.
    let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX);
    let due = turn.now.instant.after(timeout);
    turn.cluster.timers.set(due, Timer::Failover(id.clone(), absence));
    if let Some(framework) = turn.framework(&id).cloned() {
        let event = views::framework_event(&turn.cluster.books, &framework, false);
        turn.publish(event);
    }
    turn.effect(crate::Effect::Allocate(None));
}

/// The failover timeout of an absence has passed.
pub(crate) fn timed_out(turn: &mut Turn<'_>, id: &FrameworkId, absence: u64) {
    let still_away =
        turn.framework(id).is_some_and(|f| f.session.is_none() && f.absence == absence);
    if still_away {
        remove_framework::apply(turn, id);
    }
}
