//! Control groups, version 1 and version 2, as directories.
//!
//! [`Cgroup`] is one directory in one hierarchy: create, attach, list, kill, remove. The controllers of [`v1`] and [`v2`]
//! wrap one and know the files of one controller each. Everything takes paths, so tests can use a temporary directory.
//!
//! The version-1 freezer is never used: freezing can hang for ever on a process in an uninterruptible state, and a task
//! that is frozen at the wrong moment is lost. Killing is a loop of SIGKILL until nothing is left (version 1) or
//! `cgroup.kill` (version 2).

mod detect;
mod device;
mod flat;
mod fork;
mod group;
mod kill;
mod limits;
mod oom;
pub mod v1;
pub mod v2;
mod wakeup;

pub(crate) use detect::unescape;
pub use detect::{Hierarchies, V1Hierarchies, V2Hierarchy, detect, detect_in};
pub use device::{DEFAULT_DEVICES, DeviceAccess, DeviceKind, DeviceNumber, DeviceRule};
pub use flat::FlatKeyed;
pub use fork::ForkWatch;
pub use group::Cgroup;
pub use kill::kill_and_remove;
pub use limits::{
    CPU_PERIOD, CpuQuota, MIN_CPU_QUOTA, MIN_MEMORY_BYTES, cpu_quota, cpu_shares, cpu_weight,
    memory_bytes, oom_score_adj,
};
pub use oom::{OomEvent, OomWatch};
pub use wakeup::Readiness;
