//! Hooks `environment` and `labels`: what an operator wants every executor, task and update to carry.
//!
//! `environment` sets variables:
//!
//! | parameter | meaning |
//! |---|---|
//! | `variable` | `NAME=value`: a variable of every executor, and so of what it starts. The executor's own `CommandInfo` wins over it. May be given more than once. |
//! | `task_variable` | `NAME=value`: a variable of the task alone, not of its executor. The task's own `CommandInfo` wins over it. May be given more than once. |
//!
//! `labels` keeps the labels that are there, but for those it was told about:
//!
//! | parameter | meaning |
//! |---|---|
//! | `label` | `key=value` or `key`: put there; all others of that key go. May be given more than once, with different keys. |
//! | `remove` | `key`: all labels of that key go. May be given more than once. |
//! | `at` | `task` (the default): on tasks, as the master sends them (a master's `--hooks`) or as they come in (an agent's). `status`: on the status updates an agent handles. May be given more than once. |
//!
//! Frameworks are not told of labels that were put on their tasks, but see those of status updates. The same rules applied
//! twice (in the master and again in the agent) do no more than once.

mod environment;
mod labels;

use mezzo_module_abi::export_module;

pub use environment::EnvironmentHook;
pub use labels::LabelsHook;

/// What a master is called among the processes that load modules.
const MASTER: &str = "mezzo-master";

export_module! {
    hook "environment" ("sets environment variables of executors and tasks") = EnvironmentHook::new;
    hook "labels" ("adds and removes labels of tasks and status updates") = LabelsHook::new;
}
