//! Parts of resources, and the same resources on other terms.

use proptest::prelude::*;

use super::any::resources;
use super::{Resources, disk, int, parse, role, volume};
use crate::{
    Conversion, DiskSourceKind, FrameworkCapabilities, FrameworkCapability, MinAllocatable,
    Quantities, Reservation, Resource, Role,
};

#[test]
fn a_role_may_use_what_is_free_its_own_and_what_is_kept_for_roles_above() {
    let all = parse("cpus:1;cpus(a):2;cpus(a/b):4;cpus(a/c):8;cpus(ab):16");
    let usable = |name| all.usable_by(&role(name)).cpus().trunc();
    assert_eq!(usable("a/b"), 1 + 2 + 4);
    assert_eq!(usable("a"), 1 + 2);
    assert_eq!(usable("x"), 1);
    assert_eq!(usable("*"), 1);
    assert_eq!(all.reserved_to(&role("a")).to_string(), "cpus(a):2");
    assert_eq!(all.reserved().cpus().trunc(), 2 + 4 + 8 + 16);
    let groups = all.by_reservation_role();
    assert_eq!(groups.keys().map(Role::as_str).collect::<Vec<_>>(), ["a", "a/b", "a/c", "ab"]);
}

#[test]
fn reservations_are_pushed_and_popped_as_a_stack() {
    let free = parse("cpus:1;mem:64");
    let outer = free.push_reservation(&Reservation::fixed(role("a"))).unwrap();
    assert_eq!(outer.to_string(), "cpus(a):1;mem(a):64");
    let inner = outer.push_reservation(&Reservation::dynamic(role("a/b"), Some("me"))).unwrap();
    assert!(inner.has_refined_reservations());
    assert_eq!(
        inner.named("cpus").to_string(),
        "cpus(reservations: [(STATIC,a),(DYNAMIC,a/b,me)]):1"
    );
    assert_eq!(inner.pop_reservation(), outer);
    assert_eq!(inner.to_unreserved(), free);
}

#[test]
fn a_stack_bears_only_dynamic_reservations_for_roles_below() {
    let reserved = parse("cpus(a):1");
    let refused = |reservation| reserved.push_reservation(&reservation).unwrap_err().path;
    assert_eq!(refused(Reservation::dynamic(role("b"), None)), "reservation.role");
    assert_eq!(refused(Reservation::dynamic(role("a"), None)), "reservation.role");
    assert_eq!(refused(Reservation::dynamic(Role::star(), None)), "reservation.role");
    assert_eq!(refused(Reservation::fixed(role("a/b"))), "reservation.type");
    let revocable = parse("cpus:1").to_revocable();
    assert!(revocable.push_reservation(&Reservation::dynamic(role("a"), None)).is_err());
}

#[test]
fn allocation_is_on_one_role_or_on_none() {
    let offered = parse("cpus:1;mem(a):64").allocate_to(&role("a"));
    assert_eq!(offered.allocation_role(), Some(&role("a")));
    assert_eq!(offered.unallocate(), parse("cpus:1;mem(a):64"));
    let mixed = &offered + &parse("cpus:1").allocate_to(&role("b"));
    assert_eq!(mixed.allocation_role(), None);
    assert_eq!(mixed.by_allocation_role().len(), 2);
    assert_eq!((&offered + &parse("cpus:1")).allocation_role(), None);
    let rest = (&offered + &parse("cpus:1")).allocate_rest_to(&role("a"));
    assert_eq!(rest.cpus().trunc(), 2);
    assert_eq!(rest.allocation_role(), Some(&role("a")));
}

#[test]
fn a_volume_is_created_from_space_and_destroyed_into_it() {
    let space = parse("disk(a):100");
    let volume: Resources = Resources::from(volume("v", true))
        .push_reservation(&Reservation::fixed(role("a")))
        .unwrap();
    let after = space.apply(&Conversion::create(volume.clone())).unwrap();
    assert_eq!(after.persistent_volumes(), volume);
    assert_eq!(after.disk(), space.disk());
    assert_eq!(after.apply(&Conversion::destroy(volume.clone())).unwrap(), space);
    let error = parse("disk(a):63").apply(&Conversion::create(volume)).unwrap_err();
    assert_eq!(error.to_string(), "disk(a):63 does not contain disk(a):64");
}

#[test]
fn a_volume_grows_into_its_own_kind_of_disk_and_shrinks_out_of_it() {
    let before = &Resources::from(volume("v", false)) + &parse("disk:100");
    let grow = Conversion::grow(&volume("v", false), &Resource::scalar("disk", int(36))).unwrap();
    let grown = before.apply(&grow).unwrap();
    assert_eq!(grown.persistent_volumes().disk(), int(100));
    assert_eq!(grown.disk(), before.disk());
    let large = grown.persistent_volumes().iter().next().unwrap().clone();
    let shrink = Conversion::shrink(&large, int(36)).unwrap();
    assert_eq!(grown.apply(&shrink).unwrap(), before);
}

