//! Opens one module library in a process of its own, so that a bad one harms nobody else. Started by the processes that load
//! modules; see `mezzo_module_host::probe_main`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match mezzo_module_host::probe_main(&arguments, &mut std::io::stdout(), &mut std::io::stderr())
    {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}
