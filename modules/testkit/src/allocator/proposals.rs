//! What is proposed, and what never is.

use mezzo_model::{FrameworkCapabilities, FrameworkCapability, Reservation, Resources, Role};
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{Allocated, FrameworkAdded};
use mezzo_proto::v1::offer_filters::{MinAllocatableResources, ResourceQuantities};
use mezzo_proto::v1::resource::disk_info::Persistence;
use mezzo_proto::v1::resource::{DiskInfo, ReservationInfo, SharedInfo, reservation_info};
use mezzo_proto::v1::value::{self, Scalar};
use mezzo_proto::v1::{OfferFilters, Resource, Volume, volume};

use super::books::{Framework, Offer};
use super::cluster::{Cluster, holding, parse, understands_all, wishes};
use crate::report::ensure;
use crate::{Failure, Subject, Verdict};

pub(super) fn what_is_free_is_proposed(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:4;mem:1024;disk:100;ports:[1-10]")?;
    cluster.none("nothing without a framework")?;
    let framework = cluster.framework(&[0])?;
    let offer = cluster.one("the whole of the agent, to the one framework")?;
    ensure(
        (offer.framework, offer.agent) == (framework, agent),
        || offer.to_string(),
        "the agent, to the framework",
    )?;
    whole(&cluster, &offer)
}

/// The offer is all that its agent has.
fn whole(cluster: &Cluster, offer: &Offer) -> Verdict {
    let total = cluster.books.agents.get(&offer.agent).map(|agent| agent.total.clone());
    ensure(
        total.as_ref() == Some(&offer.resources),
        || offer.to_string(),
        "all that the agent has, as nobody else wants it",
    )
}

pub(super) fn nothing_is_proposed_twice(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.agent("cpus:4;mem:1024")?;
    cluster.framework(&[0])?;
    cluster.framework(&[1])?;
    cluster.one("the agent, to one of the two")?;
    for _ in 0..3 {
        cluster.wait(1.0);
        cluster.none("the offer is still out")?;
    }
    Ok(())
}

pub(super) fn what_comes_back_is_proposed_again(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.agent("cpus:4;mem:1024;ports:[1-10]")?;
    cluster.framework(&[0])?;
    let offer = cluster.one("the agent")?;
    // A task keeps a part.
    let rest = parse("cpus:3;mem:512;ports:[3-10]")?;
    cluster.give_back(&offer, &rest, None)?;
    let again = cluster.one("what came back")?;
    ensure(again.resources == rest, || again.to_string(), format!("`{rest}`"))?;
    cluster.give_back(&again, &rest, None)?;
    let task = parse("cpus:1;mem:512;ports:[1-2]")?;
    cluster.give_back(&offer, &task, None)?;
    let all = cluster.one("everything, as the task has ended")?;
    whole(&cluster, &all)
}

pub(super) fn what_is_in_use_is_not_proposed(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let framework = cluster.framework(&[0])?;
    let used = |agent, resources: &str| -> Result<_, Failure> {
        let resources = parse(resources)?;
        let offer = Offer { framework, role: 0, agent, resources: resources.clone() };
        Ok((holding(&offer, &resources), offer))
    };
    let (told, _) = used(0, "cpus:1;mem:256")?;
    let told = mezzo_module_api::v1::Holding { agent: None, ..told };
    let agent = cluster.agent_in("cpus:4;mem:1024", None, vec![told])?;
    let offer = cluster.one("what is left")?;
    let left = parse("cpus:3;mem:768")?;
    ensure(offer.resources == left, || offer.to_string(), format!("`{left}`"))?;
    cluster.give_back(&offer, &left, None)?;

    // Restored without a proposal.
    let (restored, held) = used(agent, "cpus:1;mem:256")?;
    cluster.told(Event::Allocated(Allocated { holding: Some(restored) }))?;
    book(&mut cluster, &held);
    let offer = cluster.one("what is left now")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;

    // A framework that comes back with what it has.
    let late = 7;
    let (brought, _) = used(agent, "cpus:1;mem:256")?;
    let brought = mezzo_module_api::v1::Holding { framework: None, ..brought };
    cluster.told(Event::FrameworkAdded(FrameworkAdded {
        framework: Some(late),
        wishes: Some(wishes(late, &[0], FrameworkCapabilities::NONE)),
        active: Some(false),
        used: vec![brought],
    }))?;
    let roles = [0].into();
    cluster.books.frameworks.insert(late, Framework { roles, ..Framework::default() });
    book(&mut cluster, &Offer { framework: late, ..held });
    let offer = cluster.one("what is left at last")?;
    let left = parse("cpus:1;mem:256")?;
    ensure(offer.resources == left, || offer.to_string(), format!("`{left}`"))
}

fn book(cluster: &mut Cluster, held: &Offer) {
    if let Some(agent) = cluster.books.agents.get_mut(&held.agent) {
        agent.take((held.framework, held.role), &held.resources);
    }
}

