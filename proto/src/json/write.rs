//! Messages to JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

/// A message as a JSON object.
pub(super) fn message(message: &DynamicMessage) -> String {
    let mut out = String::new();
    object(&mut out, message);
    out
}

fn object(out: &mut String, message: &DynamicMessage) {
    out.push('{');
    let mut first = true;
    for field in message.descriptor().fields() {
        if !message.has_field(&field) && !has_own_default(&field) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        string(out, field.name());
        out.push(':');
        value(out, &field.kind(), &message.get_field(&field));
    }
    out.push('}');
}

/// Whether the `.proto` file gives the field a default, and the field is still in use.
fn has_own_default(field: &FieldDescriptor) -> bool {
    let proto = field.field_descriptor_proto();
    let deprecated = proto.options.as_ref().is_some_and(|options| options.deprecated());
    proto.default_value.is_some() && !deprecated
}

fn value(out: &mut String, kind: &Kind, value_: &Value) {
    match value_ {
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::I32(n) => display(out, n),
        Value::I64(n) => display(out, n),
        Value::U32(n) => display(out, n),
        Value::U64(n) => display(out, n),
        Value::F32(n) => float(out, f64::from(*n)),
        Value::F64(n) => float(out, *n),
        Value::String(s) => string(out, s),
        Value::Bytes(b) => string(out, &STANDARD.encode(b)),
        Value::EnumNumber(n) => enum_name(out, kind, *n),
        Value::Message(m) => object(out, m),
        Value::List(items) => list(out, kind, items),
        Value::Map(entries) => map(out, kind, entries),
    }
}

fn display(out: &mut String, number: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(out, "{number}");
}

fn float(out: &mut String, number: f64) {
    if number.is_finite() {
        // `{:?}` keeps the point of whole numbers and enough digits to read the same value back.
        let _ = write!(out, "{number:?}");
    } else if number.is_nan() {
        out.push_str("\"NaN\"");
    } else {
        out.push_str(if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    }
}

fn enum_name(out: &mut String, kind: &Kind, number: i32) {
    match kind {
        Kind::Enum(e) => match e.get_value(number) {
            Some(known) => string(out, known.name()),
            None => display(out, number),
        },
        _ => display(out, number),
    }
}

fn list(out: &mut String, kind: &Kind, items: &[Value]) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        value(out, kind, item);
    }
    out.push(']');
}

fn map(out: &mut String, kind: &Kind, entries: &std::collections::HashMap<MapKey, Value>) {
    let Kind::Message(entry) = kind else { return };
    let of = entry.map_entry_value_field().kind();
    let mut sorted: Vec<(String, &Value)> =
        entries.iter().map(|(key, value)| (key_text(key), value)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    out.push('{');
    for (i, (key, item)) in sorted.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, &key);
        out.push(':');
        value(out, &of, item);
    }
    out.push('}');
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(b) => b.to_string(),
        MapKey::I32(n) => n.to_string(),
        MapKey::I64(n) => n.to_string(),
        MapKey::U32(n) => n.to_string(),
        MapKey::U64(n) => n.to_string(),
        MapKey::String(s) => s.clone(),
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => {
                let mut units = [0_u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}
