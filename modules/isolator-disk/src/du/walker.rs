//! The one thread that measures, for all containers, one place at a time and behind everybody else on the machine.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use mezzo_linux::background::{Priority, give_way};
use mezzo_module_api::v1::ContainerLimitation;
use mezzo_proto::v1::task_status::Reason;

use super::excluded::Excluded;
use super::open::{OpenError, directory, volume};
use super::rota::{Key, Next};
use super::state::{Container, Shared, State, Walking};
use super::walk::{Usage, measure};
use crate::places::{Place, inside};
use crate::size::size;

/// One measurement, with all it needs: it runs without the lock.
struct Job {
    container: String,
    place: Place,
    sandbox: PathBuf,
    ephemeral_volumes: Vec<PathBuf>,
    excluded: Excluded,
    /// Where volumes may be.
    roots: Vec<PathBuf>,
    /// A walk that takes long ends when it has found more than this: the rest does not matter any more.
    enough: Option<u64>,
}

/// A walk takes long when it takes more than this part of an interval.
const LONG: u32 = 4;

/// How a measurement ended.
enum Outcome {
    Measured(Usage),
    Failed(OpenError),
    Cancelled,
}

/// Measures until the isolator goes.
pub(crate) fn run(shared: &Shared) {
    if let Err(error) = give_way(Priority::Lowest) {
        shared.host.warn(format!("measuring disk usage competes with others: {error}"));
    }
    let mut state = shared.state();
    while !state.stopping {
        let now = Instant::now();
        state = match state.rota.next(now) {
            Next::Idle => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Next::Wait(until) => {
                let (state, _) = shared
                    .changed
                    .wait_timeout(state, until.saturating_duration_since(now))
                    .unwrap_or_else(PoisonError::into_inner);
                state
            }
            Next::Walk(key) => {
                let Some(job) = job(shared, &state, key) else {
                    state.rota.remove(key);
                    continue;
                };
                let cancelled = Arc::new(AtomicBool::new(false));
                state.walking = Some(Walking { key, cancelled: Arc::clone(&cancelled) });
                drop(state);
                let outcome = perform(&job, &cancelled, shared.settings.interval / LONG);
                let mut state = shared.state();
                state.walking = None;
                state.rota.walked(key, now, Instant::now());
                shared.changed.notify_all();
                drop(state);
                record(shared, key, &job, outcome);
                shared.state()
            }
        };
    }
}

/// What is to be done for a place; `None` when it is gone.
fn job(shared: &Shared, state: &State, key: Key) -> Option<Job> {
    let (name, place) = state.places.get(&key)?;
    let container = state.containers.get(name)?;
    let measured = container.places.get(place)?;
    let mut roots = measured.quota.roots();
    roots.extend(shared.settings.volumes.clone());
    Some(Job {
        container: name.clone(),
        place: place.clone(),
        sandbox: container.sandbox.clone(),
        ephemeral_volumes: container.ephemeral_volumes.clone(),
        excluded: excluded(container, place),
        roots,
        enough: measured.limit(&shared.settings),
    })
}

/// The other places of the container that are inside this one: each is measured by itself.
fn excluded(container: &Container, place: &Place) -> Excluded {
    let start = match place {
        Place::Sandbox => "".as_ref(),
        Place::Volume(path) => match inside(path, &container.sandbox) {
            Some(path) => path,
            None => return Excluded::default(),
        },
    };
    let others = container.places.keys().filter_map(|other| match other {
        Place::Volume(path) if other != place => {
            inside(path, &container.sandbox)?.strip_prefix(start).ok()
        }
        _ => None,
    });
    Excluded::new(others)
}

/// Walks all of a place.
fn perform(job: &Job, cancelled: &AtomicBool, patience: Duration) -> Outcome {
    // Has worked before, or somebody has been told.
    let _ = give_way(Priority::Lowest);
    let mut total = Usage { finished: true, ..Usage::default() };
    let (began, mut hurrying) = (Instant::now(), false);
    for (root, excluded) in roots(job) {
        let root = match root {
            Ok(root) => root,
            Err(error) if total.entries == 0 => return Outcome::Failed(error),
            Err(_) => {
                total.unreadable += 1;
                continue;
            }
        };
        let found = measure(root, excluded, &mut |so_far| {
            if !hurrying && began.elapsed() > patience {
                // Waiting for a disk or CPUs that are never idle would let off who keeps them busy. Without the privilege it
                // stays as it is.
                hurrying = true;
                let _ = give_way(Priority::Low);
            }
            let bytes = total.bytes.saturating_add(so_far.bytes);
            let known = hurrying && job.enough.is_some_and(|enough| bytes > enough);
            !known && !cancelled.load(Ordering::Relaxed)
        });
        match found {
            Ok(found) => total.add(found),
            Err(_) => total.unreadable += 1,
        }
        if !total.finished {
            break;
        }
    }
    if cancelled.load(Ordering::Relaxed) { Outcome::Cancelled } else { Outcome::Measured(total) }
}

/// What is walked for a place, opened one after the other.
fn roots(job: &Job) -> impl Iterator<Item = (Result<OwnedFd, OpenError>, Excluded)> {
    let first = match &job.place {
        Place::Sandbox => directory(&job.sandbox),
        Place::Volume(path) => volume(&job.sandbox, path, &job.roots),
    };
    let shares = |volume: &&PathBuf| {
        // One inside the sandbox has been counted with it.
        job.place == Place::Sandbox && !volume.starts_with(&job.sandbox)
    };
    let ephemeral = job.ephemeral_volumes.iter().filter(shares);
    std::iter::once((first, job.excluded.clone()))
        .chain(ephemeral.map(|path| (directory(path), Excluded::default())))
}

/// Keeps what was found, and ends the container that uses too much.
fn record(shared: &Shared, key: Key, job: &Job, outcome: Outcome) {
    let mut state = shared.state();
    let Some(container) = state.containers.get_mut(&job.container) else { return };
    let limit = Arc::clone(&container.limit);
    let Some(measured) =
        container.places.get_mut(&job.place).filter(|measured| measured.key == key)
    else {
        return;
    };
    let complaint = match &outcome {
        Outcome::Cancelled => return,
        Outcome::Failed(error) => Some(error.to_string()),
        Outcome::Measured(usage) => {
            measured.used = Some(usage.bytes);
            usage.complaint()
        }
    };
    let news = complaint.filter(|_| !measured.complained);
    measured.complained |= news.is_some();
    let over = measured
        .used
        .zip(measured.limit(&shared.settings))
        .filter(|(used, quota)| used > quota)
        .map(|(used, quota)| ContainerLimitation {
            resources: measured.quota.resources.clone(),
            message: Some(format!("Disk usage ({}) exceeds quota ({})", size(used), size(quota))),
            reason: Some(Reason::ContainerLimitationDisk.into()),
        });
    // Neither the host's log nor its answer is waited for with the lock held.
    drop(state);
    shared.host.count("walks", 1);
    let place = &job.place;
    if let Some(complaint) = news {
        shared.host.warn(format!("container `{}`, {place}: {complaint}", job.container));
    }
    if let Some(limitation) = over {
        let message = limitation.message().to_owned();
        if limit.reach(limitation) {
            shared.host.count("over_quota", 1);
            shared.host.info(format!("container `{}`, {place}: {message}", job.container));
        }
    }
}
