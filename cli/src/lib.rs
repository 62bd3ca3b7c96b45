//! The command line for people: start a cluster on this machine, run commands on a cluster, look at
//! it.
//!
//! | module | for |
//! |---|---|
//! | [`args`] | what can be written on the command line |
//! | [`local`] | `mezzo local`: the real master and agents as child processes |
//! | `run` | `mezzo run`: a framework that runs commands |
//! | `modules` | `mezzo modules`: what a library offers, what is loaded |
//! | `show` | `agents`, `frameworks`, `tasks`, `offers`, `logs`, `kill`, `version` |
//! | `cluster` | connections to a master and its agents |
//! | `output` | tables for people, JSON for programs |
//!
//! It is a library as well, so that whoever needs a cluster of real processes (the demo, a test)
//! starts it in the way that `mezzo local` does.

pub mod args;
mod cluster;
mod error;
pub mod local;
mod modules;
mod output;
mod run;
mod show;

pub use error::CliError;
pub use modules::{InspectError, NewModuleError};

use args::{Arguments, Command};

/// Does what the command line says and returns the exit code.
///
/// # Errors
/// If it could not be done; one line for people.
pub async fn execute(arguments: Arguments) -> Result<u8, CliError> {
    let Arguments { master, json, command } = arguments;
    match command {
        Command::Local(options) => local::run(options, json).await,
        Command::Run(options) => run::run(&master, options, json).await,
        Command::Agents => show::agents(&master, json).await,
        Command::Frameworks(options) => show::frameworks(&master, options, json).await,
        Command::Tasks(options) => show::tasks(&master, options, json).await,
        Command::Offers => show::offers(&master, json).await,
        Command::Logs(options) => show::logs(&master, options).await,
        Command::Kill(options) => show::kill(&master, options).await,
        Command::Modules(command) => modules::run(&master, command, json).await,
        Command::Version => show::version(&master, json).await,
    }
}
