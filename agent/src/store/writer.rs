//! Writing checkpoints. Only the effects thread does it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mezzo_agent_core::Checkpoint;
use mezzo_model::{AgentId, ContainerId};
use mezzo_proto::state::v1::{AgentCheckpoint, FrameworkCheckpoint};
use prost::Message as _;

use super::Layout;
use super::journal;
use super::layout::{AGENT_INFO, FRAMEWORK_INFO, JOURNAL, LATEST};

/// Journals that are kept open. More are opened again when they are needed.
const OPEN_JOURNALS: usize = 128;

/// A checkpoint that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the checkpoint {}", path.display())]
pub struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes checkpoints.
pub(crate) struct Writer {
    layout: Layout,
    agent: Option<AgentId>,
    open: HashMap<ContainerId, File>,
    buffer: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(layout: Layout, agent: Option<AgentId>) -> Self {
        Self { layout, agent, open: HashMap::new(), buffer: Vec::new() }
    }

    pub(crate) fn write(&mut self, checkpoint: Checkpoint) -> Result<(), WriteError> {
        if let Checkpoint::Agent(info) = &checkpoint {
            self.agent = info.id.as_ref().map(|id| AgentId::new(&id.value));
        }
        let Some(agent) = self.agent.clone() else { return Ok(()) };
        match checkpoint {
            Checkpoint::Agent(info) => self.write_agent(&agent, &AgentCheckpoint { info: *info }),
            Checkpoint::Framework(info) => {
                let Some(id) = info.id.as_ref().map(|id| id.value.as_str().into()) else {
                    return Ok(());
                };
                let path = self.layout.framework(&agent, &id).join(FRAMEWORK_INFO);
                replace(&path, &FrameworkCheckpoint { info: *info }.encode_to_vec())
            }
            Checkpoint::Append { framework, executor, container, record } => {
                self.buffer.clear();
                journal::frame(&record, &mut self.buffer);
                let path = self.layout.run(&agent, &framework, &executor, &container).join(JOURNAL);
                self.append(&container, &path).map_err(|source| WriteError { path, source })
            }
            Checkpoint::Rewrite { framework, executor, container, records } => {
                self.open.remove(&container);
                let path = self.layout.run(&agent, &framework, &executor, &container).join(JOURNAL);
                replace(&path, &journal::whole(&records))
            }
            Checkpoint::RemoveRun { framework, executor, container } => {
                self.open.remove(&container);
                remove_run(&self.layout.run(&agent, &framework, &executor, &container))
            }
            Checkpoint::RemoveFramework(framework) => {
                let path = self.layout.framework(&agent, &framework);
                gone(fs::remove_dir_all(&path)).map_err(|source| WriteError { path, source })
            }
            Checkpoint::RemoveAgent(agent) => {
                let path = self.layout.agent(&agent);
                gone(fs::remove_dir_all(&path)).map_err(|source| WriteError { path, source })
            }
        }
    }

    fn write_agent(&self, agent: &AgentId, checkpoint: &AgentCheckpoint) -> Result<(), WriteError> {
        replace(&self.layout.agent(agent).join(AGENT_INFO), &checkpoint.encode_to_vec())?;
        let path = self.layout.agents().join(LATEST);
        link(agent.as_str(), &path).map_err(|source| WriteError { path, source })
    }

    fn append(&mut self, container: &ContainerId, path: &Path) -> io::Result<()> {
        if !self.open.contains_key(container) {
            if self.open.len() >= OPEN_JOURNALS {
                self.open.clear();
            }
            let file = match journal::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    create_parent(path)?;
                    journal::open(path)?
                }
                other => other?,
            };
            self.open.insert(container.clone(), file);
        }
        match self.open.get_mut(container) {
            Some(file) => file.write_all(&self.buffer),
            None => Ok(()),
        }
    }
}

/// Points `path` to `target`, in one step.
pub(crate) fn link(target: &str, path: &Path) -> io::Result<()> {
    let beside = path.with_file_name(format!(".latest-{target}"));
    gone(fs::remove_file(&beside))?;
    std::os::unix::fs::symlink(target, &beside)?;
    fs::rename(&beside, path)
}

/// Writes down in which boot of the machine the checkpoints are made.
pub(crate) fn write_boot_id(layout: &Layout, boot_id: &str) -> Result<(), WriteError> {
    replace(&layout.boot_id(), boot_id.as_bytes())
}

fn replace(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        create_parent(path)?;
        fs::write(&beside, content)?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| WriteError { path: path.to_owned(), source })
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Removes the journal of a run, and the directories above it that are empty then.
fn remove_run(run: &Path) -> Result<(), WriteError> {
    let path = run.join(JOURNAL);
    gone(fs::remove_file(&path)).map_err(|source| WriteError { path, source })?;
    // Up to the directory of the executor. What is not empty stays.
    let dirs = run.ancestors().take(3);
    for dir in dirs {
        if fs::remove_dir(dir).is_err() {
            break;
        }
    }
    Ok(())
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
