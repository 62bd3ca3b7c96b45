//! Every MUST of an isolator, linked in and loaded from the library; and what this one promises beside them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use example_licence_isolator::Licences;
use mezzo_module_api::model::{Format, Resources, Role};
use mezzo_module_api::types::ContainerId;
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerState, PrepareRequest, PrepareResponse,
    RecoverRequest, UpdateRequest,
};
use mezzo_module_api::{Code, Host, HostProcess, HostServices, Isolator, Level, Parameters};
use mezzo_module_api::{ModuleError, types};
use mezzo_module_testkit::Subject;
use tempfile::TempDir;

fn with_licences(subject: Subject) -> Subject {
    let keys: Vec<_> = (1..=64).map(|number| format!("key-{number}")).collect();
    subject.parameter("pool", keys.join(",")).asking("licences:1")
}

mod linked_in {
    mezzo_module_testkit::isolator_tests!(super::with_licences(super::Subject::isolator(
        "example/licences",
        example_licence_isolator::Licences::new
    )));
}

mod loaded {
    mezzo_module_testkit::isolator_tests!(super::with_licences(super::Subject::built(
        "example_licence_isolator",
        "example/licences"
    )));
}

struct Mute;
impl HostServices for Mute {
    fn log(&self, _: Level, _: &str) {}
    fn count(&self, _: &str, _: u64) {}
}

/// The isolator of an agent with this work directory.
fn agent(work_dir: &TempDir, pool: &str) -> Licences {
    agent_with(work_dir, &[("pool", pool)])
}

fn agent_with(work_dir: &TempDir, pairs: &[(&str, &str)]) -> Licences {
    let process =
        HostProcess { work_dir: Some(work_dir.path().to_owned()), ..HostProcess::default() };
    Licences::new(Host::new(Mute, process), Parameters::from_pairs(pairs)).unwrap()
}

fn id(name: &str) -> Option<ContainerId> {
    Some(ContainerId { value: name.to_owned(), parent: None })
}

fn resources(text: &str) -> Vec<types::Resource> {
    Resources::parse(text, &Role::star()).unwrap().to_proto(Format::PostRefinement)
}

fn prepare(isolator: &Licences, name: &str, wanted: &str) -> Result<String, ModuleError> {
    let config = ContainerConfig { resources: resources(wanted), ..ContainerConfig::default() };
    let request = PrepareRequest { container_id: id(name), config: Some(config) };
    let PrepareResponse { launch_info } = isolator.prepare(request)?;
    let environment = launch_info.unwrap_or_default().environment.unwrap_or_default();
    let variable = environment.variables.into_iter().find(|found| found.name == "LICENCE_KEYS");
    Ok(variable.and_then(|variable| variable.value).unwrap_or_default())
}

fn cleanup(isolator: &Licences, name: &str) {
    isolator.cleanup(CleanupRequest { container_id: id(name) }).unwrap();
}

#[test]
fn keys_are_handed_out_and_taken_back() {
    let dir = TempDir::new().unwrap();
    let isolator = agent(&dir, "a, b,c");
    assert_eq!(prepare(&isolator, "one", "cpus:1;licences:2").unwrap(), "a,b");
    assert_eq!(prepare(&isolator, "two", "licences:1").unwrap(), "c");
    assert_eq!(prepare(&isolator, "without", "cpus:1").unwrap(), "");
    let error = prepare(&isolator, "three", "licences:1").unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert_eq!(error.message, "container `three` wants 1 licences, 0 of 3 are free");
    cleanup(&isolator, "one");
    assert_eq!(prepare(&isolator, "three", "licences:1").unwrap(), "a");
    assert_eq!(prepare(&isolator, "four", "licences:0.5").unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn the_next_life_of_the_agent_knows_who_has_what() {
    let dir = TempDir::new().unwrap();
    let before = agent(&dir, "a,b,c");
    prepare(&before, "lives", "licences:1").unwrap();
    prepare(&before, "orphan", "licences:1").unwrap();
    prepare(&before, "gone", "licences:1").unwrap();
    drop(before);

    let after = agent(&dir, "a,b,c");
    let state = ContainerState { container_id: id("lives").unwrap(), ..ContainerState::default() };
    let orphans = vec![id("orphan").unwrap()];
    after.recover(RecoverRequest { states: vec![state], orphans }).unwrap();
    assert_eq!(prepare(&after, "new", "licences:1").unwrap(), "c", "the key of who is gone");
    prepare(&after, "newer", "licences:1").unwrap_err();
    cleanup(&after, "orphan");
    assert_eq!(prepare(&after, "newer", "licences:1").unwrap(), "b");
}

#[test]
fn a_running_container_keeps_the_number_it_has() {
    let dir = TempDir::new().unwrap();
    let isolator = agent(&dir, "a,b,c");
    prepare(&isolator, "one", "licences:1").unwrap();
    let update = |wanted: &str| UpdateRequest {
        container_id: id("one"),
        requests: resources(wanted),
        ..UpdateRequest::default()
    };
    isolator.update(update("cpus:2;licences:1")).unwrap();
    assert_eq!(isolator.update(update("licences:2")).unwrap_err().code, Code::FailedPrecondition);
}

#[test]
fn who_does_not_ask_gets_what_the_operator_says() {
    let dir = TempDir::new().unwrap();
    let isolator = agent_with(&dir, &[("pool", "a,b"), ("unasked", "1")]);
    assert_eq!(prepare(&isolator, "unasked", "cpus:1").unwrap(), "a");
    assert_eq!(prepare(&isolator, "asked", "licences:1").unwrap(), "b");
    cleanup(&isolator, "unasked");
}

#[test]
fn wrong_parameters_are_refused_with_their_name() {
    let message = |pairs: &[(&str, &str)]| {
        Licences::new(Host::silent(), Parameters::from_pairs(pairs)).unwrap_err().message
    };
    assert!(message(&[]).starts_with("parameter `pool` is ``, expected at least one key"));
    assert!(message(&[("pool", "a,b,a")]).ends_with("expected each key once"));
    assert!(message(&[("pool", "a"), ("variable", "A=B")]).starts_with("parameter `variable`"));
    assert!(message(&[("pools", "a")]).starts_with("unknown parameter `pools`"));
}
