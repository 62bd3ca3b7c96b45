//! A library with a tokio runtime of its own, which its host knows nothing of.

use std::time::Duration;

use mezzo_module_abi::export_module;
use mezzo_module_api::v1::{WatchRequest, WatchResponse};
use mezzo_module_api::{Completion, Host, Isolator, ModuleError, Parameters};
use tokio::runtime::{Builder, Runtime};

/// Answers after some milliseconds, as many as the container's id says.
struct Timer {
    /// Its threads end with the module; what they were about to answer is dropped, and thus fails.
    runtime: Runtime,
}

impl Isolator for Timer {
    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let id = request.container_id.unwrap_or_default().value;
        let Ok(millis) = id.parse() else {
            let error = ModuleError::invalid(format!("container `{id}`, expected milliseconds"));
            return done.complete(Err(error));
        };
        self.runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            let mut response = WatchResponse::default();
            let limitation = response.limitation.get_or_insert_default();
            limitation.message = Some(format!("{millis} ms are over"));
            done.complete(Ok(response));
        });
    }
}

fn timer(_: Host, parameters: Parameters) -> Result<Timer, ModuleError> {
    parameters.allow_only(&[])?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("fixture-timer")
        .enable_time()
        .build()
        .map_err(|error| ModuleError::internal(format!("no runtime: {error}")))?;
    Ok(Timer { runtime })
}

export_module! {
    isolator "fixture/timer" ("ends containers after a time") = timer;
}
