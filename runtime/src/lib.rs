//! What any process of a distributed system needs and none should write twice. Knows no word of the domain, and imports
//! nothing of ours.
//!
//! | module | for |
//! |---|---|
//! | [`config`] | flags by command line, environment and file, one-line errors, generated tables |
//! | [`shutdown`] | one token to stop everything, triggered by signals |
//! | [`task`] | named tasks with rules for errors and shutdown |
//! | [`clock`] | time as a value |
//! | [`telemetry`] | logs, traces, panics |
//! | [`metrics`] | numbers for Prometheus |
//! | [`serve`] | one port for gRPC and HTTP |
//! | [`layers`] | trace, panic fence, size limit, deadline around every call |
//! | [`status`] | failed calls with details |
//! | [`lanes`] | calls into code that may not come back |
//! | [`vital`] | threads whose end is the end of the process |
//! | [`errors`] | an error and its causes in one line |
//!
//! A process is put together like this:
//!
//! ```no_run
//! use mezzo_runtime::{config, metrics::Metrics, serve, shutdown::Shutdown, task::Tasks, telemetry};
//!
//! /// Sells things.
//! #[derive(clap::Parser)]
//! struct Flags {
//!     /// Address to bind.
//!     #[arg(long, default_value = "127.0.0.1")]
//!     ip: std::net::IpAddr,
//!     /// Port to bind.
//!     #[arg(long, default_value_t = 5050)]
//!     port: u16,
//!     /// How long to wait for a customer.
//!     #[arg(long, default_value = "15secs")]
//!     patience: config::DurationArg,
//!     #[command(flatten)]
//!     telemetry: telemetry::TelemetryFlags,
//! }
//!
//! # async fn open_doors() -> Result<(), String> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let flags = config::parse::<Flags>().config;
//!     let telemetry = telemetry::init("shop", &flags.telemetry)?;
//!     let shutdown = Shutdown::new();
//!     shutdown.listen_for_signals()?;
//!     let tasks = Tasks::new(shutdown.clone());
//!     let listener = serve::bind((flags.ip, flags.port).into()).await?;
//!     tasks.spawn("doors", open_doors());
//!     serve::Server::new(Metrics::new("shop")).serve(listener, shutdown).await?;
//!     if let Err(late) = tasks.finish(std::time::Duration::from_secs(5)).await {
//!         tracing::warn!("{late}");
//!     }
//!     telemetry.finish().await;
//!     Ok(())
//! }
//! ```

pub mod clock;
pub mod config;
pub mod errors;
pub mod lanes;
pub mod layers;
pub mod metrics;
pub mod serve;
pub mod shutdown;
pub mod status;
pub mod task;
pub mod telemetry;
pub mod vital;
