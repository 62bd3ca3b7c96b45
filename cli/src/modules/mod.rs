//! `mezzo modules`: what a library of modules offers, what a cluster has loaded, and a new module to begin with.

mod inspect;
mod list;
mod new;

pub use inspect::InspectError;
pub use new::NewModuleError;

use crate::CliError;
use crate::args::ModulesCommand;

/// Does one of them.
pub(crate) async fn run(master: &str, command: ModulesCommand, json: bool) -> Result<u8, CliError> {
    match command {
        ModulesCommand::Inspect(options) => inspect::run(options, json).await,
        ModulesCommand::New(options) => new::run(&options, json),
        ModulesCommand::List => list::run(master, json).await,
    }
}