pub(super) fn an_agent_that_is_not_offered_is_left_alone(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.framework(&[0])?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    cluster.activate_agent(agent, false)?;
    cluster.none("nothing of a deactivated agent")?;
    cluster.activate_agent(agent, true)?;
    let offer = cluster.one("the agent that is active again")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;

    cluster.whitelist(Some(vec!["another.example".into()]))?;
    cluster.none("nothing of an agent that is not listed")?;
    cluster.whitelist(Some(Vec::new()))?;
    cluster.none("nothing while an empty list is set")?;
    cluster.whitelist(Some(vec![format!("host{agent}"), "another.example".into()]))?;
    let offer = cluster.one("the agent that is listed")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;
    cluster.whitelist(None)?;
    let offer = cluster.one("any agent without a list")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;

    cluster.remove_agent(agent)?;
    cluster.none("nothing of an agent that is gone")
}

pub(super) fn who_wants_nothing_gets_nothing(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.agent("cpus:4;mem:1024")?;
    let framework = cluster.framework(&[0, 1])?;
    cluster.activate_framework(framework, false)?;
    cluster.none("nothing for a framework that is not active")?;
    cluster.activate_framework(framework, true)?;
    cluster.suppress(framework, &[0])?;
    let offer = cluster.one("the role that is not suppressed")?;
    ensure(offer.role == 1, || offer.to_string(), "role 1")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;
    cluster.suppress(framework, &[1])?;
    cluster.none("nothing when all roles are suppressed")?;
    // Away and back: what was suppressed stays so.
    cluster.activate_framework(framework, false)?;
    cluster.activate_framework(framework, true)?;
    cluster.none("what was suppressed stays so when the framework comes back")?;
    cluster.revive(framework, &[0])?;
    let offer = cluster.one("the role that is revived")?;
    ensure(offer.role == 0, || offer.to_string(), "role 0")?;
    cluster.remove_framework(framework)?;
    cluster.none("nothing for a framework that is gone")
}

pub(super) fn what_is_reserved_goes_to_its_role(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.agent("cpus(a):2;mem(a):512;cpus(a/b):1;mem(a/b):256")?;
    cluster.framework(&[0, 3])?;
    cluster.none("nothing for roles that it is not reserved to")?;
    let above = cluster.framework(&[1])?;
    let offer = cluster.one("what is reserved to the role")?;
    let expected = parse("cpus(a):2;mem(a):512")?;
    ensure(offer.resources == expected, || offer.to_string(), format!("`{expected}`"))?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;
    cluster.suppress(above, &[1])?;
    cluster.framework(&[2])?;
    let offer = cluster.one("what is reserved to the role and to the one above")?;
    ensure(
        offer.resources.contains(&parse("cpus(a/b):1;mem(a/b):256")?),
        || offer.to_string(),
        "what is reserved to `a/b` under `a/b`",
    )
}

pub(super) fn what_is_not_understood_is_not_proposed(subject: &Subject) -> Verdict {
    let refined = Reservation::dynamic(Role::parse("a/b").unwrap_or(Role::star()), None);
    let twice = parse("cpus(a):1;mem(a):64")?
        .push_reservation(&refined)
        .map_err(|error| Failure::new(error.to_string(), "resources of the testkit"))?;
    // What is of interest, the role it is in, whether some of the agent is offered all the same, and the capability.
    let cases: [(&str, Resources, u32, FrameworkCapability); 4] = [
        ("a shared volume", shared_volume()?, 1, FrameworkCapability::SharedResources),
        (
            "revocable resources",
            parse("cpus:1;mem:64")?.to_revocable(),
            1,
            FrameworkCapability::RevocableResources,
        ),
        ("what is reserved twice", twice, 2, FrameworkCapability::ReservationRefinement),
        ("GPUs", parse("gpus:1;cpus:1;mem:64")?, 1, FrameworkCapability::GpuResources),
    ];
    for (what, resources, role, capability) in cases {
        let mut cluster = Cluster::new(subject)?;
        let total = &parse("cpus:1;mem:64")? + &resources;
        cluster.agent_of(total, None, Vec::new())?;
        let ignorant = cluster.framework(&[role])?;
        // The books find out what should not be in it.
        for offer in cluster.run()? {
            cluster.give_back(&offer, &offer.resources.clone(), None)?;
        }
        cluster.activate_framework(ignorant, false)?;
        cluster.framework_that_can(&[role], FrameworkCapabilities::NONE.with(capability))?;
        let offer = cluster.one("the agent, to the framework that understands it")?;
        ensure(
            offer.resources.contains(&resources),
            || offer.to_string(),
            format!("{what}, to a framework with the capability"),
        )?;
    }
    let mut cluster = Cluster::new(subject)?;
    cluster.agent_in("cpus:1;mem:64", Some("there"), Vec::new())?;
    cluster.framework(&[0])?;
    cluster.none("an agent of another region needs REGION_AWARE")?;
    cluster.framework_that_can(
        &[0],
        FrameworkCapabilities::NONE.with(FrameworkCapability::RegionAware),
    )?;
    cluster.one("an agent of another region, to a framework with REGION_AWARE")?;
    cluster.agent_in("cpus:1;mem:64", Some("here"), Vec::new())?;
    cluster.one("an agent of the master's region").map(drop)
}

