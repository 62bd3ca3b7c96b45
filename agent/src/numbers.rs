//! What Prometheus sees of an agent, besides the numbers of the process and of its calls.
//!
//! | name | what |
//! |---|---|
//! | `mezzo_agent_tasks{state}` | tasks that are not over, by state |
//! | `mezzo_agent_tasks_ended_total{state}` | tasks that are over, by state |
//! | `mezzo_agent_executors` | executors whose container has not ended |
//! | `mezzo_agent_launch_seconds` | from a task's arrival to the first update that says it runs |
//! | `mezzo_agent_containers_launched_total`, `…_launch_failed_total` | containers started, and not started |
//! | `mezzo_agent_containers_stuck` | containers that should be gone and cannot be killed |
//! | `mezzo_agent_status_updates_total{what}` | accepted, invalid, acknowledged, retried |
//! | `mezzo_agent_registered` | 1 while a master has registered this agent |
//! | `mezzo_agent_checkpoint_seconds` | time to write the checkpoints of one step |
//! | `mezzo_agent_module_calls_total{module,method}`, `…_module_errors_total{module,method}` | calls into modules |

use std::fmt;
use std::sync::Arc;

use mezzo_agent_core::{Measure, is_terminal};
use mezzo_module_host::Modules;
use mezzo_proto::v1::TaskState;
use mezzo_runtime::metrics::{By, Collector, Counter, Gauge, Histogram, Metrics};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::family::Family;

/// The handles. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Numbers {
    tasks: By<Gauge, 1>,
    ended: By<Counter, 1>,
    executors: Gauge,
    launch: Histogram,
    updates: By<Counter, 1>,
    pub(crate) launched: Counter,
    pub(crate) launch_failed: Counter,
    pub(crate) stuck: Gauge,
    pub(crate) registered: Gauge,
    pub(crate) checkpoint: Histogram,
}

impl Numbers {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            tasks: metrics.gauge_by("tasks", "Tasks that are not over, by state.", ["state"]),
            ended: metrics.counter_by("tasks_ended", "Tasks that are over, by state.", ["state"]),
            executors: metrics.gauge("executors", "Executors whose container has not ended."),
            launch: metrics
                .time_histogram("launch_seconds", "From a task's arrival to the first update that says it runs."),
            updates: metrics.counter_by(
                "status_updates",
                "Status updates: accepted from executors, invalid, acknowledged by masters, retried.",
                ["what"],
            ),
            launched: metrics.counter("containers_launched", "Containers started."),
            launch_failed: metrics.counter("containers_launch_failed", "Containers that could not be started."),
            stuck: metrics.gauge("containers_stuck", "Containers that should be gone and cannot be killed."),
            registered: metrics.gauge("registered", "1 while a master has registered this agent."),
            checkpoint: metrics.time_histogram("checkpoint_seconds", "Time to write the checkpoints of one step."),
        }
    }

    pub(crate) fn take(&self, measure: Measure) {
        match measure {
            Measure::TaskMoved { from, to } => {
                if let Some(from) = from {
                    self.gauge(from, -1);
                }
                if is_terminal(to) {
                    self.ended.with([to.as_str_name()]).inc();
                } else {
                    self.gauge(to, 1);
                }
            }
            Measure::TaskForgotten(state) => self.gauge(state, -1),
            Measure::LaunchTime(time) => self.launch.observe(time.as_secs_f64()),
            Measure::UpdateRetried => self.count("retried"),
            Measure::UpdateAccepted => self.count("accepted"),
            Measure::UpdateInvalid => self.count("invalid"),
            Measure::UpdateAcknowledged => self.count("acknowledged"),
            Measure::ExecutorLaunched => {
                self.executors.inc();
            }
            Measure::ExecutorEnded => {
                self.executors.dec();
            }
        }
    }

    fn gauge(&self, state: TaskState, by: i64) {
        if !is_terminal(state) {
            self.tasks.with([state.as_str_name()]).inc_by(by);
        }
    }

    fn count(&self, what: &'static str) {
        self.updates.with([what]).inc();
    }
}

/// The calls into modules, read when somebody asks.
pub(crate) struct ModuleCalls(pub(crate) Arc<Modules>);

impl fmt::Debug for ModuleCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModuleCalls")
    }
}

impl Collector for ModuleCalls {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Calls = Family<Vec<(String, String)>, Counter>;
        let (calls, errors, overdue) = (Calls::default(), Calls::default(), Calls::default());
        for module in self.0.status() {
            for method in &module.methods {
                let labels = vec![
                    ("module".to_owned(), module.name().to_owned()),
                    ("method".to_owned(), method.method().to_owned()),
                ];
                calls.get_or_create(&labels).inc_by(method.calls());
                errors.get_or_create(&labels).inc_by(method.errors());
                overdue.get_or_create(&labels).inc_by(method.overdue());
            }
        }
        for (name, help, family) in [
            ("mezzo_agent_module_calls", "Calls into modules", calls),
            ("mezzo_agent_module_errors", "Calls into modules that failed", errors),
            (
                "mezzo_agent_module_overdue",
                "Calls into modules that took longer than --module_watchdog",
                overdue,
            ),
        ] {
            let kind = family.metric_type();
            family.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
