//! Placing tasks on offers: nothing is used that was not offered, and nothing is used twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

use std::collections::BTreeMap;

use mezzo_sdk::testing::offer;
use mezzo_sdk::v1::{self, value};
use mezzo_sdk::{Packing, Task};
use proptest::prelude::*;

fn ports(begin: u64, end: u64) -> v1::Resource {
    v1::Resource {
        name: "ports".to_owned(),
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges { range: vec![value::Range { begin, end }] }),
        ..Default::default()
    }
}

fn reserved(name: &str, amount: f64, role: &str) -> v1::Resource {
    let reservation =
        v1::resource::ReservationInfo { role: Some(role.to_owned()), ..Default::default() };
    v1::Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount }),
        reservations: vec![reservation],
        ..Default::default()
    }
}

fn sums<'a>(resources: impl IntoIterator<Item = &'a v1::Resource>) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for resource in resources {
        if let Some(scalar) = &resource.scalar {
            #[allow(clippy::cast_possible_truncation, reason = "small numbers")]
            let milli = (scalar.value * 1000.0).round() as i64;
            *sums.entry(resource.name.clone()).or_default() += milli;
        }
    }
    sums
}

#[test]
fn tasks_fill_one_offer_after_the_other() {
    let mut packing = Packing::new([
        offer("o1", "a1", &[("cpus", 1.0), ("mem", 100.0)]),
        offer("o2", "a2", &[("cpus", 2.0), ("mem", 100.0)]),
    ]);
    let task = Task::shell("true").cpus(0.5).mem(10.0);
    let agents: Vec<_> =
        std::iter::from_fn(|| packing.place(&task)).map(|placed| placed.agent_id.value).collect();
    assert_eq!(agents, ["a1", "a1", "a2", "a2", "a2", "a2"]);
}

#[test]
fn spread_goes_where_the_fewest_tasks_are() {
    let whole = &[("cpus", 4.0), ("mem", 1000.0)];
    let mut packing = Packing::new([offer("o1", "a1", whole), offer("o2", "a2", whole)]);
    let task = Task::shell("true");
    let agents: Vec<_> =
        (0..4).filter_map(|_| packing.spread(&task)).map(|placed| placed.agent_id.value).collect();
    assert_eq!(agents, ["a1", "a2", "a1", "a2"]);
}

#[test]
fn offers_of_one_agent_are_used_together() {
    let mut packing =
        Packing::new([offer("o1", "a1", &[("cpus", 1.0)]), offer("o2", "a1", &[("mem", 64.0)])]);
    assert!(packing.place(&Task::shell("true").cpus(1.0).mem(64.0)).is_some());
}

#[test]
fn reserved_resources_go_first_and_keep_their_reservation() {
    let mut it = offer("o1", "a1", &[("cpus", 2.0), ("mem", 64.0)]);
    it.resources.push(reserved("cpus", 1.0, "mine"));
    let mut packing = Packing::new([it]);
    packing.place(&Task::shell("true").cpus(1.5).mem(32.0)).expect("there is room");
    let task = packing.tasks().next().unwrap();
    let cpus: Vec<_> = task.resources.iter().filter(|r| r.name == "cpus").collect();
    assert_eq!(cpus.len(), 2);
    assert_eq!(cpus[0].reservations[0].role(), "mine");
    assert_eq!(cpus[0].scalar.unwrap().value, 1.0);
    assert_eq!(cpus[1].scalar.unwrap().value, 0.5);
}

#[test]
fn ports_are_given_once_and_told_to_the_command() {
    let mut it = offer("o1", "a1", &[("cpus", 4.0), ("mem", 1000.0)]);
    it.resources.push(ports(31000, 31003));
    let mut packing = Packing::new([it]);
    let first = packing.place(&Task::shell("true").port(31001).ports(1)).unwrap();
    assert_eq!(first.ports, [31001, 31000]);
    let second = packing.place(&Task::shell("true").ports(2)).unwrap();
    assert_eq!(second.ports, [31002, 31003]);
    assert!(packing.place(&Task::shell("true").ports(1)).is_none());
    let command = packing.tasks().next().unwrap().command.clone().unwrap();
    let variables: Vec<_> = command
        .environment
        .unwrap()
        .variables
        .into_iter()
        .map(|variable| (variable.name.clone(), variable.value().to_owned()))
        .collect();
    assert_eq!(variables[0], ("PORT0".to_owned(), "31001".to_owned()));
    assert_eq!(variables[1], ("PORT1".to_owned(), "31000".to_owned()));
}

#[test]
fn revocable_resources_volumes_and_shared_ones_are_left_alone() {
    let mut it = offer("o1", "a1", &[("cpus", 1.0), ("mem", 64.0), ("disk", 100.0)]);
    it.resources[0].revocable = Some(Default::default());
    let disk =
        v1::resource::DiskInfo { persistence: Some(Default::default()), ..Default::default() };
    it.resources[2].disk = Some(disk);
    assert!(Packing::new([it.clone()]).place(&Task::shell("true")).is_none());
    let mut packing = Packing::new([it]);
    assert!(packing.place(&Task::shell("true").cpus(0.0).disk(1.0)).is_none());
    assert!(packing.place(&Task::shell("true").cpus(0.0)).is_some());
}

