//! Attributes: what an agent says about itself, `rack:r1;os:linux;level:10;ports:[1-5]`.

use std::fmt;

use mezzo_proto::v1;
use mezzo_proto::v1::value::{Text, Type};
use serde_json::{Map, Value as Json};

use crate::value::{
    ValueError, ranges_from_proto, ranges_to_proto, scalar_from_proto, scalar_to_proto,
    set_from_proto, set_to_proto,
};
use crate::{InvalidField, Value, invalid::quote};

/// The attributes of an agent, in the order given. The same name may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes(Vec<(String, Value)>);

/// Text that does not describe attributes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAttributesError {
    /// An item without a colon or without a name.
    #[error("{0} is not an attribute such as rack:r1")]
    Item(String),
    /// A value that cannot be read.
    #[error("attribute {name} has no proper value")]
    Value {
        /// The name of the attribute.
        name: String,
        /// What is wrong with the value.
        #[source]
        source: ValueError,
    },
    /// A set.
    #[error("attribute {name} cannot be the set {found}; expected a number, ranges or text")]
    Set {
        /// The name of the attribute.
        name: String,
        /// The set.
        found: String,
    },
}

impl Attributes {
    /// No attributes.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads `name:value;name:value`; newlines separate too, and only the first colon counts.
    pub fn parse(text: &str) -> Result<Self, ParseAttributesError> {
        let mut list = Vec::new();
        for item in text.split([';', '\n']).map(str::trim).filter(|item| !item.is_empty()) {
            let (name, value) = match item.split_once(':') {
                Some((name, value)) if !name.trim().is_empty() => (name.trim().to_owned(), value),
                _ => return Err(ParseAttributesError::Item(quote(item))),
            };
            match Value::parse(value) {
                Ok(Value::Set(set)) => {
                    return Err(ParseAttributesError::Set { name, found: set.to_string() });
                }
                Ok(value) => list.push((name, value)),
                Err(source) => return Err(ParseAttributesError::Value { name, source }),
            }
        }
        Ok(Self(list))
    }

    /// Each name with its value, in the order given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a list of messages. An error names the place as `attributes[2].scalar.value`.
    pub fn from_proto(wire: &[v1::Attribute]) -> Result<Self, InvalidField> {
        let read = |(n, one): (usize, &v1::Attribute)| {
            let value =
                value_from_proto(one).map_err(|error| error.within(&format!("attributes[{n}]")))?;
            Ok((one.name.clone(), value))
        };
        wire.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Writes the list of messages.
    pub fn to_proto(&self) -> Vec<v1::Attribute> {
        self.0.iter().map(|(name, value)| to_message(name, value)).collect()
    }

    /// The object that the JSON endpoints show. Of a name that comes twice, the last value.
    pub fn summary(&self) -> Map<String, Json> {
        let one = |(name, value): (&str, &Value)| {
            let json = match value {
                Value::Scalar(scalar) => crate::resources::number(*scalar),
                other => Json::from(other.to_string().replace(',', ", ")),
            };
            (name.to_owned(), json)
        };
        self.iter().map(one).collect()
    }
}

fn value_from_proto(wire: &v1::Attribute) -> Result<Value, InvalidField> {
    if wire.name.is_empty() {
        return Err(InvalidField::new("name", "\"\"", "the name of an attribute"));
    }
    let missing = |field| InvalidField::new(field, "nothing", "a value, as the type says");
    match Type::try_from(wire.r#type) {
        Ok(Type::Scalar) => {
            let scalar = wire.scalar.as_ref().ok_or_else(|| missing("scalar"))?;
            scalar_from_proto("scalar", scalar).map(Value::Scalar)
        }
        Ok(Type::Ranges) => {
            let ranges = wire.ranges.as_ref().ok_or_else(|| missing("ranges"))?;
            ranges_from_proto("ranges", ranges).map(Value::Ranges)
        }
        Ok(Type::Set) => {
            let set = wire.set.as_ref().ok_or_else(|| missing("set"))?;
            set_from_proto("set", set).map(Value::Set)
        }
        Ok(Type::Text) => {
            let text = wire.text.as_ref().ok_or_else(|| missing("text"))?;
            Ok(Value::Text(text.value.clone()))
        }
        Err(_) => Err(InvalidField::new("type", wire.r#type, "SCALAR, RANGES, SET or TEXT")),
    }
}

fn to_message(name: &str, value: &Value) -> v1::Attribute {
    let mut wire = v1::Attribute { name: name.to_owned(), ..v1::Attribute::default() };
    match value {
        Value::Scalar(scalar) => {
            wire.r#type = Type::Scalar as i32;
            wire.scalar = Some(scalar_to_proto(*scalar));
        }
        Value::Ranges(ranges) => {
            wire.r#type = Type::Ranges as i32;
            wire.ranges = Some(ranges_to_proto(ranges));
        }
        Value::Set(set) => {
            wire.r#type = Type::Set as i32;
            wire.set = Some(set_to_proto(set));
        }
        Value::Text(text) => {
            wire.r#type = Type::Text as i32;
            wire.text = Some(Text { value: text.clone() });
        }
    }
    wire
}

/// `rack:r1;level:10`
impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}:{value}", if n == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Ranges, Scalar};

    #[test]
    fn attributes_are_read_in_order_and_split_at_the_first_colon() {
        let attributes =
            Attributes::parse("rack:r1;url:http://x;level:10\nports:[1-5];rack:r2").unwrap();
        assert_eq!(attributes.to_string(), "rack:r1;url:http://x;level:10;ports:[1-5];rack:r2");
        assert_eq!(attributes.get("rack"), Some(&Value::Text("r1".into())));
        assert_eq!(attributes.get("level"), Some(&Value::Scalar(Scalar::from_int(10))));
        assert_eq!(attributes.get("ports"), Some(&Value::Ranges(Ranges::single(1, 5))));
        assert_eq!(Attributes::from_proto(&attributes.to_proto()).unwrap(), attributes);
        assert_eq!(attributes.summary().get("level"), Some(&Json::from(10)));
    }

    #[test]
    fn sets_and_nameless_values_are_refused() {
        let message = |text| Attributes::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("os:{a,b}"),
            "attribute os cannot be the set {a,b}; expected a number, ranges or text"
        );
        assert_eq!(message("rack"), "\"rack\" is not an attribute such as rack:r1");
        assert_eq!(message(":r1"), "\":r1\" is not an attribute such as rack:r1");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in "\\PC*|[a-c:;\\[\\]{}0-9,-]*") {
            let _ = Attributes::parse(&text);
        }
    }
}
