//! `blkio` (version 1) and `io` (version 2): what was read from and written to block devices.
//!
//! Version 1 tells what the I/O scheduler did and what passed the throttling layer; version 2 only the latter.

use std::collections::BTreeMap;

use mezzo_linux::cgroup::v1::{Blkio as Files, BlkioValue};
use mezzo_linux::cgroup::v2::{Io, IoStat};
use mezzo_linux::cgroup::{DeviceNumber, v1};
use mezzo_module_api::ModuleError;
use mezzo_proto::v1::cgroup_info::blkio::{Operation, Statistics, Value, cfq, throttling};
use mezzo_proto::v1::{ResourceStatistics, device};

use crate::container::Container;
use crate::layout::broken;
use crate::subsystem::{Setup, Subsystem};

/// The controller.
#[derive(Debug)]
struct Blkio {
    is_v2: bool,
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    Ok(Box::new(Blkio { is_v2: setup.layout.is_v2() }))
}

impl Subsystem for Blkio {
    fn usage(
        &self,
        container: &Container<'_>,
        statistics: &mut ResourceStatistics,
    ) -> Result<(), ModuleError> {
        let cgroup = container.cgroup("blkio")?;
        let measured = if self.is_v2 {
            of_stat(&Io::new(cgroup).stat().map_err(broken)?)
        } else {
            let files = v1::Blkio::new(cgroup);
            Statistics {
                cfq: scheduled(&files, "").map_err(broken)?,
                cfq_recursive: scheduled(&files, "_recursive").map_err(broken)?,
                throttling: throttled(&files).map_err(broken)?,
            }
        };
        statistics.blkio_statistics = Some(measured);
        Ok(())
    }
}

/// One per device, those of known number first; the sum of all comes last, as `None`.
type PerDevice<T> = BTreeMap<Last, T>;

/// Orders what has no device behind what has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Last {
    Device(DeviceNumber),
    All,
}

impl From<Option<DeviceNumber>> for Last {
    fn from(device: Option<DeviceNumber>) -> Self {
        device.map_or(Self::All, Self::Device)
    }
}

impl Last {
    fn number(self) -> Option<device::Number> {
        match self {
            Self::Device(DeviceNumber { major, minor }) => {
                Some(device::Number { major_number: major.into(), minor_number: minor.into() })
            }
            Self::All => None,
        }
    }
}

/// What the I/O scheduler says: the files are named after it. CFQ, for which the messages are named, had no name in them.
fn scheduled(files: &Files, suffix: &str) -> mezzo_linux::Result<Vec<cfq::Statistics>> {
    let mut found: PerDevice<cfq::Statistics> = BTreeMap::new();
    for scheduler in ["", "bfq."] {
        let values = |name: &str| {
            Ok::<_, mezzo_linux::Error>(
                files.values(&format!("{scheduler}{name}{suffix}"))?.unwrap_or_default(),
            )
        };
        for BlkioValue { device, value, .. } in values("time")? {
            found.entry(device.into()).or_default().time = Some(value);
        }
        for BlkioValue { device, value, .. } in values("sectors")? {
            found.entry(device.into()).or_default().sectors = Some(value);
        }
        type Field = fn(&mut cfq::Statistics) -> &mut Vec<Value>;
        let fields: [(&str, Field); 6] = [
            ("io_serviced", |of| &mut of.io_serviced),
            ("io_service_bytes", |of| &mut of.io_service_bytes),
            ("io_service_time", |of| &mut of.io_service_time),
            ("io_wait_time", |of| &mut of.io_wait_time),
            ("io_merged", |of| &mut of.io_merged),
            ("io_queued", |of| &mut of.io_queued),
        ];
        for (name, field) in fields {
            for value in values(name)? {
                field(found.entry(value.device.into()).or_default()).push(converted(&value));
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|(device, statistics)| cfq::Statistics { device: device.number(), ..statistics })
        .collect())
}

fn throttled(files: &Files) -> mezzo_linux::Result<Vec<throttling::Statistics>> {
    let mut found: PerDevice<throttling::Statistics> = BTreeMap::new();
    for value in files.values("throttle.io_serviced")?.unwrap_or_default() {
        found.entry(value.device.into()).or_default().io_serviced.push(converted(&value));
    }
    for value in files.values("throttle.io_service_bytes")?.unwrap_or_default() {
        found.entry(value.device.into()).or_default().io_service_bytes.push(converted(&value));
    }
    Ok(found
        .into_iter()
        .map(|(device, statistics)| throttling::Statistics {
            device: device.number(),
            ..statistics
        })
        .collect())
}

fn converted(value: &BlkioValue) -> Value {
    let operation = match value.operation.as_deref() {
        Some("Total") => Operation::Total,
        Some("Read") => Operation::Read,
        Some("Write") => Operation::Write,
        Some("Sync") => Operation::Sync,
        Some("Async") => Operation::Async,
        Some("Discard") => Operation::Discard,
        _ => Operation::Unknown,
    };
    counted(operation, value.value)
}

fn counted(operation: Operation, value: u64) -> Value {
    Value { op: Some(operation.into()), value: Some(value) }
}

/// Version 2 in the words of version 1.
fn of_stat(stat: &[IoStat]) -> Statistics {
    let values = |read: u64, write: u64, discard: u64| {
        let total = read.saturating_add(write).saturating_add(discard);
        vec![
            counted(Operation::Read, read),
            counted(Operation::Write, write),
            counted(Operation::Discard, discard),
            counted(Operation::Total, total),
        ]
    };
    let throttling = stat
        .iter()
        .map(|of| throttling::Statistics {
            device: Last::Device(of.device).number(),
            io_serviced: values(of.reads, of.writes, of.discards),
            io_service_bytes: values(of.read_bytes, of.written_bytes, of.discarded_bytes),
        })
        .collect();
    Statistics { throttling, ..Statistics::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_linux::cgroup::Cgroup;

    use super::*;

    #[test]
    fn files_of_any_scheduler_are_sorted_by_device_with_the_sum_last() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("blkio.bfq.io_service_bytes", "8:16 Read 10\n8:16 Total 10\n8:0 Read 1\nTotal 11\n"),
            ("blkio.bfq.sectors", "8:16 7\n"),
            ("blkio.throttle.io_serviced", "8:16 Write 3\nTotal 3\n"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let files = Files::new(Cgroup::new(dir.path()));
        let cfq = scheduled(&files, "").unwrap();
        let minors: Vec<_> =
            cfq.iter().map(|of| of.device.as_ref().map(|device| device.minor_number)).collect();
        assert_eq!(minors, [Some(0), Some(16), None]);
        assert_eq!(cfq[1].sectors, Some(7));
        assert_eq!(
            cfq[1].io_service_bytes,
            [counted(Operation::Read, 10), counted(Operation::Total, 10)]
        );
        assert_eq!(scheduled(&files, "_recursive").unwrap(), []);
        let throttling = throttled(&files).unwrap();
        assert_eq!(throttling.len(), 2);
        assert_eq!(throttling[0].io_serviced, [counted(Operation::Write, 3)]);
    }

    #[test]
    fn version_2_is_told_in_the_words_of_version_1() {
        let device = DeviceNumber { major: 8, minor: 0 };
        let stat = IoStat { device, read_bytes: 4096, reads: 1, writes: 2, ..IoStat::default() };
        let told = of_stat(&[stat]);
        assert_eq!((told.cfq.len(), told.throttling.len()), (0, 1));
        assert_eq!(told.throttling[0].io_serviced[3], counted(Operation::Total, 3));
        assert_eq!(told.throttling[0].io_service_bytes[0], counted(Operation::Read, 4096));
    }
}
