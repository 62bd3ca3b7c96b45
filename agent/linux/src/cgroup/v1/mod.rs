//! Version 1: one file of code per controller. Each type wraps the [`Cgroup`](super::Cgroup) in its own hierarchy.

mod blkio;
mod cpu;
mod cpuacct;
mod cpuset;
mod devices;
mod memory;
mod net_cls;
mod pids;
mod pressure;

pub use super::device::DEFAULT_DEVICES;
pub use blkio::{Blkio, BlkioValue};
pub use cpu::{Cpu, CpuStat};
pub use cpuacct::{Cpuacct, CpuacctStat};
pub use cpuset::Cpuset;
pub use devices::Devices;
pub use memory::{Memory, MemoryLimit};
pub use net_cls::NetCls;
pub use pids::Pids;
pub use pressure::{PressureCounter, PressureLevel};
