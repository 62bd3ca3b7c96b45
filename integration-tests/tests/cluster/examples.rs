//! The examples do what their README says.

use mezzo_integration_tests::{Cluster, finished};

use crate::Done;

/// Runs an example and gives its last line.
async fn last_line(cluster: &Cluster, name: &str) -> anyhow::Result<String> {
    let end = finished(name, &[&cluster.master_address()], &[]).await?;
    anyhow::ensure!(end.code == Some(0), "{name}: {end:?}");
    Ok(end.stdout.lines().last().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn hello_framework_and_custom_executor_finish() -> Done {
    let cluster = Cluster::quick().start().await?;
    assert_eq!(last_line(&cluster, "hello-framework").await?, "hello-framework: TASK_FINISHED");
    let primes = last_line(&cluster, "custom-executor").await?;
    assert!(
        primes.starts_with("custom-executor: ") && primes.contains(" in 1 process"),
        "{primes}"
    );
    let failed = [cluster.master_address(), "exit 3".to_owned()];
    let failed: Vec<&str> = failed.iter().map(String::as_str).collect();
    let end = finished("hello-framework", &failed, &[]).await?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stderr.contains("Failed"), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn primary_and_backups_start_again_in_order() -> Done {
    let cluster = Cluster::quick().start().await?;
    let line = last_line(&cluster, "primary-backups").await?;
    assert_eq!(line, "primary-backups: 2 generations in order");
    Ok(())
}

#[tokio::test]
async fn dominant_shares_end_equal() -> Done {
    let cluster = Cluster::quick().resources("cpus:9;mem:18432").start().await?;
    let line = last_line(&cluster, "drf-demo").await?;
    assert!(line.contains("A 3 tasks, dominant share 2/3"), "{line}");
    assert!(line.contains("B 2 tasks, dominant share 2/3"), "{line}");
    Ok(())
}
