//! The tables by which `src/required.rs` finds missing fields, written out as constants: a process
//! that makes them when it starts would pay for every message type, though it reads a few.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

/// All tables, sorted by name, as the source of a `static`.
pub(crate) fn tables(descriptors: &FileDescriptorSet) -> String {
    let mut messages = BTreeMap::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            gather(file.package(), message, &mut messages);
        }
    }
    let mattering = mattering(&messages);
    let index: BTreeMap<&str, usize> =
        messages.keys().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let mut source = String::from("static TABLES: &[Table] = &[\n");
    for (name, message) in &messages {
        write_table(&mut source, name, message, &index, &mattering);
    }
    source.push_str("];\n");
    source
}

/// The message and all inside it, by full name.
fn gather<'a>(
    scope: &str,
    message: &'a DescriptorProto,
    messages: &mut BTreeMap<String, &'a DescriptorProto>,
) {
    let name = format!("{scope}.{}", message.name());
    for inner in &message.nested_type {
        gather(&name, inner, messages);
    }
    messages.insert(name, message);
}

/// The messages that can lack something, at any depth. The bytes of others need no walk.
fn mattering(messages: &BTreeMap<String, &DescriptorProto>) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    loop {
        let more: Vec<_> = messages
            .iter()
            .filter(|(name, message)| {
                !found.contains(*name)
                    && message.field.iter().any(|f| {
                        f.label() == Label::Required
                            || (f.r#type() == Type::Message && found.contains(type_of(f)))
                    })
            })
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn type_of(field: &prost_types::FieldDescriptorProto) -> &str {
    field.type_name().trim_start_matches('.')
}

fn write_table(
    source: &mut String,
    name: &str,
    message: &DescriptorProto,
    index: &BTreeMap<&str, usize>,
    mattering: &BTreeSet<String>,
) {
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_by_key(|f| f.number());
    let mut bits = 0_u32;
    let mut rows = String::new();
    for field in fields {
        let bit = (field.label() == Label::Required).then(|| {
            bits += 1;
            bits - 1
        });
        let inner = (field.r#type() == Type::Message && mattering.contains(type_of(field)))
            .then(|| index.get(type_of(field)).copied())
            .flatten();
        if bit.is_some() || inner.is_some() {
            let (number, name) = (field.number(), field.name());
            // Writing to a string does not fail.
            let _ = write!(
                rows,
                "Field {{ number: {number}, name: {name:?}, bit: {bit:?}, table: {inner:?} }}, "
            );
        }
    }
    let required = if bits == 0 { 0 } else { u64::MAX >> (64 - bits) };
    let _ = writeln!(
        source,
        "    Table {{ name: {name:?}, required: {required:#x}, fields: &[{rows}] }},"
    );
}
