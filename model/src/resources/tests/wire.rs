//! Messages in all three forms, and messages that are wrong.
#![expect(deprecated, reason = "the old form is deprecated, and many frameworks read nothing else")]

use mezzo_proto::v1;
use mezzo_proto::v1::resource::reservation_info::Type as ReservationType;
use mezzo_proto::v1::resource::{
    AllocationInfo, DiskInfo, ReservationInfo, RevocableInfo, SharedInfo, disk_info,
};
use mezzo_proto::v1::value::{self, Type};
use proptest::prelude::*;

use super::any::resources;
use super::{Resources, parse, role, volume};
use crate::{Format, FrameworkCapabilities, Reservation};

fn cpus(value: f64) -> v1::Resource {
    v1::Resource {
        name: "cpus".to_owned(),
        r#type: Type::Scalar as i32,
        scalar: Some(value::Scalar { value }),
        ..v1::Resource::default()
    }
}

fn ports(pairs: &[(u64, u64)]) -> v1::Resource {
    let range = pairs.iter().map(|&(begin, end)| value::Range { begin, end }).collect();
    v1::Resource {
        name: "ports".to_owned(),
        r#type: Type::Ranges as i32,
        ranges: Some(value::Ranges { range }),
        ..v1::Resource::default()
    }
}

fn disk(info: DiskInfo) -> v1::Resource {
    v1::Resource { name: "disk".to_owned(), disk: Some(info), ..cpus(1.0) }
}

fn layer(kind: ReservationType, role: &str) -> ReservationInfo {
    ReservationInfo {
        r#type: Some(kind as i32),
        role: Some(role.to_owned()),
        ..ReservationInfo::default()
    }
}

fn persistence(id: &str) -> DiskInfo {
    let persistence = Some(disk_info::Persistence { id: id.to_owned(), principal: None });
    DiskInfo { persistence, ..DiskInfo::default() }
}

#[test]
fn free_resources_have_the_role_star_in_the_old_form_and_no_role_in_the_new() {
    let resources = parse("cpus:1");
    let old = &resources.to_proto(Format::PreRefinement)[0];
    assert_eq!((old.role.as_deref(), old.reservation.is_none()), (Some("*"), true));
    let new = &resources.to_proto(Format::PostRefinement)[0];
    assert_eq!((new.role.as_deref(), new.reservations.len()), (None, 0));
    assert_eq!(Format::for_framework(FrameworkCapabilities::NONE), Format::PreRefinement);
    assert_eq!(Format::for_framework(FrameworkCapabilities::all()), Format::PostRefinement);
}

