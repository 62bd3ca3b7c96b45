//! Lets hook modules see tasks, updates and ends of executors: in order, on a thread of its own, since they may take their time.

use std::collections::BTreeMap;
use std::sync::mpsc;

use mezzo_agent_core::{Command, ExecutorRemoved, Update};
use mezzo_containerizer::NamedHook;
use mezzo_module_api::v1::{
    AgentExecutorEnvironmentRequest, AgentRemoveExecutorRequest, AgentRunTaskLabelsRequest,
    AgentTaskStatusRequest,
};
use mezzo_module_api::{Code, ModuleError};
use mezzo_proto::v1::{AgentInfo, Environment, ExecutorInfo, FrameworkInfo, TaskInfo};
use mezzo_runtime::vital::Vital;

use crate::actor::Handle;

/// Jobs that wait at most. When hooks are slower than that, everything waits for them.
const JOBS: usize = 8192;

/// What hooks are asked about.
#[expect(clippy::large_enum_variant, reason = "most jobs are updates")]
enum Job {
    Tasks {
        token: u64,
        framework: Box<FrameworkInfo>,
        executor: Option<Box<ExecutorInfo>>,
        tasks: Vec<TaskInfo>,
    },
    Status(Update),
    ExecutorRemoved(Box<ExecutorRemoved>),
}

/// Asks the hooks. The answers go to the actor.
pub(crate) struct Hooks {
    jobs: mpsc::SyncSender<Job>,
}

impl Hooks {
    /// Starts the thread.
    pub(crate) fn start(
        hooks: Vec<NamedHook>,
        agent: AgentInfo,
        actor: Handle,
        vital: &Vital,
    ) -> std::io::Result<Self> {
        let (jobs, todo) = mpsc::sync_channel(JOBS);
        let worker = Worker { hooks, agent, actor };
        vital.thread("hooks", move || {
            for job in todo {
                worker.work(job);
            }
            Ok(())
        })?;
        Ok(Self { jobs })
    }

    pub(crate) fn tasks(
        &self,
        token: u64,
        framework: Box<FrameworkInfo>,
        executor: Option<Box<ExecutorInfo>>,
        tasks: Vec<TaskInfo>,
    ) {
        self.ask(Job::Tasks { token, framework, executor, tasks });
    }

    pub(crate) fn status(&self, update: Update) {
        self.ask(Job::Status(update));
    }

    pub(crate) fn executor_removed(&self, removed: Box<ExecutorRemoved>) {
        self.ask(Job::ExecutorRemoved(removed));
    }

    fn ask(&self, job: Job) {
        // The thread ends only with this sender.
        let _ = self.jobs.send(job);
    }
}

struct Worker {
    hooks: Vec<NamedHook>,
    agent: AgentInfo,
    actor: Handle,
}

impl Worker {
    fn work(&self, job: Job) {
        match job {
            Job::Tasks { token, framework, executor, tasks } => {
                let mut labels = BTreeMap::new();
                for mut task in tasks {
                    let before = task.labels.clone();
                    for hook in &self.hooks {
                        let answer = hook.hook.agent_run_task_labels(AgentRunTaskLabelsRequest {
                            task: Some(task.clone()),
                            executor: executor.as_deref().cloned(),
                            framework: Some((*framework).clone()),
                            agent: Some(self.agent.clone()),
                        });
                        if let Some(new) = taken(hook, answer).and_then(|a| a.labels) {
                            task.labels = Some(new);
                        }
                    }
                    if let Some(new) = task.labels.filter(|new| before.as_ref() != Some(new)) {
                        labels.insert(task.task_id.value, new);
                    }
                }
                self.actor.say_blocking(Command::TasksDecorated { token, labels });
            }
            Job::Status(mut update) => {
                for hook in &self.hooks {
                    let answer = hook.hook.agent_task_status(AgentTaskStatusRequest {
                        framework_id: Some(update.framework.clone().into()),
                        status: Some(update.status.clone()),
                    });
                    // Only these two are the hook's to change.
                    if let Some(new) = taken(hook, answer).and_then(|a| a.status) {
                        update.status.labels = new.labels.or(update.status.labels);
                        update.status.container_status =
                            new.container_status.or(update.status.container_status);
                    }
                }
                self.actor.say_blocking(Command::StatusDecorated(update));
            }
            Job::ExecutorRemoved(removed) => {
                for hook in &self.hooks {
                    let answer = hook.hook.agent_remove_executor(AgentRemoveExecutorRequest {
                        framework: Some(removed.framework.clone()),
                        executor: Some(removed.executor.clone()),
                        container_id: Some((&removed.container).into()),
                        directory: Some(removed.directory.clone()),
                    });
                    taken(hook, answer);
                }
            }
        }
    }
}

/// Lets the hooks change the environment of an executor. Blocks.
pub(crate) fn environment(
    hooks: &[NamedHook],
    executor: &ExecutorInfo,
    mut environment: Environment,
) -> Environment {
    for hook in hooks {
        let request = AgentExecutorEnvironmentRequest { executor: Some(executor.clone()) };
        if let Some(more) =
            taken(hook, hook.hook.agent_executor_environment(request)).and_then(|a| a.environment)
        {
            for variable in more.variables {
                environment.variables.retain(|v| v.name != variable.name);
                environment.variables.push(variable);
            }
        }
    }
    environment
}

/// The answer of a hook, if it has one. A hook that fails is passed over.
fn taken<T>(hook: &NamedHook, answer: Result<T, ModuleError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) if error.code == Code::Unimplemented => None,
        Err(error) => {
            tracing::warn!(hook = hook.name, "a hook failed and is passed over: {error}");
            None
        }
    }
}
