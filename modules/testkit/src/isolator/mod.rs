//! The MUSTs of an isolator.

mod alone;
mod container;
mod crowd;
mod life;
mod recovery;

use crate::suite::suite;
use crate::{Report, Subject, general};
use alone::*;
pub(crate) use crowd::instances_stand_alone;
use crowd::*;
pub(crate) use life::variables;
use life::*;
use recovery::*;

/// Runs every MUST of an isolator over this one.
pub fn conformance(subject: &Subject) -> Report {
    Report::of(subject, &[general::MUSTS, MUSTS])
}

suite! {
    $
    /// A test for each MUST of an isolator, with those that hold for every kind. The argument is an expression that makes a
    /// [`Subject`](crate::Subject); every test makes its own.
    isolator_tests with module_tests;
    "I.1" capabilities_never_change: "`capabilities` gives the same answer every time.";
    "I.2" a_container_lives_its_life: "A container that is prepared, watched, isolated, updated, measured and cleaned up in this order goes through all of it without an error.";
    "I.3" a_container_within_its_limits_is_left_alone: "The watch of a container within its limits is not answered while it runs.";
    "I.4" cleanup_ends_the_watch: "`cleanup` ends the container's watch with `Completion::never`, unless it has been answered.";
    "I.5" cleanup_of_an_unknown_container_succeeds: "`cleanup` of a container that this isolator has never heard of succeeds, nested or not.";
    "I.6" cleanup_twice_succeeds: "A second `cleanup` succeeds.";
    "I.7" a_prepared_container_can_be_cleaned_up_without_more: "A container that was prepared can be cleaned up without `watch`, without `isolate`, and without a process.";
    "I.8" a_failed_prepare_can_be_cleaned_up: "After a `prepare` that failed, `cleanup` succeeds, and the same id can be prepared properly.";
    "I.9" a_second_prepare_does_no_harm: "A second `prepare` of a container is refused or changes nothing: the container is measured as before and one `cleanup` ends it.";
    "I.10" an_id_can_be_used_again_after_cleanup: "After `cleanup` the same id can be prepared, isolated and cleaned up again.";
    "I.11" an_unknown_container_has_no_usage: "`usage` of a container that is not known, or not any more, is NOT_FOUND, or empty from an isolator that measures nothing.";
    "I.12" an_unknown_container_has_no_status: "`status` of a container that is not known, or not any more, is NOT_FOUND, or empty from an isolator that has nothing to tell.";
    "I.13" update_of_an_unknown_container_succeeds: "`update` of a container that is not known, or not any more, succeeds and does nothing.";
    "I.14" watch_of_an_unknown_container_ends: "`watch` of a container that is not known is ended at once, with `Completion::never` or NOT_FOUND.";
    "I.15" update_can_be_repeated: "The same `update` twice succeeds twice.";
    "I.16" a_process_that_is_gone_does_no_harm: "`isolate` of a process that has ended meanwhile succeeds or fails, and the container can be cleaned up.";
    "I.17" odd_ids_do_no_harm: "An id that would be a path, or is very long, is refused or handled like any other, and can be cleaned up.";
    "I.18" recovering_nothing_succeeds: "`recover` without any containers succeeds.";
    "I.19" strangers_are_recovered: "`recover` of containers that this isolator never prepared, or whose traces are gone, succeeds, and they can be cleaned up.";
    "I.20" orphans_can_be_cleaned_up: "Orphans are recovered and can be cleaned up.";
    "I.21" a_recovered_container_lives_on: "A container that another instance has prepared and isolated is, after `recover`, watched, updated, measured and cleaned up like one of its own.";
    "I.22" a_recovered_container_is_left_alone: "`recover` does not end or limit a container: its process runs on and its watch is not answered.";
    "I.23" containers_can_live_at_the_same_time: "Calls for different containers come from several threads at the same time, and all succeed.";
    "I.24" usage_may_overlap_with_anything: "`update`, `usage` and `status` that overlap with `cleanup` of the same container succeed or are NOT_FOUND.";
    "I.25" one_container_does_not_disturb_another: "The end of one container changes nothing for another one.";
    "I.26" drop_ends_pending_watches: "An isolator that is dropped while watches are pending goes promptly, and the watches end without a limitation.";
    "I.27" nested_containers_are_handled_if_it_says_so: "An isolator whose `capabilities` say `nesting` leads a container inside a container through its life, and the outer one is not harmed by its end.";
    "I.28" standalone_containers_are_handled_if_it_says_so: "An isolator whose `capabilities` say `standalone` leads a container without an executor through its life.";
    "I.29" what_a_launch_needs_is_well_formed: "What `prepare` asks of the launch is well-formed: variables have names without `=`, mounts have targets, no string has a NUL in it.";
}
