//! A master for tests of frameworks: a real gRPC server in this process, without a cluster behind.
//!
//! The test is the cluster: it sends offers, updates and anything else, drops the connection,
//! stops the heartbeats, and looks at what the framework asked for.
//!
//! ```
//! # use mezzo_sdk::{Framework, Handle, Packing, Scheduler, SchedulerDriver, Task, testing, v1};
//! # struct One;
//! # impl Scheduler for One {
//! #     fn offers(&mut self, handle: &Handle, offers: Vec<v1::Offer>) {
//! #         let mut packing = Packing::new(offers);
//! #         packing.place(&Task::shell("true").id("t1"));
//! #         packing.launch(handle);
//! #     }
//! #     fn status_update(&mut self, handle: &Handle, status: v1::TaskStatus) {
//! #         if status.state() == v1::TaskState::TaskFinished { handle.teardown(); }
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let master = testing::FakeMaster::start().await?;
//! let driver = SchedulerDriver::new(master.address(), Framework::new("under-test"));
//! let framework = tokio::spawn(driver.run(One));
//!
//! master.subscription().await;
//! master.offer([testing::offer("o1", "agent-1", &[("cpus", 1.0), ("mem", 64.0)])]);
//! let task = master.launched().await;
//! master.update(&task, v1::TaskState::TaskFinished);
//! framework.await??;
//! # Ok(()) }
//! ```

mod master;
mod messages;
mod service;

pub use self::master::FakeMaster;
pub use self::messages::{event, offer, update};
