//! A registry that forgets: for tests, and for trying things out.

use std::collections::BTreeMap;

use mezzo_master_core::{Write, WriteId};
use mezzo_model::AgentId;
use mezzo_proto::v1;

use super::{Contents, Registry, RegistryError};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    admitted: BTreeMap<AgentId, v1::AgentInfo>,
    unreachable: BTreeMap<AgentId, i64>,
}

impl Registry for Memory {
    fn load(&self) -> Result<Contents, RegistryError> {
        Ok(Contents {
            admitted: self.admitted.values().cloned().collect(),
            unreachable: self.unreachable.iter().map(|(id, at)| (id.clone(), *at)).collect(),
        })
    }

    fn commit(&mut self, writes: &[(WriteId, Write)]) -> Result<(), RegistryError> {
        for (_, write) in writes {
            match write {
                Write::Admit(id, record) => {
                    self.unreachable.remove(id);
                    self.admitted.insert(id.clone(), record.info.clone());
                }
                Write::MarkUnreachable(id, record) => {
                    self.admitted.remove(id);
                    self.unreachable.insert(id.clone(), record.since.nanoseconds);
                }
                Write::Remove(id) => {
                    self.admitted.remove(id);
                    self.unreachable.remove(id);
                }
            }
        }
        Ok(())
    }
}
