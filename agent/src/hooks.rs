//! Lets hook modules see tasks, updates and ends of executors.
//!
//! Decorators of tasks and updates are called one after the other, by a task of its own: they must not block, and what comes
//! after has to come in order. One that does not come back is passed over from then on, until it does. The end of an executor
//! is told in a task for each, since hooks may take their time there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mezzo_agent_core::{Command, ExecutorRemoved, Update};
use mezzo_containerizer::{AnyHook, NamedHook};
use mezzo_module_api::v1::{
    AgentExecutorEnvironmentRequest, AgentRemoveExecutorRequest, AgentRunTaskLabelsRequest,
    AgentTaskStatusRequest,
};
use mezzo_module_api::{ModuleError, if_implemented};
use mezzo_proto::v1::{
    AgentInfo, CommandInfo, Environment, ExecutorInfo, FrameworkInfo, Labels, TaskInfo,
};
use mezzo_runtime::task::{OnError, Tasks};
use tokio::sync::mpsc;

use crate::actor::Handle;

/// Jobs that wait at most. When hooks are slower than that, everything waits for them.
const JOBS: usize = 8192;

/// How long hooks may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Those that must not block.
    pub(crate) prompt: Duration,
    /// Those that may.
    pub(crate) blocking: Duration,
}

/// What hooks are asked about, in order.
#[expect(clippy::large_enum_variant, reason = "most jobs are updates")]
enum Job {
    Tasks {
        token: u64,
        framework: Box<FrameworkInfo>,
        executor: Option<Box<ExecutorInfo>>,
        tasks: Vec<TaskInfo>,
    },
    Status(Update),
}

/// Asks the hooks. The answers go to the actor.
pub(crate) struct Hooks {
    jobs: mpsc::Sender<Job>,
    hooks: Arc<[NamedHook]>,
    tasks: Tasks,
    runtime: tokio::runtime::Handle,
    patience: Patience,
}

impl Hooks {
    /// Starts the task. Within the runtime.
    pub(crate) fn start(
        hooks: Arc<[NamedHook]>,
        agent: AgentInfo,
        actor: Handle,
        tasks: Tasks,
        patience: Patience,
    ) -> Self {
        let (jobs, mut todo) = mpsc::channel(JOBS);
        // One call at a time: the first that hangs closes the lane.
        let ordered = hooks.iter().map(|hook| hook.with_places(1)).collect();
        let worker = Worker { hooks: ordered, agent, actor, patience: patience.prompt };
        tasks.task("hooks").on_error(OnError::Shutdown).spawn(async move {
            while let Some(job) = todo.recv().await {
                worker.work(job).await;
            }
        });
        let runtime = tokio::runtime::Handle::current();
        Self { jobs, hooks, tasks, runtime, patience }
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

    fn ask(&self, job: Job) {
        // The task ends only with the runtime.
        let _ = self.jobs.blocking_send(job);
    }

    pub(crate) fn executor_removed(&self, removed: Box<ExecutorRemoved>) {
        let (hooks, patience) = (Arc::clone(&self.hooks), self.patience.blocking);
        let _context = self.runtime.enter();
        self.tasks.spawn("executor removed", async move {
            let request = AgentRemoveExecutorRequest {
                framework: Some(removed.framework),
                executor: Some(removed.executor),
                container_id: Some((&removed.container).into()),
                directory: Some(removed.directory),
            };
            for hook in &*hooks {
                let request = request.clone();
                ask(hook, "agent_remove_executor", patience, move |hook| {
                    hook.agent_remove_executor(request)
                })
                .await;
            }
        });
    }
}

struct Worker {
    hooks: Vec<NamedHook>,
    agent: AgentInfo,
    actor: Handle,
    patience: Duration,
}

impl Worker {
    async fn work(&self, job: Job) {
        match job {
            Job::Tasks { token, framework, executor, tasks } => {
                let mut labels = BTreeMap::new();
                for task in tasks {
                    let id = task.task_id.value.clone();
                    if let Some(new) = self.labels(task, executor.as_deref(), &framework).await {
                        labels.insert(id, new);
                    }
                }
                self.actor.answer(Command::TasksDecorated { token, labels });
            }
            Job::Status(update) => {
                let update = self.decorated(update).await;
                self.actor.answer(Command::StatusDecorated(update));
            }
        }
    }

    /// The labels of a task, if hooks changed them.
    async fn labels(
        &self,
        mut task: TaskInfo,
        executor: Option<&ExecutorInfo>,
        framework: &FrameworkInfo,
    ) -> Option<Labels> {
        let before = task.labels.clone();
        for hook in &self.hooks {
            let request = AgentRunTaskLabelsRequest {
                task: Some(task.clone()),
                executor: executor.cloned(),
                framework: Some(framework.clone()),
                agent: Some(self.agent.clone()),
            };
            let answer = ask(hook, "agent_run_task_labels", self.patience, move |hook| {
                hook.agent_run_task_labels(request)
            });
            task.labels = answer.await.and_then(|a| a.labels).or(task.labels);
        }
        task.labels.filter(|new| before.as_ref() != Some(new))
    }

