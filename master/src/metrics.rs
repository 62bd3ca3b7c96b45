//! What a master counts. Names as Prometheus sees them begin with `mezzo_master_`.

use std::sync::Arc;
use std::time::Duration;

use mezzo_master_core::Books;
use mezzo_module_host::Modules;
use mezzo_proto::v1::TaskState;
use mezzo_runtime::metrics::{By, Counter, Gauge, Histogram, Metrics};

use crate::sessions::Sessions;

/// The numbers that are counted as things happen.
#[derive(Clone)]
pub(crate) struct Numbers {
    commands: Histogram,
    allocations: Histogram,
}

impl Numbers {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            commands: metrics.time_histogram("command_seconds", "Time to apply one command"),
            allocations: metrics
                .time_histogram("allocation_run_seconds", "Time of one allocation in the module"),
        }
    }

    pub(crate) fn applied(&self, took: Duration) {
        self.commands.observe(took.as_secs_f64());
    }

    pub(crate) fn allocation(&self, took: Duration) {
        self.allocations.observe(took.as_secs_f64());
    }
}

/// The numbers that are read off a snapshot of the cluster now and then.
pub(crate) struct Readings {
    tasks: By<Gauge, 1>,
    agents: By<Gauge, 1>,
    frameworks: By<Gauge, 1>,
    offers: By<Counter, 1>,
    ended: By<Counter, 1>,
    launched: Counter,
    updates: Counter,
    refused: Counter,
    outstanding: Gauge,
    calls: By<Counter, 2>,
    errors: By<Counter, 2>,
    overdue: By<Counter, 2>,
    modules: Arc<Modules>,
    sessions: Arc<Sessions>,
}

impl Readings {
    pub(crate) fn new(metrics: &Metrics, sessions: Arc<Sessions>, modules: Arc<Modules>) -> Self {
        Self {
            tasks: metrics.gauge_by("tasks", "Tasks by state", ["state"]),
            agents: metrics.gauge_by(
                "agents",
                "Agents: connected, disconnected, unreachable, or awaited after a failover",
                ["state"],
            ),
            frameworks: metrics.gauge_by(
                "frameworks",
                "Frameworks: connected, or disconnected",
                ["state"],
            ),
            offers: metrics.counter_by("offers", "Offers by what became of them", ["outcome"]),
            ended: metrics.counter_by("tasks_ended", "Tasks that ended, by state", ["state"]),
            launched: metrics.counter("tasks_launched", "Tasks sent to agents"),
            updates: metrics.counter("status_updates", "Status updates from agents"),
            refused: metrics
                .counter("proposals_refused", "Proposals of the allocator that did not fit"),
            outstanding: metrics.gauge("outstanding_offers", "Offers that frameworks hold"),
            calls: metrics.counter_by("module_calls", "Calls into modules", ["module", "method"]),
            errors: metrics.counter_by(
                "module_errors",
                "Calls into modules that failed",
                ["module", "method"],
            ),
            overdue: metrics.counter_by(
                "module_overdue",
                "Calls into modules that took longer than --module_watchdog",
                ["module", "method"],
            ),
            modules,
            sessions,
        }
    }

    /// Takes over what a snapshot says.
    pub(crate) fn read(&self, books: &Books) {
        let mut states = std::collections::BTreeMap::<&str, i64>::new();
        for framework in books.frameworks.values() {
            for task in framework.tasks.values() {
                *states.entry(task.state().as_str_name()).or_default() += 1;
            }
            let away = i64::try_from(framework.unreachable_tasks.len()).unwrap_or(i64::MAX);
            *states.entry(TaskState::TaskUnreachable.as_str_name()).or_default() += away;
        }
        self.tasks.clear();
        for (state, count) in states {
            self.tasks.with([state.to_owned()]).set(count);
        }
        let connected = books.agents.values().filter(|a| a.connected()).count();
        set(&self.agents, "connected", connected);
        set(&self.agents, "disconnected", books.agents.len() - connected);
        set(&self.agents, "unreachable", books.unreachable_agents.len());
        set(&self.agents, "awaited", books.recovered_agents.len());
        let subscribed = books.frameworks.values().filter(|f| f.connected()).count();
        set(&self.frameworks, "connected", subscribed);
        set(&self.frameworks, "disconnected", books.frameworks.len() - subscribed);
        self.outstanding.set(i64::try_from(books.offers.len()).unwrap_or(i64::MAX));
        let counts = books.counts;
        for (outcome, value) in [
            ("made", counts.offers_made),
            ("accepted", counts.offers_accepted),
            ("declined", counts.offers_declined),
            ("rescinded", counts.offers_rescinded),
        ] {
            raise(&self.offers.with([outcome]), value);
        }
        for (state, value) in [
            ("TASK_FINISHED", counts.tasks_finished),
            ("TASK_FAILED", counts.tasks_failed),
            ("TASK_KILLED", counts.tasks_killed),
            ("TASK_ERROR", counts.tasks_error),
            ("TASK_LOST", counts.tasks_lost),
        ] {
            raise(&self.ended.with([state]), value);
        }
        raise(&self.launched, counts.tasks_launched);
        raise(&self.updates, counts.status_updates);
        raise(&self.refused, counts.proposals_refused);
        for module in self.modules.status() {
            for method in &module.methods {
                let labels = || [module.name().to_owned(), method.method().to_owned()];
                raise(&self.calls.with(labels()), method.calls());
                raise(&self.errors.with(labels()), method.errors());
                raise(&self.overdue.with(labels()), method.overdue());
            }
        }
        let (frameworks, agents) = self.sessions.counts();
        tracing::trace!(frameworks, agents, "streams that are open");
    }
}

fn set(gauges: &By<Gauge, 1>, label: &'static str, value: usize) {
    gauges.with([label]).set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Lets a counter catch up with a count that only grows.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
