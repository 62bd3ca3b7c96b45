//! The wire is a contract: no name, number, label, type or default of it may drift.

use mezzo_proto::required::pool;
use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

/// The packages that Mesos frameworks read, and no others.
const PACKAGES: [&str; 9] = [
    "mezzo.v1",
    "mezzo.v1.agent",
    "mezzo.v1.allocator",
    "mezzo.v1.executor",
    "mezzo.v1.maintenance",
    "mezzo.v1.master",
    "mezzo.v1.quota",
    "mezzo.v1.resource_provider",
    "mezzo.v1.scheduler",
];

/// Files of those packages that hold our services and the messages of our own calls.
const OURS: [&str; 5] = [
    "mezzo/v1/agent/service.proto",
    "mezzo/v1/executor/service.proto",
    "mezzo/v1/master/service.proto",
    "mezzo/v1/modules.proto",
    "mezzo/v1/scheduler/service.proto",
];

#[test]
fn every_message_field_and_enum_value_is_as_the_golden_list_says() {
    let mut found = Vec::new();
    for file in pool().files() {
        if !PACKAGES.contains(&file.package_name()) || OURS.contains(&file.name()) {
            continue;
        }
        file.messages().for_each(|m| message(&m, &mut found));
        file.enums().for_each(|e| values(&e, &mut found));
    }
    found.sort();
    let golden: Vec<&str> = include_str!("wire.golden").lines().collect();
    let extra: Vec<_> = found.iter().filter(|f| !golden.contains(&f.as_str())).collect();
    let missing: Vec<_> = golden.iter().filter(|g| !found.iter().any(|f| f == *g)).collect();
    assert!(extra.is_empty() && missing.is_empty(), "extra: {extra:#?}\nmissing: {missing:#?}");
    assert_eq!(found.len(), golden.len());
}

#[test]
fn the_golden_list_holds_the_whole_of_mesos_v1() {
    let golden: Vec<&str> = include_str!("wire.golden").lines().collect();
    let messages = golden.iter().filter(|l| !l.contains(" = ")).count();
    let values = golden.iter().filter(|l| l.split(' ').count() == 4).count();
    let fields = golden.len() - messages - values;
    assert_eq!((messages, fields, values), (351, 1206, 442));
}

fn message(m: &MessageDescriptor, out: &mut Vec<String>) {
    if m.is_map_entry() {
        return;
    }
    out.push(m.full_name().to_owned());
    m.fields().for_each(|f| out.push(field(m, &f)));
    m.child_messages().for_each(|c| message(&c, out));
    m.child_enums().for_each(|e| values(&e, out));
}

fn values(e: &EnumDescriptor, out: &mut Vec<String>) {
    out.extend(e.values().map(|v| format!("{} {} = {}", e.full_name(), v.name(), v.number())));
}

fn field(m: &MessageDescriptor, f: &FieldDescriptor) -> String {
    let label = match f.cardinality() {
        _ if f.is_map() => "map",
        Cardinality::Required => "required",
        Cardinality::Optional => "optional",
        Cardinality::Repeated => "repeated",
    };
    let mut line =
        format!("{}.{} = {} {label} {}", m.full_name(), f.name(), f.number(), kind(&f.kind()));
    if let Some(default) = &f.field_descriptor_proto().default_value {
        line += &format!(" default={default}");
    }
    if let Some(oneof) = f.containing_oneof() {
        line += &format!(" oneof={}", oneof.name());
    }
    line
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Message(m) if m.is_map_entry() => format!(
            "map<{},{}>",
            self::kind(&m.map_entry_key_field().kind()),
            self::kind(&m.map_entry_value_field().kind())
        ),
        Kind::Message(m) => m.full_name().to_owned(),
        Kind::Enum(e) => e.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}
