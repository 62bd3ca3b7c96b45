//! Every example ends with the line that its README promises.

use std::fs;

use anyhow::ensure;

use crate::{Done, on_cluster};

async fn ends_with(local: &[&str], program: &str, args: &[&str], line: &str) -> Done {
    let said = on_cluster(local, program, args).await?;
    ensure!(said.code == Some(0) && said.last_line() == line, "{program}: {said:?}");
    Ok(())
}

#[tokio::test]
async fn hello_framework_runs_its_command() -> Done {
    ends_with(&[], "hello-framework", &[], "hello-framework: TASK_FINISHED").await
}

#[tokio::test]
async fn hello_framework_tells_a_failed_command() -> Done {
    let said = crate::script(&[], "hello-framework $MEZZO_MASTER 'exit 7'").await?;
    ensure!(said.code == Some(1) && said.err.contains("TaskFailed"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn primary_and_backups_restart_in_order() -> Done {
    let said = crate::script(&[], "primary-backups $MEZZO_MASTER 2").await?;
    ensure!(said.last_line() == "primary-backups: 3 generations in order", "{said:?}");
    // In each generation: the primary runs before any backup is launched.
    for generation in 1..=3 {
        let at = |what: &str| said.out.lines().position(|line| line.starts_with(what));
        let runs = said.out.lines().position(|line| {
            line.starts_with(&format!("primary-{generation}-")) && line.ends_with(" runs")
        });
        ensure!(runs.is_some() && runs < at(&format!("launched backup-{generation}-")), "{said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_custom_executor_runs_all_tasks_in_one_process() -> Done {
    let line = "custom-executor: 5 tasks in 1 process, 9592 primes";
    ends_with(&["--agents=2"], "custom-executor", &[], line).await
}

#[tokio::test]
async fn dominant_shares_end_up_equal() -> Done {
    let line =
        "drf-demo: A 3 tasks, dominant share 2/3 (mem); B 2 tasks, dominant share 2/3 (cpus)";
    ends_with(&["--resources=cpus:9;mem:18432"], "drf-demo", &[], line).await
}

#[tokio::test]
async fn the_wrong_cluster_for_the_drf_demo_is_told() -> Done {
    let said = on_cluster(&["--resources=cpus:2;mem:1024"], "drf-demo", &[]).await?;
    ensure!(said.code == Some(1) && said.err.contains("cpus:9;mem:18432"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_compressed_tree_is_verified_byte_by_byte() -> Done {
    let folder = tempfile::tempdir()?;
    for number in 0..60 {
        let name = folder.path().join(format!("a file {number}"));
        fs::write(name, format!("content {number}\n").repeat(number * 10))?;
    }
    let tree = folder.path().display().to_string();
    let args = ["--tree", &tree, "--tasks", "12"];
    let line = "compress-tree: verified 60 checksums and every compressed byte";
    ends_with(&["--agents=2"], "compress-tree", &args, line).await
}
