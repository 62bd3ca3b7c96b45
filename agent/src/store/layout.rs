//! Where things are below the work directory.

use std::path::{Path, PathBuf};

use mezzo_model::{AgentId, ContainerId, ExecutorId, FrameworkId};

/// The paths of one work directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    work_dir: PathBuf,
}

impl Layout {
    pub(crate) fn new(work_dir: impl Into<PathBuf>) -> Self {
        Self { work_dir: work_dir.into() }
    }

    pub(crate) fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.work_dir.join("meta")
    }

    pub(crate) fn boot_id(&self) -> PathBuf {
        self.meta().join("boot_id")
    }

    pub(crate) fn agents(&self) -> PathBuf {
        self.meta().join("agents")
    }

    pub(crate) fn agent(&self, agent: &AgentId) -> PathBuf {
        self.agents().join(agent.as_str())
    }

    pub(crate) fn framework(&self, agent: &AgentId, framework: &FrameworkId) -> PathBuf {
        self.agent(agent).join("frameworks").join(framework.as_str())
    }

    pub(crate) fn run(
        &self,
        agent: &AgentId,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &ContainerId,
    ) -> PathBuf {
        let executor = self.framework(agent, framework).join("executors").join(executor.as_str());
        executor.join("runs").join(container.as_str())
    }

    /// The sandboxes of the runs of an executor.
    pub(crate) fn sandboxes(
        &self,
        agent: &str,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> PathBuf {
        let framework =
            self.work_dir.join("agents").join(agent).join("frameworks").join(framework.as_str());
        framework.join("executors").join(executor.as_str()).join("runs")
    }
}

/// In the directory of an agent.
pub(crate) const AGENT_INFO: &str = "agent.info";
/// In the directory of a framework.
pub(crate) const FRAMEWORK_INFO: &str = "framework.info";
/// In the directory of a run.
pub(crate) const JOURNAL: &str = "journal";
/// A link to the newest of its siblings.
pub(crate) const LATEST: &str = "latest";
