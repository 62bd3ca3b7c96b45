//! The subsystems, one file each.

pub(crate) mod blkio;
pub(crate) mod cpu;
pub(crate) mod cpuset;
pub(crate) mod devices;
pub(crate) mod hugetlb;
pub(crate) mod mem;
pub(crate) mod net_cls;
pub(crate) mod perf_event;
pub(crate) mod pids;

mod oom;
mod perf;
