//! The interface of every containerizer, and the values that cross it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use mezzo_model::ContainerId;
use mezzo_proto::module::v1::ContainerConfig;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{
    ContainerStatus, Environment, FrameworkInfo, Resource, ResourceStatistics, TaskState, value,
};

use crate::{DestroyError, LaunchError, RecoverError, UpdateError, UsageError};

/// Starts, watches and ends containers.
///
/// Every future is `'static` and can be spawned. Work that has been started goes on when its future is dropped: a launch is
/// never left half-way.
pub trait Containerizer: Send + Sync + 'static {
    /// Starts a container. `Ok` when its command may run; then [`wait`](Self::wait) tells its end.
    ///
    /// When it fails, everything that was done for the container has been undone, except that the sandbox stays for
    /// whoever wants to know why; the container is unknown from then on.
    fn launch(&self, spec: ContainerSpec) -> BoxFuture<'static, Result<Launched, LaunchError>>;

    /// Tells the isolators what the container may use from now on. A container that is unknown or ending is not an error.
    fn update(
        &self,
        id: &ContainerId,
        requests: Vec<Resource>,
        limits: BTreeMap<String, value::Scalar>,
    ) -> BoxFuture<'static, Result<(), UpdateError>>;

    /// Waits until the container has ended and is cleaned up; `None` if it is unknown. Any number of waits get the same answer.
    fn wait(&self, id: &ContainerId) -> BoxFuture<'static, Option<Termination>>;

    /// Ends the container, whatever state it is in, and waits for that; `None` if it is unknown. Repeating it is harmless:
    /// all callers get the same answer.
    fn destroy(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'static, Result<Option<Termination>, DestroyError>>;

    /// What the container uses and may use.
    fn usage(&self, id: &ContainerId)
    -> BoxFuture<'static, Result<ResourceStatistics, UsageError>>;

    /// How the container looks from outside: pid, control group, network.
    fn status(&self, id: &ContainerId) -> BoxFuture<'static, Result<ContainerStatus, UsageError>>;

    /// Takes over the containers of an earlier life of the agent. Once, before anything else. Containers found in the
    /// runtime directory that are not in `containers` are destroyed. Those that are there but have ended meanwhile are
    /// known, and `wait` tells how they ended.
    fn recover(
        &self,
        containers: Vec<RecoveredContainer>,
    ) -> BoxFuture<'static, Result<Recovery, RecoverError>>;

    /// The containers that are known: starting, running or ending.
    fn containers(&self) -> Vec<ContainerId>;
}

/// What to start.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its id, a fresh one.
    pub container_id: ContainerId,
    /// The command (`command_info`), the sandbox (`directory`), resources, limits, user, executor and task: also what
    /// isolators are told.
    pub config: ContainerConfig,
    /// Variables the agent made (`MESOS_…`); those of the command win over them.
    pub environment: Environment,
    /// Whose container it is, for hooks.
    pub framework: Option<FrameworkInfo>,
    /// Where the agent wants the pid to be written, before the command runs (`…/pids/forked.pid`); none for a framework
    /// without checkpointing.
    pub forked_pid: Option<PathBuf>,
}

/// A container whose command may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Its first process, as the host sees it.
    pub pid: u32,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Termination {
    /// How its first process ended; none if it never ran or nobody saw it.
    pub exit: Option<ExitStatus>,
    /// Set if the containerizer knows better than the executor what its tasks are now (`TASK_FAILED` for a limitation).
    pub state: Option<TaskState>,
    /// Why, if `state` is set.
    pub reason: Option<Reason>,
    /// In words.
    pub message: Option<String>,
    /// The resources that were over their limit.
    pub limited_resources: Vec<Resource>,
}

/// The wait status of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl ExitStatus {
    /// From the number `waitpid` gives.
    pub fn from_raw(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Exited((status >> 8) & 0xff),
            signal => Self::Signaled(signal),
        }
    }

    /// The number `waitpid` gives; travels in FAILURE events.
    pub fn raw(self) -> i32 {
        match self {
            Self::Exited(code) => (code & 0xff) << 8,
            Self::Signaled(signal) => signal & 0x7f,
        }
    }

    /// Whether it exited with 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Signaled(signal) => write!(f, "terminated with signal {signal}"),
        }
    }
}

/// A container the agent's checkpoints say should be there.
#[derive(Clone, Debug)]
pub struct RecoveredContainer {
    /// Its id.
    pub container_id: ContainerId,
    /// As it was launched: executor, task, resources, sandbox.
    pub config: ContainerConfig,
}

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// They run on.
    pub running: Vec<ContainerId>,
    /// They ended while nobody looked; `wait` tells how.
    pub ended: Vec<ContainerId>,
    /// Nobody wanted them; they are being destroyed.
    pub orphans: Vec<ContainerId>,
}
