//! What an agent has written down, as its next life finds it.

use std::collections::BTreeMap;

use bytes::Bytes;
use mezzo_agent_core::{Checkpoint, Recovered, RecoveredFramework, RecoveredRun};
use mezzo_model::{AgentId, ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::state::v1::RunRecord;
use mezzo_proto::state::v1::run_record::Record;
use mezzo_proto::v1::FrameworkInfo;

/// The disk of a machine.
#[derive(Default)]
pub struct Disk {
    pub agent: Option<AgentId>,
    frameworks: BTreeMap<FrameworkId, FrameworkInfo>,
    runs: BTreeMap<(FrameworkId, ExecutorId, ContainerId), Vec<RunRecord>>,
}

impl Disk {
    pub fn write(&mut self, checkpoint: Checkpoint) {
        match checkpoint {
            Checkpoint::Agent(info) => {
                self.agent = info.id.as_ref().map(|id| AgentId::new(&id.value))
            }
            Checkpoint::Framework(info) => {
                let id = FrameworkId::new(&info.id.as_ref().unwrap().value);
                self.frameworks.insert(id, *info);
            }
            Checkpoint::Append { framework, executor, container, record } => {
                self.runs.entry((framework, executor, container)).or_default().push(*record);
            }
            Checkpoint::Rewrite { framework, executor, container, records } => {
                self.runs.insert((framework, executor, container), records);
            }
            Checkpoint::RemoveRun { framework, executor, container } => {
                self.runs.remove(&(framework, executor, container));
            }
            Checkpoint::RemoveFramework(id) => {
                self.frameworks.remove(&id);
                self.runs.retain(|(framework, ..), _| *framework != id);
            }
            Checkpoint::RemoveAgent(_) => *self = Self::default(),
        }
    }

    pub fn read(&self, rebooted: bool) -> Recovered {
        let runs = |id: &FrameworkId| {
            let of_it = self.runs.iter().filter(|((framework, ..), _)| framework == id);
            of_it
                .map(|((_, executor, container), records)| RecoveredRun {
                    executor: executor.clone(),
                    container: container.clone(),
                    records: records.clone(),
                })
                .collect()
        };
        let frameworks = self
            .frameworks
            .iter()
            .map(|(id, info)| RecoveredFramework { info: info.clone(), runs: runs(id) });
        Recovered {
            id: self.agent.clone(),
            rebooted,
            cleanup: false,
            frameworks: frameworks.collect(),
        }
    }

    pub fn has_run(&self, container: &ContainerId) -> bool {
        self.runs.keys().any(|(_, _, run)| run == container)
    }

    /// Whether a run in this container is written down to have this task.
    pub fn has_task(&self, container: &ContainerId, task: &str) -> bool {
        self.runs.iter().any(|((_, _, run), records)| run == container && names(records, task))
    }

    /// Whether there is a journal of a run with this task, and if so, whether the update is in it.
    pub fn has_update(&self, framework: &str, task: &str, uuid: &Bytes) -> Option<bool> {
        let of_it = self
            .runs
            .iter()
            .filter(|((of, ..), records)| of.as_str() == framework && names(records, task));
        let mut found = None;
        for (_, records) in of_it {
            let here = records.iter().any(|r| match &r.record {
                Some(Record::StatusUpdated(updated)) => updated.status.uuid.as_ref() == Some(uuid),
                _ => false,
            });
            found = Some(found == Some(true) || here);
        }
        found
    }

    /// Says what is left of frameworks and runs.
    pub fn is_clean(&self) -> Result<(), String> {
        if self.frameworks.is_empty() && self.runs.is_empty() {
            return Ok(());
        }
        Err(format!("frameworks {:?}, runs {:?}", self.frameworks.keys(), self.runs))
    }
}

fn names(records: &[RunRecord], task: &str) -> bool {
    records.iter().any(|r| match &r.record {
        Some(Record::Started(started)) => {
            started.command_task.as_ref().is_some_and(|t| t.task_id.value == task)
        }
        Some(Record::TaskAdded(added)) => added.task.task_id.value == task,
        _ => false,
    })
}
