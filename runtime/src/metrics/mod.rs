//! Numbers of a process for Prometheus: declared as a struct of handles, scraped as text.
//!
//! ```
//! use mezzo_runtime::metrics::{Counter, By, Histogram, Metrics};
//!
//! struct Numbers {
//!     opened: Counter,
//!     refused: By<Counter, 1>,
//!     wait: Histogram,
//! }
//! let metrics = Metrics::new("shop");
//! let numbers = Numbers {
//!     opened: metrics.counter("doors_opened", "Doors opened."),
//!     refused: metrics.counter_by("visitors_refused", "Visitors refused, by reason.", ["reason"]),
//!     wait: metrics.time_histogram("wait_seconds", "Time spent waiting."),
//! };
//! numbers.opened.inc();
//! numbers.refused.with(["full"]).inc();
//! numbers.wait.observe(0.002);
//! assert!(metrics.text().contains("shop_visitors_refused_total{reason=\"full\"} 1"));
//! ```
//! Handles are cheap to clone and lock-free to use; `with` takes a short read lock, so a hot path keeps what it returns.

mod process;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::Registry;

pub use prometheus_client::collector::Collector;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::histogram::Histogram;

/// A number that goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge<i64, AtomicI64>;

/// A number with a fraction that goes up and down.
pub type GaugeF64 = prometheus_client::metrics::gauge::Gauge<f64, AtomicU64>;

/// Bounds for times in seconds, from 50 µs (a call inside the machine) to a minute (a fetch that hangs).
pub const TIME_BUCKETS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The MIME type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers of a process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<RwLock<Registry>>,
    prefix: &'static str,
}

impl Metrics {
    /// Only the numbers every process has (memory, CPU, files, uptime). Every later name gets `prefix_` in front.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::ProcessNumbers::new()));
        Self { registry: Arc::new(RwLock::new(registry)), prefix }
    }

    /// A number that only grows. Write the name without `_total`; the text adds it.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.add(name, help, Counter::default())
    }

    /// Counters told apart by labels.
    #[must_use]
    pub fn counter_by<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> By<Counter, N> {
        self.add_by(name, help, labels, Counter::default)
    }

    /// A number that goes up and down.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(name, help, Gauge::default())
    }

    /// A number with a fraction that goes up and down.
    #[must_use]
    pub fn gauge_f64(&self, name: &str, help: &str) -> GaugeF64 {
        self.add(name, help, GaugeF64::default())
    }

    /// Gauges told apart by labels.
    #[must_use]
    pub fn gauge_by<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> By<Gauge, N> {
        self.add_by(name, help, labels, Gauge::default)
    }

    /// Gauges with fractions told apart by labels.
    #[must_use]
    pub fn gauge_f64_by<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> By<GaugeF64, N> {
        self.add_by(name, help, labels, GaugeF64::default)
    }

    /// How long something takes, in seconds, over [`TIME_BUCKETS`].
    #[must_use]
    pub fn time_histogram(&self, name: &str, help: &str) -> Histogram {
        self.add(name, help, new_time_histogram())
    }

    /// Times told apart by labels.
    #[must_use]
    pub fn time_histogram_by<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> By<Histogram, N> {
        self.add_by(name, help, labels, new_time_histogram)
    }

    /// A distribution over bounds of your own.
    #[must_use]
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        bounds: impl IntoIterator<Item = f64>,
    ) -> Histogram {
        self.add(name, help, Histogram::new(bounds))
    }

    /// Numbers that are computed when somebody asks (names are taken as they are, without the prefix).
    pub fn collector(&self, collector: impl Collector) {
        self.write().register_collector(Box::new(collector));
    }

    /// Everything in the OpenMetrics text format, which Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = prometheus_client::encoding::text::encode(&mut out, &registry) {
            // Only a collector that fails gets here; what was written before it still stands.
            tracing::warn!("metrics are incomplete: {error}");
        }
        out
    }

    /// Everything as pairs of a name, labels included, and a value, in the order of [`Metrics::text`].
    #[must_use]
    pub fn samples(&self) -> Vec<(String, f64)> {
        let text = self.text();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        samples.collect()
    }

    fn add<M>(&self, name: &str, help: &str, metric: M) -> M
    where
        M: Clone + prometheus_client::registry::Metric,
    {
        // The registry ends the help with a full stop by itself.
        let help = help.trim_end_matches('.');
        let name = format!("{}_{name}", self.prefix);
        self.write().register(name, help, metric.clone());
        metric
    }

    fn add_by<M, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
        new: fn() -> M,
    ) -> By<M, N>
    where
        M: Clone,
        Family<LabelSet<N>, M, New<M>>: prometheus_client::registry::Metric,
    {
        let family = Family::new_with_constructor(New(new));
        By { family: self.add(name, help, family), labels }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metrics({})", self.prefix)
    }
}

