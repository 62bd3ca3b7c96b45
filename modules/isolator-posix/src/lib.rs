//! Isolators `posix/cpu`, `posix/mem` and `posix/rlimits`: what any Unix can do, without control groups and without root.
//!
//! * `posix/cpu` and `posix/mem` isolate nothing. They measure: the processes of the container's tree (its first process,
//!   what came out of it, and the sessions and groups these opened) are read from `/proc`. Containers without an enclosing
//!   one only, as in Mesos.
//! * `posix/rlimits` passes the resource limits of a container (`ContainerInfo.rlimit_info`) on to its launch: the kernel
//!   holds every single process to them. A limit without `soft` and `hard` means "unlimited"; one of the two alone, a
//!   `soft` above its `hard` and an unknown type end the launch.
//!
//! | isolator | parameter | meaning |
//! |---|---|---|
//! | all three | none | |
//!
//! | statistics | isolator | where from |
//! |---|---|---|
//! | `cpus_user_time_secs`, `cpus_system_time_secs` | `posix/cpu` | own time of every process of the tree, and that of children they waited for; never goes back |
//! | `cpus_soft_limit`, `cpus_limit` | `posix/cpu` | the request; the limit if there is one, the machine's CPUs if it is infinite |
//! | `mem_rss_bytes` | `posix/mem` | resident memory of every process added up: what they share counts more than once |
//! | `mem_soft_limit_bytes`, `mem_limit_bytes` | `posix/mem` | the request; the limit, else the request, the machine's memory if it is infinite |
//!
//! Nothing holds a container to these limits; they are told as asked for. Both isolators share one pass over `/proc` for all
//! containers that are asked about within a tenth of a second.

mod asked;
mod rlimits;
mod table;
mod usage;

use mezzo_module_abi::export_module;

pub use rlimits::RlimitsIsolator;
pub use usage::{Cpu, CpuIsolator, Measure, Mem, MemIsolator, UsageIsolator};

export_module! {
    isolator "posix/cpu" ("measures the CPU time of a container's processes") = CpuIsolator::new;
    isolator "posix/mem" ("measures the memory of a container's processes") = MemIsolator::new;
    isolator "posix/rlimits" ("sets the resource limits a container asks for") = RlimitsIsolator::new;
}
