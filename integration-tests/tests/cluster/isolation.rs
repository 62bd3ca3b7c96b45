//! What a task is kept in: a session, cgroups and namespaces of its own. Wants root.

use std::sync::Arc;

use mezzo_integration_tests::Cluster;
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::TaskFinished;

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;
use crate::shared::Shared;

static CLUSTER: Shared = Shared::new();

async fn cluster() -> anyhow::Result<Arc<Cluster>> {
    kernel::needs_root()?;
    CLUSTER.get(Cluster::quick()).await
}

#[tokio::test]
async fn a_task_has_a_session_of_its_own() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 10001").id("t")).await?;
    let task = kernel::session(kernel::sleeper("10001").await?)?;
    let agent = cluster.agent_pid(0).unwrap_or_default();
    assert_ne!(task, kernel::session(agent)?);
    assert_ne!(task, kernel::session(std::process::id())?);
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_has_the_cpu_and_memory_that_it_asked_for_and_its_executor_a_little_more() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("exec sleep 10002").id("t").cpus(0.5).mem(64.0);
    framework.start(&task).await?;
    let pid = kernel::sleeper("10002").await?;
    let (cpu, memory) = (kernel::cgroup(pid, "cpu")?, kernel::cgroup(pid, "memory")?);
    // 0.5 of the task and 0.1 of its executor, of 1024 shares for a whole processor.
    let shares = kernel::cpu_shares(&cpu)?;
    assert!((600..=640).contains(&shares), "{shares}");
    assert_eq!(kernel::memory_limit(&memory)?, (64 + 32) << 20);
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn two_tasks_are_in_cgroups_of_their_own() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 10003").id("a")).await?;
    framework.start(&Task::shell("exec sleep 10004").id("b")).await?;
    let (a, b) = (kernel::sleeper("10003").await?, kernel::sleeper("10004").await?);
    for controller in ["cpu", "memory"] {
        assert_ne!(kernel::cgroup(a, controller)?, kernel::cgroup(b, controller)?);
    }
    assert_ne!(kernel::namespace(a, "pid")?, kernel::namespace(b, "pid")?);
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_sees_no_process_and_no_mount_of_the_machine() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("ls /proc; echo listed; exec sleep 10005").id("t")).await?;
    let pid = kernel::sleeper("10005").await?;
    for kind in ["pid", "mnt"] {
        assert_ne!(kernel::namespace(pid, kind)?, kernel::namespace(std::process::id(), kind)?);
    }
    let listed = framework.read_until(&cluster, "t", "stdout", "listed").await?;
    let seen = listed.lines().filter(|name| name.parse::<u32>().is_ok()).count();
    assert!(seen <= 5, "executor, shell and ls, not {seen} processes:\n{listed}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let work = cluster.folder().to_string_lossy().into_owned();
    assert!(!mounts.contains(&work), "mounts of containers are seen from outside");
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_of_an_ordinary_user_is_that_user() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell("id -un; id -u; id -G; touch here").id("t").user("nobody");
    let end = framework.run(&task).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    let said = framework.read(&cluster, "t", "stdout").await?;
    assert!(said.starts_with("nobody\n"), "{said}");
    assert!(!said.lines().any(|line| line.split(' ').any(|id| id == "0")), "{said}");
    Ok(())
}
