//! The registry in one file, with an embedded store.

use std::fs;
use std::path::Path;

use mezzo_master_core::{Write, WriteId};
use mezzo_model::AgentId;
use mezzo_proto::state::v1::{AdmittedAgent, UnreachableAgent};
use prost::Message;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Contents, Registry, RegistryError};

const ADMITTED: TableDefinition<&str, &[u8]> = TableDefinition::new("admitted");
const UNREACHABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("unreachable");
/// Beside the registry: the process that has it open, or had it last.
const PID: &str = "master.pid";

/// The registry below a work directory.
#[derive(Debug)]
pub(crate) struct Disk {
    database: Database,
}

impl Disk {
    /// Opens `<work_dir>/registry.redb`, or makes it.
    pub(crate) fn open(work_dir: &Path) -> Result<Self, RegistryError> {
        let directory = |source| RegistryError::Directory { dir: work_dir.to_owned(), source };
        fs::create_dir_all(work_dir).map_err(directory)?;
        let file = work_dir.join("registry.redb");
        let database = Database::create(&file).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => in_use(work_dir),
            DatabaseError::Storage(redb::StorageError::Io(source)) => directory(source),
            other => store("open")(other),
        })?;
        fs::write(work_dir.join(PID), std::process::id().to_string()).map_err(directory)?;
        let mut disk = Self { database };
        // So that the tables exist for whoever reads first.
        disk.commit(&[])?;
        Ok(disk)
    }
}

/// The lock is the store's own; who holds it is only for the message.
fn in_use(work_dir: &Path) -> RegistryError {
    let pid = fs::read_to_string(work_dir.join(PID)).ok().filter(|pid| !pid.is_empty());
    RegistryError::InUse { dir: work_dir.to_owned(), pid }
}

fn store<E: Into<redb::Error>>(operation: &'static str) -> impl Fn(E) -> RegistryError {
    move |error| RegistryError::Store { operation, source: Box::new(error.into()) }
}

impl Registry for Disk {
    fn load(&self) -> Result<Contents, RegistryError> {
        let mut contents = Contents::default();
        let read = self.database.begin_read().map_err(store("read"))?;
        let admitted = read.open_table(ADMITTED).map_err(store("read"))?;
        for entry in admitted.iter().map_err(store("read"))? {
            let (id, bytes) = entry.map_err(store("read"))?;
            contents.admitted.push(decode::<AdmittedAgent>(id.value(), bytes.value())?.info);
        }
        let unreachable = read.open_table(UNREACHABLE).map_err(store("read"))?;
        for entry in unreachable.iter().map_err(store("read"))? {
            let (id, bytes) = entry.map_err(store("read"))?;
            let record: UnreachableAgent = decode(id.value(), bytes.value())?;
            contents.unreachable.push((AgentId::new(id.value()), record.since.nanoseconds));
        }
        Ok(contents)
    }

    fn commit(&mut self, writes: &[(WriteId, Write)]) -> Result<(), RegistryError> {
        let mut transaction = self.database.begin_write().map_err(store("write"))?;
        transaction.set_durability(Durability::Immediate).map_err(store("write"))?;
        {
            let mut admitted = transaction.open_table(ADMITTED).map_err(store("write"))?;
            let mut unreachable = transaction.open_table(UNREACHABLE).map_err(store("write"))?;
            for (_, write) in writes {
                match write {
                    Write::Admit(id, record) => {
                        let bytes = record.encode_to_vec();
                        unreachable.remove(id.as_str()).map_err(store("write"))?;
                        admitted.insert(id.as_str(), bytes.as_slice()).map_err(store("write"))?;
                    }
                    Write::MarkUnreachable(id, record) => {
                        let bytes = record.encode_to_vec();
                        admitted.remove(id.as_str()).map_err(store("write"))?;
                        unreachable
                            .insert(id.as_str(), bytes.as_slice())
                            .map_err(store("write"))?;
                    }
                    Write::Remove(id) => {
                        admitted.remove(id.as_str()).map_err(store("write"))?;
                        unreachable.remove(id.as_str()).map_err(store("write"))?;
                    }
                }
            }
        }
        transaction.commit().map_err(store("write"))
    }
}

fn decode<M: Message + Default>(id: &str, bytes: &[u8]) -> Result<M, RegistryError> {
    M::decode(bytes).map_err(|source| RegistryError::Record { what: id.to_owned(), source })
}
