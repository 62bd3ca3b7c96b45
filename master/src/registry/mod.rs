//! What a master must not forget: the agents that it admitted, and those that became unreachable.
//!
//! One thread commits. Whatever is asked for while a commit is under way goes into the next one, so
//! that a storm of agents costs a few commits and not one each.

mod disk;
mod memory;

use std::path::PathBuf;

use mezzo_master_core::{Command, Persisted, Write, WriteId};
use mezzo_model::AgentId;
use mezzo_proto::v1;
use tokio::sync::mpsc;

use crate::actor::Input;

pub(crate) use disk::Disk;
pub(crate) use memory::Memory;

/// Writes of one commit, at most.
const BATCH: usize = 1024;

/// What a registry holds when a master starts.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) admitted: Vec<v1::AgentInfo>,
    /// With the time since when, in nanoseconds since the epoch.
    pub(crate) unreachable: Vec<(AgentId, i64)>,
}

/// A store for the registry.
pub(crate) trait Registry: Send + 'static {
    /// Everything that is in it.
    fn load(&self) -> Result<Contents, RegistryError>;
    /// Makes the writes durable: all of them, or none.
    fn commit(&mut self, writes: &[(WriteId, Write)]) -> Result<(), RegistryError>;
}

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// The directory cannot be made or written.
    #[error("--work_dir={}: cannot be written", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error(
        "--work_dir={}: another master{} is using this registry",
        dir.display(),
        pid.as_deref().map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The other one.
        pid: Option<String>,
    },
    /// The store failed.
    #[error("cannot {operation} the registry")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Box<redb::Error>,
    },
    /// A record cannot be read.
    #[error("the registry's record of {what} cannot be read")]
    Record {
        /// Whose.
        what: String,
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
}

/// The committer's loop. Ends when nobody is left to write; fails when a commit does.
pub(crate) fn run(
    mut registry: Box<dyn Registry>,
    mut writes: mpsc::UnboundedReceiver<(WriteId, Write)>,
    actor: &mpsc::Sender<Input>,
) -> Result<(), RegistryError> {
    let mut batch = Vec::new();
    while writes.blocking_recv_many(&mut batch, BATCH) > 0 {
        registry.commit(&batch)?;
        for (id, _) in batch.drain(..) {
            let done = Command::Persisted(Persisted(id));
            if actor.blocking_send(Input::Command(done)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! One suite for every store.

    use mezzo_proto::state::v1::{AdmittedAgent, UnreachableAgent};

    use super::*;

    fn admit(id: &str) -> (WriteId, Write) {
        let info = v1::AgentInfo {
            id: Some(v1::AgentId { value: id.into() }),
            hostname: "host".into(),
            ..Default::default()
        };
        (WriteId(0), Write::Admit(AgentId::new(id), Box::new(AdmittedAgent { info })))
    }

    fn unreachable(id: &str) -> (WriteId, Write) {
        let record = UnreachableAgent {
            agent_id: v1::AgentId { value: id.into() },
            since: v1::TimeInfo { nanoseconds: 7 },
        };
        (WriteId(0), Write::MarkUnreachable(AgentId::new(id), record))
    }

    fn names(registry: &dyn Registry) -> (Vec<String>, Vec<(String, i64)>) {
        let contents = registry.load().unwrap();
        let id = |info: v1::AgentInfo| info.id.unwrap().value;
        (
            contents.admitted.into_iter().map(id).collect(),
            contents.unreachable.into_iter().map(|(id, at)| (id.to_string(), at)).collect(),
        )
    }

    fn suite(registry: &mut dyn Registry) {
        assert_eq!(names(registry), (vec![], vec![]));
        registry.commit(&[admit("a"), admit("b")]).unwrap();
        assert_eq!(names(registry).0, ["a", "b"]);
        registry.commit(&[unreachable("a")]).unwrap();
        assert_eq!(names(registry), (vec!["b".into()], vec![("a".into(), 7)]));
        registry.commit(&[admit("a")]).unwrap();
        assert_eq!(names(registry), (vec!["a".into(), "b".into()], vec![]));
        registry.commit(&[(WriteId(0), Write::Remove(AgentId::new("a")))]).unwrap();
        assert_eq!(names(registry).0, ["b"]);
    }

    #[test]
    fn memory_keeps_what_is_committed() {
        suite(&mut Memory::default());
    }

    #[test]
    fn disk_keeps_what_is_committed_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path()).unwrap();
        suite(&mut disk);
        drop(disk);
        assert_eq!(names(&Disk::open(dir.path()).unwrap()).0, ["b"]);
    }

    #[test]
    fn a_second_master_on_the_same_registry_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Disk::open(dir.path()).unwrap();
        assert!(matches!(Disk::open(dir.path()), Err(RegistryError::InUse { .. })));
        drop(first);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Disk::open(&file.join("work")).err().unwrap();
        assert!(error.to_string().contains("file/work"), "{error}");
    }
}
