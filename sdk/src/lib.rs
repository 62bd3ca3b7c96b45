//! What people write frameworks with: the half that decides (a scheduler) and the half that runs
//! (an executor), each as a trait with a driver that keeps the connection alive.
//!
//! * [`Scheduler`] and [`SchedulerDriver`]: subscribe to a master, receive offers, launch tasks.
//! * [`Executor`] and [`executor::run`]: run tasks on an agent and report their status.
//! * [`offers`]: pick the resources of a task out of offers, and describe tasks.
//! * [`sandbox`]: read what a task wrote.
//! * [`testing`]: a master that a test holds by its strings.
//!
//! [`v1`] holds the messages themselves, as masters and agents exchange them.
//!
//! **Invariant:** nothing here needs more than tokio and tonic, and the executor half starts no
//! thread and keeps no cache: it runs inside every task's container.

mod backoff;
mod errors;
pub mod executor;
pub mod offers;
pub mod sandbox;
pub mod scheduler;
mod states;
pub mod testing;

pub use bytes::Bytes;
pub use executor::Executor;
pub use mezzo_proto::v1;
pub use offers::{Packing, Task};
pub use scheduler::{Aborted, Framework, Handle, Scheduler, SchedulerDriver};
pub use states::is_terminal;
