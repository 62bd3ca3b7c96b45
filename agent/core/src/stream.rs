//! The status updates of one task, in order, until each is acknowledged.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use mezzo_model::{ContainerId, ExecutorId};
use mezzo_proto::v1::{TaskState, TaskStatus};

/// The first wait for an acknowledgement.
const RETRY_FIRST: Duration = Duration::from_secs(10);
/// Waits double up to this.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// The stream of one task.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Not yet acknowledged, oldest first.
    pending: VecDeque<TaskStatus>,
    /// Every uuid that ever was in `pending`.
    seen: BTreeSet<Bytes>,
    /// The newest state, told with every update.
    pub(crate) latest: TaskState,
    pub(crate) executor: Option<ExecutorId>,
    /// The journal it is written to; none: kept in memory only.
    pub(crate) journal: Option<ContainerId>,
    /// When the head is sent again; none while no master listens.
    pub(crate) retry_at: Option<Duration>,
    wait: Duration,
}

impl Stream {
    pub(crate) fn new(executor: Option<ExecutorId>, journal: Option<ContainerId>) -> Self {
        Self {
            pending: VecDeque::new(),
            seen: BTreeSet::new(),
            latest: TaskState::TaskStaging,
            executor,
            journal,
            retry_at: None,
            wait: RETRY_FIRST,
        }
    }

    /// The update that is on its way.
    pub(crate) fn head(&self) -> Option<&TaskStatus> {
        self.pending.front()
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &TaskStatus> {
        self.pending.iter()
    }

    /// Whether this update has been taken before.
    pub(crate) fn knows(&self, uuid: &Bytes) -> bool {
        self.seen.contains(uuid)
    }

    /// Takes an update; true if it is now the head.
    pub(crate) fn push(&mut self, status: TaskStatus) -> bool {
        if let Some(uuid) = &status.uuid {
            self.seen.insert(uuid.clone());
        }
        self.latest = status.state();
        self.pending.push_back(status);
        self.pending.len() == 1
    }

    /// Takes the head off if it is the one that is acknowledged.
    pub(crate) fn acknowledge(&mut self, uuid: &Bytes) -> Option<TaskStatus> {
        if self.head()?.uuid.as_ref() != Some(uuid) {
            return None;
        }
        self.wait = RETRY_FIRST;
        self.pending.pop_front()
    }

    /// How long to wait for an acknowledgement of what is sent now.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(RETRY_MAX);
        wait
    }

    /// A new listener: waits start anew.
    pub(crate) fn restart(&mut self) {
        self.wait = RETRY_FIRST;
    }
}
