//! Refused offers.

use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{AgentUpdated, AllocateRequest};
use mezzo_proto::v1::{AgentInfo, Attribute, value};

use super::cluster::{Cluster, SECOND, parse};
use crate::report::ensure;
use crate::{Subject, Verdict};

pub(super) fn a_filter_hides_the_same_and_less(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.agent("cpus:4;mem:1024")?;
    let refuser = cluster.framework(&[0])?;
    let offer = cluster.one("the agent")?;
    // Less than the interval: a filter lives at least that long.
    cluster.decline(&offer, 0.1)?;
    cluster.wait(0.5);
    cluster.none("what was refused half a second ago")?;
    cluster.wait(1.0);
    let offer = cluster.one("the filter has run out")?;

    let part = parse("cpus:3;mem:512")?;
    let rest = parse("cpus:1;mem:512")?;
    cluster.give_back(&offer, &part, Some(60.0))?;
    cluster.wait(2.0);
    cluster.none("what was refused")?;
    cluster.give_back(&offer, &rest, None)?;
    let more = cluster.one("more than was refused is not hidden")?;
    ensure(
        more.resources == parse("cpus:4;mem:1024")?,
        || more.to_string(),
        "the whole of the agent",
    )?;
    cluster.give_back(&more, &parse("cpus:2;mem:512")?, None)?;
    cluster.none("less than was refused is hidden")?;
    let other = cluster.framework(&[0])?;
    let offer = cluster.one("what one has refused another may want")?;
    ensure(
        offer.framework == other && offer.framework != refuser,
        || offer.to_string(),
        "to the other framework",
    )
}

pub(super) fn a_filter_runs_out(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    cluster.framework(&[0])?;
    let offer = cluster.one("the agent")?;
    cluster.decline(&offer, 30.0)?;
    let until = cluster.books.now + 30 * SECOND;
    let ask = |cluster: &mut Cluster| {
        let request = AllocateRequest {
            now_nanos: Some(cluster.books.now),
            all_agents: Some(true),
            ..AllocateRequest::default()
        };
        cluster.ask(&request)
    };
    let (offers, response) = ask(&mut cluster)?;
    ensure(offers.is_empty(), || format!("{offers:?}"), "what was refused is hidden")?;
    ensure(
        response.next_filter_expiry_nanos == Some(until),
        || format!("{:?}", response.next_filter_expiry_nanos),
        format!("the filter's end, {until}"),
    )?;
    cluster.wait(29.9);
    cluster.none("the filter has not run out yet")?;
    cluster.books.now = until;
    let offers = cluster.run_over(&[])?;
    ensure(
        offers.iter().any(|offer| offer.agent == agent),
        || "nothing".to_owned(),
        "what the filter hid, in a run over no agents in particular",
    )?;
    // Nothing is waiting now.
    let (_, response) = ask(&mut cluster)?;
    ensure(
        response.next_filter_expiry_nanos.is_none_or(|at| at > cluster.books.now),
        || format!("{:?}", response.next_filter_expiry_nanos),
        "no time that has passed: the core would ask again and again",
    )
}

pub(super) fn revive_ends_filters(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    cluster.agent("cpus:4;mem:1024")?;
    let framework = cluster.framework(&[0, 1])?;
    for _ in 0..2 {
        let offer = cluster.one("the agent, under one of the roles")?;
        cluster.decline(&offer, 60.0)?;
    }
    cluster.wait(2.0);
    cluster.none("both roles have refused")?;
    cluster.revive(framework, &[1])?;
    let offer = cluster.one("the role that was revived")?;
    ensure(offer.role == 1, || offer.to_string(), "under the role that was revived")?;
    cluster.decline(&offer, 60.0)?;
    cluster.revive(framework, &[0, 1])?;
    cluster.one("all filters are gone").map(drop)
}

pub(super) fn filters_go_with_what_they_are_about(subject: &Subject) -> Verdict {
    let mut cluster = Cluster::new(subject)?;
    let agent = cluster.agent("cpus:4;mem:1024")?;
    let framework = cluster.framework(&[0])?;
    let offer = cluster.one("the agent")?;
    cluster.decline(&offer, 600.0)?;
    cluster.activate_framework(framework, false)?;
    cluster.activate_framework(framework, true)?;
    let offer = cluster.one("a framework that was away has refused nothing")?;

    cluster.decline(&offer, 600.0)?;
    cluster.wait(2.0);
    cluster.none("refused again")?;
    let rack = Attribute {
        name: "rack".into(),
        r#type: value::Type::Text.into(),
        text: Some(value::Text { value: "r2".into() }),
        ..Attribute::default()
    };
    let info = AgentInfo {
        hostname: format!("host{agent}"),
        attributes: vec![rack],
        ..AgentInfo::default()
    };
    cluster.told(Event::AgentUpdated(AgentUpdated {
        agent: Some(agent),
        agent_info: Some(info.clone()),
        ..AgentUpdated::default()
    }))?;
    cluster.books.end_filters(|_| true);
    let offer = cluster.one("an agent with other attributes has not been refused")?;

    cluster.decline(&offer, 600.0)?;
    cluster.wait(2.0);
    cluster.told(Event::AgentUpdated(AgentUpdated {
        agent: Some(agent),
        agent_info: Some(info),
        ..AgentUpdated::default()
    }))?;
    cluster.none("the same attributes again end no filter")
}
