//! `mezzo`: the command line for people.

use std::process::ExitCode;

use mezzo::args::Arguments;

/// Whatever went wrong before or beside the task: not an exit code that tasks have for themselves.
const FAILED: u8 = 125;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = mezzo_runtime::config::parse::<Arguments>().config;
    match mezzo::execute(arguments).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

#[allow(clippy::print_stderr, reason = "this is where people look for what went wrong")]
fn complain(error: &mezzo::CliError) {
    eprintln!("mezzo: {error}");
}
