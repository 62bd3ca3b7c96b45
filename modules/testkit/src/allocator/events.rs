//! Events: changes of agents and frameworks, what is gone, what cannot be taken, and that a history can be repeated.

use mezzo_model::{Format, FrameworkCapabilities};
use mezzo_module_api::Code;
use mezzo_module_api::v1::agent_updated::Total;
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{
    AgentActivated, AgentAdded, AgentDeactivated, AgentRemoved, AgentUpdated, Converted,
    FrameworkActivated, FrameworkDeactivated, FrameworkRemoved, FrameworkUpdated, Recovered,
    Revived, Suppressed, UnavailabilityUpdated, WeightUpdated,
};

use super::books::Offer;
use super::cluster::{Cluster, holding, parse, wishes};
use crate::report::ensure;
use crate::{Subject, Verdict};

/// Two instances: an agent that one was told of is offered by that one alone, also when the other is dropped.
pub(crate) fn instances_stand_alone(subject: &Subject) -> Verdict {
    let (mut first, mut second) = (Cluster::new(subject)?, Cluster::new(subject)?);
    first.agent("cpus:4;mem:1024")?;
    second.framework(&[0])?;
    second.none("nothing of an agent that another instance was told of")?;
    first.framework(&[0])?;
    first.one("the agent, to the framework that this instance was told of")?;
    drop(first);
    second.agent("cpus:2;mem:512")?;
    second.one("the agent, after another instance was dropped").map(drop)
}

pub(super) fn a_hold_off_pauses(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.framework(&[0])?;
    cluster.hold_off(true)?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    cluster.none("nothing while paused")?;
    let offers = cluster.run_over(&[agent])?;
    ensure(offers.is_empty(), || format!("{offers:?}"), "nothing while paused")?;
    cluster.hold_off(false)?;
    cluster.one("the agent, when it is over").map(drop)
}

pub(super) fn an_agent_can_change(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    cluster.framework(&[0])?;
    let offer = cluster.one("the agent")?;
    resize(&mut cluster, agent, "cpus:6;mem:1024")?;
    let more = cluster.one("what has been added")?;
    ensure(more.resources == parse("cpus:2")?, || more.to_string(), "`cpus:2`")?;
    resize(&mut cluster, agent, "cpus:2;mem:2048")?;
    let more =
        cluster.one("the memory that has been added; there are fewer cpus than are in use")?;
    ensure(more.resources == parse("mem:1024")?, || more.to_string(), "`mem:1024`")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;
    let rest = cluster.one("what is free now that something came back")?;
    ensure(
        rest.resources == parse("mem:1024")?,
        || rest.to_string(),
        "`mem:1024`: two cpus are in use, and two is all there is",
    )
}

fn resize(cluster: &mut Cluster, agent: u64, total: &str) -> Verdict {
    let total = parse(total)?;
    let resources = total.to_proto(Format::PostRefinement);
    cluster.told(Event::AgentUpdated(AgentUpdated {
        agent: Some(agent),
        total: Some(Total { resources }),
        ..AgentUpdated::default()
    }))?;
    if let Some(agent) = cluster.books.agents.get_mut(&agent) {
        agent.total = total;
    }
    Ok(())
}

pub(super) fn what_is_converted_is_held_in_its_new_shape(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    let framework = cluster.framework(&[1])?;
    let offer = cluster.one("the agent")?;
    let (before, after) = (parse("cpus:2;mem:512")?, parse("cpus(a):2;mem(a):512")?);
    cluster.told(Event::Converted(Converted {
        holding: Some(holding(&offer, &before)),
        converted: after.to_proto(Format::PostRefinement),
    }))?;
    if let Some(agent) = cluster.books.agents.get_mut(&agent) {
        agent.give_back((framework, 1), &before);
        agent.take((framework, 1), &after);
        agent.total.subtract(&before);
        agent.total += &after;
    }
    cluster.none("the framework holds it all")?;
    cluster.give_back(&offer, &after, None)?;
    // Another role, which may not have what is reserved.
    cluster.framework(&[3])?;
    let again = cluster.one("what was reserved, to the role it is reserved to")?;
    ensure(
        again.resources == after && again.framework == framework,
        || again.to_string(),
        format!("`{after}`, to framework {framework}"),
    )?;
    cluster.give_back(&offer, &parse("cpus:2;mem:512")?, None)?;
    cluster.run().map(drop)
}

pub(super) fn a_framework_can_change(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.agent("cpus:4;mem:1024")?;
    let framework = cluster.framework(&[0])?;
    let offer = cluster.one("the agent")?;
    update(&mut cluster, framework, &[1, 3], &[])?;
    // What it holds under a role that it has left is still its own.
    cluster.none("the framework holds it all")?;
    cluster.give_back(&offer, &offer.resources.clone(), Some(0.0))?;
    let offer = cluster.one("the agent, under one of the new roles")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;
    update(&mut cluster, framework, &[1, 3], &[1])?;
    let offer = cluster.one("the agent, under the role that is not suppressed")?;
    ensure(offer.role == 3, || offer.to_string(), "role 3")?;
    cluster.give_back(&offer, &offer.resources.clone(), None)?;
    update(&mut cluster, framework, &[], &[])?;
    cluster.none("a framework without roles wants nothing")
}

