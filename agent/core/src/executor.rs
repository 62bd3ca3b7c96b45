//! An executor: its process, its tasks, and what waits for a change of its container.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mezzo_model::{ContainerId, ExecutorId, TaskId};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{ExecutorInfo, KillPolicy, TaskInfo, TaskState};

use crate::resources::Total;
use crate::settings::Settings;
use crate::task::{Place, Task};
use crate::updates::Update;

/// Where an executor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Started, has not subscribed.
    Registering,
    /// Has subscribed.
    Running,
    /// Was told to end.
    Terminating,
    /// Its container has ended; some updates are not acknowledged.
    Terminated,
}

/// One run of an executor.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pub(crate) id: ExecutorId,
    pub(crate) info: ExecutorInfo,
    /// Invented by the agent for this task, which brought only a command.
    pub(crate) command_task: Option<TaskInfo>,
    pub(crate) container: ContainerId,
    pub(crate) directory: String,
    pub(crate) state: State,
    pub(crate) session: Option<u64>,
    /// Whether it has a journal.
    pub(crate) checkpoint: bool,
    /// Records in the journal.
    pub(crate) appended: usize,
    /// Queued, launched and terminated tasks.
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) completed: VecDeque<Task>,
    /// What was not delivered yet, in the order it came in.
    pub(crate) batches: VecDeque<Batch>,
    /// Kills that came while the executor had no connection.
    pub(crate) kills: BTreeMap<TaskId, Option<KillPolicy>>,
    /// Of the executor itself and its tasks that are not over.
    pub(crate) total: Total,
    /// Whether the container was told `total`.
    pub(crate) total_told: bool,
    /// The change of the container that is on its way, and the updates of ended tasks that go on when it is done.
    pub(crate) change: Option<(u64, Vec<Update>)>,
    /// The updates that wait for the change after that.
    pub(crate) waiting: Vec<Update>,
    /// Why the agent ended it, if it did.
    pub(crate) ended_for: Option<Cause>,
    /// The deadline for registration or for shutdown, whichever it is in this state.
    pub(crate) deadline: Option<Duration>,
}

/// Tasks that are delivered together.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) tasks: Vec<TaskId>,
    /// As a task group, all or nothing.
    pub(crate) group: bool,
    pub(crate) room: Room,
}

/// Whether the container has room for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Not asked for.
    Unknown,
    /// Part of the change that is on its way.
    Asked,
    /// It can be delivered.
    Made,
}

/// Why the agent ended an executor: what its tasks are told.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) state: TaskState,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// An executor that is gone.
#[derive(Clone, Debug)]
pub(crate) struct CompletedExecutor {
    pub(crate) id: ExecutorId,
    pub(crate) info: ExecutorInfo,
    pub(crate) tasks: VecDeque<Task>,
}

impl Executor {
    pub(crate) fn new(
        info: ExecutorInfo,
        container: ContainerId,
        directory: String,
        checkpoint: bool,
    ) -> Self {
        let mut total = Total::default();
        total.add(&info.resources);
        Self {
            id: ExecutorId::new(&info.executor_id.value),
            info,
            command_task: None,
            container,
            directory,
            state: State::Registering,
            session: None,
            checkpoint,
            appended: 0,
            tasks: BTreeMap::new(),
            completed: VecDeque::new(),
            batches: VecDeque::new(),
            kills: BTreeMap::new(),
            total,
            total_told: false,
            change: None,
            waiting: Vec::new(),
            ended_for: None,
            deadline: None,
        }
    }

    /// Whether the agent made it up.
    pub(crate) fn is_command(&self) -> bool {
        self.command_task.is_some()
    }

    /// Whether there is a process that may hear something.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, State::Registering | State::Running)
    }

    /// Queues tasks for delivery.
    pub(crate) fn queue(&mut self, tasks: Vec<TaskInfo>, group: bool, arrived: Option<Duration>) {
        let mut ids = Vec::with_capacity(tasks.len());
        for info in tasks {
            self.total.add(&info.resources);
            let task = Task::new(info, arrived);
            ids.push(task.id());
            self.tasks.insert(task.id(), task);
        }
        self.total_told = false;
        self.batches.push_back(Batch { tasks: ids, group, room: Room::Unknown });
    }

    /// The tasks that die with this one if it has not been delivered: itself, or its whole group.
    pub(crate) fn undelivered_with(&self, task: &TaskId) -> Vec<TaskId> {
        self.batches
            .iter()
            .find(|b| b.tasks.contains(task))
            .map(|b| if b.group { b.tasks.clone() } else { vec![task.clone()] })
            .unwrap_or_default()
    }

    /// Moves a task to the place of those that are over.
    pub(crate) fn terminate(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let before = std::mem::replace(&mut task.place, Place::Terminated);
        self.total.remove(&task.info.resources);
        self.total_told = false;
        self.kills.remove(id);
        if before == Place::Queued {
            self.withdraw(std::slice::from_ref(id));
        }
    }

    /// Makes sure that tasks are not delivered any more.
    pub(crate) fn withdraw(&mut self, tasks: &[TaskId]) {
        for batch in &mut self.batches {
            batch.tasks.retain(|t| !tasks.contains(t));
        }
        self.batches.retain(|b| !b.tasks.is_empty());
    }

    /// Tasks that are not over.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|t| t.place != Place::Terminated)
    }

    /// How long it may take to end when it is told to.
    pub(crate) fn shutdown_grace(&self, settings: &Settings) -> Duration {
        self.info
            .shutdown_grace_period
            .as_ref()
            .and_then(|d| u64::try_from(d.nanoseconds).ok())
            .map_or(settings.executor_shutdown_grace_period, Duration::from_nanos)
    }
}
