//! What Mezzo asks of Linux: cgroups, namespaces, mounts, processes, users and safe file reading.
//!
//! Paths and file descriptors go in, typed results come out. Nothing here knows a word of the scheduler's domain, and
//! nothing here is async: every call is a short system call or a bounded retry, made to be run from a blocking thread.
//! What has to be *waited* for is handed out as a file descriptor that becomes readable.
//!
//! | module | in | out |
//! |---|---|---|
//! | [`cgroup`] | a directory in a hierarchy | limits, statistics, out-of-memory events, "kill everything inside" |
//! | [`procfs`] | a pid | parsed `/proc` files, host memory, CPUs, boot id |
//! | [`process`] | a pid | a pidfd that cannot be confused by pid reuse, signals to trees and sessions, wait statuses |
//! | [`user`] | a user name | uid, gid, supplementary groups |
//! | [`launch`] | a [`launch::LaunchSpec`] | a waiting `mezzo-launcher`, then "go" |
//! | [`sandbox`] | a directory | reads that cannot leave it and never block |
//! | [`project_quota`] | a directory on XFS | its project, limits and use of disk that the kernel counts |
//! | [`background`] | the calling thread | it gives way to others |
//!
//! # A container, start to end
//! ```no_run
//! use mezzo_linux::{cgroup, launch, process};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let Some(cgroup::Hierarchies::V1(v1)) = cgroup::detect()? else { return Ok(()) };
//! let cpu = cgroup::v1::Cpu::new(v1.cgroup("cpu", "mezzo/some-container")?);
//! cpu.cgroup().create()?;
//! cpu.set_shares(0.5)?;
//!
//! let spec = launch::LaunchSpec::new("/bin/sh", ["sh", "-c", "exit 3"]);
//! let out = std::fs::File::create("stdout")?;
//! let err = std::fs::File::create("stderr")?;
//! let waiting = launch::spawn(&launch::find_launcher()?, &spec, out, err)?;
//! cpu.cgroup().attach(waiting.pid())?; // still before anything of the task runs
//! let running: process::ProcessHandle = waiting.go()?; // AsFd: readable when it has ended
//! let status = running.wait()?;
//! assert_eq!(status.exit_code(), Some(3));
//! cpu.cgroup().kill(std::time::Duration::from_secs(60))?;
//! cpu.cgroup().remove(std::time::Duration::from_secs(60))?;
//! # Ok(())
//! # }
//! ```

mod error;
mod file;
mod retry;

pub mod background;
pub mod cgroup;
pub mod launch;
pub mod launcher;
pub mod process;
pub mod procfs;
pub mod project_quota;
pub mod sandbox;
pub mod user;

pub use error::Error;

/// What most functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
