//! Every input of the agent's core.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mezzo_model::{AgentId, ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::state::v1::RunRecord;
use mezzo_proto::v1::executor::call;
use mezzo_proto::v1::link::from_master;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{FrameworkInfo, Labels, Resource, TaskState};

use crate::updates::Update;

/// The time at which a command is applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Seconds since the epoch, for people: what status updates carry.
    pub wall: f64,
    /// Since some moment that never changes while the process lives, for deadlines.
    pub at: Duration,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Command {
    /// The first command of all: what an earlier life left on disk.
    Recovered(Box<Recovered>),
    /// The containers of an earlier life have been taken over. How those ended that are not there any more has been told, or
    /// will be, by [`Command::ContainerEnded`].
    ContainersRecovered,
    /// There is a connection to a master; it waits for the agent's first word.
    LinkUp,
    /// That connection is gone.
    LinkDown,
    /// A master says something. Pings are answered outside.
    FromMaster(Box<from_master::Message>),
    /// The hooks have seen tasks.
    TasksDecorated {
        /// Of the effect.
        token: u64,
        /// New labels by task id, for those whose labels change.
        labels: BTreeMap<String, Labels>,
    },
    /// The hooks have seen an update.
    StatusDecorated(Update),
    /// A container runs, or could not be started.
    ContainerLaunched {
        /// Which.
        container: ContainerId,
        /// Why it does not run.
        result: Result<(), String>,
    },
    /// A container may use something else now, or that could not be done.
    ContainerUpdated {
        /// Which.
        container: ContainerId,
        /// Of the effect.
        token: u64,
        /// Why not.
        result: Result<(), String>,
    },
    /// A container has ended and is cleaned up.
    ContainerEnded {
        /// Which.
        container: ContainerId,
        /// How.
        termination: Termination,
    },
    /// An executor says something over its connection. For the first word, `SUBSCRIBE`, the session is a new number.
    Executor {
        /// Which connection.
        session: u64,
        /// The framework it names.
        framework: FrameworkId,
        /// The executor it says it is.
        executor: ExecutorId,
        /// What it says.
        call: ExecutorCall,
    },
    /// The connection of an executor is gone.
    ExecutorLeft {
        /// Which.
        session: u64,
    },
    /// End all executors and stop.
    Leave {
        /// Tell the master that this agent does not come back.
        unregister: bool,
    },
    /// A deadline has come.
    Tick,
}

/// A call of an executor.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most calls are updates: a box for each would cost more"
)]
pub enum ExecutorCall {
    /// Hello, and what the agent may have missed.
    Subscribe(call::Subscribe),
    /// A task changed.
    Update(call::Update),
    /// For the framework's scheduler.
    Message(Bytes),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Termination {
    /// The wait(2) status of its first process, if anybody saw it.
    pub status: Option<i32>,
    /// The state of its tasks, if the containerizer knows better than the agent.
    pub state: Option<TaskState>,
    /// Why.
    pub reason: Option<Reason>,
    /// In words.
    pub message: Option<String>,
    /// Resources that went over their limit.
    pub limited: Vec<Resource>,
}

/// What an earlier life left on disk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Who the agent was.
    pub id: Option<AgentId>,
    /// The machine was restarted since: nothing of it runs any more.
    pub rebooted: bool,
    /// End everything that runs, then stop, instead of going on.
    pub cleanup: bool,
    /// What it was running.
    pub frameworks: Vec<RecoveredFramework>,
}

/// A framework of an earlier life.
#[derive(Clone, Debug)]
pub struct RecoveredFramework {
    /// The framework.
    pub info: FrameworkInfo,
    /// The runs of its executors.
    pub runs: Vec<RecoveredRun>,
}

/// The journal of a run, up to the first record that cannot be read.
#[derive(Clone, Debug)]
pub struct RecoveredRun {
    /// The executor, as the directory is named.
    pub executor: ExecutorId,
    /// The run, as the directory is named.
    pub container: ContainerId,
    /// What was readable.
    pub records: Vec<RunRecord>,
}
