//! The master as a process.

use std::io::Write as _;
use std::process::ExitCode;

use mezzo_master::{Flags, app};
use mezzo_runtime::config;
use mezzo_runtime::errors::one_line;

fn main() -> ExitCode {
    let parsed = config::parse::<Flags>();
    match app::run(parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when even this fails.
            let _ = writeln!(std::io::stderr(), "mezzo-master: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
