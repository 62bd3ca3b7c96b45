//! DECLINE: offers that are not wanted go back, hidden for a while.

use mezzo_model::{FrameworkId, OfferId};
use mezzo_proto::v1::scheduler::call::Decline;

use super::Turn;
use crate::effect::Effect;
use crate::filters;

/// Offers that have ended already, or are somebody else's, are passed over.
pub(crate) fn apply(turn: &mut Turn<'_>, framework: &FrameworkId, call: Decline) {
    let refuse = filters::refuse_seconds(call.filters.as_ref());
    for id in &call.offer_ids {
        let id = OfferId::new(&id.value);
        if turn.cluster.books.offers.get(&id).is_none_or(|o| o.framework != *framework) {
            continue;
        }
        let Some(offer) = turn.take_offer(&id) else { continue };
        turn.books().counts.offers_declined += 1;
        turn.recovered(&offer.framework, &offer.role, &offer.agent, &offer.resources, refuse);
        if let Some(key) = turn.agent(&offer.agent).map(|a| a.key) {
            turn.effect(Effect::Allocate(Some(key)));
        }
    }
}
