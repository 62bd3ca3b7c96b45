//! Real containers in real cgroups, version 1 or 2, whichever this machine has. Fails where it cannot make any: only a
//! kernel makes the files that these isolators write.
//!
//! A controller that the machine has not mounted is tested on a directory that poses as its hierarchy, as far as that goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed test may panic"
)]

mod all;
mod blkio;
mod calls;
mod cpu;
mod cpuset;
mod devices;
mod hugetlb;
mod life;
mod machine;
mod mem;
mod net_cls;
mod perf_event;
mod pids;
