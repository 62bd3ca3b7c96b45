//! Every output of the agent's core.

use std::collections::BTreeMap;
use std::time::Duration;

use mezzo_model::{AgentId, ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::module::v1::ContainerConfig;
use mezzo_proto::state::v1::RunRecord;
use mezzo_proto::v1::link::from_agent;
use mezzo_proto::v1::{
    AgentInfo, Environment, ExecutorInfo, FrameworkInfo, Resource, TaskInfo, TaskState, executor,
};

use crate::updates::Update;

/// Something the shell has to do. Effects are done in the order they come in, and those behind a [`Effect::Checkpoint`] only
/// after it is written.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most effects are messages: a box for each would cost more"
)]
pub enum Effect {
    /// Tell the master.
    ToMaster(from_agent::Message),
    /// Tell the executor behind this session.
    ToExecutor {
        /// Which connection.
        session: u64,
        /// What.
        event: executor::Event,
    },
    /// End this session after what was sent before. With a message, the connection was never accepted: say why.
    CloseExecutor {
        /// Which connection.
        session: u64,
        /// Why it is refused.
        refusal: Option<String>,
    },
    /// Start a container; answered by [`crate::Command::ContainerLaunched`], later by [`crate::Command::ContainerEnded`].
    Launch(Box<Launch>),
    /// Change what a container may use; answered by [`crate::Command::ContainerUpdated`].
    Update {
        /// Which container.
        container: ContainerId,
        /// Comes back in the answer.
        token: u64,
        /// What it may use in all.
        requests: Vec<Resource>,
        /// By resource name, where it differs from the request.
        limits: BTreeMap<String, f64>,
    },
    /// End a container; it ends with [`crate::Command::ContainerEnded`].
    Destroy(ContainerId),
    /// Take over the containers of an earlier life; answered by [`crate::Command::ContainersRecovered`].
    Recover(Vec<RecoveredContainer>),
    /// Write to disk.
    Checkpoint(Checkpoint),
    /// Let the hooks see tasks before their launch; answered by [`crate::Command::TasksDecorated`].
    DecorateTasks {
        /// Comes back in the answer.
        token: u64,
        /// Whose they are.
        framework: Box<FrameworkInfo>,
        /// Their executor, if they bring one.
        executor: Option<Box<ExecutorInfo>>,
        /// The tasks.
        tasks: Vec<TaskInfo>,
    },
    /// Let the hooks see an update; answered by [`crate::Command::StatusDecorated`].
    DecorateStatus(Update),
    /// Tell the hooks that an executor is gone.
    ExecutorRemoved(Box<ExecutorRemoved>),
    /// Recovery is over: look for a master.
    ConnectMaster,
    /// Stop the process.
    Exit {
        /// Why, for the log.
        message: String,
        /// Whether something went wrong.
        failure: bool,
    },
    /// Count or measure something.
    Measure(Measure),
    /// Worth a line in the log: something was dropped or went another way than asked.
    Note(String),
}

/// A container to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its id.
    pub container: ContainerId,
    /// Whose it is.
    pub framework: FrameworkInfo,
    /// Its executor.
    pub executor: ExecutorId,
    /// Command, sandbox, resources.
    pub config: ContainerConfig,
    /// What the agent adds to the environment; the command's own variables win.
    pub environment: Environment,
    /// Whether it has a journal, and its pid has to be kept beside that.
    pub checkpoint: bool,
}

/// A container of an earlier life.
#[derive(Clone, Debug)]
pub struct RecoveredContainer {
    /// Its id.
    pub container: ContainerId,
    /// Whose it is.
    pub framework: FrameworkId,
    /// Its executor.
    pub executor: ExecutorId,
    /// As it was launched.
    pub config: ContainerConfig,
}

/// Something for the disk.
#[derive(Clone, Debug)]
pub enum Checkpoint {
    /// Who the agent is.
    Agent(Box<AgentInfo>),
    /// A framework, new or changed.
    Framework(Box<FrameworkInfo>),
    /// One more record for the journal of a run.
    Append {
        /// Names the journal, with the next two.
        framework: FrameworkId,
        /// The executor of the run.
        executor: ExecutorId,
        /// The run.
        container: ContainerId,
        /// What to write.
        record: Box<RunRecord>,
    },
    /// Replace a journal that is mostly history.
    Rewrite {
        /// Names the journal, with the next two.
        framework: FrameworkId,
        /// The executor of the run.
        executor: ExecutorId,
        /// The run.
        container: ContainerId,
        /// All that counts.
        records: Vec<RunRecord>,
    },
    /// Nothing of this run is needed any more.
    RemoveRun {
        /// Names the journal, with the next two.
        framework: FrameworkId,
        /// The executor of the run.
        executor: ExecutorId,
        /// The run.
        container: ContainerId,
    },
    /// Nothing of this framework is needed any more.
    RemoveFramework(FrameworkId),
    /// The agent has no id any more and starts as a new one.
    RemoveAgent(AgentId),
}

/// An executor that has ended and is being forgotten.
#[derive(Clone, Debug)]
pub struct ExecutorRemoved {
    /// Whose it was.
    pub framework: FrameworkInfo,
    /// What it was.
    pub executor: ExecutorInfo,
    /// Where it ran.
    pub container: ContainerId,
    /// Its sandbox.
    pub directory: String,
}

/// Something that is counted or measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// A task went from one state to another; from none when it arrived.
    TaskMoved {
        /// From where.
        from: Option<TaskState>,
        /// To where.
        to: TaskState,
    },
    /// A task that was over is forgotten; only for states that are not terminal: it never was told to end.
    TaskForgotten(TaskState),
    /// From a task's arrival at the agent to the first update that says it runs.
    LaunchTime(Duration),
    /// An update was sent again because nobody acknowledged it.
    UpdateRetried,
    /// An update was taken from an executor.
    UpdateAccepted,
    /// An update made no sense and was dropped.
    UpdateInvalid,
    /// A master acknowledged an update.
    UpdateAcknowledged,
    /// An executor started.
    ExecutorLaunched,
    /// An executor ended.
    ExecutorEnded,
}
