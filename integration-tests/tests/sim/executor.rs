//! What executors do: they connect and come back, run tasks for a while, tell of them until they are acknowledged, take
//! their time when they are told to kill or to leave, and leave when there is nothing to do.

use std::time::Duration;

use mezzo_agent_core::ExecutorCall;
use mezzo_model::ContainerId;
use mezzo_proto::v1::executor::{self, call, event};
use mezzo_proto::v1::task_status::Source;
use mezzo_proto::v1::{TaskId, TaskInfo, TaskState, TaskStatus};

use crate::container::Due;
use crate::links::{ConnId, End, Kind, Packet};
use crate::world::World;

impl World {
    pub fn executor_connects(&mut self, agent: usize, id: &ContainerId) {
        if self.container(agent, id).is_none_or(|c| c.conn.is_some()) {
            return;
        }
        if self.agents[agent].core.is_none() {
            return self.reconnect_later(agent, id);
        }
        let conn = self.open(Kind::Executor(agent, id.clone()));
        let Some(container) = self.container(agent, id) else { return };
        container.conn = Some(conn);
        let subscribe = call::Subscribe {
            unacknowledged_tasks: container.fresh.values().cloned().collect(),
            unacknowledged_updates: container.updates.clone(),
        };
        self.send(
            conn,
            End::Client,
            Packet::FromExecutor(Box::new(ExecutorCall::Subscribe(subscribe))),
        );
    }

    fn reconnect_later(&mut self, agent: usize, id: &ContainerId) {
        let wait =
            if self.chance(0.95) { self.between(10, 1200) } else { self.between(1200, 6000) };
        self.container_in(agent, id, wait, Due::Connect);
    }

    pub fn executor_loses_agent(&mut self, agent: usize, id: &ContainerId, conn: ConnId) {
        let Some(container) = self.container(agent, id).filter(|c| c.conn == Some(conn)) else {
            return;
        };
        container.conn = None;
        container.subscribed = false;
        if container.checkpoint {
            return self.reconnect_later(agent, id);
        }
        // Without checkpoints an executor does not outlive its agent.
        let wait = self.between(0, 400);
        self.container_in(agent, id, wait, Due::Exit);
    }

