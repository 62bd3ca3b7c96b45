//! `perf_event`: performance counters of every container, by running `perf stat` over all of them now and then.
//!
//! Without `perf_events` nothing is counted, and containers are merely in the controller.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use mezzo_module_api::v1::ContainerConfig;
use mezzo_module_api::{Host, ModuleError, Parameters};
use mezzo_proto::v1::{PerfStatistics, ResourceStatistics};
use rustix::process::{Pid, Signal};

use super::perf;
use crate::container::{Container, PerContainer};
use crate::subsystem::{Setup, Subsystem};

const EVENTS: &str = "perf_events";
const INTERVAL: &str = "perf_interval";
const DURATION: &str = "perf_duration";
/// From the beginning of a sample to that of the next.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// How long a sample counts.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// How much longer than a sample `perf` may take.
const OVERTIME: Duration = Duration::from_secs(30);

/// The controller.
#[derive(Debug)]
struct PerfEvent {
    sampler: Option<Sampler>,
}

pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    let plan = Plan::new(setup.parameters)?;
    let sampler = plan.map(|plan| Sampler::start(setup.host.clone(), plan)).transpose()?;
    Ok(Box::new(PerfEvent { sampler }))
}

impl PerfEvent {
    fn add(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        if let Some(sampler) = &self.sampler {
            let counted = Counted { path: container.path()?, last: None };
            sampler.shared.containers.insert(container, counted);
        }
        Ok(())
    }
}

impl Subsystem for PerfEvent {
    fn prepare(&self, container: &Container<'_>, _: &ContainerConfig) -> Result<(), ModuleError> {
        self.add(container)
    }

    fn recover(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        self.add(container)
    }

    fn usage(
        &self,
        container: &Container<'_>,
        statistics: &mut ResourceStatistics,
    ) -> Result<(), ModuleError> {
        if let Some(sampler) = &self.sampler {
            let last = sampler.shared.containers.with(container, |counted| counted.last);
            statistics.perf = last.flatten();
        }
        Ok(())
    }

    fn cleanup(&self, container: &Container<'_>) {
        if let Some(sampler) = &self.sampler {
            sampler.shared.containers.take(&container.name);
        }
    }
}

/// What is counted, and when.
#[derive(Debug)]
struct Plan {
    events: Vec<String>,
    interval: Duration,
    duration: Duration,
}

impl Plan {
    /// `None` without events.
    fn new(parameters: &Parameters) -> Result<Option<Self>, ModuleError> {
        let interval = parameters.interval(INTERVAL)?.unwrap_or(DEFAULT_INTERVAL);
        let duration = parameters.interval(DURATION)?.unwrap_or(DEFAULT_DURATION);
        let Some(value) = parameters.get(EVENTS) else { return Ok(None) };
        let wrong = |what: String| {
            ModuleError::invalid(format!("parameter `{EVENTS}` is `{value}`: {what}"))
        };
        if duration > interval {
            return Err(ModuleError::invalid(format!(
                "parameter `{DURATION}` ({duration:?}) is longer than `{INTERVAL}` ({interval:?})"
            )));
        }
        let mut events: Vec<String> = value
            .split(',')
            .map(str::trim)
            .filter(|event| !event.is_empty())
            .map(str::to_owned)
            .collect();
        events.sort();
        events.dedup();
        if events.is_empty() {
            return Err(wrong("expected names of events, such as cycles,task-clock".to_owned()));
        }
        if let Some(unknown) = events.iter().find(|event| !perf::is_known(event)) {
            return Err(wrong(format!(
                "the statistics have no field for the event `{unknown}` (see `perf list`)"
            )));
        }
        perf::version().map_err(|error| {
            ModuleError::internal(format!("isolator `cgroups/perf_event`: {error}"))
        })?;
        perf::check(&events).map_err(|error| wrong(format!("`perf stat` refuses: {error}")))?;
        Ok(Some(Self { events, interval, duration }))
    }
}

/// One container's.
#[derive(Debug)]
struct Counted {
    /// Its cgroup, below the hierarchy.
    path: String,
    last: Option<PerfStatistics>,
}

/// The thread that samples.
#[derive(Debug)]
struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    host: Host,
    plan: Plan,
    containers: PerContainer<Counted>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// The `perf` that runs, leader of its process group.
    running: Option<Pid>,
}

impl Sampler {
    fn start(host: Host, plan: Plan) -> Result<Self, ModuleError> {
        let shared = Arc::new(Shared {
            host,
            plan,
            containers: PerContainer::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let run = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("mezzo-perf".to_owned())
            .spawn(move || run.run())
            .map_err(|error| ModuleError::internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.stopped = true;
            if let Some(group) = state.running {
                // The thread has not waited for it yet, so the number is still its. Gone already is as good.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let next = Instant::now() + self.plan.interval;
            if let Err(error) = self.sample() {
                if self.state().stopped {
                    return;
                }
                // A container may have gone between the list and the program: the next one will do.
                self.host.count("perf_samples_failed", 1);
                self.host.warn(format!("performance counters cannot be read this time: {error}"));
            }
            let mut state = self.state();
            while !state.stopped {
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self
                    .changed
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            if state.stopped {
                return;
            }
        }
    }

    fn sample(&self) -> Result<(), String> {
        // `perf` takes commas for the end of a name.
        let cgroups: Vec<String> = self
            .containers
            .lock()
            .values()
            .map(|counted| counted.path.clone())
            .filter(|path| !path.contains(','))
            .collect();
        if cgroups.is_empty() {
            return Ok(());
        }
        let begin = SystemTime::now();
        let mut child = {
            let mut state = self.state();
            if state.stopped {
                return Ok(());
            }
            let child = perf::start(&self.plan.events, &cgroups, self.plan.duration)
                .map_err(|error| format!("the program `perf` cannot be run: {error}"))?;
            state.running = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            child
        };
        let samples = perf::finish(&mut child, self.plan.duration + OVERTIME, || {
            self.state().running = None
        })?;
        let timestamp =
            begin.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for counted in self.containers.lock().values_mut() {
            if let Some(sample) = samples.get(&counted.path) {
                counted.last = Some(PerfStatistics {
                    timestamp,
                    duration: self.plan.duration.as_secs_f64(),
                    ..*sample
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn plan(pairs: &[(&str, &str)]) -> Result<Option<Plan>, ModuleError> {
        Plan::new(&Parameters::from_pairs(pairs))
    }

    #[test]
    fn without_events_nothing_is_counted() {
        assert!(plan(&[]).unwrap().is_none());
    }

    #[test]
    fn wrong_parameters_are_told_before_anything_runs() {
        let message = |pairs: &[_]| plan(pairs).unwrap_err().message;
        let unknown = message(&[(EVENTS, "cycles,coffees")]);
        assert!(unknown.contains("no field for the event `coffees`"), "{unknown}");
        assert!(message(&[(EVENTS, " , ")]).contains("expected names of events"));
        let long = message(&[(EVENTS, "cycles"), (DURATION, "2mins")]);
        assert!(long.contains("`perf_duration` (120s) is longer than `perf_interval` (60s)"));
        assert!(message(&[(INTERVAL, "0secs")]).contains("above 0"));
    }
}
