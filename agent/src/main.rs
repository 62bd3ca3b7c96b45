//! `mezzo-agent`: flags in, exit code out.

use std::process::ExitCode;

use mezzo_agent::Agent;
use mezzo_agent::flags::Flags;
use mezzo_runtime::errors::one_line;
use mezzo_runtime::shutdown::Shutdown;
use mezzo_runtime::{config, telemetry};

fn main() -> ExitCode {
    let flags = config::parse::<Flags>();
    // Two workers are enough for one agent, and each costs memory.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(flags));
            // A call that hangs inside a module would never let it end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(format!("cannot start the runtime: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            // Also when logging is off or not yet set up, exactly one line says why.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("mezzo-agent: {line}\n").as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: config::Parsed<Flags>) -> Result<(), String> {
    let telemetry = telemetry::init("mezzo-agent", &flags.config.telemetry)
        .map_err(|error| one_line(&error))?;
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let outcome = match Agent::start(flags, shutdown).await {
        Ok(agent) => agent.run().await,
        Err(error) => Err(one_line(&error)),
    };
    telemetry.finish().await;
    outcome
}
