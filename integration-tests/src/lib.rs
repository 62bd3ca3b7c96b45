//! What the tests of whole processes stand on: a real cluster of real binaries, started beside this
//! program's executable, watched through its API and its logs, and gone without a trace when the
//! test ends.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use mezzo_integration_tests::{Cluster, until};
//!
//! let mut cluster = Cluster::builder().agents(2).start().await?;
//! cluster.kill_agent(0)?;
//! cluster.start_agent(0).await?;
//! let master = cluster.master().await?;
//! until("both agents are back", async || {
//!     let agents = master.clone().get_agents(()).await?.into_inner().agents;
//!     Ok((agents.iter().filter(|a| a.active).count() == 2).then_some(()))
//! })
//! .await?;
//! # Ok(()) }
//! ```

mod cleanup;
mod cluster;
mod finished;
mod http;
mod modules;
mod process;
mod wait;

pub use cluster::{Builder, Cluster};
pub use finished::{Finished, finished};
pub use http::http_get;
pub use modules::{TEST_MODULES, library, manifest};
pub use process::{Process, binary, cpu_seconds, resident_mib};
pub use wait::{slowness, until};
