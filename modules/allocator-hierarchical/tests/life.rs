//! Frameworks and agents that come, go, refuse and change their minds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod scenario;

use mezzo_model::{Format, FrameworkCapabilities};
use mezzo_module_api::v1::agent_updated::Total;
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{
    AgentActivated, AgentDeactivated, AgentRemoved, AgentUpdated, Allocated, Converted,
    FrameworkActivated, FrameworkDeactivated, FrameworkRemoved, FrameworkUpdated, FrameworkWishes,
    HoldOff, Holding, QuotaUpdated, Recovered, Revived, RoleAdded, Suppressed,
};
use mezzo_proto::v1::quota::QuotaConfig;
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{AgentInfo, Attribute};
use scenario::{Cluster, SECOND, resources};

fn one_framework() -> Cluster {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    cluster.framework(1, "a", &[1]);
    cluster.agent(1, "cpus:4;mem:400");
    cluster
}

#[test]
fn a_filter_hides_the_same_and_less_until_it_runs_out() {
    let mut cluster = one_framework();
    let offer = cluster.tick_one();
    cluster.decline(&offer, 5.0);
    assert_eq!(cluster.tick(), []);
    assert_eq!(cluster.next_expiry, Some(cluster.now + 5 * SECOND));
    cluster.wait(4.9);
    assert_eq!(cluster.tick(), []);
    cluster.wait(0.1);
    // No periodic run is needed: the allocator has said when to ask.
    assert_eq!(cluster.look_at(&[]).len(), 1);
    assert_eq!(cluster.next_expiry, None);
}

#[test]
fn a_filter_does_not_hide_more_than_was_refused() {
    let mut cluster = one_framework();
    let offer = cluster.tick_one();
    // A part stays in use, the rest is refused; when the part comes back there is more than what was refused.
    let rest = resources("cpus:3;mem:300");
    cluster.recover(&offer, &rest, Some(100.0));
    assert_eq!(cluster.tick(), []);
    cluster.recover(&offer, &resources("cpus:1;mem:100"), None);
    assert_eq!(cluster.tick_one().resources, resources("cpus:4;mem:400"));
}

#[test]
fn decline_with_refuse_zero_installs_no_filter() {
    let mut cluster = one_framework();
    let offer = cluster.tick_one();
    cluster.decline(&offer, 0.0);
    assert_eq!(cluster.tick().len(), 1);
}

#[test]
fn a_filter_lives_for_one_interval_at_least() {
    let mut cluster = one_framework();
    let offer = cluster.tick_one();
    cluster.decline(&offer, 0.001);
    cluster.wait(0.9);
    assert_eq!(cluster.tick(), []);
    cluster.wait(0.1);
    assert_eq!(cluster.tick().len(), 1);
}

#[test]
fn what_one_refuses_another_gets() {
    let mut cluster = one_framework();
    cluster.framework(2, "b", &[1]);
    let offer = cluster.tick_one();
    assert_eq!(offer.framework, 1);
    cluster.decline(&offer, 5.0);
    assert_eq!(cluster.look_at(&[1])[0].framework, 2);
}

#[test]
fn revive_forgets_what_was_refused_in_these_roles_only() {
    let mut cluster = Cluster::default();
    cluster.role(1, "x");
    cluster.role(2, "y");
    cluster.framework(1, "a", &[1, 2]);
    cluster.agent(1, "cpus(x):1;mem(x):100");
    cluster.agent(2, "cpus(y):1;mem(y):100");
    let offers = cluster.tick();
    assert_eq!(offers.len(), 2);
    for offer in &offers {
        cluster.decline(offer, 100.0);
    }
    assert_eq!(cluster.tick(), []);
    cluster.tell(Event::Revived(Revived { framework: Some(1), roles: vec![2] }));
    assert_eq!(cluster.tick_one().role, 2);
}

#[test]
fn a_suppressed_role_gets_nothing_until_it_is_revived() {
    let mut cluster = one_framework();
    cluster.tell(Event::Suppressed(Suppressed { framework: Some(1), roles: vec![1] }));
    assert_eq!(cluster.tick(), []);
    cluster.tell(Event::Revived(Revived { framework: Some(1), roles: vec![1] }));
    assert_eq!(cluster.tick().len(), 1);
}

#[test]
fn suppressing_a_role_that_is_not_subscribed_changes_nothing() {
    let mut cluster = one_framework();
    cluster.role(2, "other");
    let refused = cluster
        .try_tell(Event::Suppressed(Suppressed { framework: Some(1), roles: vec![1, 2] }))
        .refused;
    assert_eq!(refused[0].code, Some(3));
    assert_eq!(cluster.tick().len(), 1);
}

