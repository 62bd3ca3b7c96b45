//! Statistics and status of a container: what the isolators know, put together, with the limits it has.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use mezzo_linux::procfs::{self, Procfs};
use mezzo_module_api::v1::{StatusRequest, UsageRequest};
use mezzo_proto::v1::{ContainerStatus, Resource, ResourceStatistics, value};
use prost::Message;

use crate::config::Config;
use crate::container::{Allowance, Container};
use crate::isolators;

/// The smallest unit of memory and disk in resources.
const MEGABYTE: f64 = 1_048_576.0;

/// What it uses and may use. An isolator that fails, or takes long, is left out.
pub(crate) async fn statistics(config: &Config, container: &Container) -> ResourceStatistics {
    let parts = join_all(config.isolators.iter().map(|named| {
        let request = UsageRequest { container_id: Some((&container.spec.container_id).into()) };
        isolators::ask(named, "usage", config.module_watchdog, move |i| i.usage(request))
    }));
    let mut merged = ResourceStatistics::default();
    for part in parts.await.into_iter().flatten().flatten().filter_map(|r| r.statistics) {
        put_over(&mut merged, &part);
    }
    if let Some(allowance) = container.allowance() {
        set_limits(&mut merged, &allowance, config.cpus_are_limited);
    }
    merged.timestamp =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    merged
}

/// How it looks from outside.
pub(crate) async fn status(config: &Config, container: &Container) -> ContainerStatus {
    let id = &container.spec.container_id;
    let parts = join_all(config.isolators.iter().map(|named| {
        let request = StatusRequest { container_id: Some(id.into()) };
        isolators::ask(named, "status", config.module_watchdog, move |i| i.status(request))
    }));
    let mut merged = ContainerStatus::default();
    for part in parts.await.into_iter().flatten().flatten().filter_map(|r| r.status) {
        put_over(&mut merged, &part);
    }
    merged.container_id = Some(id.into());
    merged.executor_pid = container.process.get().and_then(|id| u32::try_from(id.pid).ok());
    merged
}

/// Protobuf's own way to merge: set fields replace, lists are joined.
fn put_over<M: Message>(merged: &mut M, part: &M) {
    // Decoding what was encoded just now cannot fail.
    let _ = merged.merge(part.encode_to_vec().as_slice());
}

/// The limits are those that were asked for, not what the kernel was told in the end.
fn set_limits(statistics: &mut ResourceStatistics, allowance: &Allowance, cpus_are_limited: bool) {
    let cpus = request(&allowance.requests, "cpus");
    statistics.cpus_soft_limit = cpus.or(statistics.cpus_soft_limit);
    let limit = limit(allowance, "cpus", || procfs::online_cpus().ok().map(f64::from));
    statistics.cpus_limit = limit.or(cpus.filter(|_| cpus_are_limited)).or(statistics.cpus_limit);

    let mem = request(&allowance.requests, "mem");
    statistics.mem_soft_limit_bytes = mem.map(bytes).or(statistics.mem_soft_limit_bytes);
    let limit = self::limit(allowance, "mem", || total_memory().map(|total| total / MEGABYTE));
    statistics.mem_limit_bytes = limit.or(mem).map(bytes).or(statistics.mem_limit_bytes);
}

/// The limit of that name; what the machine has, if it is infinite.
fn limit(allowance: &Allowance, name: &str, machine: impl FnOnce() -> Option<f64>) -> Option<f64> {
    let value = allowance.limits.get(name)?.value;
    if value.is_infinite() { machine() } else { Some(value) }
}

fn request(resources: &[Resource], name: &str) -> Option<f64> {
    let scalars = resources.iter().filter(|r| r.name == name && r.r#type() == value::Type::Scalar);
    scalars.filter_map(|r| r.scalar.as_ref()).map(|s| s.value).reduce(|a, b| a + b)
}

#[expect(clippy::cast_precision_loss, reason = "no machine has so much memory that it matters")]
fn total_memory() -> Option<f64> {
    Procfs::default().meminfo().ok().map(|memory| memory.total as f64)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and resources are not negative"
)]
fn bytes(megabytes: f64) -> u64 {
    (megabytes * MEGABYTE) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn scalar(name: &str, value: f64) -> Resource {
        Resource {
            name: name.to_owned(),
            r#type: value::Type::Scalar.into(),
            scalar: Some(value::Scalar { value }),
            ..Resource::default()
        }
    }

    fn limits(limits: &[(&str, f64)], cpus_are_limited: bool) -> ResourceStatistics {
        let limits: BTreeMap<_, _> = limits
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value::Scalar { value: *value }))
            .collect();
        let allowance = Allowance {
            requests: vec![scalar("cpus", 0.5), scalar("cpus", 1.0), scalar("mem", 64.0)],
            limits,
        };
        let mut statistics = ResourceStatistics::default();
        set_limits(&mut statistics, &allowance, cpus_are_limited);
        statistics
    }

    #[test]
    fn without_limits_memory_is_limited_to_its_request_and_cpus_are_not() {
        let statistics = limits(&[], false);
        assert_eq!(statistics.cpus_soft_limit, Some(1.5));
        assert_eq!(statistics.cpus_limit, None);
        assert_eq!(statistics.mem_soft_limit_bytes, Some(64 << 20));
        assert_eq!(statistics.mem_limit_bytes, Some(64 << 20));
        assert_eq!(limits(&[], true).cpus_limit, Some(1.5));
    }

    #[test]
    fn infinite_limits_are_what_the_machine_has() {
        let statistics = limits(&[("cpus", f64::INFINITY), ("mem", 128.0)], false);
        assert!(statistics.cpus_limit.is_some_and(|cpus| cpus >= 1.0 && cpus.is_finite()));
        assert_eq!(statistics.mem_limit_bytes, Some(128 << 20));
        assert!(
            limits(&[("mem", f64::INFINITY)], false)
                .mem_limit_bytes
                .is_some_and(|bytes| bytes > 64 << 20)
        );
    }

    #[test]
    fn parts_are_put_together() {
        let mut merged =
            ResourceStatistics { mem_rss_bytes: Some(1), ..ResourceStatistics::default() };
        put_over(
            &mut merged,
            &ResourceStatistics { cpus_user_time_secs: Some(2.0), ..ResourceStatistics::default() },
        );
        assert_eq!((merged.mem_rss_bytes, merged.cpus_user_time_secs), (Some(1), Some(2.0)));
    }
}
