//! Input that is wrong: each gets a message that names the field, and nothing else changes.

use mezzo_proto::v1;
use mezzo_proto::v1::TaskState::TaskError;
use mezzo_proto::v1::scheduler::event::Type;
use mezzo_proto::v1::task_status::Reason;

use crate::world::{Story, World, framework, task, types};

/// Launches `bad` beside a good task; gives the message of the one error there must be.
fn refused(bad: impl FnOnce(&Story) -> v1::TaskInfo) -> String {
    let (mut world, story) = World::with_offer("cpus:4;mem:1024");
    let bad = bad(&story);
    let bad_id = bad.task_id.clone();
    let good = task(&story.agent_id, "good", "cpus:1");
    world.accept(&story, vec![bad, good]);
    let launched = world.launched(story.agent);
    assert_eq!(launched.len(), 1, "the good task is launched all the same");
    assert_eq!(launched[0].task_id.value, "good");
    assert_eq!(world.available(&story.agent_id), "cpus:3;mem:1024");
    let updates = world.updates(story.framework);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].task_id, bad_id);
    assert_eq!((updates[0].state(), updates[0].reason()), (TaskError, Reason::TaskInvalid));
    updates[0].message().to_owned()
}

fn scalar(value: f64) -> v1::Resource {
    v1::Resource {
        name: "cpus".into(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    }
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn a_task_for_an_unknown_agent() {
    let agent = v1::AgentId { value: "elsewhere".into() };
    says(&refused(|_| task(&agent, "t", "cpus:1")), &["agent_id", "elsewhere", "expected"]);
}

#[test]
fn resources_that_were_not_offered() {
    says(&refused(|s| task(&s.agent_id, "t", "cpus:5")), &["resources", "cpus:5", "cpus:4"]);
    says(&refused(|s| task(&s.agent_id, "t", "gpus:1")), &["resources", "gpus:1"]);
}

#[test]
fn a_task_id_that_is_in_use() {
    let (mut world, story) = World::with_offer("cpus:4");
    let twice = ["cpus:1", "cpus:2"].map(|r| task(&story.agent_id, "t", r));
    world.accept(&story, twice.to_vec());
    assert_eq!(world.launched(story.agent).len(), 1);
    says(world.updates(story.framework)[0].message(), &["task_id", "\"t\"", "live"]);
}

#[test]
fn negative_infinite_and_undefined_amounts() {
    for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308] {
        let message = refused(|s| v1::TaskInfo {
            resources: vec![scalar(value)],
            ..task(&s.agent_id, "t", "cpus:1")
        });
        says(&message, &["task_info.resources[0]", "expected"]);
    }
}

#[test]
fn ids_that_cannot_be_names_of_directories() {
    for id in ["", ".", "..", "a/b", "a\\b", "a\nb"] {
        says(&refused(|s| task(&s.agent_id, id, "cpus:1")), &["task_info.task_id", "expected"]);
    }
    let long = "x".repeat(256);
    says(&refused(|s| task(&s.agent_id, &long, "cpus:1")), &["task_info.task_id", "too long"]);
}

#[test]
fn labels_of_five_mebibytes() {
    let label = v1::Label { key: "k".into(), value: Some("x".repeat(5 << 20)) };
    let message = refused(|s| v1::TaskInfo {
        labels: Some(v1::Labels { labels: vec![label] }),
        ..task(&s.agent_id, "t", "cpus:1")
    });
    says(&message, &["task_info.labels", "5242", "1048576"]);
}

#[test]
fn both_or_neither_of_command_and_executor() {
    let neither = |s: &Story| v1::TaskInfo { command: None, ..task(&s.agent_id, "t", "cpus:1") };
    says(&refused(neither), &["neither command nor executor"]);
    let both = |s: &Story| v1::TaskInfo {
        executor: Some(v1::ExecutorInfo::default()),
        ..task(&s.agent_id, "t", "cpus:1")
    };
    says(&refused(both), &["a command and an executor"]);
}

#[test]
fn a_task_without_resources() {
    let none =
        |s: &Story| v1::TaskInfo { resources: Vec::new(), ..task(&s.agent_id, "t", "cpus:1") };
    says(&refused(none), &["resources", "empty"]);
}

#[test]
fn limits_below_the_request_or_of_something_else() {
    let limited = |name: &'static str, value| {
        move |s: &Story| v1::TaskInfo {
            limits: [(name.to_owned(), v1::value::Scalar { value })].into(),
            ..task(&s.agent_id, "t", "cpus:1")
        }
    };
    says(&refused(limited("cpus", 0.5)), &["limits.cpus", "0.5", "at least"]);
    says(&refused(limited("disk", 1.0)), &["limits", "disk", "cpus"]);
    says(&refused(limited("mem", f64::NAN)), &["limits.mem"]);
}

