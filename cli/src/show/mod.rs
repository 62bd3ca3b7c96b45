//! Commands that look at a cluster: one question to the master, one answer.

mod lists;
mod logs;

use mezzo_proto::v1;
use mezzo_proto::v1::master::KillTaskRequest;

use crate::args::KillOptions;
use crate::{CliError, cluster, output};

pub(crate) use lists::{agents, frameworks, offers, tasks};
pub(crate) use logs::logs;

/// `mezzo kill`.
pub(crate) async fn kill(master: &str, options: KillOptions) -> Result<u8, CliError> {
    let mut client = cluster::master(master).await?;
    // Asked first, so that a wrong id is told in our own words.
    let found =
        cluster::find_task(&mut client, &options.task, options.framework.as_deref()).await?;
    let request = KillTaskRequest {
        framework_id: Some(found.task.framework_id),
        task_id: v1::TaskId { value: options.task.clone() },
    };
    client.kill_task(request).await.map_err(CliError::refused("cannot kill the task"))?;
    output::remark(&format!("asked for the end of {}", options.task));
    Ok(0)
}

/// `mezzo version`.
pub(crate) async fn version(master: &str, json: bool) -> Result<u8, CliError> {
    let client = env!("CARGO_PKG_VERSION");
    // A master that is not there is no reason not to tell our own version.
    let server = match cluster::master(master).await {
        Ok(mut connection) => connection.get_version(()).await.ok(),
        Err(_) => None,
    };
    let server = server.map(|answer| answer.into_inner().version_info.version);
    if json {
        output::answer(&serde_json::json!({ "mezzo": client, "master": server }).to_string());
    } else {
        output::answer(&format!("mezzo {client}"));
        if let Some(server) = server {
            output::answer(&format!("master {server} at {master}"));
        }
    }
    Ok(0)
}
