//! Version 1: one file of code per controller. Each type wraps the [`Cgroup`](super::Cgroup) in its own hierarchy.

mod cpu;
mod cpuacct;
mod cpuset;
mod devices;
mod memory;
mod pids;

pub use cpu::{Cpu, CpuStat};
pub use cpuacct::{Cpuacct, CpuacctStat};
pub use cpuset::Cpuset;
pub use devices::{DEFAULT_DEVICES, Devices};
pub use memory::{Memory, MemoryLimit};
pub use pids::Pids;