#[test]
fn health_checks_are_refused_rather_than_overlooked() {
    let checked = |s: &Story| v1::TaskInfo {
        health_check: Some(v1::HealthCheck::default()),
        ..task(&s.agent_id, "t", "cpus:1")
    };
    says(&refused(checked), &["task_info.health_check", "not available"]);
}

#[test]
fn durations_below_zero() {
    let grace = |s: &Story| v1::TaskInfo {
        kill_policy: Some(v1::KillPolicy {
            grace_period: Some(v1::DurationInfo { nanoseconds: -1 }),
        }),
        ..task(&s.agent_id, "t", "cpus:1")
    };
    says(&refused(grace), &["kill_policy.grace_period", "-1"]);
}

#[test]
fn a_framework_without_a_name_gets_one_error_and_its_stream_ends() {
    let mut world = World::new();
    let session = world.subscribe_as(framework(""));
    let events = world.events(session);
    assert_eq!(types(&events), [Type::Error]);
    says(&events[0].error.as_ref().unwrap().message, &["framework_info.name", "expected"]);
    assert_eq!(world.closed, [session]);
    assert!(world.cluster.books.frameworks.is_empty());
}

#[test]
fn roles_that_are_none() {
    for role in ["", "a//b", "-a", "a b", "..", "a/*"] {
        let mut world = World::new();
        let mut info = framework("f");
        #[expect(deprecated, reason = "how a framework of one role says it")]
        {
            info.role = Some(role.into());
        }
        let session = world.subscribe_as(info);
        let events = world.events(session);
        says(&events[0].error.as_ref().unwrap().message, &["framework_info.role"]);
    }
}

#[test]
fn a_failover_timeout_that_is_no_duration() {
    for timeout in [f64::NAN, f64::INFINITY, 1e30] {
        let mut world = World::new();
        let mut info = framework("f");
        info.failover_timeout = Some(timeout);
        let session = world.subscribe_as(info);
        let events = world.events(session);
        says(&events[0].error.as_ref().unwrap().message, &["failover_timeout"]);
    }
}

#[test]
fn offer_constraints_are_refused_rather_than_overlooked() {
    let mut world = World::new();
    let session = world.session();
    let constraints = v1::scheduler::OfferConstraints {
        role_constraints: [("*".to_owned(), Default::default())].into(),
    };
    world.apply(mezzo_master_core::Command::Subscribe {
        session,
        framework_id: None,
        subscribe: Box::new(v1::scheduler::call::Subscribe {
            framework_info: framework("f"),
            offer_constraints: Some(constraints),
            ..Default::default()
        }),
    });
    let events = world.events(session);
    says(&events[0].error.as_ref().unwrap().message, &["offer_constraints", "not available"]);
}

#[test]
fn calls_on_a_stream_that_is_not_subscribed() {
    let (mut world, story) = World::with_offer("cpus:4");
    let stranger = world.session();
    let tasks = vec![task(&story.agent_id, "t", "cpus:1")];
    let call = crate::world::accept(&story.framework_id, &[&story.offer], tasks);
    world.call(stranger, call);
    says(&world.rejections[0].message, &["not subscribed"]);
    assert!(world.offer_is_open(&story.offer));
}

#[test]
fn calls_in_the_name_of_another_framework() {
    let (mut world, story) = World::with_offer("cpus:4");
    let other = world.subscribe_as(framework("other"));
    let tasks = vec![task(&story.agent_id, "t", "cpus:1")];
    let call = crate::world::accept(&story.framework_id, &[&story.offer], tasks);
    world.call(other, call);
    says(&world.rejections[0].message, &["framework_id"]);
    assert!(world.offer_is_open(&story.offer));
}

#[test]
fn an_agent_whose_resources_are_nonsense_is_sent_away() {
    let mut world = World::new();
    let session = world.session();
    let mut info = crate::world::agent_info(5051, "cpus:1");
    info.resources = vec![scalar(-1.0)];
    let hello = mezzo_master_core::AgentHello::Register(v1::link::Register {
        agent_info: info,
        version: "0.1.0".into(),
        capabilities: Vec::new(),
    });
    world.apply(mezzo_master_core::Command::Hello { session, hello: Box::new(hello) });
    let messages = world.messages(session);
    let [v1::link::from_master::Message::Shutdown(away)] = &messages[..] else {
        panic!("{messages:?}")
    };
    says(&away.message, &["agent_info.resources[0]"]);
    assert!(world.cluster.books.agents.is_empty());
}
