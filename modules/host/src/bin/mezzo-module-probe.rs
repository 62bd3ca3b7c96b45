//! Opens one module library in a process of its own, so that a bad one harms nobody else. Started by the processes that load
//! modules, and by `mezzo modules inspect`; see `mezzo_module_host::probe_main`.

use std::fs::File;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let answered = answers()
        .and_then(|mut out| mezzo_module_host::probe_main(&arguments, &mut out, &mut io::stderr()));
    match answered {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Where the answer goes. What the library prints does not go there: `stdout` is `stderr` from here on.
fn answers() -> io::Result<File> {
    let answers = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(answers.into())
}