#[test]
fn a_disconnected_framework_gets_nothing_and_comes_back_without_filters() {
    let mut cluster = one_framework();
    let offer = cluster.tick_one();
    cluster.decline(&offer, 100.0);
    cluster.tell(Event::FrameworkDeactivated(FrameworkDeactivated { framework: Some(1) }));
    assert_eq!(cluster.tick(), []);
    assert_eq!(cluster.next_expiry, None, "its filters are gone");
    cluster.tell(Event::FrameworkActivated(FrameworkActivated { framework: Some(1) }));
    assert_eq!(cluster.tick().len(), 1);
}

#[test]
fn reactivation_keeps_suppressed_roles_suppressed() {
    let mut cluster = one_framework();
    cluster.tell(Event::Suppressed(Suppressed { framework: Some(1), roles: vec![1] }));
    cluster.tell(Event::FrameworkDeactivated(FrameworkDeactivated { framework: Some(1) }));
    cluster.tell(Event::FrameworkActivated(FrameworkActivated { framework: Some(1) }));
    assert_eq!(cluster.tick(), []);
}

#[test]
fn an_update_replaces_roles_and_suppressed_roles() {
    let mut cluster = one_framework();
    cluster.role(2, "y");
    let offer = cluster.tick_one();
    cluster.decline(&offer, 100.0);
    let wishes = |roles: &[u32], suppressed: &[u32]| FrameworkWishes {
        suppressed_roles: suppressed.to_vec(),
        ..Cluster::wishes("a", roles, FrameworkCapabilities::NONE)
    };
    let update = |wishes| {
        Event::FrameworkUpdated(FrameworkUpdated { framework: Some(1), wishes: Some(wishes) })
    };
    cluster.tell(update(wishes(&[1], &[])));
    assert_eq!(cluster.tick(), [], "the same wishes keep the filter");
    cluster.tell(update(wishes(&[1, 2], &[1])));
    let offer = cluster.tick_one();
    assert_eq!(offer.role, 2);
    cluster.decline(&offer, 100.0);
    cluster.tell(update(wishes(&[1], &[])));
    assert_eq!(
        cluster.tick_one().role,
        1,
        "a role that leaves the suppressed ones forgets what was refused"
    );
}

#[test]
fn a_removed_framework_leaves_everything_free() {
    let mut cluster = one_framework();
    cluster.tick_one();
    cluster.tell(Event::FrameworkRemoved(FrameworkRemoved { framework: Some(1) }));
    cluster.free.insert(1, resources("cpus:4;mem:400"));
    cluster.framework(2, "b", &[1]);
    assert_eq!(cluster.tick_one().framework, 2);
}

#[test]
fn an_inactive_agent_is_not_offered_and_a_removed_one_takes_its_filters_along() {
    let mut cluster = one_framework();
    cluster.tell(Event::AgentDeactivated(AgentDeactivated { agent: Some(1) }));
    assert_eq!(cluster.tick(), []);
    cluster.tell(Event::AgentActivated(AgentActivated { agent: Some(1) }));
    let offer = cluster.tick_one();
    cluster.decline(&offer, 100.0);
    cluster.tell(Event::AgentRemoved(AgentRemoved { agent: Some(1) }));
    assert_eq!(cluster.tick(), []);
    assert_eq!(cluster.next_expiry, None);
    cluster.agent(2, "cpus:4;mem:400");
    assert_eq!(cluster.tick_one().agent, 2);
}

#[test]
fn an_agent_that_shrinks_is_offered_less_and_one_that_grows_is_offered_more() {
    let mut cluster = one_framework();
    let offer = cluster.tick_one();
    cluster.launch(&offer, "cpus:1;mem:100");
    let total = |text: &str| {
        let total = Total { resources: resources(text).to_proto(Format::PostRefinement) };
        Event::AgentUpdated(AgentUpdated {
            agent: Some(1),
            total: Some(total),
            ..AgentUpdated::default()
        })
    };
    cluster.tell(total("cpus:2;mem:400"));
    cluster.free.insert(1, resources("cpus:1;mem:300"));
    let offer = cluster.tick_one();
    assert_eq!(offer.resources, resources("cpus:1;mem:300"));
    cluster.tell(total("cpus:8;mem:400"));
    cluster.free.insert(1, resources("cpus:6"));
    assert_eq!(cluster.tick_one().resources, resources("cpus:6"));
}

#[test]
fn a_change_of_attributes_forgets_what_was_refused_there() {
    let mut cluster = one_framework();
    let offer = cluster.tick_one();
    cluster.decline(&offer, 100.0);
    let info = |attributes| {
        let info = AgentInfo { hostname: "host1".into(), attributes, ..AgentInfo::default() };
        Event::AgentUpdated(AgentUpdated {
            agent: Some(1),
            agent_info: Some(info),
            ..AgentUpdated::default()
        })
    };
    cluster.tell(info(vec![]));
    assert_eq!(cluster.tick(), []);
    cluster.tell(info(vec![Attribute { name: "rack".into(), ..Attribute::default() }]));
    assert_eq!(cluster.tick().len(), 1);
}

