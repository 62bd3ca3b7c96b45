//! The command executor: runs one task for an agent and reports how it goes.
//!
//! | file | idea |
//! |---|---|
//! | `core` | what to do when something happens: pure decisions |
//! | `run` | the loop around it |
//! | `agent` | the stream to the agent |
//! | `updates` | what is not acknowledged is sent again |
//! | `command`, `processes` | the task's processes: start, signal, reap |
//! | `settings`, `wording` | what comes in by the environment; what goes out as text |
//!
//! One such process exists per task, so it is made to be small: one thread, no logging, nothing that is not needed.

mod agent;
mod command;
mod core;
mod processes;
mod run;
mod settings;
mod updates;
mod wording;

use std::process::ExitCode;

use settings::Settings;

fn main() -> ExitCode {
    let outcome = Settings::read(|name| std::env::var(name).ok()).and_then(|settings| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("cannot start: {e}"))?
            .block_on(run::run(settings))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Says something in the sandbox's `stderr`, where whoever looks for the reason of a failure looks first.
#[expect(clippy::print_stderr, reason = "the sandbox's stderr is this program's log")]
fn complain(message: &str) {
    eprintln!("mezzo-executor: {message}");
}
