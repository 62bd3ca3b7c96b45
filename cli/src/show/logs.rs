//! `mezzo logs`: what a task wrote, and what it goes on to write.

use std::time::Duration;

use mezzo_sdk::sandbox::{Sandbox, SandboxError};

use crate::args::LogsOptions;
use crate::{CliError, cluster, output};

/// How often a file is looked at for more.
const INTERVAL: Duration = Duration::from_millis(300);

/// `mezzo logs`.
pub(crate) async fn logs(master: &str, options: LogsOptions) -> Result<u8, CliError> {
    let framework = options.framework.as_deref();
    let mut client = cluster::master(master).await?;
    let found = cluster::find_task(&mut client, &options.task, framework).await?;
    let Some(address) = found.agent_address else {
        let path = format!("the sandbox of {} (its agent is not connected)", options.task);
        return Err(SandboxError::NotFound { path }.into());
    };
    let task = found.task;
    // A command task has no executor of its own: its executor has the id of the task.
    let executor = match &task.executor_id {
        Some(executor) if !executor.value.is_empty() => executor.value.as_str(),
        _ => task.task_id.value.as_str(),
    };
    let mut sandbox = Sandbox::connect(&address, &task.framework_id, executor).await?;
    let file = if options.stderr { "stderr" } else { "stdout" };
    let mut offset = 0;
    let mut ended = false;
    loop {
        let content = match sandbox.read_from(file, offset).await {
            Ok(content) => content,
            // A task that has just been launched has written nothing yet.
            Err(SandboxError::NotFound { .. }) if options.follow && !ended => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        offset += content.len() as u64;
        output::bytes(false, &content);
        if !options.follow || ended {
            return Ok(0);
        }
        tokio::time::sleep(INTERVAL).await;
        // What was written before the end is read once more after it.
        let now = cluster::find_task(&mut client, &options.task, framework).await;
        ended = now.map_or(true, |now| mezzo_sdk::is_terminal(now.task.state()));
    }
}