/// A persistent volume of role `a` that several may use.
fn shared_volume() -> Result<Resources, Failure> {
    let reservation = ReservationInfo {
        r#type: Some(reservation_info::Type::Dynamic.into()),
        role: Some("a".into()),
        ..ReservationInfo::default()
    };
    let persistence = Persistence { id: "volume".into(), ..Persistence::default() };
    let volume = Volume {
        container_path: "data".into(),
        mode: volume::Mode::Rw.into(),
        ..Volume::default()
    };
    let resource = Resource {
        name: "disk".into(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(Scalar { value: 64.0 }),
        reservations: vec![reservation],
        disk: Some(DiskInfo {
            persistence: Some(persistence),
            volume: Some(volume),
            ..DiskInfo::default()
        }),
        shared: Some(SharedInfo {}),
        ..Resource::default()
    };
    Resources::from_proto(&[resource])
        .map_err(|error| Failure::new(error.to_string(), "resources of the testkit"))
}

pub(super) fn nothing_too_small_is_proposed(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let least = |name: &str, value| ResourceQuantities {
        quantities: [(name.to_owned(), Scalar { value })].into(),
    };
    cluster.agent("cpus:0.005;mem:16;disk:1000")?;
    cluster.framework(&[0])?;
    cluster.none("cpus:0.005;mem:16 is less than cpus:0.01 and less than mem:32")?;
    let modest = 8;
    let mut modest_wishes = wishes(modest, &[1], FrameworkCapabilities::NONE);
    if let Some(info) = &mut modest_wishes.framework_info {
        let quantities = vec![least("disk", 500.0)];
        let filters = OfferFilters {
            min_allocatable_resources: Some(MinAllocatableResources { quantities }),
        };
        info.offer_filters.insert("a".into(), filters);
    }
    cluster.told(Event::FrameworkAdded(FrameworkAdded {
        framework: Some(modest),
        wishes: Some(modest_wishes),
        active: Some(true),
        used: Vec::new(),
    }))?;
    let own = mezzo_model::MinAllocatable::parse("disk:500").unwrap_or_default();
    let framework = Framework {
        roles: [1].into(),
        active: true,
        least: [(1, own)].into(),
        ..Framework::default()
    };
    cluster.books.frameworks.insert(modest, framework);
    let offer = cluster.one("what is enough for the framework by its own measure")?;
    ensure(offer.framework == modest, || offer.to_string(), "to the framework with less needs")?;
    cluster.agent("cpus:1;mem:64;disk:100")?;
    let offer = cluster.one("an agent with too little disk for one, enough for the other")?;
    ensure(offer.framework != modest, || offer.to_string(), "not to the one that needs disk:500")
}

pub(super) fn a_shared_volume_is_proposed_once_in_a_run(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let total = &parse("cpus:8;mem:1024")? + &shared_volume()?;
    cluster.agent_of(total, None, Vec::new())?;
    for _ in 0..3 {
        cluster.framework_that_can(&[1], understands_all())?;
    }
    // The books find a second copy in one run.
    for _ in 0..3 {
        for offer in cluster.run()? {
            let rest = offer.resources.non_shared();
            cluster.give_back(&offer, &rest, None)?;
        }
        cluster.wait(1.0);
    }
    Ok(())
}

pub(super) fn a_run_over_some_agents_keeps_to_them(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let one = cluster.agent("cpus:1;mem:64")?;
    let two = cluster.agent("cpus:2;mem:64")?;
    cluster.framework(&[0])?;
    let offers = cluster.run_over(&[two])?;
    ensure(
        offers.len() == 1 && offers.iter().all(|offer| offer.agent == two),
        || format!("{offers:?}"),
        format!("agent {two} alone"),
    )?;
    ensure(cluster.run_over(&[])?.is_empty(), || "offers".into(), "nothing over no agents")?;
    ensure(cluster.run_over(&[999_999])?.is_empty(), || "offers".into(), "nothing of a stranger")?;
    let offers = cluster.run_over(&[one, one, two])?;
    ensure(offers.len() == 1, || format!("{offers:?}"), format!("agent {one}, once"))
}

pub(super) fn many_are_served(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    for role in [0, 1, 2, 3, 0, 1, 2, 3] {
        cluster.framework(&[role])?;
    }
    for _ in 0..16 {
        cluster.agent("cpus:4;mem:1024;ports:[1-100]")?;
    }
    let offers = cluster.run()?;
    let free = |cluster: &Cluster| {
        cluster.books.agents.values().map(|agent| agent.free()).find(|free| !free.is_empty())
    };
    ensure(
        free(&cluster).is_none(),
        || format!("`{}` is left of an agent", free(&cluster).unwrap_or_default()),
        "everything is proposed to somebody",
    )?;
    // Half of each comes back; all of that is proposed again.
    let half = parse("cpus:2;mem:512;ports:[1-50]")?;
    for offer in &offers {
        if offer.resources.contains(&half) {
            cluster.give_back(offer, &half, None)?;
        }
    }
    cluster.run()?;
    ensure(
        free(&cluster).is_none(),
        || format!("`{}` is left of an agent", free(&cluster).unwrap_or_default()),
        "everything is proposed to somebody",
    )
}
