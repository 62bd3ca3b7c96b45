//! Hooks are asked everywhere they may be, in the order of `--hooks`, each sees what the one before it made; one that fails is
//! passed over.

use std::path::Path;

use anyhow::Context as _;
use mezzo_integration_tests::{Builder, Cluster, TEST_MODULES, manifest, until};
use mezzo_proto::module::v1::ModuleStatus;
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::TaskFinished;
use mezzo_sdk::v1::{Labels, Resource, TaskStatus};
use rustix::process::{Pid, Signal, kill_process};

use crate::Done;
use crate::framework::TestFramework;

/// Master and agent with two hooks that leave marks, `a` and then `b`; between them one that does `how` everywhere, if it is
/// told.
fn marked(log: &Path, how: Option<&str>) -> Builder {
    let log = log.display().to_string();
    let broken = [("how", how.unwrap_or("error")), ("on", "decorators")];
    // Not in the order of names, nor of the manifest.
    let modules = manifest(
        TEST_MODULES,
        &[
            ("test/marks-a", &[("mark", "b"), ("log", &log)]),
            ("test/breaks", &broken),
            ("test/marks-b", &[("mark", "a"), ("log", &log)]),
        ],
    );
    let hooks = match how {
        Some(_) => "--hooks=test/marks-b,test/breaks,test/marks-a",
        None => "--hooks=test/marks-b,test/marks-a",
    };
    Cluster::quick().master_flag(&modules).master_flag(hooks).agent_flag(modules).agent_flag(hooks)
}

fn label<'a>(labels: Option<&'a Labels>, key: &str) -> Option<&'a str> {
    labels?.labels.iter().find(|label| label.key == key).map(|label| label.value())
}

fn amount(resources: &[Resource], name: &str) -> Option<f64> {
    resources.iter().find(|r| r.name == name).and_then(|r| r.scalar).map(|s| s.value)
}

/// Runs one task in a cluster of such hooks and looks for every mark.
async fn every_mark_is_there(cluster: &Cluster, log: &Path) -> Done {
    let agents = cluster.master().await?.get_agents(()).await?.into_inner().agents;
    let agent = &agents.first().context("no agent")?.agent_info;
    assert_eq!(amount(&agent.resources, "mark_a"), Some(1.0), "{agent:?}");
    assert_eq!(amount(&agent.resources, "mark_b"), Some(2.0), "{agent:?}");
    let marks = agent.attributes.iter().find(|a| a.name == "MARKS").and_then(|a| a.text.as_ref());
    assert_eq!(marks.map(|t| t.value.as_str()), Some("a2b2"));
    let agent_id = agent.id.clone().context("no agent id")?.value;

    let mut framework = TestFramework::connect(cluster).await?;
    let command =
        "echo E=$ENVIRONMENT_MARKS O=$OWN P=$PRELAUNCH_MARKS T=$TASK_MARKS; cat post-fetch";
    let task = Task::shell(command).name("grow").id("t").cpus(1.0).env("OWN", "the-tasks");
    let end: TaskStatus = framework.run(&task).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    assert_eq!(label(end.labels.as_ref(), "status"), Some("ab"), "{end:?}");
    assert_ne!(end.message(), "changed by a hook");
    let said = framework.read(cluster, "t", "stdout").await?;
    assert!(said.contains("E=ab O=the-tasks P=ab T=b\nab"), "{said}");

    let tasks = cluster.master().await?.get_tasks(()).await?.into_inner();
    let known = tasks.tasks.iter().chain(&tasks.completed_tasks).find(|t| t.task_id.value == "t");
    let known = known.context("the master forgot the task")?;
    assert_eq!(amount(&known.resources, "cpus"), Some(2.5), "doubled, then a half more");
    assert_eq!(label(known.labels.as_ref(), "master"), None, "the master's own keeps its labels");

    let removed = |mark| format!("removed t sandbox-is-there=true {mark}\n");
    let wanted = format!("{}{}", removed("a"), removed("b"));
    until("the hooks heard of the executor's end", async || {
        Ok(std::fs::read_to_string(log)?.contains(&wanted).then_some(()))
    })
    .await?;
    let tasks = cluster.agent(0).await?.get_tasks(()).await?.into_inner();
    let known = tasks.completed_tasks.iter().chain(&tasks.terminated_tasks);
    let known = known.last().context("the agent forgot the task")?;
    assert_eq!(label(known.labels.as_ref(), "master"), Some("ab"), "{known:?}");
    assert_eq!(label(known.labels.as_ref(), "agent"), Some("ab"), "{known:?}");

    // It says good-bye.
    let pid = cluster.agent_pid(0).and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.context("no agent")?, Signal::USR1)?;
    let wanted = format!("lost {agent_id} a\nlost {agent_id} b\n");
    until("the hooks heard that the agent is lost", async || {
        Ok(std::fs::read_to_string(log)?.contains(&wanted).then_some(()))
    })
    .await
}

#[tokio::test]
async fn every_hook_is_asked_everywhere_in_the_order_of_the_flag() -> Done {
    let log = tempfile::tempdir()?;
    let log = log.path().join("log");
    let cluster = marked(&log, None).start().await?;
    every_mark_is_there(&cluster, &log).await
}

#[tokio::test]
async fn a_hook_that_fails_everywhere_is_passed_over_and_counted() -> Done {
    for how in ["error", "panic"] {
        let log = tempfile::tempdir()?;
        let log = log.path().join("log");
        let cluster = marked(&log, Some(how)).start().await?;
        every_mark_is_there(&cluster, &log).await?;
        let modules = cluster.master().await?.get_modules(()).await?.into_inner().modules;
        let (errors, panics) = failures(&modules);
        assert!(errors >= 3, "resources, labels, a lost agent: {modules:?}");
        assert_eq!(panics, if how == "panic" { errors } else { 0 }, "{modules:?}");
    }
    Ok(())
}

/// Errors and panics of the hook that breaks.
fn failures(modules: &[ModuleStatus]) -> (u64, u64) {
    let broken = modules.iter().filter(|module| module.name() == "test/breaks");
    let methods = broken.flat_map(|module| &module.methods);
    methods.fold((0, 0), |(errors, panics), m| (errors + m.errors(), panics + m.panics()))
}
