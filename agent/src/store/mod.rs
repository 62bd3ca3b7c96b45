//! Checkpoints: everything an agent needs to go on after it was killed at any instant.
//!
//! ```text
//! <work_dir>/meta/
//!   lock                                   held while an agent lives
//!   boot_id                                of the boot in which this was written
//!   agents/latest -> <agent>
//!   agents/<agent>/agent.info              AgentCheckpoint
//!     frameworks/<framework>/framework.info                    FrameworkCheckpoint
//!       executors/<executor>/runs/<container>/journal          RunRecord, appended
//! ```
//! Files that are replaced are written beside their place and renamed. Journals are appended to with one write for each
//! record; a record that was torn by the end of the process is not read and cut off. Nothing is synced to the disk: what a
//! process has written survives its own end, and after the end of the machine nothing of it runs any more.

mod journal;
mod layout;
mod lock;
mod recover;
mod writer;

pub(crate) use layout::{LATEST, Layout};
pub(crate) use lock::Lock;
pub use lock::LockError;
pub use recover::RecoverError;
pub(crate) use recover::{Found, recover};
pub use writer::WriteError;
pub(crate) use writer::{Writer, link, write_boot_id};
