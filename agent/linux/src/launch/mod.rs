//! Starting a process in a container: the parent's side.
//!
//! The agent never forks: it spawns the tiny `mezzo-launcher` (by `posix_spawn`, which stays fast however big the agent is),
//! hands it a [`LaunchSpec`] through its standard input, attaches its pid to cgroups while it waits, and then says "go".
//! If the agent dies before that, the launcher sees the end of its input and exits; nothing of the task has run.
//!
//! ```text
//! agent                 mezzo-launcher                          the task's process
//!  spawn ───────────────▶ setsid, read the spec
//!  attach to cgroups      (waits)
//!  go() ────────────────▶ fork (in a new pid namespace) ───────▶ own session, namespaces, mounts, limits, user, exec
//!                         passes SIGTERM on, reaps               …
//!                         writes the status file ◀────────────── ends
//!  pidfd readable ◀────── ends the same way
//! ```
//! The launcher's life is the container's life: when it is killed, the task's process dies with it. After a restart of the
//! agent the pid and start time are enough to adopt it again; the status file then tells how it ended.

mod locate;
mod record;
mod spawn;
mod spec;

pub use locate::{LAUNCHER, find_launcher};
pub(crate) use record::write_atomically;
pub use record::{read_pid_file, read_status_file};
pub(crate) use spawn::{GO, MAX_SPEC_BYTES};
pub use spawn::{LaunchError, SpawnedLauncher, spawn};
pub use spec::{
    LaunchSpec, MountSpec, Namespaces, Propagation, Rlimit, RlimitKind, SpecError, Stream,
};

/// Exit status of the launcher when the container could not be set up; the reason is one sentence on its stderr.
pub const EXIT_SETUP_FAILED: u8 = 125;
/// Exit status when the program was found but cannot be executed.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit status when the program was not found.
pub const EXIT_NOT_FOUND: u8 = 127;