fn update(cluster: &mut Cluster, framework: u64, roles: &[u32], suppressed: &[u32]) -> Verdict {
    let mut wishes = wishes(framework, roles, FrameworkCapabilities::NONE);
    wishes.suppressed_roles = suppressed.to_vec();
    cluster.told(Event::FrameworkUpdated(FrameworkUpdated {
        framework: Some(framework),
        wishes: Some(wishes),
    }))?;
    if let Some(framework) = cluster.books.frameworks.get_mut(&framework) {
        framework.roles = roles.iter().copied().collect();
        framework.suppressed = suppressed.iter().copied().collect();
    }
    Ok(())
}

pub(super) fn events_about_what_is_gone_are_ignored(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    let framework = cluster.framework(&[0])?;
    let offer = cluster.one("the agent")?;
    let stays = cluster.agent("cpus:1;mem:64")?;
    cluster.remove_agent(agent)?;
    let (agent, gone) = (Some(agent), Some(999_999));
    let resources = offer.resources.to_proto(Format::PostRefinement);
    let strangers = Offer { framework: 999_999, agent: stays, ..offer.clone() };
    for event in [
        Event::AgentRemoved(AgentRemoved { agent }),
        Event::AgentActivated(AgentActivated { agent }),
        Event::AgentDeactivated(AgentDeactivated { agent }),
        Event::AgentUpdated(AgentUpdated {
            agent,
            total: Some(Total { resources }),
            ..AgentUpdated::default()
        }),
        Event::UnavailabilityUpdated(UnavailabilityUpdated { agent, unavailability: None }),
        Event::Recovered(Recovered {
            holding: Some(holding(&offer, &offer.resources)),
            refuse_seconds: Some(60.0),
        }),
        Event::FrameworkActivated(FrameworkActivated { framework: gone }),
        Event::FrameworkDeactivated(FrameworkDeactivated { framework: gone }),
        Event::FrameworkRemoved(FrameworkRemoved { framework: gone }),
        Event::FrameworkUpdated(FrameworkUpdated {
            framework: gone,
            wishes: Some(wishes(strangers.framework, &[0], FrameworkCapabilities::NONE)),
        }),
        Event::Suppressed(Suppressed { framework: gone, roles: vec![0] }),
        Event::Revived(Revived { framework: gone, roles: vec![0] }),
    ] {
        cluster.told(event)?;
    }
    let offer = cluster.one("what is left of the cluster works as before")?;
    ensure(
        (offer.framework, offer.agent) == (framework, stays),
        || offer.to_string(),
        "the agent that is left, to the framework that is left",
    )
}

pub(super) fn a_refused_event_is_named_and_the_others_applied(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    let framework = cluster.framework(&[0])?;
    let resources = parse("cpus:1;mem:64")?;
    let never_held = Offer { framework, role: 0, agent, resources: resources.clone() };
    let later = 5_000;
    let refused = cluster.tell(vec![
        Some(Event::Suppressed(Suppressed { framework: Some(framework), roles: vec![0] })),
        // Nobody holds it, so nobody can give it back.
        Some(Event::Recovered(Recovered {
            holding: Some(holding(&never_held, &resources)),
            refuse_seconds: None,
        })),
        Some(Event::AgentAdded(AgentAdded {
            agent: Some(later),
            total: resources.to_proto(Format::PostRefinement),
            ..AgentAdded::default()
        })),
        None,
        Some(Event::WeightUpdated(WeightUpdated { role: Some(0), weight: Some(f64::NAN) })),
        Some(Event::Revived(Revived { framework: Some(framework), roles: vec![0] })),
    ])?;
    let positions: Vec<_> = refused.iter().map(|refused| refused.event()).collect();
    // An allocator without weights may take any.
    ensure(
        positions == [1, 3, 4] || positions == [1, 3],
        || format!("refused at {positions:?}"),
        "refused at 1 (given back what nobody holds), 3 (an unknown event) and 4 (a weight that is no number)",
    )?;
    for refused in &refused {
        ensure(
            refused.code() != 0 && refused.message.as_ref().is_some_and(|text| !text.is_empty()),
            || format!("{refused:?}"),
            "a code and a message",
        )?;
    }
    cluster.books.agents.insert(
        later,
        super::books::Agent { total: resources, active: true, ..Default::default() },
    );
    let offers = cluster.run()?;
    ensure(
        offers.len() == 2,
        || format!("{offers:?}"),
        "both agents: the events beside the refused ones have been applied, the refused ones have not",
    )
}

pub(super) fn an_unknown_event_is_unimplemented(subject: &Subject) -> Verdict {
    let cluster = Cluster::new(subject)?;
    let refused = cluster.tell(vec![None])?;
    ensure(
        matches!(&refused[..], [refused] if refused.code() == Code::Unimplemented.number() && refused.event() == 0),
        || format!("{refused:?}"),
        "refused with the code 12, UNIMPLEMENTED, at 0",
    )
}
