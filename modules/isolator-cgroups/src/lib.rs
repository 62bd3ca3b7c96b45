//! Isolators `cgroups/…`: containers in control groups, version 1 or 2, whichever is mounted.
//!
//! All are one isolator with one subsystem or, `cgroups/all`, with every subsystem that this machine has.
//!
//! | isolator | what it does | version 1 | version 2 |
//! |---|---|---|---|
//! | `cgroups/cpu` | A share of the CPUs by request; a hard quota when a limit is given or `cgroups_enable_cfs` is set. CPU time and throttling in the statistics. | `cpu`, `cpuacct` | `cpu` |
//! | `cgroups/mem` | A hard memory limit, which is never lowered under a running container, and a softer one at the request. A container that hits its limit ends with `REASON_CONTAINER_LIMITATION_MEMORY` and a message that says what it used. Memory and (version 1) memory pressure in the statistics. | `memory` | `memory` |
//! | `cgroups/pids` | A limit on processes and threads (those of the executor and the launcher are among them: three or four) for the container that asks for one: by the resource `pids`, which the operator declares as in `--resources=…;pids:4096`, or by `limits["pids"]`. Beyond it, fork fails; how often is the counter `forks_refused`. | `pids` | `pids` |
//! | `cgroups/cpuset` | Containers are in the controller, with all CPUs and memory nodes. | `cpuset` | `cpuset` |
//! | `cgroups/devices` | No device nodes but the usual ones and `allowed_devices`. | `devices` | a program (eBPF) attached to the container's cgroup, where it stays while the agent restarts |
//! | `cgroups/blkio` | What was read from and written to block devices, in the statistics. | `blkio` | `io` |
//! | `cgroups/net_cls` | A number on every packet, if there is a primary handle; told in the container's status. | `net_cls` | no |
//! | `cgroups/perf_event` | Performance counters in the statistics, if there are `perf_events`. Runs `perf`. | `perf_event` | always there |
//! | `cgroups/hugetlb` | Containers are in the controller. | `hugetlb` | `hugetlb` |
//! | `cgroups/all` | All of these that this machine has. One that it has not got but that a parameter asks for is an error. | | |
//!
//! Every isolator takes every parameter, and looks at those of its own:
//!
//! | parameter | default | of | meaning |
//! |---|---|---|---|
//! | `cgroups_root` | `mezzo` | all | The cgroup under which containers live, in every hierarchy. |
//! | `cgroups_hierarchy` | found | all | Where the version-1 hierarchies are mounted (`/sys/fs/cgroup`: then `cpu` is `/sys/fs/cgroup/cpu`), or the one of version 2. |
//! | `cgroups_destroy_timeout` | `1mins` | all | How long killing what is in a container's cgroups and removing them may take. |
//! | `cgroups_enable_cfs` | `false` | cpu | A container without a CPU limit gets its request as a hard quota. |
//! | `cgroups_cpu_enable_pids_and_tids_count` | `false` | cpu | Count processes and threads in the statistics. |
//! | `revocable_cpu_low_priority` | `true` | cpu | A container with revocable CPUs gets a hundredth of the share. |
//! | `cgroups_limit_swap` | `false` | mem | Version 1: memory plus swap gets the memory limit. |
//! | `pids_max` | none | pids | The limit of containers that ask for none. |
//! | `allowed_devices` | none | devices | More devices, as JSON or as the path of a file of it: `{"allowed_devices":[{"device":{"path":"/dev/kvm"},"access":{"read":true,"write":true}}]}`. Each must exist and allow at least one of `read`, `write`, `mknod`. |
//! | `cgroups_net_cls_primary_handle` | none | net_cls | The upper 16 bits of every container's number, such as `0x0012`. |
//! | `cgroups_net_cls_secondary_handles` | `0x0001,0xffff` | net_cls | The first and the last of the lower 16 bits. |
//! | `perf_events` | none | perf_event | What is counted, such as `cycles,task-clock` (see `perf list`). |
//! | `perf_interval` | `60secs` | perf_event | From the beginning of a sample to that of the next. |
//! | `perf_duration` | `10secs` | perf_event | How long a sample counts. |
//!
//! Version 1: `<hierarchy>/<cgroups_root>/<container>`, once per hierarchy. Version 2: `<mount>/<cgroups_root>/<container>` has
//! limits and statistics, its child `leaf` has the processes. A nested container shares its parent's limits unless its
//! `LinuxInfo.share_cgroups` is false; then it has cgroups of its own in `mezzo/<nested>` below its parent's. In version 2 one
//! that shares has a cgroup there too, without controllers: there it can be found and killed.
//!
//! A container that was started by an earlier life of the agent with fewer subsystems lives on without the others.

mod alarm;
mod amount;
mod container;
mod isolator;
mod layout;
mod settings;
mod subsystem;
mod subsystems;
mod watcher;

use mezzo_module_abi::export_module;

pub use isolator::CgroupsIsolator;

export_module! {
    isolator "cgroups/cpu" ("CPU shares, quotas and statistics by control groups") = CgroupsIsolator::cpu;
    isolator "cgroups/mem" ("memory limits and statistics by control groups") = CgroupsIsolator::mem;
    isolator "cgroups/pids" ("limits on the number of processes by control groups") = CgroupsIsolator::pids;
    isolator "cgroups/cpuset" ("containers in the cpuset controller") = CgroupsIsolator::cpuset;
    isolator "cgroups/devices" ("which device nodes may be used, by control groups") = CgroupsIsolator::devices;
    isolator "cgroups/blkio" ("statistics of block devices by control groups") = CgroupsIsolator::blkio;
    isolator "cgroups/net_cls" ("a number on every packet of a container") = CgroupsIsolator::net_cls;
    isolator "cgroups/perf_event" ("performance counters of containers") = CgroupsIsolator::perf_event;
    isolator "cgroups/hugetlb" ("containers in the hugetlb controller") = CgroupsIsolator::hugetlb;
    isolator "cgroups/all" ("every control group subsystem of this machine") = CgroupsIsolator::all;
}
