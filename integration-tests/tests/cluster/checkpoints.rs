//! What an agent finds on its disk may be torn, empty or nonsense: it starts all the same, and what
//! cannot be known any more is reported. Executors that never come are too.

use std::fs;
use std::path::{Path, PathBuf};

use mezzo_integration_tests::Cluster;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished, TaskRunning};
use mezzo_sdk::v1::task_status::Reason;
use mezzo_sdk::v1::{CommandInfo, ExecutorId, ExecutorInfo, executor_info};
use mezzo_sdk::{Task, is_terminal};

use crate::Done;
use crate::framework::TestFramework;

/// Every file below `folder` of that name.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path, name)),
            Ok(kind) if kind.is_file() && entry.file_name() == name => found.push(path),
            _ => {}
        }
    }
    found
}

/// Kills the agent, changes every file of that name, and starts it again.
async fn with_changed(
    name: &str,
    change: impl Fn(&[u8]) -> Vec<u8>,
) -> anyhow::Result<(Cluster, TestFramework)> {
    let mut cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 50001").id("t")).await?;
    cluster.kill_agent(0)?;
    let found = files(&cluster.agent_work_dir(0).join("meta"), name);
    anyhow::ensure!(!found.is_empty(), "there is no checkpoint called {name}");
    for path in found {
        let content = fs::read(&path)?;
        fs::write(path, change(&content))?;
    }
    cluster.start_agent(0).await?;
    cluster.agents_are_active(1).await?;
    Ok((cluster, framework))
}

async fn runs_another(framework: &mut TestFramework) -> Done {
    let end = framework.run(&Task::shell("exit 0").id("next")).await?;
    anyhow::ensure!(end.state() == TaskFinished, "{end:?}");
    Ok(())
}

#[tokio::test]
async fn a_torn_journal_costs_its_last_record_at_most() -> Done {
    let torn = |content: &[u8]| [content, &[0x40, 1, 2][..]].concat();
    let (_cluster, mut framework) = with_changed("journal", torn).await?;
    runs_another(&mut framework).await?;
    assert_eq!(framework.states("t").last(), Some(&TaskRunning));
    framework.kill("t");
    assert!(is_terminal(framework.ended("t").await?.state()));
    Ok(())
}

#[tokio::test]
async fn an_empty_journal_ends_its_task_and_nothing_else() -> Done {
    let (_cluster, mut framework) = with_changed("journal", |_| Vec::new()).await?;
    assert!(is_terminal(framework.ended("t").await?.state()));
    runs_another(&mut framework).await?;
    Ok(())
}

#[tokio::test]
async fn a_journal_of_nonsense_ends_its_task_and_nothing_else() -> Done {
    let nonsense = |content: &[u8]| content.iter().map(|byte| byte ^ 0x5a).collect();
    let (_cluster, mut framework) = with_changed("journal", nonsense).await?;
    assert!(is_terminal(framework.ended("t").await?.state()));
    runs_another(&mut framework).await?;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_has_forgotten_a_framework_starts() -> Done {
    let (_cluster, mut framework) = with_changed("framework.info", |_| Vec::new()).await?;
    assert!(is_terminal(framework.ended("t").await?.state()));
    runs_another(&mut framework).await?;
    Ok(())
}

/// A task on an executor of its own.
fn on_executor(command: &str) -> Task {
    let executor = ExecutorInfo {
        executor_id: ExecutorId { value: "mine".to_owned() },
        r#type: Some(executor_info::Type::Custom.into()),
        command: Some(CommandInfo { value: Some(command.to_owned()), ..Default::default() }),
        ..Default::default()
    };
    Task::on_executor(executor).id("t")
}

#[tokio::test]
async fn an_executor_that_dies_before_it_registers_fails_its_task_with_that_reason() -> Done {
    let cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let end = framework.run(&on_executor("echo last words; exit 7")).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ExecutorTerminated, "{end:?}");
    assert_eq!(framework.read(&cluster, "mine", "stdout").await?, "last words\n");
    runs_another(&mut framework).await?;
    Ok(())
}

#[tokio::test]
async fn an_executor_that_never_registers_is_ended_after_a_while() -> Done {
    let builder = Cluster::quick().agent_flag("--executor_registration_timeout=1secs");
    let cluster = builder.start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let end = framework.run(&on_executor("exec sleep 50002")).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ExecutorRegistrationTimeout, "{end:?}");
    assert!(crate::kernel::processes_called(&["sleep", "50002"]).is_empty());
    Ok(())
}
