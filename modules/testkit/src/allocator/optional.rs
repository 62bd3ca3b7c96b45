//! What an allocator may leave out: then it says so by name, and does not look as if it could.

use mezzo_model::FrameworkCapabilities;
use mezzo_module_api::Code;
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::observe_response::Refused;
use mezzo_module_api::v1::{
    AllocateRequest, AllocateResponse, FrameworkAdded, InverseAnswered, QuotaUpdated,
    UnavailabilityUpdated,
};
use mezzo_proto::v1::quota::QuotaConfig;
use mezzo_proto::v1::scheduler::attribute_constraint::selector::{self, PseudoattributeType};
use mezzo_proto::v1::scheduler::attribute_constraint::{Predicate, Selector, predicate};
use mezzo_proto::v1::scheduler::offer_constraints::RoleConstraints;
use mezzo_proto::v1::scheduler::offer_constraints::role_constraints::Group;
use mezzo_proto::v1::scheduler::{AttributeConstraint, OfferConstraints};
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{TimeInfo, Unavailability};

use super::books::Framework;
use super::cluster::{Cluster, options, wishes};
use crate::report::{ensure, good};
use crate::{Failure, Subject, Verdict};

/// Whether the allocator does this: the event was taken, or refused with UNIMPLEMENTED and a name for it.
fn taken(refused: &[Refused], what: &str) -> Result<bool, Failure> {
    match refused {
        [] => Ok(true),
        [refused]
            if refused.code() == Code::Unimplemented.number()
                && refused.message().to_lowercase().contains(what) =>
        {
            Ok(false)
        }
        refused => Err(Failure::new(
            format!("{refused:?}"),
            format!("taken, or refused with UNIMPLEMENTED and a message that names `{what}`"),
        )),
    }
}

pub(super) fn quota_is_kept_or_refused(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.framework(&[1])?;
    let scalar = |value| Scalar { value };
    let limited = |limits: &[(&str, f64)]| {
        let entry = |(name, value): &(&str, f64)| ((*name).to_owned(), scalar(*value));
        Event::QuotaUpdated(QuotaUpdated {
            role: Some(1),
            quota: Some(QuotaConfig {
                role: "a".into(),
                limits: limits.iter().map(entry).collect(),
                ..QuotaConfig::default()
            }),
        })
    };
    let refused = cluster.tell(vec![Some(limited(&[("cpus", 3.0), ("mem", 512.0)]))])?;
    let supported = taken(&refused, "quota")?;
    for _ in 0..3 {
        cluster.agent("cpus:2;mem:1024;disk:10")?;
    }
    let mut cpus = 0.0;
    let mut mem = 0.0;
    for offer in cluster.run()? {
        cpus += offer.resources.cpus().to_f64();
        mem += offer.resources.mem().to_f64();
    }
    if supported {
        return ensure(
            cpus <= 3.0 && mem <= 512.0,
            || format!("cpus:{cpus};mem:{mem} proposed to role `a`"),
            "at most its limit, cpus:3;mem:512",
        );
    }
    // Refused means: without effect. And the default quota is none, so it can always be set.
    ensure(
        cpus >= 6.0,
        || format!("cpus:{cpus} proposed"),
        "all six cpus: the quota was refused, so it has no effect",
    )?;
    let refused = cluster.tell(vec![Some(limited(&[]))])?;
    ensure(refused.is_empty(), || format!("{refused:?}"), "the default quota can be set anywhere")
}

