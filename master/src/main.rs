//! The master as a process.

use std::process::ExitCode;

use mezzo_master::{Flags, app};
use mezzo_runtime::config;

fn main() -> ExitCode {
    let parsed = config::parse::<Flags>();
    match app::run(parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            app::complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
