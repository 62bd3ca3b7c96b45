//! Reading back what an earlier run of the agent left. Whatever is wrong with a file costs at most what that file is about.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mezzo_agent_core::{Recovered, RecoveredFramework, RecoveredRun};
use mezzo_model::{AgentId, ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::state::v1::{AgentCheckpoint, FrameworkCheckpoint};
use mezzo_proto::v1::AgentInfo;

use super::Layout;
use super::journal;
use super::layout::{AGENT_INFO, FRAMEWORK_INFO, JOURNAL, LATEST};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// For the core.
    pub(crate) recovered: Recovered,
    /// What the agent said of itself then, if that can be read.
    pub(crate) info: Option<AgentInfo>,
}

/// A directory that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the checkpoints in {}", path.display())]
pub struct RecoverError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Reads everything back. `boot_id` is that of the machine now.
pub(crate) fn recover(layout: &Layout, boot_id: &str) -> Result<Found, RecoverError> {
    let mut found = Found::default();
    let before = fs::read_to_string(layout.boot_id()).unwrap_or_default();
    found.recovered.rebooted = !before.is_empty() && before.trim() != boot_id.trim();

    let latest = layout.agents().join(LATEST);
    let Some(id) = target(&latest) else { return Ok(found) };
    let Ok(id) = AgentId::parse(&id) else { return Ok(found) };
    let path = layout.agent(&id).join(AGENT_INFO);
    match decode::<AgentCheckpoint>(&path) {
        Ok(checkpoint) => found.info = Some(checkpoint.info),
        // The name of the directory is as good.
        Err(why) => tracing::warn!("the checkpoint {} is not used: {why}", path.display()),
    }
    let frameworks = layout.agent(&id).join("frameworks");
    for (name, dir) in entries(&frameworks)? {
        let Ok(framework) = FrameworkId::parse(&name) else { continue };
        match decode::<FrameworkCheckpoint>(&dir.join(FRAMEWORK_INFO)) {
            Ok(checkpoint)
                if checkpoint.info.id.as_ref().is_some_and(|id| id.value == framework.as_str()) =>
            {
                let runs = runs(&framework, &dir.join("executors"))?;
                found.recovered.frameworks.push(RecoveredFramework { info: checkpoint.info, runs });
            }
            Ok(_) => discard(&framework, &dir, "it is about another framework"),
            Err(why) => discard(&framework, &dir, &why),
        }
    }
    found.recovered.id = Some(id);
    Ok(found)
}

/// Without knowing the framework nothing of it can be told to anybody. Its containers are not asked for and so end.
fn discard(framework: &FrameworkId, dir: &Path, why: &str) {
    tracing::warn!(%framework, "{FRAMEWORK_INFO} cannot be used ({why}): the framework's containers are cleaned up");
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!(%framework, "cannot remove {}: {error}", dir.display());
    }
}

fn runs(framework: &FrameworkId, executors: &Path) -> Result<Vec<RecoveredRun>, RecoverError> {
    let mut runs = Vec::new();
    for (name, dir) in entries(executors)? {
        let Ok(executor) = ExecutorId::parse(&name) else { continue };
        for (name, dir) in entries(&dir.join("runs"))? {
            let Ok(container) = ContainerId::parse(&name) else { continue };
            let read = journal::read(&dir.join(JOURNAL)).unwrap_or_else(|error| journal::Read {
                damage: Some(error.to_string()),
                ..journal::Read::default()
            });
            if let Some(damage) = read.damage {
                tracing::warn!(%framework, %executor, %container, "the journal is damaged: {damage}");
            }
            runs.push(RecoveredRun {
                executor: executor.clone(),
                container,
                records: read.records,
            });
        }
    }
    Ok(runs)
}

fn decode<M: prost::Message + Default>(path: &Path) -> Result<M, String> {
    let content = fs::read(path).map_err(|error| error.to_string())?;
    if content.is_empty() {
        return Err("it is empty".to_owned());
    }
    M::decode(Bytes::from(content)).map_err(|error| error.to_string())
}

fn target(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.to_str().map(str::to_owned)
}

/// The directories in a directory, by name; none if it is not there.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, RecoverError> {
    let failed = |source| RecoverError { path: dir.to_owned(), source };
    let read = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
