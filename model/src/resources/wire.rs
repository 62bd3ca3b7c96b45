//! Resources as lists of messages.

use mezzo_proto::v1;

use super::Resources;
use crate::InvalidField;
use crate::resource::{Format, Resource, TermsCache};

impl Resources {
    /// Reads a list of messages, each in any of the three forms. Amounts of 0 are dropped. An error
    /// names the place as `resources[2].scalar.value`.
    pub fn from_proto(wire: &[v1::Resource]) -> Result<Self, InvalidField> {
        Self::from_proto_at("resources", wire)
    }

    /// Reads a list of messages out of a field with another name than `resources`.
    pub fn from_proto_at(path: &str, wire: &[v1::Resource]) -> Result<Self, InvalidField> {
        let mut cache = TermsCache::default();
        let read = |(n, one)| {
            Resource::from_proto_sharing(one, &mut cache)
                .map_err(|error: InvalidField| error.within(&format!("{path}[{n}]")))
        };
        let list: Result<Vec<_>, _> = wire.iter().enumerate().map(read).collect();
        list.map(Self::from_any)
    }

    /// Writes the list of messages; several copies of a shared volume are several messages.
    pub fn to_proto(&self, format: Format) -> Vec<v1::Resource> {
        let mut wire = Vec::with_capacity(self.len());
        for resource in self {
            let message = resource.to_proto(format);
            wire.extend((1..resource.copies()).map(|_| message.clone()));
            wire.push(message);
        }
        wire
    }
}
