//! The tests themselves leave nothing behind.

use std::path::Path;

use mezzo_integration_tests::Cluster;
use mezzo_sdk::Task;

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;

#[tokio::test]
async fn nothing_is_left_of_a_cluster_whose_task_still_ran() -> Done {
    kernel::needs_root()?;
    let cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let script = "setsid sleep 80001 & exec sleep 80001";
    framework.start(&Task::shell(script).id("t")).await?;
    let (folder, agent) = (cluster.folder().to_owned(), cluster.agent_pid(0));
    let group = kernel::cgroup(kernel::sleeper("80001").await?, "memory")?;
    assert!(group.is_dir() && folder.is_dir() && agent.is_some());
    drop(cluster);
    assert!(kernel::processes_called(&["sleep", "80001"]).is_empty(), "a task is left");
    let name = folder.display().to_string();
    assert_eq!(kernel::processes_with(&name), [0_u32; 0], "a process is left");
    assert!(!folder.exists(), "files are left");
    assert!(!group.exists() && !group.parent().is_some_and(Path::exists), "a cgroup is left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&name), "a mount is left");
    Ok(())
}
