//! What operators see of an agent.

use mezzo_model::{ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::v1::agent::response::{
    GetAgent, GetExecutors, GetFrameworks, GetState, GetTasks, get_executors, get_frameworks,
};
use mezzo_proto::v1::{self, TaskState};

use crate::agent::Agent;
use crate::executor::{Executor, State};
use crate::framework::Framework;
use crate::task::{Place, Task};

/// A container that has not ended.
#[derive(Clone, Debug)]
pub struct ContainerView {
    /// Which.
    pub container: ContainerId,
    /// Whose.
    pub framework: FrameworkId,
    /// Its executor.
    pub executor: ExecutorId,
    /// The executor's name.
    pub name: String,
    /// The executor's source.
    pub source: String,
}

impl Agent {
    /// This agent.
    pub fn get_agent(&self) -> GetAgent {
        GetAgent { agent_info: Some(self.info()), ..GetAgent::default() }
    }

    /// Everything.
    pub fn get_state(&self) -> GetState {
        GetState {
            get_tasks: Some(self.get_tasks()),
            get_executors: Some(self.get_executors()),
            get_frameworks: Some(self.get_frameworks()),
        }
    }

    /// The frameworks that have something here, and those that had.
    pub fn get_frameworks(&self) -> GetFrameworks {
        let view =
            |info: &v1::FrameworkInfo| get_frameworks::Framework { framework_info: info.clone() };
        GetFrameworks {
            frameworks: self.frameworks.values().map(|f| view(&f.info)).collect(),
            completed_frameworks: self.completed.iter().map(|f| view(&f.info)).collect(),
        }
    }

    /// The executors that are here, and those that were.
    pub fn get_executors(&self) -> GetExecutors {
        let view =
            |info: &v1::ExecutorInfo| get_executors::Executor { executor_info: info.clone() };
        let live = self.frameworks.values().flat_map(|f| f.executors.values());
        let over = self
            .completed
            .iter()
            .flat_map(|f| &f.executors)
            .chain(self.frameworks.values().flat_map(|f| &f.completed_executors));
        GetExecutors {
            executors: live.map(|e| view(&e.info)).collect(),
            completed_executors: over.map(|e| view(&e.info)).collect(),
        }
    }

    /// The tasks, by where they are.
    pub fn get_tasks(&self) -> GetTasks {
        let mut all = GetTasks::default();
        for framework in self.frameworks.values() {
            all.pending_tasks.extend(pending(framework));
            for executor in framework.executors.values() {
                for task in executor.tasks.values() {
                    let view = self.view(framework, executor, task);
                    match task.place {
                        Place::Queued => all.queued_tasks.push(view),
                        Place::Launched => all.launched_tasks.push(view),
                        Place::Terminated => all.terminated_tasks.push(view),
                    }
                }
                all.completed_tasks
                    .extend(executor.completed.iter().map(|t| self.view(framework, executor, t)));
            }
            for executor in &framework.completed_executors {
                let over = executor
                    .tasks
                    .iter()
                    .map(|t| t.view(&framework.id, Some(&executor.id), None, None));
                all.completed_tasks.extend(over);
            }
        }
        for framework in &self.completed {
            for executor in &framework.executors {
                let over = executor
                    .tasks
                    .iter()
                    .map(|t| t.view(&framework.id, Some(&executor.id), None, None));
                all.completed_tasks.extend(over);
            }
        }
        all
    }

    /// The containers of executors that have not ended.
    pub fn live_containers(&self) -> Vec<ContainerView> {
        self.frameworks
            .values()
            .flat_map(|f| f.executors.values().map(move |e| (f, e)))
            .filter(|(_, e)| e.state != State::Terminated)
            .map(|(f, e)| ContainerView {
                container: e.container.clone(),
                framework: f.id.clone(),
                executor: e.id.clone(),
                name: e.info.name.clone().unwrap_or_default(),
                source: source(&e.info),
            })
            .collect()
    }

    /// The sandbox of the newest run of an executor that is still known here.
    pub fn sandbox(&self, framework: &FrameworkId, executor: &ExecutorId) -> Option<String> {
        self.executor(framework, executor).map(|e| e.directory.clone())
    }

    /// Every task that is not completed, as a master wants to know it.
    pub(crate) fn unfinished_tasks(&self) -> Vec<v1::Task> {
        let mut tasks = Vec::new();
        for framework in self.frameworks.values().filter(|f| !f.terminating) {
            tasks.extend(pending(framework));
            for executor in framework.executors.values() {
                tasks.extend(executor.tasks.values().map(|t| {
                    let mut view = self.view(framework, executor, t);
                    if executor.is_command() {
                        view.executor_id = None;
                    }
                    view
                }));
            }
        }
        tasks
    }

    fn view(&self, framework: &Framework, executor: &Executor, task: &Task) -> v1::Task {
        let user = executor
            .info
            .command
            .as_ref()
            .and_then(|c| c.user.as_deref())
            .unwrap_or(&framework.info.user);
        let stream = self.streams.get(&(framework.id.clone(), task.id()));
        task.view(&framework.id, Some(&executor.id), Some(user), stream)
    }
}

#[expect(deprecated, reason = "operators' tools show it all the same")]
fn source(info: &v1::ExecutorInfo) -> String {
    info.source.clone().unwrap_or_default()
}

fn pending(framework: &Framework) -> impl Iterator<Item = v1::Task> {
    framework.launches.values().flat_map(move |launch| {
        let executor = launch.group.as_ref().map(|e| ExecutorId::new(&e.executor_id.value));
        launch.tasks.iter().map(move |info| {
            let own = info.executor.as_ref().map(|e| ExecutorId::new(&e.executor_id.value));
            let task = Task::new(info.clone(), None);
            let mut view = task.view(&framework.id, executor.as_ref().or(own.as_ref()), None, None);
            view.state = TaskState::TaskStaging.into();
            view
        })
    })
}
