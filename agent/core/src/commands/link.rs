//! The connection to a master comes and goes.

use std::collections::BTreeMap;

use mezzo_proto::v1::link::{Register, Reregister, from_agent};
use mezzo_proto::v1::{ExecutorInfo, FrameworkId, FrameworkInfo, agent_info::Capability};

use crate::agent::{Agent, Phase};
use crate::effect::Effect;
use crate::executor::State;
use crate::framework::Framework;
use crate::timers::Timer;
use crate::turn::Turn;

/// The agent's first word: who it is and, if it was part of the cluster before, what it has.
pub(crate) fn up(agent: &mut Agent, turn: &mut Turn) {
    if matches!(agent.phase, Phase::Recovering | Phase::Terminating) {
        return turn
            .note("a connection to a master is not used by an agent that recovers or stops");
    }
    // What has ended is not on the list.
    agent.exits.clear();
    let capabilities: Vec<Capability> = agent
        .settings
        .capabilities
        .iter()
        .map(|c| Capability { r#type: Some((*c).into()) })
        .collect();
    let message = if agent.id.is_none() {
        from_agent::Message::Register(Register {
            agent_info: agent.info(),
            version: agent.settings.version.clone(),
            capabilities,
        })
    } else {
        from_agent::Message::Reregister(Reregister {
            agent_info: agent.info(),
            version: agent.settings.version.clone(),
            capabilities,
            frameworks: frameworks(agent),
            executors: executors(agent),
            tasks: agent.unfinished_tasks(),
        })
    };
    turn.push(Effect::ToMaster(message));
}

fn frameworks(agent: &Agent) -> Vec<FrameworkInfo> {
    agent.frameworks.values().filter(|f| !f.terminating).map(|f| f.info.clone()).collect()
}

/// Custom executors, and those that are about to be started: a master that is not told of them forgets them.
fn executors(agent: &Agent) -> Vec<ExecutorInfo> {
    let of_framework = |f: &Framework, info: &ExecutorInfo| {
        let framework_id = Some(FrameworkId { value: f.id.as_str().to_owned() });
        ExecutorInfo { framework_id, ..info.clone() }
    };
    let mut all = Vec::new();
    for framework in agent.frameworks.values() {
        let here = framework.executors.values();
        let here = here.filter(|e| !e.is_command() && e.state != State::Terminated);
        all.extend(here.map(|e| of_framework(framework, &e.info)));
        let mut coming: BTreeMap<&str, &ExecutorInfo> = BTreeMap::new();
        for launch in framework.launches.values().filter(|l| l.launch_executor) {
            let custom = launch.tasks.iter().filter_map(|t| t.executor.as_ref());
            coming.extend(
                launch.group.iter().chain(custom).map(|e| (e.executor_id.value.as_str(), e)),
            );
        }
        coming.retain(|id, _| !framework.executors.contains_key(*id));
        all.extend(coming.into_values().map(|e| of_framework(framework, e)));
    }
    all
}

/// Nothing is sent until a master registers the agent again.
pub(crate) fn down(agent: &mut Agent) {
    agent.linked = false;
    if agent.phase == Phase::Running {
        agent.phase = Phase::Disconnected;
    }
    for (key, stream) in &mut agent.streams {
        if let Some(at) = stream.retry_at.take() {
            agent.timers.cancel(at, Timer::Retry(key.0.clone(), key.1.clone()));
        }
        stream.restart();
    }
}
