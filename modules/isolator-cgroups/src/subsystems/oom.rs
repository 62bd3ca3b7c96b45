//! A container has run out of memory: what is told of it.

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd};

use mezzo_linux::cgroup::v1::MemoryLimit;
use mezzo_linux::cgroup::{Cgroup, OomEvent, OomWatch, Readiness, v1, v2};
use mezzo_module_api::Host;
use mezzo_module_api::v1::ContainerLimitation;
use mezzo_proto::v1::Resource;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::value::{self, Scalar};

use crate::alarm::Alarm;
use crate::watcher::{Next, Watched};

const MEGABYTE: u64 = 1024 * 1024;

/// Waits for one container to run out of memory.
pub(super) struct OutOfMemory {
    pub(super) watch: OomWatch,
    pub(super) cgroup: Cgroup,
    pub(super) is_v2: bool,
    pub(super) host: Host,
    pub(super) name: String,
    pub(super) alarm: Alarm,
}

impl Watched for OutOfMemory {
    fn fd(&self) -> (BorrowedFd<'_>, Readiness) {
        (self.watch.as_fd(), self.watch.readiness())
    }

    fn look(&mut self) -> Next {
        match self.watch.check() {
            Ok(OomEvent::Nothing) => Next::Wait,
            Ok(OomEvent::OutOfMemory { .. }) => {
                let limitation = if self.is_v2 {
                    v2_limitation(&self.cgroup)
                } else {
                    v1_limitation(&self.cgroup)
                };
                let first_line = limitation.message().lines().next().unwrap_or_default();
                self.host.info(format!("container `{}`: {first_line}", self.name));
                self.host.count("out_of_memory", 1);
                self.alarm.ring(limitation);
                Next::Forget
            }
            Ok(OomEvent::Removed) => Next::Forget,
            Err(error) => {
                self.host.warn(format!(
                    "container `{}`: out-of-memory events cannot be read any more: {error}",
                    self.name
                ));
                Next::Forget
            }
        }
    }
}

/// What cannot be read is left out: the event itself is certain.
fn v1_limitation(cgroup: &Cgroup) -> ContainerLimitation {
    let memory = v1::Memory::new(cgroup.clone());
    let limit = match memory.hard_limit() {
        Ok(MemoryLimit::Bytes(limit)) => megabytes(limit),
        Ok(MemoryLimit::Unlimited) => "unlimited".to_owned(),
        Err(_) => "unknown".to_owned(),
    };
    let used = memory.max_usage().unwrap_or(0);
    let mut message = format!(
        "Memory limit exceeded: Requested: {limit} Maximum Used: {}\n\nMEMORY STATISTICS: \n",
        megabytes(used)
    );
    for (key, value) in
        memory.stat().unwrap_or_default().iter().filter(|(key, _)| !key.starts_with("hierarchical"))
    {
        let _ = writeln!(message, "{key} {value}");
    }
    limitation(used, message)
}

fn v2_limitation(cgroup: &Cgroup) -> ContainerLimitation {
    let memory = v2::Memory::new(cgroup.clone());
    let limit = match memory.max() {
        Ok(MemoryLimit::Bytes(limit)) => limit,
        _ => memory.peak().ok().flatten().or_else(|| memory.current().ok()).unwrap_or(0),
    };
    let stat = memory.stat().unwrap_or_default();
    let part = |key| megabytes(stat.get(key).unwrap_or(0));
    let peak = memory
        .peak()
        .ok()
        .flatten()
        .map_or_else(String::new, |peak| format!(" Maximum Used: {}", megabytes(peak)));
    let message = format!(
        "Memory limit exceeded: Requested: {}{peak}\n\nAfter the event: anonymous {}, file {}, kernel {}\n",
        megabytes(limit),
        part("anon"),
        part("file"),
        part("kernel"),
    );
    limitation(limit, message)
}

fn limitation(used: u64, message: String) -> ContainerLimitation {
    #[allow(
        clippy::cast_precision_loss,
        reason = "megabytes with three decimals are exact far beyond any machine"
    )]
    let megabytes = used as f64 / MEGABYTE as f64;
    let resource = Resource {
        name: "mem".to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(Scalar { value: megabytes }),
        ..Resource::default()
    };
    ContainerLimitation {
        resources: vec![resource],
        message: Some(message),
        reason: Some(Reason::ContainerLimitationMemory.into()),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}MB", bytes / MEGABYTE)
}
