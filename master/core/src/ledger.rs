//! How tasks and executors enter and leave the books. Every change of what an agent has free
//! happens here, or where an offer is made or ended.

use std::sync::Arc;

use mezzo_model::{AgentId, ExecutorId, FrameworkId, TaskId};
use mezzo_proto::v1;

use crate::command::Turn;
use crate::effect::Effect;
use crate::state::{Executor, Task, is_terminal, trim};
use crate::views;

/// Statuses of a task that are kept, newest last.
const MAX_STATUSES: usize = 16;

impl Turn<'_> {
    /// Enters a task whose resources have been taken from its agent already.
    pub(crate) fn enter_task(&mut self, framework: &FrameworkId, task: Task) {
        let (id, agent) = (task.id.clone(), task.agent.clone());
        if let Some(agent) = self.agent_mut(&agent) {
            agent.tasks.insert((framework.clone(), id.clone()));
        }
        self.publish(views::task_added(&task));
        if let Some(framework) = self.framework_mut(framework) {
            framework.tasks.insert(id, Arc::new(task));
        }
    }

    /// Enters an executor whose resources have been taken from its agent already.
    pub(crate) fn enter_executor(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        id: &ExecutorId,
        executor: Executor,
    ) {
        if let Some(agent) = self.agent_mut(agent) {
            agent.executors.insert((framework.clone(), id.clone()));
        }
        if let Some(framework) = self.framework_mut(framework) {
            framework.executors.insert((agent.clone(), id.clone()), Arc::new(executor));
        }
    }

    /// Gives back what a task uses. Does nothing the second time.
    pub(crate) fn free_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        let Some(entry) = self.framework_mut(framework).and_then(|f| f.tasks.get_mut(task)) else {
            return;
        };
        if entry.freed {
            return;
        }
        let entry = Arc::make_mut(entry);
        entry.freed = true;
        let (agent, role) = (entry.agent.clone(), entry.role.clone());
        let resources = entry.resources.clone();
        if let Some(agent) = self.agent_mut(&agent) {
            agent.available += &resources.unallocate();
        }
        self.recovered(framework, &role, &agent, &resources, None);
        if let Some(key) = self.agent(&agent).map(|a| a.key) {
            self.effect(Effect::Allocate(Some(key)));
        }
    }

    /// Notes what has become of a task: its newest state, and the update that tells it.
    pub(crate) fn note_status(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        latest: v1::TaskState,
        status: &v1::TaskStatus,
    ) {
        let entry = self
            .framework_mut(framework)
            .and_then(|f| f.tasks.get_mut(task).or_else(|| f.unreachable_tasks.get_mut(task)));
        let Some(entry) = entry else { return };
        let entry = Arc::make_mut(entry);
        // A terminal state is final, whatever comes in late.
        if !is_terminal(entry.view.state()) {
            entry.view.state = latest.into();
        }
        let shown = v1::TaskStatus { data: None, ..status.clone() };
        let statuses = &mut entry.view.statuses;
        match statuses.last_mut() {
            Some(last) if last.state == shown.state => *last = shown,
            _ => statuses.push(shown),
        }
        if statuses.len() > MAX_STATUSES {
            statuses.remove(0);
        }
        let event = views::task_updated(framework, entry.view.state(), status);
        self.publish(event);
    }

    /// Ends a task by the master's own word and files it with the completed ones.
    pub(crate) fn end_task(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        status: &v1::TaskStatus,
    ) {
        self.note_status(framework, task, status.state(), status);
        self.count_end(status.state());
        self.free_task(framework, task);
        self.complete_task(framework, task);
    }

    /// Files a task that nothing more will be heard of.
    pub(crate) fn complete_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        let limit = self.cluster.config.max_completed_tasks_per_framework;
        let Some(entry) = self.framework_mut(framework) else { return };
        let Some(done) = entry.tasks.remove(task).or_else(|| entry.unreachable_tasks.remove(task))
        else {
            return;
        };
        let agent = done.agent.clone();
        entry.completed_tasks.push_back(done);
        trim(&mut entry.completed_tasks, limit);
        if let Some(agent) = self.agent_mut(&agent) {
            let key = (framework.clone(), task.clone());
            agent.tasks.remove(&key);
            agent.pending_kills.remove(&key);
        }
    }

    /// Gives back what an executor uses and forgets it.
    pub(crate) fn drop_executor(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        executor: &ExecutorId,
    ) {
        let key = (agent.clone(), executor.clone());
        let Some(gone) = self.framework_mut(framework).and_then(|f| f.executors.remove(&key))
        else {
            return;
        };
        if let Some(agent) = self.agent_mut(agent) {
            agent.executors.remove(&(framework.clone(), executor.clone()));
            agent.available += &gone.resources.unallocate();
        }
        self.recovered(framework, &gone.role, agent, &gone.resources, None);
    }

    pub(crate) fn count_end(&mut self, state: v1::TaskState) {
        let counts = &mut self.books().counts;
        match state {
            v1::TaskState::TaskFinished => counts.tasks_finished += 1,
            v1::TaskState::TaskFailed => counts.tasks_failed += 1,
            v1::TaskState::TaskKilled => counts.tasks_killed += 1,
            v1::TaskState::TaskError => counts.tasks_error += 1,
            v1::TaskState::TaskLost
            | v1::TaskState::TaskDropped
            | v1::TaskState::TaskGone
            | v1::TaskState::TaskGoneByOperator => counts.tasks_lost += 1,
            _ => {}
        }
    }
}
