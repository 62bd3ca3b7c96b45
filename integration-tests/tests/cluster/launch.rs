//! Tasks start as they were asked for, and end with the words that Mesos frameworks know.

use mezzo_integration_tests::{Cluster, until};
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished, TaskRunning, TaskStarting};
use mezzo_sdk::v1::{CommandInfo, task_status};
use mezzo_sdk::{SchedulerDriver, Task};

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;

#[tokio::test]
async fn a_task_runs_and_says_so() -> Done {
    let cluster = Cluster::quick().start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let end = framework.run(&Task::shell("exit 0").id("t")).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    assert_eq!(end.message(), "Command exited with status 0");
    assert_eq!(end.source(), task_status::Source::Executor);
    assert_eq!(end.executor_id.as_ref().map(|id| id.value.as_str()), Some("t"));
    assert_eq!(end.uuid.as_ref().map(|uuid| uuid.len()), Some(16));
    assert!(end.container_status.is_some_and(|status| status.container_id.is_some()));
    assert_eq!(framework.states("t"), [TaskStarting, TaskRunning, TaskFinished]);
    Ok(())
}
