//! Connections to a master and its agents.

use std::time::Duration;

use mezzo_proto::v1;
use mezzo_proto::v1::agent::agent_service_client::AgentServiceClient;
use mezzo_proto::v1::master::master_service_client::MasterServiceClient;
use mezzo_proto::v1::master::response;
use tonic::transport::{Channel, Endpoint};

use crate::CliError;

/// An answer with all tasks of a large cluster is large.
const LARGEST_MESSAGE: usize = 1 << 30;
const CONNECT: Duration = Duration::from_secs(5);

/// A connection to the first master of the list that answers.
pub(crate) async fn master(masters: &str) -> Result<MasterServiceClient<Channel>, CliError> {
    let mut failure = "the address is empty".to_owned();
    for address in masters.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        match connect(address).await {
            Ok(channel) => {
                let client = MasterServiceClient::new(channel);
                return Ok(client.max_decoding_message_size(LARGEST_MESSAGE));
            }
            Err(why) => failure = why,
        }
    }
    Err(CliError::NoMaster { address: masters.to_owned(), why: failure })
}

/// A connection to an agent.
pub(crate) async fn agent(address: &str) -> Result<AgentServiceClient<Channel>, String> {
    let client = AgentServiceClient::new(connect(address).await?);
    Ok(client.max_decoding_message_size(LARGEST_MESSAGE))
}

async fn connect(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| "the address is not HOST:PORT".to_owned())?;
    endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(|error| innermost(&error))
}

/// The innermost cause is what people want to know ("connection refused").
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A task wherever the master has it, with the address of its agent.
pub(crate) struct Found {
    pub(crate) task: v1::Task,
    pub(crate) agent_address: Option<String>,
}

/// Finds a task by its id.
pub(crate) async fn find_task(
    client: &mut MasterServiceClient<Channel>,
    id: &str,
    framework: Option<&str>,
) -> Result<Found, CliError> {
    let answer = client.get_tasks(()).await.map_err(CliError::refused("cannot list tasks"))?;
    let task = pick(answer.into_inner(), id, framework)?;
    let answer = client.get_agents(()).await.map_err(CliError::refused("cannot list agents"))?;
    let agents = answer.into_inner().agents;
    let agent = agents.iter().find(|agent| agent.agent_info.id.as_ref() == Some(&task.agent_id));
    Ok(Found { agent_address: agent.map(address_of), task })
}

/// The one task of this id: a living one before those that have ended.
fn pick(
    tasks: response::GetTasks,
    id: &str,
    framework: Option<&str>,
) -> Result<v1::Task, CliError> {
    let wanted = |task: &v1::Task| {
        task.task_id.value == id && framework.is_none_or(|f| task.framework_id.value == f)
    };
    let living = tasks.tasks.into_iter().chain(tasks.unreachable_tasks).filter(wanted);
    let mut found: Vec<v1::Task> = living.collect();
    if found.is_empty() {
        found = tasks.completed_tasks.into_iter().filter(wanted).collect();
    }
    let mut frameworks: Vec<String> =
        found.iter().map(|task| task.framework_id.value.clone()).collect();
    frameworks.sort();
    frameworks.dedup();
    if frameworks.len() > 1 {
        let frameworks = frameworks.join(", ");
        return Err(CliError::Ambiguous { task: id.to_owned(), frameworks });
    }
    // Ids of ended tasks may be used again; the newest is last.
    found.pop().ok_or_else(|| CliError::NoTask { task: id.to_owned() })
}

/// `host:port` of an agent. Its pid (`slave(1)@ip:port`) has the address that the master uses.
pub(crate) fn address_of(agent: &response::get_agents::Agent) -> String {
    match agent.pid.as_deref().and_then(|pid| pid.split_once('@')) {
        Some((_, address)) => address.to_owned(),
        None => format!("{}:{}", agent.agent_info.hostname, agent.agent_info.port()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn task(id: &str, framework: &str, name: &str) -> v1::Task {
        v1::Task {
            task_id: v1::TaskId { value: id.to_owned() },
            framework_id: v1::FrameworkId { value: framework.to_owned() },
            name: name.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_living_task_is_found_before_an_ended_one_of_the_same_id() {
        let tasks = response::GetTasks {
            tasks: vec![task("t", "f", "living")],
            completed_tasks: vec![task("t", "f", "ended")],
            ..Default::default()
        };
        assert_eq!(pick(tasks, "t", None).unwrap().name, "living");
    }

    #[test]
    fn the_newest_of_ended_tasks_is_found() {
        let completed_tasks = vec![task("t", "f", "first"), task("t", "f", "second")];
        let tasks = response::GetTasks { completed_tasks, ..Default::default() };
        assert_eq!(pick(tasks, "t", None).unwrap().name, "second");
    }

    #[test]
    fn an_id_in_two_frameworks_needs_the_framework() {
        let tasks = response::GetTasks {
            tasks: vec![task("t", "f1", "one"), task("t", "f2", "two")],
            ..Default::default()
        };
        let error = pick(tasks.clone(), "t", None).unwrap_err().to_string();
        assert!(error.contains("f1, f2") && error.contains("--framework"), "{error}");
        assert_eq!(pick(tasks, "t", Some("f2")).unwrap().name, "two");
    }

    #[test]
    fn an_agents_address_is_taken_from_its_pid() {
        let mut agent = response::get_agents::Agent::default();
        agent.agent_info.hostname = "box".to_owned();
        assert_eq!(address_of(&agent), "box:5051");
        agent.pid = Some("slave(1)@10.0.0.1:7000".to_owned());
        assert_eq!(address_of(&agent), "10.0.0.1:7000");
    }
}
