//! `mezzo modules list`: what the master and its agents have loaded, and how its calls went.

use mezzo_proto::module::v1::{ModuleKind, ModuleStatus};
use mezzo_proto::v1::GetModulesResponse;

use crate::{CliError, cluster, output};

/// One process and its modules.
struct Loaded {
    /// `master`, or the agent's id.
    process: String,
    address: String,
    answer: GetModulesResponse,
}

/// `mezzo modules list`.
pub(crate) async fn run(master: &str, json: bool) -> Result<u8, CliError> {
    let all = ask(master).await?;
    if json {
        for loaded in &all {
            let mut answer: serde_json::Value =
                serde_json::from_str(&mezzo_proto::json::to_string(&loaded.answer)?)
                    .unwrap_or_default();
            if let Some(answer) = answer.as_object_mut() {
                answer.insert("process".to_owned(), loaded.process.clone().into());
                answer.insert("address".to_owned(), loaded.address.clone().into());
            }
            output::answer(&answer.to_string());
        }
        return Ok(0);
    }
    let rows = all
        .iter()
        .flat_map(|loaded| loaded.answer.modules.iter().map(|module| row(&loaded.process, module)));
    let header = [
        "PROCESS", "NAME", "KIND", "VERSION", "ABI", "CALLS", "ERRORS", "PANICS", "RUNNING",
        "OVERDUE", "FILE",
    ];
    output::table(&header, rows);
    Ok(0)
}

/// Asks the master, and every agent that is connected to it.
async fn ask(masters: &str) -> Result<Vec<Loaded>, CliError> {
    let mut master = cluster::master(masters).await?;
    let answer = master.get_modules(()).await;
    let answer = answer.map_err(CliError::refused("cannot list the master's modules"))?;
    let mut all = vec![Loaded {
        process: "master".to_owned(),
        address: masters.to_owned(),
        answer: answer.into_inner(),
    }];
    let agents = master.get_agents(()).await.map_err(CliError::refused("cannot list agents"))?;
    for agent in agents.into_inner().agents.iter().filter(|agent| agent.active) {
        let address = cluster::address_of(agent);
        let process =
            agent.agent_info.id.as_ref().map_or_else(|| address.clone(), |id| id.value.clone());
        let answer = match cluster::agent(&address).await {
            Ok(mut client) => client
                .get_modules(())
                .await
                .map(tonic::Response::into_inner)
                .map_err(|status| status.message().to_owned()),
            Err(why) => Err(why),
        };
        match answer {
            Ok(answer) => all.push(Loaded { process, address, answer }),
            // One agent that does not answer is no reason not to tell of the others.
            Err(why) => output::remark(&format!("no answer from agent {process}: {why}")),
        }
    }
    Ok(all)
}

fn row(process: &str, module: &ModuleStatus) -> Vec<String> {
    let sum = |count: fn(&mezzo_proto::module::v1::MethodStatus) -> u64| {
        module.methods.iter().map(count).fold(0, u64::saturating_add).to_string()
    };
    let kind = match module.kind() {
        ModuleKind::Allocator => "allocator",
        ModuleKind::Isolator => "isolator",
        ModuleKind::Hook => "hook",
        ModuleKind::Unknown => "unknown",
    };
    vec![
        process.to_owned(),
        module.name().to_owned(),
        kind.to_owned(),
        module.version().to_owned(),
        module.abi().to_owned(),
        sum(|method| method.calls()),
        sum(|method| method.errors()),
        sum(|method| method.panics()),
        sum(|method| method.running()),
        sum(|method| method.overdue()),
        module.file().to_owned(),
    ]
}
