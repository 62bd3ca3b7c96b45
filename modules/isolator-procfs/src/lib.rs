//! Isolator `mem/procfs`: memory limits by looking at process trees, as YARN's NodeManager does it. Needs no cgroups and no
//! privilege; in return it sees only what is there at the moment of a look.
//!
//! Every few seconds all processes of every container are added up: their virtual memory and their physical. A container that
//! is over one of its limits ends with `REASON_CONTAINER_LIMITATION_MEMORY`, and with a message that shows all its processes.
//! A fork that doubles memory for a moment is forgiven; the rules are in `monitor.rs`.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `interval` | `3secs` | From the end of a round to the next; `0secs`: no rounds, nothing is limited. |
//! | `pmem_check_enabled` | `true` | Physical memory is limited: to the container's limit, else its request. |
//! | `vmem_check_enabled` | `true` | Virtual memory is limited: to the physical limit times the ratio. |
//! | `vmem_pmem_ratio` | `2.1` | The ratio; at least 1. Programs that reserve much and use little need more, or no check. |
//! | `measure` | `procfs` | How processes are measured: `procfs`, `smaps` or `command:PROGRAM` (what the program has to print is in `measure/command.rs`). |
//! | `smaps_rule` | `newer` | With `smaps`, what of a mapping counts: `older` or `newer`. |
//! | `measure_timeout` | `1secs` | How long a program may take for one container. |
//!
//! YARN leaves the limits to the kernel when its "strict" or "elastic" cgroup modes are on. Here that is a choice of isolators:
//! `cgroups/mem` is the kernel's limit, `mem/procfs` this one, and with both whichever is reached first ends the container.

mod cpu;
mod isolator;
mod measure;
mod monitor;
mod process;
mod report;
mod settings;

use mezzo_module_abi::export_module;

pub use isolator::ProcfsIsolator;

export_module! {
    isolator "mem/procfs" ("memory limits by looking at process trees") = ProcfsIsolator::new;
}
