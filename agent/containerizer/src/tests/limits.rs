//! Limitations, updates, and what a process is started with.

use std::collections::BTreeMap;

use mezzo_model::ContainerId;
use mezzo_module_api::v1::{ContainerLaunchInfo, ContainerLimitation, WatchResponse};
use mezzo_proto::v1::environment::Variable;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{Environment, Resource, TaskState, value};

use super::world::{Interference, World};
use crate::{Containerizer, ExitStatus, UsageError};

fn id() -> ContainerId {
    ContainerId::new("c")
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variable = |(name, value): &(&str, &str)| Variable {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
        ..Variable::default()
    };
    Environment { variables: variables.iter().map(variable).collect() }
}

fn out_of_memory() -> WatchResponse {
    WatchResponse {
        limitation: Some(ContainerLimitation {
            message: Some("Memory limit exceeded".to_owned()),
            reason: Some(Reason::ContainerLimitationMemory.into()),
            resources: vec![Resource { name: "mem".to_owned(), ..Resource::default() }],
        }),
    }
}

#[tokio::test]
async fn a_limitation_ends_the_container_with_its_reason() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    let wait = containerizer.wait(&id());
    let watch = world.watches.lock().unwrap().pop().unwrap();
    watch.complete(Ok(out_of_memory()));
    let termination = wait.await.unwrap();
    assert_eq!(termination.state, Some(TaskState::TaskFailed));
    assert_eq!(termination.reason, Some(Reason::ContainerLimitationMemory));
    assert_eq!(termination.message.as_deref(), Some("Memory limit exceeded"));
    assert_eq!(termination.limited_resources.len(), 1);
    assert_eq!(termination.exit, Some(ExitStatus::Signaled(9)));
}

#[tokio::test]
async fn a_reason_that_comes_just_after_the_kill_still_counts() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    let wait = containerizer.wait(&id());
    world.process().end(ExitStatus::Signaled(9));
    let watch = world.watches.lock().unwrap().pop().unwrap();
    watch.complete(Ok(out_of_memory()));
    assert_eq!(wait.await.unwrap().reason, Some(Reason::ContainerLimitationMemory));
}

#[tokio::test]
async fn a_lost_watch_ends_the_container() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    let wait = containerizer.wait(&id());
    drop(world.watches.lock().unwrap().pop());
    let termination = wait.await.unwrap();
    assert_eq!(termination.reason, Some(Reason::ContainerLimitation));
    assert!(termination.message.unwrap().contains("isolator 'b' cannot watch"));
}

#[tokio::test]
async fn an_update_reaches_all_isolators_and_none_after_the_end() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    world.at("update a", Interference::Fail);
    let error = containerizer.update(&id(), Vec::new(), BTreeMap::new()).await.unwrap_err();
    assert_eq!(error.isolator, "a");
    assert!(world.log().ends_with(&["update a".to_owned(), "update b".to_owned()]));

    containerizer.destroy(&id()).await.unwrap();
    containerizer.update(&id(), Vec::new(), BTreeMap::new()).await.unwrap();
    containerizer.update(&ContainerId::new("unknown"), Vec::new(), BTreeMap::new()).await.unwrap();
    assert!(matches!(containerizer.usage(&id()).await, Err(UsageError::Unknown(_))));
}

#[tokio::test]
async fn statistics_show_the_limits_of_the_last_update() {
    let (world, containerizer) = World::begin();
    containerizer.launch(world.spec("c")).await.unwrap();
    let cpus = Resource {
        name: "cpus".to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: 0.25 }),
        ..Resource::default()
    };
    let limits = BTreeMap::from([("cpus".to_owned(), value::Scalar { value: 2.0 })]);
    containerizer.update(&id(), vec![cpus], limits).await.unwrap();
    let statistics = containerizer.usage(&id()).await.unwrap();
    assert_eq!((statistics.cpus_soft_limit, statistics.cpus_limit), (Some(0.25), Some(2.0)));
    assert!(statistics.timestamp > 0.0);
    let status = containerizer.status(&id()).await.unwrap();
    assert_eq!(status.executor_pid, Some(4711));
}

#[tokio::test]
async fn the_users_variables_win_over_isolators_and_those_over_the_agents() {
    let (world, containerizer) = World::begin();
    *world.info.lock().unwrap() = ContainerLaunchInfo {
        environment: Some(environment(&[("ISOLATOR", "i"), ("BOTH", "i")])),
        task_environment: Some(environment(&[("TASK", "t")])),
        ..ContainerLaunchInfo::default()
    };
    let mut spec = world.spec("c");
    spec.environment = environment(&[("AGENT", "a"), ("ISOLATOR", "a"), ("BOTH", "a")]);
    spec.config.command_info.environment = Some(environment(&[("BOTH", "u"), ("PATH", "/x")]));
    containerizer.launch(spec).await.unwrap();
    let plan = world.specs.lock().unwrap()[0].clone();
    let get = |name: &str| plan.env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(
        (get("AGENT"), get("ISOLATOR"), get("BOTH"), get("PATH")),
        (Some("a"), Some("i"), Some("u"), Some("/x"))
    );
    assert_eq!(get("MEZZO_TASK_ENVIRONMENT"), Some(r#"{"TASK":"t"}"#));
    assert_eq!(plan.argv, ["sh", "-c", "true"]);
    assert_eq!(plan.cwd, Some(world.dir.join("sandboxes/c")));
    assert_eq!(plan.status_file, Some(world.files("c").status()));
}
