//! Addition, subtraction, containment.

use proptest::prelude::*;

use super::any::{resource, resources};
use super::{Resources, disk, int, parse, role, volume};
use crate::{DiskSourceKind, Labels, Reservation, Resource, Scalar, Terms};

#[test]
fn amounts_on_the_same_terms_add_up_and_others_stay_apart() {
    let sum = parse("cpus:1;mem(a):512") + parse("cpus:0.5;mem:1;mem(a):1;ports:[1-5]");
    assert_eq!(sum.to_string(), "cpus:1.5;mem:1;mem(a):513;ports:[1-5]");
    assert_eq!(sum.mem(), int(514));
}

#[test]
fn what_is_taken_away_entirely_is_gone() {
    let rest = parse("cpus:1;mem:512;ports:[1-9]").checked_sub(&parse("cpus:1;ports:[3-4]"));
    assert_eq!(rest.unwrap().to_string(), "mem:512;ports:[1-2,5-9]");
    assert!(parse("cpus:1").checked_sub(&parse("cpus:1")).unwrap().is_empty());
}

#[test]
fn more_than_there_is_cannot_be_taken_away() {
    let have = parse("cpus:1;mem:512;ports:[1-9]");
    for wanted in ["cpus:1.001", "cpus:1;mem:513", "ports:[9-10]", "gpus:1", "cpus(a):1"] {
        assert_eq!(have.checked_sub(&parse(wanted)), None, "{wanted}");
    }
    let mut rest = have.clone();
    assert!(!rest.try_subtract(&parse("cpus:1;disk:1")));
    assert_eq!(rest, have);
}

#[test]
fn subtract_takes_what_is_there_and_never_goes_below_nothing() {
    let mut rest = parse("cpus:1;mem:512");
    rest.subtract(&parse("cpus:2;mem:12;disk:7"));
    assert_eq!(rest.to_string(), "mem:500");
}

#[test]
fn reserved_resources_do_not_stand_in_for_free_ones() {
    assert!(!parse("cpus(a):4").contains(&parse("cpus:1")));
    assert!(!parse("cpus:4").contains(&parse("cpus(a):1")));
}

#[test]
fn a_whole_disk_is_given_as_a_whole_or_not_at_all() {
    let mount: Resources = disk(DiskSourceKind::Mount, "/mnt/a", 100).into();
    assert!(mount.contains(&mount));
    assert!(!mount.contains(&disk(DiskSourceKind::Mount, "/mnt/a", 50).into()));
    let path: Resources = disk(DiskSourceKind::Path, "/mnt/a", 100).into();
    assert!(path.contains(&disk(DiskSourceKind::Path, "/mnt/a", 50).into()));
    assert!(!path.contains(&disk(DiskSourceKind::Path, "/mnt/b", 50).into()));
}

#[test]
fn two_whole_disks_that_nothing_tells_apart_stay_two() {
    let one: Resources = disk(DiskSourceKind::Mount, "/mnt/a", 100).into();
    let two = &one + &one;
    assert_eq!((two.disk(), two.len()), (int(200), 1));
    assert!(two.contains(&one) && !one.contains(&two));
    assert_eq!(two.checked_sub(&one).unwrap(), one);
}

#[test]
fn copies_of_a_shared_volume_are_counted_but_its_space_once() {
    let one: Resources = volume("v", true).into();
    let two = &one + &one;
    assert_eq!(two.disk(), int(64));
    assert_eq!(two.iter().map(Resource::copies).collect::<Vec<_>>(), [2]);
    assert!(two.contains(&one) && !one.contains(&two));
    assert_eq!(two.checked_sub(&one).unwrap(), one);
    assert_eq!(two.with_shared_once(), one);
    assert!(!Resources::from(volume("v", false)).contains(&one));
}

#[test]
fn sums_that_overflow_stay_huge_and_do_not_panic() {
    let huge: Resources = Resource::scalar("mem", Scalar::from_millis(i64::MAX)).into();
    let sum = &(&huge + &huge) + &huge;
    assert_eq!(sum.mem(), Scalar::from_millis(i64::MAX));
    assert_eq!(sum.quantities().amount("mem"), sum.mem());
}

#[test]
fn thousands_of_kinds_are_added_and_taken_away() {
    let labelled = |n: usize| {
        let mut reservation = Reservation::dynamic(role("a"), None);
        reservation.labels = Labels::new([("n", Some(n.to_string().as_str()))]);
        let terms = Terms { reservations: vec![reservation], ..Terms::default() };
        ["cpus", "mem", "disk", "gpus"]
            .map(|name| Resource::scalar(name, int(1)).with_terms(terms.clone()))
    };
    let even: Resources = (0..1000).step_by(2).flat_map(labelled).collect();
    let odd: Resources = (0..1000).skip(1).step_by(2).flat_map(labelled).collect();
    let all = &even + &odd;
    assert_eq!((all.len(), all.cpus()), (4000, int(1000)));
    assert!(all.contains(&odd) && !even.contains(&odd));
    assert_eq!(all.checked_sub(&odd).unwrap(), even);
}

proptest! {
    #[test]
    fn a_sum_minus_one_part_is_the_other(a in resources(0), b in resources(1)) {
        let sum = &a + &b;
        prop_assert_eq!(sum.checked_sub(&b).unwrap(), a.clone());
        prop_assert_eq!(sum.checked_sub(&a).unwrap(), b.clone());
        let mut rest = sum;
        rest.subtract(&b);
        prop_assert_eq!(rest, a);
    }

    #[test]
    fn a_sum_contains_its_parts_even_if_they_overlap(a in resources(0), b in resources(0)) {
        let sum = &a + &b;
        prop_assert!(sum.contains(&a) && sum.contains(&b) && sum.contains(&Resources::new()));
        prop_assert!(b.iter().all(|resource| sum.contains_resource(resource)));
        prop_assert_eq!(a.contains(&b) && b.contains(&a), a == b);
    }

    #[test]
    fn order_of_addition_does_not_matter(a in resources(0), b in resources(0), c in resources(1)) {
        prop_assert_eq!(&a + &b, &b + &a);
        prop_assert_eq!((&a + &b) + &c, &a + &(&b + &c));
        let one_by_one: Resources = a.iter().chain(&b).chain(&c).cloned().collect();
        prop_assert_eq!(one_by_one, &(&a + &b) + &c);
    }

    #[test]
    fn sums_are_sorted_and_hold_each_kind_once(a in resources(0), b in resources(0)) {
        let mut sum = a;
        b.into_iter().for_each(|resource| sum.insert(resource));
        prop_assert!(sum.0.windows(2).all(|pair| pair[0].cmp_kind(&pair[1]).is_lt()));
        prop_assert!(sum.iter().all(|resource| !resource.is_empty()));
    }

    #[test]
    fn quantities_of_a_sum_are_the_sum_of_quantities(a in resources(0), b in resources(0)) {
        let (a, b) = (a.non_shared(), b.non_shared());
        prop_assert_eq!((&a + &b).quantities(), a.quantities().plus(&b.quantities()));
    }

    #[test]
    fn a_cut_is_contained_and_no_more_than_asked(a in resource(0), most in 0i64..6_000_000) {
        let most = Scalar::from_millis(most);
        if let Some(part) = a.cut_to(most) {
            prop_assert!(part.quantity() <= most);
            prop_assert!(Resources::from(a).contains(&part.into()));
        }
    }
}