    pub fn executor_hears(
        &mut self,
        agent: usize,
        id: &ContainerId,
        conn: ConnId,
        event: executor::Event,
    ) {
        let Some(container) = self.container(agent, id).filter(|c| c.conn == Some(conn)) else {
            return;
        };
        match event.r#type() {
            event::Type::Subscribed => {
                container.subscribed = true;
                // What came up while the subscription was on its way.
                for update in container.updates.clone() {
                    self.send(
                        conn,
                        End::Client,
                        Packet::FromExecutor(Box::new(ExecutorCall::Update(update))),
                    );
                }
            }
            event::Type::Launch => self.executor_gets(agent, id, event.launch.unwrap().task),
            event::Type::Kill => self.executor_kills(agent, id, &event.kill.unwrap().task_id.value),
            event::Type::Acknowledged => {
                let acknowledged = event.acknowledged.unwrap();
                self.update_is_safe(agent, id, &acknowledged);
            }
            event::Type::Shutdown => self.executor_shuts_down(agent, id),
            other => panic!("executors do not expect {other:?}"),
        }
    }

    fn executor_gets(&mut self, agent: usize, id: &ContainerId, task: TaskInfo) {
        let name = task.task_id.value.clone();
        self.witness.task_starts(&name, id);
        let Some(container) = self.container(agent, id) else { return };
        let before = container.tasks.insert(name.clone(), false);
        assert!(before.is_none(), "task {name} is launched twice by one executor");
        container.fresh.insert(name.clone(), task);
        self.check_machine(agent);
        if self.chance(0.5) {
            self.report(agent, id, &name, TaskState::TaskStarting);
        }
        self.report(agent, id, &name, TaskState::TaskRunning);
        let longest = self.plan.longest_task;
        let runs = self.between(20, longest);
        let state = if self.chance(0.8) { TaskState::TaskFinished } else { TaskState::TaskFailed };
        self.container_in(agent, id, runs, Due::TaskEnds(name, state));
    }

    fn executor_kills(&mut self, agent: usize, id: &ContainerId, task: &str) {
        let Some(container) = self.container(agent, id) else { return };
        if container.tasks.get(task) != Some(&false) {
            return;
        }
        if self.chance(0.3) {
            self.report(agent, id, task, TaskState::TaskKilling);
        }
        let wait = if self.chance(0.7) { self.between(1, 300) } else { self.between(300, 9000) };
        self.container_in(agent, id, wait, Due::TaskEnds(task.to_owned(), TaskState::TaskKilled));
    }

    fn executor_shuts_down(&mut self, agent: usize, id: &ContainerId) {
        // Some do not listen.
        if self.chance(0.1) {
            return;
        }
        let Some(container) = self.container(agent, id) else { return };
        let running: Vec<String> =
            container.tasks.iter().filter(|(_, o)| !**o).map(|(t, _)| t.clone()).collect();
        for task in running {
            let wait = self.between(0, 1500);
            self.container_in(agent, id, wait, Due::TaskEnds(task, TaskState::TaskKilled));
        }
        let wait = self.between(0, 2500);
        self.container_in(agent, id, wait, Due::Exit);
    }

    pub fn task_ends(&mut self, agent: usize, id: &ContainerId, task: &str, state: TaskState) {
        let Some(container) = self.container(agent, id) else { return };
        let Some(over @ false) = container.tasks.get_mut(task) else { return };
        *over = true;
        let command = container.command;
        self.witness.task_is_over(task);
        self.report(agent, id, task, state);
        if command {
            // As long as it waits for an acknowledgement; some do not wait at all.
            let wait = if self.mishap(0.05) { Duration::ZERO } else { Duration::from_secs(60) };
            self.container_in(agent, id, wait, Due::Exit);
        }
    }

    fn report(&mut self, agent: usize, id: &ContainerId, task: &str, state: TaskState) {
        let uuid = self.uuid();
        self.witness.executor_says(task, &uuid);
        let status = TaskStatus {
            task_id: TaskId { value: task.to_owned() },
            state: state.into(),
            source: Some(Source::Executor.into()),
            uuid: Some(uuid),
            ..TaskStatus::default()
        };
        let update = call::Update { status };
        let twice = self.chance(0.05);
        let Some(container) = self.container(agent, id) else { return };
        container.updates.push(update.clone());
        let Some(conn) = container.conn.filter(|_| container.subscribed) else { return };
        if twice {
            self.send(
                conn,
                End::Client,
                Packet::FromExecutor(Box::new(ExecutorCall::Update(update.clone()))),
            );
        }
        self.send(conn, End::Client, Packet::FromExecutor(Box::new(ExecutorCall::Update(update))));
    }

    fn update_is_safe(
        &mut self,
        agent: usize,
        id: &ContainerId,
        acknowledged: &event::Acknowledged,
    ) {
        let Some(container) = self.container(agent, id) else { return };
        let task = &acknowledged.task_id.value;
        container.updates.retain(|u| u.status.uuid.as_ref() != Some(&acknowledged.uuid));
        container.fresh.remove(task);
        let done = container.tasks.get(task) == Some(&true) && container.updates.is_empty();
        if container.command && done {
            let wait = self.between(0, 100);
            self.container_in(agent, id, wait, Due::Exit);
        }
    }

    /// A custom executor that has nothing to do leaves; one that is in a hurry does not wait for acknowledgements.
    pub fn executor_idles(&mut self, agent: usize, id: &ContainerId) {
        let hurry = self.mishap(0.2);
        let Some(container) = self.container(agent, id) else { return };
        let idle =
            container.tasks.values().all(|over| *over) && (hurry || container.updates.is_empty());
        if idle && !container.command {
            return self.container_in(agent, id, Duration::ZERO, Due::Exit);
        }
        let wait = self.between(500, 6000);
        self.container_in(agent, id, wait, Due::Idle);
    }
}
