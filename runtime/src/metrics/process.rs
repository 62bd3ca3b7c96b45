//! What Prometheus expects of every process: memory, CPU, open files, uptime. Read from `/proc` when somebody asks.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the numbers of this process at each scrape.
#[derive(Debug)]
pub(super) struct ProcessNumbers {
    started: Instant,
    started_at: f64,
}

impl ProcessNumbers {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
        }
    }
}

impl Collector for ProcessNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        if let Some(bytes) = resident_bytes() {
            gauge("process_resident_memory_bytes", "Resident memory.", bytes as f64)?;
        }
        if let Some(count) = open_files() {
            gauge("process_open_fds", "Open file descriptors.", count as f64)?;
        }
        if let Some(limit) = max_files() {
            gauge("process_max_fds", "Limit of open file descriptors.", limit as f64)?;
        }
        gauge(
            "process_start_time_seconds",
            "Start of the process, in seconds since 1970.",
            self.started_at,
        )?;
        gauge(
            "process_uptime_seconds",
            "Time since the start of the process.",
            self.started.elapsed().as_secs_f64(),
        )?;
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            metric.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                "User and system CPU time.",
                None,
                metric.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn open_files() -> Option<usize> {
    // The directory handle that counts is one of them.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

fn max_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses and may hold anything; the numbers start after it.
    let (_, numbers) = text.rsplit_once(')')?;
    let mut fields = numbers.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    #[test]
    fn every_process_tells_memory_cpu_files_and_uptime() {
        let text = Metrics::new("sample").text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split(' ').nth(1))
                .and_then(|value| value.parse().ok())
                .unwrap_or(-1.0)
        };
        assert!(value("process_resident_memory_bytes ") > 100_000.0, "{text}");
        assert!(value("process_open_fds ") >= 3.0, "{text}");
        assert!(value("process_cpu_seconds_total ") >= 0.0, "{text}");
        assert!(value("process_uptime_seconds ") >= 0.0, "{text}");
        assert!(value("process_start_time_seconds ") > 1.6e9, "{text}");
    }
}
