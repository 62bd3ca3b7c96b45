//! Required fields: proto2 says they must be there, generated code fills in a default instead.
//!
//! Each message type has a [`Table`]: its required fields and the fields that are messages
//! themselves. [`Table::check`] walks the encoded bytes once, without decoding or allocating, so
//! that it is cheap enough for every message on every stream.

use std::collections::HashMap;
use std::sync::OnceLock;

use prost::Name;
use prost_reflect::{Cardinality, DescriptorPool, Kind, MessageDescriptor};

/// Nesting deeper than this is refused. The decoder's own limit is the same.
const MAX_DEPTH: usize = 100;

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A required field is not set.
    Missing {
        /// The message that came in, for example `mezzo.v1.scheduler.Call`.
        message: String,
        /// The path of the missing field, for example `subscribe.framework_info.user`.
        path: String,
    },
    /// The bytes are not protobuf.
    Malformed {
        /// The message that came in.
        message: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl std::error::Error for Violation {}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { message, path } => {
                write!(f, "{path}: required field of {message} is not set")
            }
            Self::Malformed { message, what } => write!(f, "not a valid {message}: {what}"),
        }
    }
}

/// The descriptors of every message of this crate.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).unwrap_or_else(|_| DescriptorPool::new())
    })
}

/// The table of message type `M`; none if `M` is not a message of this crate.
pub fn table<M: Name>() -> Option<&'static Table> {
    tables().get(M::full_name().as_str())
}

/// Refuses `bytes` if, read as an `M`, they lack a required field.
pub fn check<M: Name>(bytes: &[u8]) -> Result<(), Violation> {
    table::<M>().map_or(Ok(()), |table| table.check(bytes))
}

/// What has to be known of a message type to find a missing field in its bytes.
pub struct Table {
    name: String,
    /// Sorted by number.
    fields: Vec<Field>,
    required: u64,
    /// Whether anything inside, at any depth, can be missing.
    matters: OnceLock<bool>,
}

struct Field {
    number: u32,
    name: String,
    /// The bit of this field in [`Table::required`], if it is required.
    bit: Option<u32>,
    /// The type of this field, if it is a message.
    message: Option<String>,
    /// Filled on first use, since types can contain themselves.
    table: OnceLock<Option<&'static Table>>,
}

impl Table {
    fn new(descriptor: &MessageDescriptor) -> Self {
        let mut required = 0;
        let mut bits = 0;
        let mut fields: Vec<Field> = descriptor
            .fields()
            .filter_map(|field| {
                let message = match field.kind() {
                    Kind::Message(m) => Some(m.full_name().to_owned()),
                    _ => None,
                };
                let bit = (field.cardinality() == Cardinality::Required).then(|| {
                    let bit = bits;
                    bits += 1;
                    required |= 1_u64 << bit;
                    bit
                });
                (bit.is_some() || message.is_some()).then(|| Field {
                    number: field.number(),
                    name: field.name().to_owned(),
                    bit,
                    message,
                    table: OnceLock::new(),
                })
            })
            .collect();
        fields.sort_by_key(|f| f.number);
        let name = descriptor.full_name().to_owned();
        Self { name, fields, required, matters: OnceLock::new() }
    }

    /// Refuses `bytes` if a required field is missing at any depth.
    pub fn check(&'static self, bytes: &[u8]) -> Result<(), Violation> {
        let mut path = Vec::new();
        self.walk(bytes, &mut path).map_err(|fault| match fault {
            Fault::Missing(field) => {
                path.push(field);
                Violation::Missing { message: self.name.clone(), path: path.join(".") }
            }
            Fault::Malformed(what) => Violation::Malformed { message: self.name.clone(), what },
        })
    }

    fn walk(&'static self, mut bytes: &[u8], path: &mut Vec<&'static str>) -> Result<(), Fault> {
        if path.len() > MAX_DEPTH {
            return Err(Fault::Malformed("messages are nested more than 100 deep"));
        }
        let mut seen = 0_u64;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let number =
                u32::try_from(key >> 3).map_err(|_| Fault::Malformed("field number too large"))?;
            let payload = skip(&mut bytes, key & 7)?;
            let Ok(index) = self.fields.binary_search_by_key(&number, |f| f.number) else {
                continue;
            };
            let Some(field) = self.fields.get(index) else { continue };
            if let Some(bit) = field.bit {
                seen |= 1 << bit;
            }
            if let (Some(inner), Some(table)) = (payload, field.table()) {
                path.push(&field.name);
                table.walk(inner, path)?;
                path.pop();
            }
        }
        let missing = self.required & !seen;
        if missing == 0 {
            return Ok(());
        }
        let bit = missing.trailing_zeros();
        let name = self.fields.iter().find(|f| f.bit == Some(bit)).map_or("", |f| &f.name);
        Err(Fault::Missing(name))
    }

    /// Whether a message of this type can lack anything; if not, its bytes need no walk.
    fn matters(&self, above: &mut Vec<String>) -> bool {
        if let Some(known) = self.matters.get() {
            return *known;
        }
        if self.required != 0 {
            return *self.matters.get_or_init(|| true);
        }
        if above.contains(&self.name) {
            return false;
        }
        above.push(self.name.clone());
        let matters = self
            .fields
            .iter()
            .filter_map(|f| f.message.as_deref().and_then(|m| tables().get(m)))
            .any(|t| t.matters(above));
        above.pop();
        if above.is_empty() {
            return *self.matters.get_or_init(|| matters);
        }
        matters
    }
}

impl Field {
    fn table(&'static self) -> Option<&'static Table> {
        *self.table.get_or_init(|| {
            let table = tables().get(self.message.as_deref()?)?;
            table.matters(&mut Vec::new()).then_some(table)
        })
    }
}

enum Fault {
    Missing(&'static str),
    Malformed(&'static str),
}

fn tables() -> &'static HashMap<String, Table> {
    static TABLES: OnceLock<HashMap<String, Table>> = OnceLock::new();
    TABLES.get_or_init(|| {
        pool()
            .all_messages()
            .map(|m| (m.full_name().to_owned(), Table::new(&m)))
            .collect()
    })
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            return Err(Fault::Malformed("the message ends inside a number"));
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Fault::Malformed("a number is longer than ten bytes"))
}

/// Steps over a field of the given wire type; returns its bytes if it is length-delimited.
fn skip<'a>(bytes: &mut &'a [u8], wire_type: u64) -> Result<Option<&'a [u8]>, Fault> {
    let length = match wire_type {
        0 => return varint(bytes).map(|_| None),
        1 => 8,
        2 => usize::try_from(varint(bytes)?)
            .map_err(|_| Fault::Malformed("a length does not fit into memory"))?,
        5 => 4,
        // Groups are not used by any message of this crate.
        _ => return Err(Fault::Malformed("unknown wire type")),
    };
    let Some((field, rest)) = bytes.split_at_checked(length) else {
        return Err(Fault::Malformed("the message ends inside a field"));
    };
    *bytes = rest;
    Ok((wire_type == 2).then_some(field))
}
