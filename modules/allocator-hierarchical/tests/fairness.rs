//! Who is offered what first.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod scenario;

use mezzo_model::{FrameworkCapabilities, FrameworkCapability};
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{WeightUpdated, WhitelistUpdated};
use scenario::{Cluster, resources};

#[test]
fn nine_cpus_and_eighteen_gigabytes_end_with_three_tasks_of_a_and_two_of_b() {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    cluster.framework(1, "A", &[1]);
    cluster.framework(2, "B", &[1]);
    cluster.agent(1, "cpus:9;mem:18432");

    let mut offered = Vec::new();
    for _ in 0..5 {
        let offer = cluster.tick_one();
        offered.push((if offer.framework == 1 { 'A' } else { 'B' }, offer.resources.to_string()));
        cluster.launch(
            &offer,
            if offer.framework == 1 { "cpus:1;mem:4096" } else { "cpus:3;mem:1024" },
        );
    }
    let expected = [
        ('A', "cpus:9;mem:18432"),
        ('B', "cpus:8;mem:14336"),
        ('A', "cpus:5;mem:13312"),
        ('B', "cpus:4;mem:9216"),
        ('A', "cpus:1;mem:8192"),
    ];
    assert_eq!(offered, expected.map(|(who, what)| (who, what.to_owned())));

    // 4 GB without a cpu are left; they go to whoever has got something less often: B has been asked 2 times, A 3 times.
    let offer = cluster.tick_one();
    assert_eq!((offer.framework, offer.resources.to_string()), (2, "mem:4096".to_owned()));
}

#[test]
fn an_outstanding_offer_counts_as_used() {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    cluster.framework(1, "a", &[1]);
    cluster.framework(2, "b", &[1]);
    cluster.agent(1, "cpus:1;mem:100");
    assert_eq!(cluster.tick_one().framework, 1);
    cluster.agent(2, "cpus:1;mem:100");
    assert_eq!(cluster.tick_one().framework, 2, "a still sits on its offer");
}

#[test]
fn agents_of_one_run_are_shared_out() {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    for (key, name) in [(1, "a"), (2, "b"), (3, "c")] {
        cluster.framework(key, name, &[1]);
    }
    for agent in 1..=9 {
        cluster.agent(agent, "cpus:1;mem:100");
    }
    let offers = cluster.tick();
    for framework in 1..=3 {
        assert_eq!(offers.iter().filter(|offer| offer.framework == framework).count(), 3);
    }
}

#[test]
fn roles_share_first_and_frameworks_in_a_role_second() {
    let mut cluster = Cluster::default();
    cluster.role(1, "many");
    cluster.role(2, "one");
    for key in 1..=3 {
        cluster.framework(key, &format!("many-{key}"), &[1]);
    }
    cluster.framework(9, "alone", &[2]);
    for agent in 1..=8 {
        cluster.agent(agent, "cpus:1;mem:100");
    }
    let offers = cluster.tick();
    assert_eq!(offers.iter().filter(|offer| offer.framework == 9).count(), 4);
}

#[test]
fn a_role_of_twice_the_weight_gets_twice_as_much() {
    let mut cluster = Cluster::default();
    cluster.role(1, "heavy");
    cluster.role(2, "light");
    cluster.framework(1, "h", &[1]);
    cluster.framework(2, "l", &[2]);
    cluster.tell(Event::WeightUpdated(WeightUpdated { role: Some(1), weight: Some(2.0) }));
    for agent in 1..=9 {
        cluster.agent(agent, "cpus:1;mem:100");
    }
    let offers = cluster.tick();
    assert_eq!(offers.iter().filter(|offer| offer.framework == 1).count(), 6);
}

#[test]
fn what_is_reserved_to_a_role_goes_to_it_and_below_it_only() {
    let mut cluster = Cluster::default();
    cluster.role(1, "eng");
    cluster.role(2, "eng/web");
    cluster.role(3, "ads");
    cluster.framework(3, "ads", &[3]);
    cluster.agent(1, "cpus(eng):2;mem(eng):200;mem:100");
    let offer = cluster.tick_one();
    assert_eq!((offer.framework, offer.resources), (3, resources("mem:100")));
    cluster.framework(2, "web", &[2]);
    let offer = cluster.tick_one();
    assert_eq!((offer.framework, offer.role), (2, 2));
    assert_eq!(offer.resources, resources("cpus(eng):2;mem(eng):200"));
}

#[test]
fn crumbs_are_not_offered() {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    cluster.framework(1, "a", &[1]);
    cluster.agent(1, "cpus:0.009;mem:31;disk:1000");
    assert_eq!(cluster.tick(), []);
    cluster.agent(2, "cpus:0.01");
    assert_eq!(cluster.tick_one().agent, 2);
}

#[test]
fn agents_with_gpus_are_kept_for_frameworks_that_know_them() {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    cluster.framework(1, "a", &[1]);
    cluster.agent(1, "cpus:1;gpus:1");
    assert_eq!(cluster.tick(), []);
    let knows = FrameworkCapabilities::NONE.with(FrameworkCapability::GpuResources);
    cluster.framework_with(2, Cluster::wishes("b", &[1], knows));
    assert_eq!(cluster.tick_one().framework, 2);
}

#[test]
fn only_listed_hosts_are_offered_and_an_empty_list_offers_none() {
    let mut cluster = Cluster::default();
    cluster.role(1, "*");
    cluster.framework(1, "a", &[1]);
    cluster.agent(1, "cpus:1");
    cluster.agent(2, "cpus:1");
    let list = |enabled, hosts: &[&str]| {
        let hostnames = hosts.iter().map(|host| (*host).to_owned()).collect();
        Event::WhitelistUpdated(WhitelistUpdated { enabled: Some(enabled), hostnames })
    };
    cluster.tell(list(true, &[]));
    assert_eq!(cluster.tick(), []);
    cluster.tell(list(true, &["host2"]));
    assert_eq!(cluster.tick_one().agent, 2);
    cluster.tell(list(false, &[]));
    assert_eq!(cluster.tick_one().agent, 1);
}
