//! Required fields: proto2 says they must be there, generated code fills in a default instead.
//!
//! Each message type has a [`Table`]: its required fields and the fields that are messages
//! themselves. [`Table::check`] walks the encoded bytes once, without decoding or allocating, so
//! that it is cheap enough for every message on every stream. The tables are constants, made by the
//! build script from the `.proto` files.

use std::sync::OnceLock;

use prost::Name;
use prost_reflect::DescriptorPool;

include!(concat!(env!("OUT_DIR"), "/required.rs"));

/// Nesting deeper than this is refused. The decoder's own limit is the same.
const MAX_DEPTH: usize = 100;

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A required field is not set.
    Missing {
        /// The message that came in, for example `mezzo.v1.scheduler.Call`.
        message: &'static str,
        /// The path of the missing field, for example `subscribe.framework_info.user`.
        path: String,
    },
    /// The bytes are not protobuf.
    Malformed {
        /// The message that came in.
        message: &'static str,
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

/// The descriptors of every message of this crate. Made on first use, which takes milliseconds and
/// megabytes: for JSON and tools, not for the path of every message.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).unwrap_or_else(|_| DescriptorPool::new())
    })
}

/// The table of message type `M`; none if `M` is not a message of this crate.
#[must_use]
pub fn table<M: Name>() -> Option<&'static Table> {
    let name = M::full_name();
    let at = TABLES.binary_search_by(|table| table.name.cmp(&name)).ok()?;
    TABLES.get(at)
}

/// Refuses `bytes` if, read as an `M`, they lack a required field.
///
/// # Errors
/// Names the first field that is missing, or what keeps the bytes from being a message.
pub fn check<M: Name>(bytes: &[u8]) -> Result<(), Violation> {
    table::<M>().map_or(Ok(()), |table| table.check(bytes))
}

/// What has to be known of a message type to find a missing field in its bytes.
pub struct Table {
    name: &'static str,
    /// One bit for each required field.
    required: u64,
    /// Those that are required, and those that are messages which can lack something; by number.
    fields: &'static [Field],
}

struct Field {
    number: u32,
    name: &'static str,
    /// Its bit in [`Table::required`], if it is required.
    bit: Option<u32>,
    /// Its type's place in the tables, if it is a message that can lack something.
    table: Option<usize>,
}

impl Table {
    /// Refuses `bytes` if a required field is missing at any depth.
    ///
    /// # Errors
    /// Names the first field that is missing, or what keeps the bytes from being a message.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Violation> {
        let mut path = Vec::new();
        self.walk(bytes, &mut path).map_err(|fault| match fault {
            Fault::Missing(field) => {
                path.push(field);
                Violation::Missing { message: self.name, path: path.join(".") }
            }
            Fault::Malformed(what) => Violation::Malformed { message: self.name, what },
        })
    }

    fn walk(&self, mut bytes: &[u8], path: &mut Vec<&'static str>) -> Result<(), Fault> {
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
            if let (Some(inner), Some(table)) = (payload, field.table.and_then(|t| TABLES.get(t))) {
                path.push(field.name);
                table.walk(inner, path)?;
                path.pop();
            }
        }
        let missing = self.required & !seen;
        if missing == 0 {
            return Ok(());
        }
        let bit = missing.trailing_zeros();
        Err(Fault::Missing(self.fields.iter().find(|f| f.bit == Some(bit)).map_or("", |f| f.name)))
    }
}

enum Fault {
    Missing(&'static str),
    Malformed(&'static str),
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