#[test]
fn a_volume_that_cannot_change_its_size_says_why() {
    let plain = Resource::scalar("disk", int(10));
    let refused = |result: Result<Conversion, crate::InvalidField>| result.unwrap_err().to_string();
    let shared = refused(Conversion::grow(&volume("v", true), &plain));
    let expected = "volume: expected a persistent volume that is neither shared nor a whole disk";
    assert!(shared.starts_with(expected), "{shared}");
    assert!(refused(Conversion::shrink(&plain, int(1))).starts_with("volume: "));
    let other = disk(DiskSourceKind::Path, "/mnt/a", 10);
    assert!(refused(Conversion::grow(&volume("v", false), &other)).starts_with("addition: "));
    assert_eq!(
        refused(Conversion::shrink(&volume("v", false), int(64))),
        "subtract: expected less than the volume has, 64, found 64"
    );
    assert!(refused(Conversion::shrink(&volume("v", false), int(0))).contains("above 0"));
}

#[test]
fn a_framework_is_spared_what_it_does_not_understand() {
    let refined =
        parse("cpus(a):1").push_reservation(&Reservation::dynamic(role("a/b"), None)).unwrap();
    let all = parse("cpus:1")
        + parse("mem:1").to_revocable()
        + Resources::from(volume("v", true))
        + refined;
    assert_eq!(all.understood_by(FrameworkCapabilities::NONE), parse("cpus:1"));
    assert_eq!(all.understood_by(FrameworkCapabilities::all()), all);
    let shared = FrameworkCapabilities::NONE.with(FrameworkCapability::SharedResources);
    assert_eq!(all.understood_by(shared).len(), 2);
}

#[test]
fn a_cut_keeps_to_each_quantity_and_drops_whole_disks_that_do_not_fit() {
    let mount = Resources::from(disk(DiskSourceKind::Mount, "/mnt/a", 100));
    let all = &parse("cpus:4;mem:100;mem(a):100;gpus:1;ports:[1-9]") + &mount;
    let most = Quantities::parse("cpus:2;mem:150;disk:99").unwrap();
    assert_eq!(all.cut_to(&most).to_string(), "cpus:2;mem:100;mem(a):50");
    let most = Quantities::parse("disk:100").unwrap();
    assert_eq!(all.cut_to(&most), mount);
}

#[test]
fn the_least_that_is_offered_is_one_of_several_quantities() {
    let least = MinAllocatable::parse("cpus:0.01|mem:32").unwrap();
    assert_eq!(least.to_string(), "cpus:0.01|mem:32");
    assert!(least.allows(&parse("cpus:0.01")) && least.allows(&parse("mem:32")));
    assert!(!least.allows(&parse("cpus:0.009;mem:31;disk:1000")));
    let both = MinAllocatable::parse("cpus:1;ports:3").unwrap();
    assert!(
        both.allows(&parse("cpus:1;ports:[1-3]")) && !both.allows(&parse("cpus:1;ports:[1-2]"))
    );
    let any = MinAllocatable::default();
    assert!(any.allows(&parse("ports:[1-1]")) && !any.allows(&Resources::new()));
    assert!(MinAllocatable::parse("cpus").is_err() && MinAllocatable::parse("cpus:-1").is_err());
}

#[test]
fn the_summary_always_has_the_four_and_shows_revocable_ones_apart() {
    let all =
        parse("mem:512;mem(a):1;ports:[1-2,4-5];nics:{b,a}") + parse("cpus:0.5").to_revocable();
    let json = serde_json::Value::from(all.summary()).to_string();
    assert_eq!(
        json,
        "{\"cpus\":0,\"cpus_revocable\":0.5,\"disk\":0,\"gpus\":0,\"mem\":513,\
         \"nics\":\"{a, b}\",\"ports\":\"[1-2, 4-5]\"}"
    );
}

proptest! {
    #[test]
    fn opposite_parts_make_the_whole(all in resources(0)) {
        prop_assert_eq!(all.reserved() + all.unreserved(), all.clone());
        prop_assert_eq!(all.revocable() + all.non_revocable(), all.clone());
        prop_assert_eq!(all.shared() + all.non_shared(), all.clone());
        prop_assert_eq!(all.scalars() + all.non_scalars(), all.clone());
        prop_assert_eq!(all.split().sum::<Resources>(), all);
    }

    #[test]
    fn allocation_comes_and_goes_without_trace(all in resources(0)) {
        let free = all.unallocate();
        prop_assert_eq!(free.allocate_to(&role("a")).unallocate(), free.clone());
        prop_assert_eq!(free.allocate_to(&role("a")).quantities(), free.quantities());
    }

    #[test]
    fn changed_terms_keep_the_list_sorted(all in resources(0)) {
        for changed in [all.to_unreserved(), all.without_volumes(), all.pop_reservation()] {
            prop_assert!(changed.0.windows(2).all(|pair| pair[0].cmp_kind(&pair[1]).is_lt()));
            prop_assert!(changed.iter().all(|resource: &Resource| !resource.is_empty()));
        }
    }
}