#[test]
fn restored_tasks_are_not_offered_whoever_comes_first() {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    let holding = |agent| Holding {
        framework: Some(1),
        role: Some(1),
        agent: Some(agent),
        resources: resources("cpus:3;mem:300").to_proto(Format::PostRefinement),
    };
    cluster.agent(1, "cpus:4;mem:400");
    cluster.tell(Event::Allocated(Allocated { holding: Some(holding(1)) }));
    *cluster.free.get_mut(&1).unwrap() = resources("cpus:1;mem:100");
    // The framework of the task comes after its task, a new one after it: the new one is behind in nothing.
    cluster.framework(1, "a", &[1]);
    cluster.framework(2, "b", &[1]);
    let offer = cluster.tick_one();
    assert_eq!((offer.framework, offer.resources), (2, resources("cpus:1;mem:100")));
}

#[test]
fn while_paused_nothing_is_proposed() {
    let mut cluster = one_framework();
    cluster.tell(Event::HoldOff(HoldOff { paused: Some(true) }));
    assert_eq!(cluster.tick(), []);
    cluster.tell(Event::HoldOff(HoldOff { paused: Some(false) }));
    assert_eq!(cluster.tick().len(), 1);
}

#[test]
fn a_conversion_changes_the_shape_of_what_is_held() {
    let mut cluster = Cluster::default();
    cluster.role(1, "eng");
    cluster.framework(1, "a", &[1]);
    cluster.agent(1, "cpus:4;mem:400");
    let offer = cluster.tick_one();
    let (before, after) = (resources("cpus:1;mem:100"), resources("cpus(eng):1;mem(eng):100"));
    let holding = Holding {
        framework: Some(1),
        role: Some(1),
        agent: Some(1),
        resources: before.to_proto(Format::PostRefinement),
    };
    let converted = after.to_proto(Format::PostRefinement);
    cluster.tell(Event::Converted(Converted { holding: Some(holding), converted }));
    cluster.recover(&offer, &after, None);
    assert_eq!(cluster.tick_one().resources, after);
}

#[test]
fn what_it_cannot_do_is_refused_and_the_rest_of_the_batch_is_applied() {
    let cluster = one_framework();
    let limits = [("cpus".to_owned(), Scalar { value: 1.0 })].into();
    let quota = QuotaConfig { role: "*".into(), limits, ..QuotaConfig::default() };
    let refused = cluster
        .try_tell(Event::QuotaUpdated(QuotaUpdated { role: Some(1), quota: Some(quota) }))
        .refused;
    assert_eq!(
        (refused[0].code, refused[0].message()),
        (Some(12), "quota is not implemented by this module")
    );
    let nothing = QuotaConfig { role: "*".into(), ..QuotaConfig::default() };
    cluster.tell(Event::QuotaUpdated(QuotaUpdated { role: Some(1), quota: Some(nothing) }));
}

#[test]
fn wrong_events_are_refused_with_what_is_wrong() {
    let cluster = one_framework();
    let message = |event| {
        cluster.try_tell(event).refused.first().map(|refused| refused.message().to_owned()).unwrap()
    };
    let role = |name: &str, weight| {
        Event::RoleAdded(RoleAdded { role: Some(7), name: Some(name.into()), weight })
    };
    assert!(message(role("a//b", None)).contains("a//b"));
    assert_eq!(message(role("a", Some(0.0))), "weight is 0, expected a number above 0");
    assert!(message(role("a", Some(f64::NAN))).contains("NaN"));
    let holding = |text: &str| Holding {
        framework: Some(1),
        role: Some(1),
        agent: Some(1),
        resources: resources(text).to_proto(Format::PostRefinement),
    };
    let recovered = Recovered { holding: Some(holding("cpus:1")), refuse_seconds: None };
    assert_eq!(
        message(Event::Recovered(recovered)),
        "framework 1 gives back `cpus:1` of agent 1 under role key 1, but holds nothing"
    );
    let unknown = Holding { role: Some(9), ..holding("cpus:1") };
    assert_eq!(
        message(Event::Allocated(Allocated { holding: Some(unknown) })),
        "role key 9 was never added"
    );
}

#[test]
fn events_about_what_is_gone_are_ignored() {
    let cluster = one_framework();
    cluster.tell(Event::FrameworkRemoved(FrameworkRemoved { framework: Some(77) }));
    cluster.tell(Event::AgentRemoved(AgentRemoved { agent: Some(77) }));
    cluster.tell(Event::Revived(Revived { framework: Some(77), roles: vec![1] }));
    let holding = Holding { framework: Some(1), role: Some(1), agent: Some(77), resources: vec![] };
    cluster.tell(Event::Recovered(Recovered { holding: Some(holding), refuse_seconds: Some(5.0) }));
}