#[test]
fn one_reservation_can_be_said_in_both_forms_at_once() {
    let fixed = &parse("cpus(a):1").to_proto(Format::Endpoint)[0];
    assert_eq!((fixed.role.as_deref(), fixed.reservation.is_none()), (Some("a"), true));
    assert_eq!(fixed.reservations, [layer(ReservationType::Static, "a")]);

    let dynamic =
        parse("cpus:1").push_reservation(&Reservation::dynamic(role("a"), Some("me"))).unwrap();
    let old = &dynamic.to_proto(Format::PreRefinement)[0];
    let info = old.reservation.as_ref().unwrap();
    assert_eq!(
        (info.principal.as_deref(), info.role.as_deref(), info.r#type),
        (Some("me"), None, None)
    );
    assert!(old.reservations.is_empty());
    let both = &dynamic.to_proto(Format::Endpoint)[0];
    assert_eq!((both.reservation.as_ref(), both.reservations.len()), (Some(info), 1));
}

#[test]
fn a_refined_reservation_is_said_in_the_new_form_alone() {
    let refined =
        parse("cpus(a):1").push_reservation(&Reservation::dynamic(role("a/b"), None)).unwrap();
    for format in [Format::PreRefinement, Format::PostRefinement, Format::Endpoint] {
        let wire = &refined.to_proto(format)[0];
        assert_eq!((wire.reservations.len(), wire.role.as_deref()), (2, None), "{format:?}");
    }
}

#[test]
fn copies_of_a_shared_volume_are_so_many_messages() {
    let one = Resources::from(volume("v", true));
    let three = &(&one + &one) + &one;
    let wire = three.to_proto(Format::PostRefinement);
    assert_eq!(wire.len(), 3);
    assert_eq!(Resources::from_proto(&wire).unwrap(), three);
}

#[test]
fn how_a_task_sees_a_volume_is_kept_but_makes_no_other_volume() {
    let mut wire = disk(persistence("v"));
    let mount = v1::Volume { mode: 1, container_path: "data".to_owned(), ..v1::Volume::default() };
    wire.disk.as_mut().unwrap().volume = Some(mount.clone());
    let seen = Resources::from_proto(std::slice::from_ref(&wire)).unwrap();
    let unseen = Resources::from_proto(&[disk(persistence("v"))]).unwrap();
    assert!(seen.contains(&unseen) && unseen.contains(&seen));
    let again = &seen.to_proto(Format::PostRefinement)[0];
    assert_eq!(again.disk.as_ref().unwrap().volume.as_ref(), Some(&mount));
}

#[test]
fn resources_with_an_amount_of_zero_are_dropped() {
    assert!(Resources::from_proto(&[cpus(0.0), ports(&[])]).unwrap().is_empty());
}

#[test]
fn a_wrong_message_is_refused_with_place_value_and_expectation() {
    let long = "x".repeat(4096);
    let mut cases: Vec<(v1::Resource, &str)> = vec![
        (
            cpus(-1.0),
            "resources[1].scalar.value: expected 0, or a number from 0.001 to 1000000000000, found -1.0",
        ),
        (cpus(f64::NAN), "resources[1].scalar.value: expected 0, or a number"),
        (cpus(f64::INFINITY), "resources[1].scalar.value: expected 0, or a number"),
        (cpus(1e308), "resources[1].scalar.value: expected 0, or a number"),
        (cpus(1e-9), "resources[1].scalar.value: expected 0, or a number"),
        (
            ports(&[(1, 5), (3, 8)]),
            "resources[1].ranges.range: expected ranges that begin before they end and do not overlap, found ranges 1-5 and 3-8 overlap",
        ),
        (ports(&[(9, 1)]), "resources[1].ranges.range: expected ranges"),
        (v1::Resource { name: String::new(), ..cpus(1.0) }, "resources[1].name: expected the name"),
        (
            v1::Resource { r#type: 3, ..cpus(1.0) },
            "resources[1].type: expected SCALAR, as cpus, mem, disk and gpus are, found TEXT",
        ),
        (
            v1::Resource { r#type: 77, ..cpus(1.0) },
            "resources[1].type: expected SCALAR, as cpus, mem, disk and gpus are, found 77",
        ),
        (v1::Resource { scalar: None, ..cpus(1.0) }, "resources[1].scalar: expected a value"),
        (
            v1::Resource { set: Some(value::Set::default()), ..cpus(1.0) },
            "resources[1].set: expected nothing",
        ),
        (
            v1::Resource { name: "gpus".to_owned(), ..cpus(0.5) },
            "resources[1].scalar.value: expected a whole number",
        ),
        (
            v1::Resource { role: Some("a//b".to_owned()), ..cpus(1.0) },
            "resources[1].role: expected a role, found role \"a//b\"",
        ),
        (v1::Resource { role: Some(long), ..cpus(1.0) }, "resources[1].role: expected a role"),
        (
            v1::Resource { reservation: Some(ReservationInfo::default()), ..cpus(1.0) },
            "resources[1].role: expected the role that the reservation is for",
        ),
        (
            v1::Resource {
                allocation_info: Some(AllocationInfo { role: Some("-".to_owned()) }),
                ..cpus(1.0)
            },
            "resources[1].allocation_info.role",
        ),
        (
            v1::Resource { shared: Some(SharedInfo {}), ..cpus(1.0) },
            "resources[1].shared: expected nothing",
        ),
        (
            v1::Resource { disk: Some(persistence("v")), ..cpus(1.0) },
            "resources[1].disk: expected nothing, as the resource is cpus",
        ),
        (
            disk(persistence("../v")),
            "resources[1].disk.persistence.id: expected the id of a volume",
        ),
        (disk(DiskInfo::default()), "resources[1].disk: expected persistence, volume or source"),
        (
            disk(DiskInfo { source: Some(disk_info::Source::default()), ..DiskInfo::default() }),
            "resources[1].disk.source.type: expected PATH, MOUNT",
        ),
        (
            v1::Resource { revocable: Some(RevocableInfo {}), ..disk(persistence("v")) },
            "resources[1].revocable: expected nothing",
        ),
    ];
    let stack =
        |layers: &[ReservationInfo]| v1::Resource { reservations: layers.to_vec(), ..cpus(1.0) };
    let (fixed, dynamic) = (ReservationType::Static, ReservationType::Dynamic);
    cases.extend([
        (
            stack(&[layer(fixed, "a"), layer(fixed, "a/b")]),
            "resources[1].reservations[1].type: expected DYNAMIC",
        ),
        (
            stack(&[layer(fixed, "a"), layer(dynamic, "b")]),
            "resources[1].reservations[1].role: expected a role below a",
        ),
        (
            stack(&[layer(dynamic, "*")]),
            "resources[1].reservations[0].role: expected a role other than",
        ),
        (
            stack(&[ReservationInfo::default()]),
            "resources[1].reservations[0].type: expected STATIC or DYNAMIC",
        ),
        (
            v1::Resource { role: Some("b".to_owned()), ..stack(&[layer(fixed, "a")]) },
            "resources[1].role: expected nothing or a",
        ),
        (
            v1::Resource {
                reservation: Some(ReservationInfo::default()),
                ..stack(&[layer(fixed, "a")])
            },
            "resources[1].reservation: expected nothing",
        ),
    ]);
    for (wrong, expected) in cases {
        let error = Resources::from_proto(&[cpus(1.0), wrong]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\nshould start with\n{expected}");
        assert!(error.len() < 500, "{error}");
    }
}

#[test]
fn ten_thousand_ranges_are_read() {
    let pairs: Vec<_> = (0..10_000).rev().map(|n| (n * 3, n * 3 + 1)).collect();
    let read = Resources::from_proto(&[ports(&pairs)]).unwrap();
    assert_eq!((read.ports().iter().len(), read.ports().count()), (10_000, 20_000));
}

/// Anything a stranger could send, mostly wrong.
fn strange() -> impl Strategy<Value = v1::Resource> {
    let name = prop::sample::select(vec!["cpus", "ports", "disk", "x", ""]);
    let scalar =
        prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(1.5), Just(1e308), Just(5e-324)];
    let ranges = prop::collection::vec((any::<u64>(), any::<u64>()), 0..4);
    let text = || prop::option::of("[a*/]{0,4}");
    let layers = prop::collection::vec((-1i32..4, text()), 0..3);
    (name, -1i32..5, scalar, ranges, text(), text(), layers, any::<[bool; 6]>()).prop_map(
        |(name, kind, scalar, ranges, role, allocated, layers, is_set)| v1::Resource {
            name: name.to_owned(),
            r#type: kind,
            scalar: is_set[0].then_some(value::Scalar { value: scalar }),
            ranges: is_set[1].then(|| value::Ranges {
                range: ranges.into_iter().map(|(begin, end)| value::Range { begin, end }).collect(),
            }),
            set: is_set[2].then(|| value::Set { item: vec!["a".into(), "b".into()] }),
            role,
            allocation_info: Some(AllocationInfo { role: allocated }),
            reservation: is_set[3].then(ReservationInfo::default),
            reservations: layers
                .into_iter()
                .map(|(kind, role)| ReservationInfo {
                    r#type: Some(kind),
                    role,
                    ..ReservationInfo::default()
                })
                .collect(),
            disk: is_set[4].then(|| persistence("v")),
            revocable: is_set[5].then_some(RevocableInfo {}),
            shared: is_set[3].then_some(SharedInfo {}),
            ..v1::Resource::default()
        },
    )
}

proptest! {
    #[test]
    fn resources_come_back_from_the_new_and_the_endpoint_form(a in resources(0)) {
        for format in [Format::PostRefinement, Format::Endpoint, Format::PreRefinement] {
            prop_assert_eq!(&Resources::from_proto(&a.to_proto(format)).unwrap(), &a);
        }
    }

    #[test]
    fn any_message_is_taken_or_refused_without_panic(wire in prop::collection::vec(strange(), 0..3)) {
        if let Ok(resources) = Resources::from_proto(&wire) {
            let again = Resources::from_proto(&resources.to_proto(Format::PostRefinement));
            prop_assert_eq!(again.unwrap(), resources);
        }
    }
}