pub(super) fn offer_constraints_are_kept_or_refused(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let wanted = cluster.agent("cpus:2;mem:1024")?;
    let unwanted = cluster.agent("cpus:2;mem:1024")?;
    let key = 7;
    let hostname = selector::Selector::PseudoattributeType(PseudoattributeType::Hostname.into());
    let equals = predicate::TextEquals { value: format!("host{wanted}") };
    let constraint = AttributeConstraint {
        selector: Selector { selector: Some(hostname) },
        predicate: Predicate { predicate: Some(predicate::Predicate::TextEquals(equals)) },
    };
    let group = Group { attribute_constraints: vec![constraint] };
    let role = RoleConstraints { groups: vec![group] };
    let mut wishes = wishes(key, &[0], FrameworkCapabilities::NONE);
    wishes.offer_constraints =
        Some(OfferConstraints { role_constraints: [("*".to_owned(), role)].into() });
    let refused = cluster.tell(vec![Some(Event::FrameworkAdded(FrameworkAdded {
        framework: Some(key),
        wishes: Some(wishes),
        active: Some(true),
        used: Vec::new(),
    }))])?;
    if !taken(&refused, "constraint")? {
        return cluster.none("nothing for a framework that was refused");
    }
    let roles = [0].into();
    cluster.books.frameworks.insert(key, Framework { roles, active: true, ..Default::default() });
    let offers = cluster.run()?;
    ensure(
        offers.len() == 1 && offers.iter().all(|offer| offer.agent == wanted),
        || format!("{offers:?}"),
        format!("agent {wanted} alone: the constraints exclude agent {unwanted}"),
    )
}

pub(super) fn inverse_offers_are_asked_for_once(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:2;mem:1024")?;
    let other = cluster.agent("cpus:2;mem:1024")?;
    let framework = cluster.framework(&[0])?;
    cluster.framework(&[0])?;
    cluster.run()?;
    // One of the two holds the agent.
    let holders: Vec<u64> = cluster
        .books
        .agents
        .get(&agent)
        .into_iter()
        .flat_map(|agent| agent.used.keys().map(|(framework, _)| *framework))
        .collect();
    let unavailability =
        Some(Unavailability { start: TimeInfo { nanoseconds: 1_000_000_000 }, duration: None });
    cluster.told(Event::UnavailabilityUpdated(UnavailabilityUpdated {
        agent: Some(agent),
        unavailability,
    }))?;
    let (asked, _) = inverse(&mut cluster)?;
    let answered = |framework| {
        Event::InverseAnswered(InverseAnswered {
            framework: Some(framework),
            agent: Some(agent),
            ..InverseAnswered::default()
        })
    };
    if asked.is_empty() {
        let refused = cluster.tell(vec![Some(answered(framework))])?;
        return taken(&refused, "inverse").map(drop);
    }
    let expected: Vec<_> = holders.iter().map(|holder| (*holder, agent)).collect();
    ensure(
        asked == expected,
        || format!("{asked:?}"),
        format!("{expected:?}: who holds something there; nothing is planned for agent {other}"),
    )?;
    cluster.wait(1.0);
    let (again, _) = inverse(&mut cluster)?;
    ensure(again.is_empty(), || format!("{again:?}"), "nobody is asked twice before he answers")?;
    for holder in &holders {
        cluster.told(answered(*holder))?;
    }
    let (again, _) = inverse(&mut cluster)?;
    ensure(
        again == expected,
        || format!("{again:?}"),
        format!("{expected:?} again: nobody has answered, it is not outstanding any more"),
    )
}

/// Framework and agent of each inverse proposal of a run.
fn inverse(cluster: &mut Cluster) -> Result<(Vec<(u64, u64)>, AllocateResponse), Failure> {
    let request = AllocateRequest {
        now_nanos: Some(cluster.books.now),
        all_agents: Some(true),
        ..AllocateRequest::default()
    };
    let (_, response) = cluster.ask(&request)?;
    let asked =
        response.inverse_proposals.iter().map(|inverse| (inverse.framework(), inverse.agent()));
    Ok((asked.collect(), response))
}

pub(super) fn an_unknown_sorter_is_refused(subject: &Subject) -> Verdict {
    const SORTER: &str = "sorter-that-nobody-has";
    for which in ["role", "framework"] {
        let mut request = options(1);
        let sorter = Some(SORTER.to_owned());
        match which {
            "role" => request.role_sorter = sorter,
            _ => request.framework_sorter = sorter,
        }
        let made = subject.make()?;
        match made.allocator().initialize(request) {
            Ok(_) => {
                return Err(Failure::new(
                    format!("`{which}_sorter` `{SORTER}` was accepted"),
                    "an error that names it",
                ));
            }
            Err(error) => ensure(
                error.message.contains(SORTER),
                || error.to_string(),
                format!("a message that names `{SORTER}`"),
            )?,
        }
        // The default is always there.
        good(subject.make()?.allocator().initialize(options(1)), "initialize with the defaults")?;
    }
    Ok(())
}