type LabelSet<const N: usize> = [(&'static str, Cow<'static, str>); N];

/// Metrics of one name told apart by `N` labels.
#[derive(Clone, Debug)]
pub struct By<M, const N: usize> {
    family: Family<LabelSet<N>, M, New<M>>,
    labels: [&'static str; N],
}

impl<M: Clone, const N: usize> By<M, N> {
    /// The metric with these label values, in the order the labels were declared.
    #[must_use]
    pub fn with(&self, values: [impl Into<Cow<'static, str>>; N]) -> M {
        self.family.get_or_create_owned(&self.set(values))
    }

    /// Forgets the metric with these label values (what it was about is gone).
    pub fn forget(&self, values: [impl Into<Cow<'static, str>>; N]) {
        self.family.remove(&self.set(values));
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.family.clear();
    }

    fn set(&self, values: [impl Into<Cow<'static, str>>; N]) -> LabelSet<N> {
        let mut names = self.labels.iter();
        values.map(|value| (names.next().copied().unwrap_or_default(), value.into()))
    }
}

/// Makes the metric of a label set that was not seen before.
#[derive(Clone, Copy, Debug)]
pub struct New<M>(fn() -> M);

impl<M> MetricConstructor<M> for New<M> {
    fn new_metric(&self) -> M {
        (self.0)()
    }
}

fn new_time_histogram() -> Histogram {
    Histogram::new(TIME_BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_what_was_counted() {
        let metrics = Metrics::new("sample");
        let plain = metrics.counter("things", "Things that happened.");
        let by = metrics.counter_by("calls", "Calls.", ["method", "code"]);
        let level = metrics.gauge("level", "A level.");
        let time = metrics.time_histogram("wait_seconds", "Waiting.");
        plain.inc_by(3);
        by.with(["Get", "OK"]).inc();
        by.with(["Get".to_owned(), "NOT_FOUND".to_owned()]).inc();
        level.set(-4);
        time.observe(0.003);
        let text = metrics.text();
        for line in [
            "# HELP sample_things Things that happened.",
            "sample_things_total 3",
            "sample_calls_total{method=\"Get\",code=\"OK\"} 1",
            "sample_calls_total{method=\"Get\",code=\"NOT_FOUND\"} 1",
            "sample_level -4",
            "sample_wait_seconds_bucket{le=\"0.005\"} 1",
            "sample_wait_seconds_count 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
        }
    }

    #[test]
    fn a_forgotten_label_set_is_not_told_again() {
        let metrics = Metrics::new("sample");
        let by = metrics.gauge_by("size", "Sizes.", ["name"]);
        by.with(["a"]).set(1);
        by.with(["b"]).set(2);
        by.forget(["a"]);
        let text = metrics.text();
        assert!(!text.contains("name=\"a\"") && text.contains("name=\"b\""), "{text}");
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::new("sample");
        metrics.counter_by("odd", "Odd.", ["name"]).with(["a\"b\\c\nd"]).inc();
        let text = metrics.text();
        assert!(text.contains(r#"name="a\"b\\c\nd""#), "{text}");
    }
}
