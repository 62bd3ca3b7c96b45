//! `mezzo modules`: what a library of modules offers, and what a cluster has loaded.

mod inspect;
mod list;

pub use inspect::InspectError;

use crate::CliError;
use crate::args::ModulesCommand;

/// Does one of them.
pub(crate) async fn run(master: &str, command: ModulesCommand, json: bool) -> Result<u8, CliError> {
    match command {
        ModulesCommand::Inspect(options) => inspect::run(options, json).await,
        ModulesCommand::List => list::run(master, json).await,
    }
}
