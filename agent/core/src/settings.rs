//! What an agent is told once, when it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use mezzo_proto::v1::{AgentInfo, agent_info::capability};

/// How this agent is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host name, port, resources, attributes. The id is added when a master has given one.
    pub info: AgentInfo,
    /// What masters are told of the agent's version.
    pub version: String,
    /// What masters are told that the agent can do.
    pub capabilities: Vec<capability::Type>,
    /// The address that tasks without a network of their own have.
    pub ip: String,
    /// Where executors find the agent: `ip:port`.
    pub endpoint: String,
    /// Sandboxes are made under it.
    pub work_dir: String,
    /// The executor of tasks that bring only a command.
    pub command_executor: String,
    /// Tasks run as the user of their framework. Only for an agent that is root.
    pub switch_user: bool,
    /// Added to the environment of every executor.
    pub executor_environment: BTreeMap<String, String>,
    /// An executor that has not subscribed for the first time by then is destroyed.
    pub executor_registration_timeout: Duration,
    /// After a restart of the agent, an executor that has not subscribed again by then is destroyed.
    pub executor_reregistration_timeout: Duration,
    /// An executor that was asked to end and is still there after this is destroyed.
    pub executor_shutdown_grace_period: Duration,
    /// Told to executors: they end by themselves if the agent is away for longer.
    pub recovery_timeout: Duration,
    /// A module wants to see every task before it is launched.
    pub decorate_tasks: bool,
    /// A module wants to see every status update.
    pub decorate_statuses: bool,
    /// How much of what is over is remembered.
    pub history: History,
    /// New ids are made from it. Different for every start of a process.
    pub seed: [u64; 2],
}

/// How much of what is over is remembered.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Frameworks.
    pub frameworks: usize,
    /// Executors of each framework.
    pub executors: usize,
    /// Tasks of each executor.
    pub tasks: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { frameworks: 50, executors: 150, tasks: 200 }
    }
}
