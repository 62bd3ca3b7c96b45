//! JSON to messages.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use serde_json::Value as Json;

use super::JsonError;

type Read<T> = Result<T, JsonError>;

/// A message from a JSON object.
pub(super) fn message(descriptor: &MessageDescriptor, json: &Json) -> Read<DynamicMessage> {
    object(descriptor, json, &mut Path::default())
}

/// Where in the text we are, for errors.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn inside<T>(
        &mut self,
        part: impl Into<String>,
        f: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<T> {
        self.0.push(part.into());
        let result = f(self);
        self.0.pop();
        result
    }

    fn error(&self, found: &Json, expected: &'static str) -> JsonError {
        let mut path = String::new();
        for part in &self.0 {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        if path.is_empty() {
            "the message".clone_into(&mut path);
        }
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(60) {
            found.truncate(end);
            found.push('…');
        }
        JsonError::Value { path, found, expected }
    }
}

fn object(descriptor: &MessageDescriptor, json: &Json, path: &mut Path) -> Read<DynamicMessage> {
    let Json::Object(entries) = json else { return Err(path.error(json, "an object")) };
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, entry) in entries {
        let Some(field) = descriptor.get_field_by_name(name) else { continue };
        if entry.is_null() {
            continue;
        }
        let read = path.inside(name, |path| field_value(&field, entry, path))?;
        if let Some(value) = read {
            message.set_field(&field, value);
        }
    }
    Ok(message)
}

fn field_value(field: &FieldDescriptor, json: &Json, path: &mut Path) -> Read<Option<Value>> {
    let kind = field.kind();
    if field.is_map() {
        return map(&kind, json, path).map(Some);
    }
    if !field.is_list() {
        return single(&kind, field.cardinality() == Cardinality::Required, json, path);
    }
    let mut list = Vec::new();
    match json {
        Json::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                list.extend(
                    path.inside(format!("[{i}]"), |path| single(&kind, false, item, path))?,
                );
            }
        }
        one => list.extend(single(&kind, false, one, path)?),
    }
    Ok(Some(Value::List(list)))
}

fn map(kind: &Kind, json: &Json, path: &mut Path) -> Read<Value> {
    let Json::Object(entries) = json else { return Err(path.error(json, "an object")) };
    let Kind::Message(entry) = kind else { return Err(path.error(json, "no map")) };
    let of = entry.map_entry_value_field().kind();
    let mut map = std::collections::HashMap::new();
    for (key, item) in entries {
        let read = path.inside(key, |path| single(&of, false, item, path))?;
        if let Some(value) = read {
            // Every map of these messages has strings for keys.
            map.insert(MapKey::String(key.clone()), value);
        }
    }
    Ok(Value::Map(map))
}

/// One value. None if it is the unknown name of an enum that may be left out.
fn single(kind: &Kind, required: bool, json: &Json, path: &mut Path) -> Read<Option<Value>> {
    let value = match kind {
        Kind::Message(m) => Value::Message(object(m, json, path)?),
        Kind::Enum(e) => {
            let named = match json {
                Json::String(name) => e.get_value_by_name(name),
                Json::Number(n) => {
                    n.as_i64().and_then(|n| i32::try_from(n).ok()).and_then(|n| e.get_value(n))
                }
                _ => return Err(path.error(json, "the name of an enum value")),
            };
            match named {
                Some(value) => Value::EnumNumber(value.number()),
                None if required => {
                    return Err(path.error(json, "a known name of an enum value"));
                }
                None => return Ok(None),
            }
        }
        Kind::String => match json {
            Json::String(s) => Value::String(s.clone()),
            _ => return Err(path.error(json, "a string")),
        },
        Kind::Bytes => Value::Bytes(bytes(json, path)?.into()),
        Kind::Bool => Value::Bool(boolean(json, path)?),
        Kind::Double => Value::F64(float(json, path)?),
        #[expect(clippy::cast_possible_truncation, reason = "that is what a float field holds")]
        Kind::Float => Value::F32(float(json, path)? as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32(integer(json, path, "a 32-bit integer")?)
        }
        Kind::Uint32 | Kind::Fixed32 => {
            Value::U32(integer(json, path, "a 32-bit integer, 0 or more")?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Value::I64(integer(json, path, "a 64-bit integer")?)
        }
        Kind::Uint64 | Kind::Fixed64 => {
            Value::U64(integer(json, path, "a 64-bit integer, 0 or more")?)
        }
    };
    Ok(Some(value))
}

fn bytes(json: &Json, path: &Path) -> Read<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    json.as_str()
        .and_then(|text| STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok())
        .ok_or_else(|| path.error(json, "bytes in base64"))
}

fn boolean(json: &Json, path: &Path) -> Read<bool> {
    match json {
        Json::Bool(b) => Ok(*b),
        Json::String(s) if s == "true" => Ok(true),
        Json::String(s) if s == "false" => Ok(false),
        _ => Err(path.error(json, "true or false")),
    }
}

fn float(json: &Json, path: &Path) -> Read<f64> {
    let number = match json {
        Json::Number(n) => n.as_f64(),
        Json::String(s) => match s.as_str() {
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            "NaN" => Some(f64::NAN),
            text => text.parse().ok().filter(|n: &f64| n.is_finite()),
        },
        _ => None,
    };
    number.ok_or_else(|| path.error(json, "a number"))
}

/// A whole number, also if it is in quotes or written with a point.
fn integer<T: TryFrom<i128>>(json: &Json, path: &Path, expected: &'static str) -> Read<T> {
    /// Beyond this not every whole number is a double, so one cannot stand for it.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = |number: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "bounded and whole")]
        (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i128)
    };
    let number = match json {
        Json::Number(n) => n
            .as_i64()
            .map(i128::from)
            .or_else(|| n.as_u64().map(i128::from))
            .or_else(|| n.as_f64().and_then(whole)),
        Json::String(s) => s.parse::<i128>().ok().or_else(|| s.parse::<f64>().ok().and_then(whole)),
        _ => None,
    };
    number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| path.error(json, expected))
}
