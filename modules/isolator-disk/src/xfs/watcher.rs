//! The thread that looks from time to time: who uses too much, and which projects have become free.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use mezzo_module_api::LimitWatch;
use mezzo_module_api::v1::ContainerLimitation;
use mezzo_proto::v1::task_status::Reason;

use super::places::Metered;
use super::settings::Policy;
use super::state::Shared;
use crate::places::Place;
use crate::size::size;

/// Looks until the isolator goes.
pub(crate) fn run(shared: &Shared) {
    let settings = &shared.settings;
    let (mut look_at, mut reclaim_at) =
        (Instant::now() + settings.watch_interval, Instant::now() + settings.reclaim_interval);
    loop {
        let next = match settings.policy {
            Policy::End { .. } => look_at.min(reclaim_at),
            Policy::Count | Policy::Refuse => reclaim_at,
        };
        let rest = next.saturating_duration_since(Instant::now());
        let (state, _) = shared
            .stopped
            .wait_timeout_while(shared.state(), rest, |state| !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stopping {
            return;
        }
        drop(state);
        let now = Instant::now();
        if matches!(settings.policy, Policy::End { .. }) && now >= look_at {
            look(shared);
            look_at = now + settings.watch_interval;
        }
        if now >= reclaim_at {
            shared.state().projects.reclaim_and_tell(&shared.file_systems, &shared.host);
            reclaim_at = now + settings.reclaim_interval;
        }
    }
}

/// Ends who uses more than its quota.
fn look(shared: &Shared) {
    let mut all: Vec<(String, Place, Metered, Arc<LimitWatch>)> = Vec::new();
    for (name, container) in &shared.state().containers {
        if container.limit.is_reached() {
            continue;
        }
        for (place, metered) in &container.places {
            all.push((name.clone(), place.clone(), metered.clone(), Arc::clone(&container.limit)));
        }
    }
    for (name, place, metered, limit) in all {
        // A disk of its own is full when it is full.
        if metered.quota.as_ref().is_some_and(crate::places::Quota::is_whole_disk) {
            continue;
        }
        match metered.measure() {
            Ok((used, Some(quota))) if used > quota => {
                let limitation = exceeded(&metered, used, quota);
                let message = limitation.message().to_owned();
                if limit.reach(limitation) {
                    shared.host.count("over_quota", 1);
                    shared.host.info(format!("container `{name}`, {place}: {message}"));
                }
            }
            Ok(_) => {}
            Err(error) => {
                shared.host.warn(format!(
                    "container `{name}`, {place}: cannot tell what it uses: {}",
                    error.message
                ));
            }
        }
    }
}

fn exceeded(metered: &Metered, used: u64, quota: u64) -> ContainerLimitation {
    ContainerLimitation {
        resources: metered.quota.clone().map(|quota| quota.resources).unwrap_or_default(),
        message: Some(format!("Disk usage ({}) exceeds quota ({})", size(used), size(quota))),
        reason: Some(Reason::ContainerLimitationDisk.into()),
    }
}
