//! Isolators `cgroups/cpu` and `cgroups/mem`: containers in control groups, version 1 or 2, whichever is mounted.
//!
//! * `cgroups/cpu`: a share of the CPUs by request, a hard quota when a limit is given or `cgroups_enable_cfs` is set; CPU time
//!   and throttling in the statistics.
//! * `cgroups/mem`: a hard memory limit, which is never lowered under a running container, and a softer one at the request;
//!   a container that hits its limit ends with `REASON_CONTAINER_LIMITATION_MEMORY` and a message that says what it used.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `cgroups_root` | `mezzo` | The cgroup under which containers live, in every hierarchy. |
//! | `cgroups_hierarchy` | found | Where the version-1 hierarchies are mounted (`/sys/fs/cgroup`: then `cpu` is `/sys/fs/cgroup/cpu`). |
//! | `cgroups_enable_cfs` | `false` | A container without a CPU limit gets its request as a hard quota. |
//! | `cgroups_limit_swap` | `false` | Version 1: memory plus swap gets the memory limit. |
//! | `cgroups_cpu_enable_pids_and_tids_count` | `false` | Count processes and threads in the statistics. |
//! | `revocable_cpu_low_priority` | `true` | A container with revocable CPUs gets a hundredth of the share. |
//!
//! Version 1: `<hierarchy>/<cgroups_root>/<container>`, once per hierarchy. Version 2: `<mount>/<cgroups_root>/<container>` has
//! limits and statistics, its child `leaf` has the processes. A nested container shares its parent's cgroup unless its
//! `LinuxInfo.share_cgroups` is false; then it has one of its own in `mezzo/<nested>` below its parent's.

mod amount;
mod cpu;
mod layout;
mod mem;
mod oom;
mod settings;

use mezzo_module_abi::export_module;

pub use cpu::CpuIsolator;
pub use mem::MemIsolator;

export_module! {
    isolator "cgroups/cpu" ("CPU shares, quotas and statistics by control groups") = CpuIsolator::new;
    isolator "cgroups/mem" ("memory limits and statistics by control groups") = MemIsolator::new;
}