#[test]
fn an_amount_that_is_no_amount_fits_nowhere() {
    for amount in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
        let mut packing = Packing::new([offer("o1", "a1", &[("cpus", 8.0), ("mem", 1000.0)])]);
        assert!(packing.place(&Task::shell("true").cpus(amount)).is_none(), "{amount}");
        assert!(packing.place(&Task::shell("true").cpus(amount).cpus(1.0)).is_some());
    }
}

#[test]
fn an_executors_resources_are_taken_once_per_agent() {
    let executor = v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: "e1".to_owned() },
        resources: offer("", "", &[("cpus", 1.0), ("mem", 100.0)]).resources,
        ..Default::default()
    };
    let mut packing = Packing::new([offer("o1", "a1", &[("cpus", 3.0), ("mem", 300.0)])]);
    let task = Task::on_executor(executor).cpus(1.0).mem(100.0);
    assert!(packing.place(&task.clone().id("t1")).is_some());
    assert!(packing.place(&task.clone().id("t2")).is_some());
    assert!(packing.place(&task.id("t3")).is_none());
    let executors: Vec<_> = packing.tasks().map(|task| task.executor.clone().unwrap()).collect();
    assert_eq!(executors[0], executors[1], "the master compares them");
}

#[test]
fn the_builder_says_what_was_asked_for() {
    let task = Task::command(["/bin/echo", "a b"])
        .name("say")
        .env("A", "1")
        .env("A", "2")
        .uri("http://x/y.tgz")
        .label("team", "x")
        .kill_grace(std::time::Duration::from_millis(1500))
        .user("nobody");
    let mut packing = Packing::new([offer("o1", "a1", &[("cpus", 1.0), ("mem", 64.0)])]);
    packing.place(&task).unwrap();
    let info = packing.tasks().next().unwrap();
    let command = info.command.as_ref().unwrap();
    assert_eq!(info.name, "say");
    assert_eq!(info.agent_id.value, "a1");
    assert!(!command.shell());
    assert_eq!(command.value(), "/bin/echo");
    assert_eq!(command.arguments, ["/bin/echo", "a b"]);
    assert_eq!(command.user(), "nobody");
    assert_eq!(command.uris[0].value, "http://x/y.tgz");
    let variables = &command.environment.as_ref().unwrap().variables;
    assert_eq!(variables.len(), 1, "the last word counts");
    assert_eq!(variables[0].value(), "2");
    assert_eq!(info.labels.as_ref().unwrap().labels[0].value(), "x");
    let grace = info.kill_policy.as_ref().unwrap().grace_period.unwrap();
    assert_eq!(grace.nanoseconds, 1_500_000_000);
}

/// Amounts in thousandths, as an offer has them.
fn amount(most: u32) -> impl Strategy<Value = f64> {
    (0..most).prop_map(|milli| f64::from(milli) / 1000.0)
}

proptest! {
    #[test]
    fn what_is_used_and_what_is_left_is_what_was_offered(
        offers in prop::collection::vec((0..3_u8, amount(8_000), amount(4_000_000), amount(2_000)), 1..8),
        tasks in prop::collection::vec((amount(3_000), amount(1_000_000), 0..3_usize), 0..20),
    ) {
        let offers: Vec<v1::Offer> = offers
            .iter()
            .enumerate()
            .map(|(index, (agent, cpus, mem, extra))| {
                let scalars = [("cpus", *cpus), ("mem", *mem)];
                let mut it = offer(&format!("o{index}"), &format!("a{agent}"), &scalars);
                it.resources.push(reserved("cpus", *extra, "mine"));
                let first = 31_000 + 10 * index as u64;
                it.resources.push(ports(first, first + 2));
                it
            })
            .collect();
        let offered = sums(offers.iter().flat_map(|offer| &offer.resources));
        let agents: Vec<_> = offers.iter().map(|offer| offer.agent_id.clone()).collect();
        let mut packing = Packing::new(offers);
        let mut wanted = BTreeMap::<String, i64>::new();
        let mut seen = std::collections::BTreeSet::new();
        for (cpus, mem, count) in tasks {
            let task = Task::shell("true").cpus(cpus).mem(mem).ports(count);
            if let Some(placed) = packing.place(&task) {
                prop_assert_eq!(placed.ports.len(), count);
                for port in placed.ports {
                    prop_assert!(seen.insert(port), "port {} twice", port);
                }
                #[allow(clippy::cast_possible_truncation, reason = "small numbers")]
                let milli = |value: f64| (value * 1000.0).round() as i64;
                *wanted.entry("cpus".to_owned()).or_default() += milli(cpus);
                *wanted.entry("mem".to_owned()).or_default() += milli(mem);
            }
        }
        let used = sums(packing.tasks().flat_map(|task| &task.resources));
        for (name, amount) in &wanted {
            prop_assert_eq!(used.get(name).copied().unwrap_or(0), *amount);
        }
        let unique: BTreeMap<_, _> =
            agents.iter().map(|agent| (agent.value.clone(), agent)).collect();
        let left = sums(unique.values().flat_map(|agent| packing.left(agent, Some("*"))));
        for (name, amount) in offered {
            let used = used.get(&name).copied().unwrap_or(0);
            prop_assert_eq!(used + left.get(&name).copied().unwrap_or(0), amount, "{}", name);
        }
    }
}
