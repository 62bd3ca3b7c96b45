//! The MUSTs of an allocator.

mod books;
mod cluster;
mod events;
mod filters;
mod optional;
mod proposals;
mod random;

use crate::suite::suite;
use crate::{Report, Subject, general};
pub(crate) use events::instances_stand_alone;
use events::*;
use filters::*;
use optional::*;
use proposals::*;
use random::*;

/// Runs every MUST of an allocator over this one.
pub fn conformance(subject: &Subject) -> Report {
    Report::of(subject, &[general::MUSTS, MUSTS])
}

suite! {
    $
    /// A test for each MUST of an allocator, with those that hold for every kind. The argument is an expression that makes
    /// a [`Subject`](crate::Subject); every test makes its own.
    allocator_tests with module_tests;
    "A.1" what_is_free_is_proposed: "A run over all agents proposes what is free to a framework that wants it.";
    "A.2" nothing_is_proposed_twice: "What has been proposed counts as allocated until a `Recovered` gives it back: it is proposed to nobody meanwhile.";
    "A.3" what_comes_back_is_proposed_again: "What a `Recovered` without a filter gives back is proposed again.";
    "A.4" what_is_in_use_is_not_proposed: "What `AgentAdded`, `FrameworkAdded` and `Allocated` tell is in use is not proposed.";
    "A.5" an_agent_that_is_not_offered_is_left_alone: "Nothing is proposed of an agent that is deactivated, removed, or not on the whitelist, and it is proposed again when that is over.";
    "A.6" who_wants_nothing_gets_nothing: "Nothing is proposed to a framework that is not active, not subscribed to the role, or suppressed in it, and it is proposed again when that is over.";
    "A.7" what_is_reserved_goes_to_its_role: "Reserved resources are proposed under their role or a role below it, and under no other.";
    "A.8" what_is_not_understood_is_not_proposed: "Shared, revocable, and twice reserved resources, agents with GPUs and of other regions are proposed to frameworks only that have the capability for it.";
    "A.9" nothing_too_small_is_proposed: "Nothing smaller than `min_allocatable_resources` is proposed; a framework's own for a role replaces the cluster's.";
    "A.10" a_shared_volume_is_proposed_once_in_a_run: "A shared volume is proposed at most once in a run, however many want it.";
    "A.11" a_run_over_some_agents_keeps_to_them: "A run over some agents proposes nothing of others, except of those where a filter has run out.";
    "A.12" a_filter_hides_the_same_and_less: "A filter hides the same or less of that agent from that framework under that role, at least for one allocation interval, and hides nothing else.";
    "A.13" a_filter_runs_out: "`next_filter_expiry_nanos` tells when the next filter runs out, and a run at that time proposes what it hid, whichever agents it is over.";
    "A.14" revive_ends_filters: "A `Revived` ends the filters of these roles, and of no others.";
    "A.15" filters_go_with_what_they_are_about: "Filters end when their framework is deactivated, and when the attributes of their agent change.";
    "A.16" a_hold_off_pauses: "While a `HoldOff` pauses, nothing is proposed; afterwards everything is as it was.";
    "A.17" an_agent_can_change: "After an `AgentUpdated` proposals fit the new total, which may be smaller than what is in use.";
    "A.18" what_is_converted_is_held_in_its_new_shape: "After a `Converted` the holder holds the new shape, the agent has it, and it comes back as such.";
    "A.19" a_framework_can_change: "After a `FrameworkUpdated` proposals fit the new wishes.";
    "A.20" events_about_what_is_gone_are_ignored: "An event that names an agent or a framework that is gone is not refused and changes nothing.";
    "A.21" a_refused_event_is_named_and_the_others_applied: "An event that cannot be taken is refused by its position, with a code and a message, and has no effect; the others of its batch are applied.";
    "A.22" an_unknown_event_is_unimplemented: "An event with none of its fields set is refused with UNIMPLEMENTED.";
    "A.23" the_same_calls_give_the_same_proposals: "The same calls with the same seed give the same proposals, on another instance and at another time.";
    "A.24" quota_is_kept_or_refused: "A quota's limit is never exceeded by what is proposed to its role, or `QuotaUpdated` is refused with UNIMPLEMENTED.";
    "A.25" offer_constraints_are_kept_or_refused: "Agents that offer constraints exclude are not proposed, or the wishes that ask for it are refused with UNIMPLEMENTED.";
    "A.26" inverse_offers_are_asked_for_once: "A framework is asked back what it holds on an agent that will be unavailable, once until it answers; or nothing is ever asked back.";
    "A.27" an_unknown_sorter_is_refused: "`initialize` refuses a sorter that the allocator has not got, and names it.";
    "A.28" many_are_served: "Of many frameworks that want the same nobody gets what another one has, and everything is proposed.";
    "A.29" random_histories_keep_the_books: "After any history of events every proposal keeps all of the above.";
}
