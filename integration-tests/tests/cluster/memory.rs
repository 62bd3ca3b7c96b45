//! A task that takes more memory than it was given ends, and nobody else does. Wants root.

use mezzo_integration_tests::Cluster;
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskRunning};
use mezzo_sdk::v1::task_status::Reason;

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;

/// Holds a line that never ends in memory.
const GREEDY: &str = "tail /dev/zero";

#[tokio::test]
async fn a_task_that_exceeds_its_memory_ends_once_with_that_reason_and_its_neighbour_goes_on()
-> Done {
    kernel::needs_root()?;
    let cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 30001").id("neighbour")).await?;
    let neighbour = kernel::sleeper("30001").await?;
    let agent = cluster.agent_pid(0);

    for (name, script) in
        [("greedy", GREEDY.to_owned()), ("nested", format!("sh -c '{GREEDY}; :'"))]
    {
        let end = framework.run(&Task::shell(script).id(name).mem(32.0)).await?;
        assert_eq!(end.state(), TaskFailed, "{end:?}");
        assert_eq!(end.reason(), Reason::ContainerLimitationMemory, "{end:?}");
        let limitation = end.limitation.clone().unwrap_or_default();
        let memory = limitation.resources.iter().find(|r| r.name == "mem");
        let limit = memory.and_then(|r| r.scalar.as_ref()).map(|scalar| scalar.value);
        assert!(limit.is_some_and(|mem| mem > 32.0), "what it had, in MB: {end:?}");
        assert!(end.message().contains("Memory limit exceeded"), "{end:?}");
        let ends = framework.states(name).into_iter().filter(|s| mezzo_sdk::is_terminal(*s));
        assert_eq!(ends.count(), 1);
    }

    assert_eq!(framework.states("neighbour").last(), Some(&TaskRunning));
    assert_eq!(kernel::processes_called(&["sleep", "30001"]), [neighbour]);
    assert_eq!(cluster.agent_pid(0), agent);
    cluster.agents_are_active(1).await
}
