//! What one task may hold at a time.

use std::sync::Arc;

use mezzo_proto::v1;

use super::{Resources, parse, role, volume};
use crate::{MixedResources, Resource, ResourceProviderId, Terms};

/// The volume, with a place in the container.
fn placed(resource: &Resource, host_path: Option<&str>) -> Resources {
    Resources::from(resource.clone()).map_terms(|terms| {
        if let Some(disk) = &mut terms.disk {
            disk.mount = Some(Arc::new(v1::Volume {
                mode: 1,
                container_path: "data".to_owned(),
                host_path: host_path.map(str::to_owned),
                ..v1::Volume::default()
            }));
        }
    })
}

#[test]
fn resources_of_one_role_with_a_placed_volume_are_usable() {
    let one = placed(&volume("v", true), None);
    let task = (&(&parse("cpus:1;mem(a):64") + &one) + &one).allocate_to(&role("a"));
    assert_eq!(task.check_usable_together(), Ok(()));
    assert_eq!(Resources::new().check_usable_together(), Ok(()));
}

#[test]
fn a_volume_twice_or_without_a_place_is_refused() {
    let one = placed(&volume("v", false), None);
    let twice = (&one + &one).check_usable_together().unwrap_err();
    assert_eq!(twice.to_string(), "persistent volume \"v\" is there twice; expected it once");
    let both = &one + &placed(&volume("v", true), None);
    assert!(matches!(both.check_usable_together(), Err(MixedResources::SameVolumeTwice(_))));
    for unplaced in [Resources::from(volume("v", false)), placed(&volume("v", false), Some("/"))] {
        let error = unplaced.check_usable_together().unwrap_err();
        assert!(matches!(error, MixedResources::VolumeWithoutPlace(_)), "{error}");
    }
}

#[test]
fn two_accounts_and_partly_revocable_amounts_are_refused() {
    let mixed = parse("cpus:1").allocate_to(&role("a")) + parse("mem:1").allocate_to(&role("b"));
    assert_eq!(
        mixed.check_usable_together().unwrap_err().to_string(),
        "cpus(allocated: a):1 and mem(allocated: b):1 are allocated to different roles; \
         expected one role for all"
    );
    let mixed = parse("cpus:1") + parse("mem:1").allocate_to(&role("b"));
    assert!(matches!(mixed.check_usable_together(), Err(MixedResources::Roles { .. })));
    let partly = parse("cpus:1;mem:1") + parse("cpus:1").to_revocable();
    let error = partly.check_usable_together().unwrap_err();
    assert_eq!(error, MixedResources::PartlyRevocable("cpus".to_owned()));
    let apart = parse("mem:1") + parse("cpus:1").to_revocable();
    assert_eq!(apart.check_usable_together(), Ok(()));
}

#[test]
fn resources_of_two_providers_are_told_apart() {
    let provider = ResourceProviderId::new("p");
    let terms = Terms { provider: Some(provider.clone()), ..Terms::default() };
    let provided: Resources = Resource::scalar("disk", super::int(1)).with_terms(terms).into();
    assert_eq!(provided.check_one_provider(), Ok(Some(&provider)));
    assert_eq!(parse("cpus:1;mem:1").check_one_provider(), Ok(None));
    assert!((parse("disk:1") + provided).check_one_provider().is_err());
}
