//! Generators of any resources there can be.

use proptest::prelude::*;
use proptest::sample::select;

use super::{Resources, role};
use crate::{
    Disk, DiskSource, DiskSourceKind, Labels, Persistence, Range, Ranges, Reservation, Resource,
    ResourceProviderId, Scalar, Set, Terms,
};

/// Resources whose ranges and sets are apart from those with another `side`, so that adding them
/// can be undone.
pub(super) fn resources(side: u64) -> impl Strategy<Value = Resources> {
    prop::collection::vec(resource(side), 0..8).prop_map(|list| list.into_iter().collect())
}

/// One resource.
pub(super) fn resource(side: u64) -> impl Strategy<Value = Resource> {
    (amount(side), terms()).prop_map(|(plain, mut terms)| {
        if plain.name() != "disk" {
            terms.disk = None;
        }
        let volume = terms.disk.as_ref().is_some_and(|disk| disk.persistence.is_some());
        terms.shared &= volume;
        terms.revocable &= !volume && terms.reservations.is_empty();
        plain.with_terms(terms)
    })
}

/// A resource as a flag can say it.
pub(super) fn plain(side: u64) -> impl Strategy<Value = Resource> {
    (amount(side), prop::option::of(select(vec!["a", "a/b", "c"]))).prop_map(|(plain, owner)| {
        let reservations = owner.map(|owner| Reservation::fixed(role(owner))).into_iter().collect();
        plain.with_terms(Terms { reservations, ..Terms::default() })
    })
}

fn amount(side: u64) -> impl Strategy<Value = Resource> {
    let scalar = (select(vec!["cpus", "mem", "disk", "disk", "bandwidth"]), 1i64..5_000_000)
        .prop_map(|(name, millis)| Resource::scalar(name, Scalar::from_millis(millis)));
    let gpus = (1i64..9).prop_map(|n| Resource::scalar("gpus", Scalar::from_int(n)));
    let ranges = prop::collection::vec((0u64..100, 0u64..9), 1..5).prop_map(move |pairs| {
        let of =
            |(begin, length)| Range { begin: begin + side * 200, end: begin + length + side * 200 };
        Resource::ranges("ports", pairs.into_iter().map(of).collect::<Ranges>())
    });
    let set = prop::collection::vec("[a-e]{1,2}", 1..4).prop_map(move |items| {
        let items: Vec<_> = items.into_iter().map(|item| format!("{side}{item}")).collect();
        Resource::set("nics", items.iter().map(String::as_str).collect::<Set>())
    });
    prop_oneof![4 => scalar, 1 => gpus, 2 => ranges, 1 => set]
}

prop_compose! {
    fn terms()(
        reservations in stack(),
        allocation_role in prop::option::of(select(vec!["a", "*"])),
        disk in prop::option::weighted(0.4, disk()),
        revocable: bool,
        shared: bool,
        provider in prop::option::weighted(0.1, Just(ResourceProviderId::new("p"))),
    ) -> Terms {
        let allocation_role = allocation_role.map(role);
        Terms { reservations, allocation_role, disk, revocable, shared, provider }
    }
}

fn stack() -> impl Strategy<Value = Vec<Reservation>> {
    let labels = || prop::option::of(select(vec!["x", "y"]));
    (0usize..4, any::<bool>(), prop::option::of(Just("me")), labels()).prop_map(
        |(depth, fixed, principal, label)| {
            let mut stack = Vec::new();
            for name in ["a", "a/b", "a/b/c"].into_iter().take(depth) {
                let mut layer = Reservation::dynamic(role(name), principal);
                layer.labels = Labels::new(label.map(|label| (label, Some("1"))));
                stack.push(layer);
            }
            if fixed && let Some(first) = stack.first_mut() {
                *first = Reservation::fixed(first.role.clone());
            }
            stack
        },
    )
}

fn disk() -> impl Strategy<Value = Disk> {
    use DiskSourceKind::{Block, Mount, Path, Raw};
    let kind = prop::option::of(select(vec![Path, Mount, Block, Raw]));
    let id = prop::option::of(select(vec!["v1", "v2"]));
    (kind, any::<bool>(), id).prop_map(|(kind, named, volume)| {
        let source = kind.map(|kind| {
            let rooted = matches!(kind, Path | Mount);
            let mut source = DiskSource::new(kind, rooted.then_some("/mnt/a"));
            source.id = named.then(|| "id".into());
            source
        });
        // A disk that is neither a volume nor has a source is no special disk.
        let volume = volume.or(source.is_none().then_some("v3"));
        let persistence =
            volume.map(|id| Persistence { id: id.into(), principal: Some("me".into()) });
        Disk { persistence, mount: None, source }
    })
}
