//! JSON as Mesos writes and reads it, which is not the canonical JSON of protobuf.
//!
//! * Names are snake_case, enums are names, bytes are base64, 64-bit integers are plain numbers, a
//!   `Duration` is an object, infinities are strings.
//! * Written: optional fields that are unset but have a default of their own. Not written: empty
//!   lists and maps. Non-ASCII is escaped, because some clients compare a record's length in bytes
//!   with one in characters.
//! * Read leniently: unknown fields and unknown names of optional enums are passed over, `null` is
//!   unset, one value stands for a list of one, numbers and booleans may be in quotes. A missing
//!   required field is an error.

mod read;
mod write;

use prost::{Message, Name};
use prost_reflect::DynamicMessage;

use crate::required::{self, Violation};

/// Why JSON was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonError {
    /// It is no JSON at all.
    Syntax(String),
    /// A value is not what its field holds.
    Value {
        /// Where, for example `accept.operations[0].launch`.
        path: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A required field is missing.
    Required(Violation),
    /// The message is not one of this crate.
    Unknown(String),
}

impl std::error::Error for JsonError {}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax(what) => write!(f, "not JSON: {what}"),
            Self::Value { path, found, expected } => {
                write!(f, "{path}: is {found}, expected {expected}")
            }
            Self::Required(violation) => violation.fmt(f),
            Self::Unknown(name) => write!(f, "no message is called {name}"),
        }
    }
}

/// Writes a message as compact JSON, in ASCII.
///
/// # Errors
/// If `M` is not a message of this crate.
pub fn to_string<M: Message + Name>(message: &M) -> Result<String, JsonError> {
    let descriptor = descriptor::<M>()?;
    let bytes = message.encode_to_vec();
    let dynamic = DynamicMessage::decode(descriptor, bytes.as_slice())
        .map_err(|e| JsonError::Syntax(e.to_string()))?;
    Ok(write::message(&dynamic))
}

/// Reads a message from JSON.
///
/// # Errors
/// If the text is not JSON, a value does not fit its field, or a required field is missing; the
/// error names the field.
pub fn from_str<M: Message + Name + Default>(text: &str) -> Result<M, JsonError> {
    let descriptor = descriptor::<M>()?;
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|e| JsonError::Syntax(e.to_string()))?;
    let bytes = read::message(&descriptor, &value)?.encode_to_vec();
    required::check::<M>(&bytes).map_err(JsonError::Required)?;
    M::decode(bytes.as_slice()).map_err(|e| JsonError::Syntax(e.to_string()))
}

fn descriptor<M: Name>() -> Result<prost_reflect::MessageDescriptor, JsonError> {
    let name = M::full_name();
    required::pool().get_message_by_name(&name).ok_or(JsonError::Unknown(name))
}