    async fn decorated(&self, mut update: Update) -> Update {
        for hook in &self.hooks {
            let request = AgentTaskStatusRequest {
                framework_id: Some(update.framework.clone().into()),
                status: Some(update.status.clone()),
            };
            let answer = ask(hook, "agent_task_status", self.patience, move |hook| {
                hook.agent_task_status(request)
            });
            // Only these two are the hook's to change.
            if let Some(new) = answer.await.and_then(|a| a.status) {
                update.status.labels = new.labels.or(update.status.labels);
                update.status.container_status =
                    new.container_status.or(update.status.container_status);
            }
        }
        update
    }
}

/// Lets the hooks change the environment that the agent made for an executor.
///
/// A hook sees in the executor's command what the one before it answered (the first: the executor's own variables), and what
/// it answers replaces that whole. What the last one answered is put over the agent's variables; the executor's own win later.
pub(crate) async fn environment(
    hooks: &[NamedHook],
    executor: &ExecutorInfo,
    mut environment: Environment,
    patience: Duration,
) -> Environment {
    let mut seen = executor.clone();
    let mut answered = None;
    for hook in hooks {
        let request = AgentExecutorEnvironmentRequest { executor: Some(seen.clone()) };
        let answer = ask(hook, "agent_executor_environment", patience, move |hook| {
            hook.agent_executor_environment(request)
        });
        if let Some(whole) = answer.await.and_then(|a| a.environment) {
            seen.command.get_or_insert_with(CommandInfo::default).environment = Some(whole.clone());
            answered = Some(whole);
        }
    }
    for variable in answered.unwrap_or_default().variables {
        environment.variables.retain(|v| v.name != variable.name);
        environment.variables.push(variable);
    }
    environment
}

/// Asks one hook; none if it has nothing to say. One that fails, or does not come back, is passed over.
pub(crate) fn ask<T: Send + 'static>(
    hook: &NamedHook,
    call: &'static str,
    patience: Duration,
    work: impl FnOnce(&AnyHook) -> Result<T, ModuleError> + Send + 'static,
) -> impl Future<Output = Option<T>> + Send {
    hook.call_or_pass(call, patience, |hook| if_implemented(work(hook)))
}

#[cfg(test)]
mod tests {
    use mezzo_module_api::v1::AgentExecutorEnvironmentResponse;
    use mezzo_module_api::{Code, Hook};
    use mezzo_proto::v1::environment::Variable;

    use super::*;

    /// Writes down what it sees, answers what it is told.
    struct Answers {
        answer: Result<Option<&'static [(&'static str, &'static str)]>, Code>,
        seen: std::sync::mpsc::Sender<Vec<String>>,
    }

    impl Hook for Answers {
        fn agent_executor_environment(
            &self,
            request: AgentExecutorEnvironmentRequest,
        ) -> Result<AgentExecutorEnvironmentResponse, ModuleError> {
            let command = request.executor.and_then(|e| e.command).unwrap_or_default();
            self.seen.send(shown(&command.environment.unwrap_or_default())).unwrap();
            let environment = self.answer.map_err(|code| ModuleError::new(code, "no"))?;
            Ok(AgentExecutorEnvironmentResponse { environment: environment.map(variables) })
        }
    }

    fn variables(all: &[(&str, &str)]) -> Environment {
        let variable = |(name, value): &(&str, &str)| Variable {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            ..Variable::default()
        };
        Environment { variables: all.iter().map(variable).collect() }
    }

    fn shown(environment: &Environment) -> Vec<String> {
        environment.variables.iter().map(|v| format!("{}={}", v.name, v.value())).collect()
    }

    #[tokio::test]
    async fn each_hook_sees_what_the_one_before_it_answered_and_replaces_it_whole() {
        let (seen, told) = std::sync::mpsc::channel();
        let hooks: Vec<NamedHook> = [
            Ok(Some([("X", "1"), ("Y", "1")].as_slice())),
            Ok(None),
            Err(Code::Internal),
            Ok(Some([("X", "2"), ("MESOS_A", "2")].as_slice())),
        ]
        .into_iter()
        .map(|answer| {
            let hook = Answers { answer, seen: seen.clone() };
            mezzo_containerizer::hook("h", Arc::new(hook))
        })
        .collect();
        let executor = ExecutorInfo {
            command: Some(CommandInfo {
                environment: Some(variables(&[("OWN", "0")])),
                ..CommandInfo::default()
            }),
            ..ExecutorInfo::default()
        };
        let agents = variables(&[("MESOS_A", "0"), ("MESOS_B", "0")]);
        let made = environment(&hooks, &executor, agents, Duration::from_secs(60)).await;
        let seen: Vec<_> = told.try_iter().collect();
        assert_eq!(
            seen,
            [vec!["OWN=0"], vec!["X=1", "Y=1"], vec!["X=1", "Y=1"], vec!["X=1", "Y=1"]]
        );
        assert_eq!(shown(&made), ["MESOS_B=0", "X=2", "MESOS_A=2"]);
    }

    #[tokio::test]
    async fn without_an_answer_the_environment_is_the_agents() {
        let agents = variables(&[("MESOS_A", "0")]);
        let executor = ExecutorInfo::default();
        let made = environment(&[], &executor, agents.clone(), Duration::from_secs(60));
        assert_eq!(made.await, agents);
    }
}
