//! Hooks are asked before a container starts, and told when an executor is forgotten.

use mezzo_integration_tests::{Cluster, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished};
use mezzo_sdk::v1::task_status::Reason;

use crate::Done;
use crate::framework::TestFramework;

#[tokio::test]
async fn the_prelaunch_hook_refuses_a_task_and_says_why() -> Done {
    let cluster = Cluster::quick()
        .agent_flag("--hooks=prelaunch")
        .agent_flag(manifest("prelaunch", "refuse_label", "forbidden"))
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
    let cluster = Cluster::quick()
        .agent_flag("--hooks=remove-executor")
        .agent_flag(manifest(
            "remove-executor",
            "archive_dir",
            &archive.path().display().to_string(),
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

/// A manifest that gives a built-in module one parameter.
fn manifest(module: &str, key: &str, value: &str) -> String {
    let library = format!("mezzo_hook_{}", module.replace('-', "_"));
    let file = std::env::current_exe().ok().and_then(|exe| {
        exe.ancestors()
            .map(|folder| folder.join(format!("lib{library}.so")))
            .find(|file| file.is_file())
    });
    let file = file.unwrap_or_else(|| format!("lib{library}.so").into());
    let parameter = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    let module = format!(r#"{{"name":"{module}","parameters":[{parameter}]}}"#);
    format!(r#"--modules={{"libraries":[{{"file":"{}","modules":[{module}]}}]}}"#, file.display())
}
