//! Hooks change what tasks, executors and updates carry, are asked before a container starts, and told when an executor is
//! forgotten.

use mezzo_integration_tests::{Cluster, manifest, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::Labels;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished};
use mezzo_sdk::v1::task_status::Reason;

use crate::Done;
use crate::framework::TestFramework;

#[tokio::test]
async fn the_prelaunch_hook_refuses_a_task_and_says_why() -> Done {
    let cluster = Cluster::quick()
        .agent_flag("--hooks=prelaunch")
        .agent_flag(manifest(
            "mezzo_hook_prelaunch",
            &[("prelaunch", &[("refuse_label", "forbidden")])],
        ))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("exit 0").id("t").label("forbidden", "yes");
    let end = framework.run(&task).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ContainerLaunchFailed, "{end:?}");
    assert!(end.message().contains("forbidden"), "{end:?}");
    let allowed = Task::shell("exit 0").id("allowed").label("other", "yes");
    assert_eq!(framework.run(&allowed).await?.state(), TaskFinished);
    Ok(())
}

#[tokio::test]
async fn the_remove_executor_hook_keeps_what_a_task_wrote() -> Done {
    let archive = tempfile::tempdir()?;
    let dir = archive.path().display().to_string();
    let cluster = Cluster::quick()
        .agent_flag("--hooks=remove-executor")
        .agent_flag(manifest(
            "mezzo_hook_remove_executor",
            &[("remove-executor", &[("archive_dir", &dir)])],
        ))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("echo remember me > keepsake").id("t");
    assert_eq!(framework.run(&task).await?.state(), TaskFinished);
    let listing = until("its sandbox is in the archive", async || {
        let Some(file) = std::fs::read_dir(archive.path())?.flatten().next() else {
            return Ok(None);
        };
        let tar = tokio::process::Command::new("tar").arg("-tzf").arg(file.path()).output().await?;
        Ok(tar.status.success().then(|| String::from_utf8_lossy(&tar.stdout).into_owned()))
    })
    .await?;
    assert!(listing.contains("keepsake") && listing.contains("stdout"), "{listing}");
    Ok(())
}

#[tokio::test]
async fn the_environment_hook_gives_executors_and_tasks_what_the_operator_wants() -> Done {
    let variables = [
        ("variable", "SITE=north"),
        ("variable", "OWN=operator"),
        ("task_variable", "TIER=2"),
        ("task_variable", "MINE=operator"),
    ];
    let cluster = Cluster::quick()
        .agent_flag("--hooks=environment")
        .agent_flag(manifest("mezzo_hook_decorators", &[("environment", &variables)]))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("echo $SITE $OWN $TIER $MINE").id("t");
    let end = framework.run(&task.env("OWN", "task").env("MINE", "task")).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    assert_eq!(framework.read(&cluster, "t", "stdout").await?, "north task 2 task\n");
    Ok(())
}

#[tokio::test]
async fn the_labels_hook_of_an_agent_decorates_tasks_and_their_updates() -> Done {
    let rules = [("label", "site=north"), ("remove", "secret"), ("at", "task"), ("at", "status")];
    let cluster = Cluster::quick()
        .agent_flag("--hooks=labels")
        .agent_flag(manifest("mezzo_hook_decorators", &[("labels", &rules)]))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("exec sleep 600").id("t").label("owner", "me").label("secret", "x");
    let running = framework.start(&task).await?;
    assert_eq!(pairs(running.labels.as_ref()), ["site=north"], "{running:?}");
    assert_eq!(on_agent(&cluster).await?, ["owner=me", "site=north"]);
    assert_eq!(
        on_master(&cluster).await?,
        ["owner=me", "secret=x"],
        "only the agent's copy changes"
    );
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn the_labels_hook_of_a_master_decorates_what_it_sends_to_agents() -> Done {
    let cluster = Cluster::quick()
        .master_flag("--hooks=labels")
        .master_flag(manifest(
            "mezzo_hook_decorators",
            &[("labels", &[("label", "site=north"), ("remove", "secret")])],
        ))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("exec sleep 600").id("t").label("owner", "me").label("secret", "x");
    let running = framework.start(&task).await?;
    assert_eq!(running.labels, None, "{running:?}");
    assert_eq!(on_agent(&cluster).await?, ["owner=me", "site=north"]);
    assert_eq!(
        on_master(&cluster).await?,
        ["owner=me", "secret=x"],
        "only the agent's copy changes"
    );
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn the_prelaunch_hook_lets_a_command_of_the_operator_decide() -> Done {
    let command = r#"grep -q '"value":"me"' || { echo nobody owns it >&2; exit 1; }"#;
    let cluster = Cluster::quick()
        .agent_flag("--hooks=prelaunch")
        .agent_flag(manifest("mezzo_hook_prelaunch", &[("prelaunch", &[("command", command)])]))
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let end = framework.run(&Task::shell("exit 0").id("t")).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert!(end.message().contains("says no: nobody owns it"), "{end:?}");
    let owned = Task::shell("exit 0").id("owned").label("owner", "me");
    assert_eq!(framework.run(&owned).await?.state(), TaskFinished);
    Ok(())
}

/// The labels of the only task, as its agent knows it.
async fn on_agent(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let tasks = cluster.agent(0).await?.get_tasks(()).await?.into_inner();
    let task = tasks.launched_tasks.into_iter().next().unwrap_or_default();
    Ok(pairs(task.labels.as_ref()))
}

/// The labels of the only task, as the master knows it.
async fn on_master(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let tasks = cluster.master().await?.get_tasks(()).await?.into_inner();
    let task = tasks.tasks.into_iter().next().unwrap_or_default();
    Ok(pairs(task.labels.as_ref()))
}

fn pairs(labels: Option<&Labels>) -> Vec<String> {
    let labels = labels.map(|labels| labels.labels.as_slice()).unwrap_or_default();
    let mut pairs: Vec<_> =
        labels.iter().map(|label| format!("{}={}", label.key, label.value())).collect();
    pairs.sort();
    pairs
}
