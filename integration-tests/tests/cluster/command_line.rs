//! `mezzo`, as people and scripts use it.

use std::fs;
use std::sync::Arc;

use mezzo_integration_tests::{Cluster, Finished, Process, finished, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::TaskKilled;

use crate::Done;
use crate::framework::TestFramework;
use crate::kernel;
use crate::shared::Shared;

static CLUSTER: Shared = Shared::new();

async fn cluster() -> anyhow::Result<Arc<Cluster>> {
    CLUSTER.get(Cluster::quick()).await
}

async fn mezzo(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Finished> {
    finished("mezzo", arguments, &[("MEZZO_MASTER", &cluster.master_address())]).await
}

async fn json(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
    let end = mezzo(cluster, arguments).await?;
    anyhow::ensure!(end.code == Some(0), "{arguments:?}: {end:?}");
    Ok(serde_json::from_str(&end.stdout)?)
}

#[tokio::test]
async fn run_passes_on_output_and_exit_code() -> Done {
    let cluster = cluster().await?;
    let end = mezzo(&cluster, &["run", "--", "echo", "hello", "world"]).await?;
    assert_eq!((end.code, end.stdout.as_str()), (Some(0), "hello world\n"), "{end:?}");
    let end =
        mezzo(&cluster, &["run", "--env", "X=1 2", "--", "echo $X; echo bad >&2; exit 7"]).await?;
    assert_eq!((end.code, end.stdout.as_str()), (Some(7), "1 2\n"), "{end:?}");
    assert!(end.stderr.contains("bad"), "{end:?}");
    let end = mezzo(&cluster, &["run", "--", "kill -KILL $$"]).await?;
    assert_eq!(end.code, Some(128 + 9), "{end:?}");
    let end = mezzo(&cluster, &["run", "--", "head -c 3000000 /dev/zero | tr '\\0' x"]).await?;
    assert_eq!((end.code, end.stdout.len()), (Some(0), 3_000_000));
    Ok(())
}

#[tokio::test]
async fn run_takes_many_tasks_from_a_file_and_many_instances() -> Done {
    let cluster = cluster().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tasks");
    let ran = folder.path().join("ran");
    let mark = format!("mktemp -p {}", ran.display());
    fs::create_dir(&ran)?;
    fs::write(
        &file,
        format!(
            "{mark}\n\n{}\n",
            serde_json::json!({"command": mark, "cpus": 0.2, "instances": 3})
        ),
    )?;
    let end = mezzo(&cluster, &["run", "--tasks", &file.display().to_string()]).await?;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(fs::read_dir(&ran)?.count(), 4, "{end:?}");
    let end = mezzo(&cluster, &["run", "--instances=3", "--", &mark]).await?;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(fs::read_dir(&ran)?.count(), 7, "{end:?}");
    fs::write(&file, "true\nfalse\n")?;
    let end = mezzo(&cluster, &["run", "--tasks", &file.display().to_string()]).await?;
    assert_eq!(end.code, Some(1), "{end:?}");
    fs::write(&file, "true\n{\"cpuz\":1}\n")?;
    let end = mezzo(&cluster, &["run", "--tasks", &file.display().to_string()]).await?;
    assert!(end.code != Some(0) && end.stderr.contains(":2:"), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn lists_are_tables_for_people_and_json_for_programs() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("echo written; exec sleep 70001").id("listed")).await?;
    let agents = json(&cluster, &["agents", "--json"]).await?;
    assert_eq!(agents["agents"].as_array().map(Vec::len), Some(1), "{agents}");
    let tasks = json(&cluster, &["tasks", "--json"]).await?;
    let ids = tasks["tasks"].as_array().cloned().unwrap_or_default();
    assert!(ids.iter().any(|task| task["task_id"]["value"] == "listed"), "{tasks}");
    let frameworks = json(&cluster, &["frameworks", "--json"]).await?;
    let ids = frameworks["frameworks"].as_array().cloned().unwrap_or_default();
    let id = framework.id();
    assert!(ids.iter().any(|f| f["framework_info"]["id"]["value"] == id.as_str()), "{frameworks}");
    assert!(
        json(&cluster, &["--json", "offers"]).await?.is_object()
            || json(&cluster, &["--json", "offers"]).await?.is_array()
    );
    for (list, word) in
        [("agents", "127.0.0.1"), ("tasks", "listed"), ("frameworks", "test"), ("offers", "OFFER")]
    {
        let end = mezzo(&cluster, &[list]).await?;
        assert_eq!(end.code, Some(0), "{end:?}");
        assert!(end.stdout.contains(word), "{list}: {end:?}");
        assert!(!end.stdout.contains("-0/"), "{list}: {end:?}");
    }
    let version = mezzo(&cluster, &["version"]).await?;
    assert!(version.code == Some(0) && version.stdout.contains('.'), "{version:?}");
    Ok(())
}

#[tokio::test]
async fn logs_show_what_a_task_wrote_and_kill_ends_it() -> Done {
    let cluster = cluster().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    let script = "echo written; echo bad >&2; exec sleep 70002";
    framework.start(&Task::shell(script).id("logged")).await?;
    framework.read_until(&cluster, "logged", "stdout", "written").await?;
    let end = mezzo(&cluster, &["logs", "logged"]).await?;
    assert_eq!((end.code, end.stdout.as_str()), (Some(0), "written\n"), "{end:?}");
    framework.read_until(&cluster, "logged", "stderr", "bad").await?;
    let end = mezzo(&cluster, &["logs", "--stderr", "logged"]).await?;
    assert!(end.code == Some(0) && end.stdout.contains("bad"), "{end:?}");
    let end = mezzo(&cluster, &["kill", "logged"]).await?;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(framework.ended("logged").await?.state(), TaskKilled);
    for command in ["logs", "kill"] {
        let end = mezzo(&cluster, &[command, "no-such-task"]).await?;
        assert!(end.code.is_some_and(|code| code != 0), "{end:?}");
        assert_eq!(end.stderr.lines().count(), 1, "{end:?}");
        assert!(end.stderr.contains("no-such-task"), "{end:?}");
    }
    Ok(())
}

#[tokio::test]
async fn run_that_is_interrupted_ends_its_task() -> Done {
    let cluster = cluster().await?;
    let folder = tempfile::tempdir()?;
    let flags = [
        format!("--master={}", cluster.master_address()),
        "run".to_owned(),
        "--".to_owned(),
        "exec sleep 70003".to_owned(),
    ];
    let mut run = Process::start("mezzo", &flags, &folder.path().join("log"))?;
    until("the task runs", async || {
        Ok((!kernel::processes_called(&["sleep", "70003"]).is_empty()).then_some(()))
    })
    .await?;
    run.signal(rustix::process::Signal::INT)?;
    assert_eq!(run.ended().await?.code(), Some(130), "{}", run.log());
    until("the task has ended", async || {
        Ok(kernel::processes_called(&["sleep", "70003"]).is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_local_cluster_ends_with_ctrl_c_and_leaves_nothing() -> Done {
    let folder = tempfile::tempdir()?;
    let work_dir = folder.path().join("local");
    let flags = ["local", "--agents=2", "--port=0", "--resources=cpus:1;mem:256"];
    let mut flags: Vec<String> = flags.map(str::to_owned).to_vec();
    flags.push(format!("--work_dir={}", work_dir.display()));
    let mut local = Process::start("mezzo", &flags, &folder.path().join("log"))?;
    let master = until("it says where its master is", async || {
        let log = local.log();
        let word =
            log.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()));
        Ok(word.filter(|word| word.contains("127.0.0.1:")).map(str::to_owned).next())
    })
    .await?;
    let end =
        finished("mezzo", &["run", "--", "echo from local"], &[("MEZZO_MASTER", &master)]).await?;
    assert_eq!((end.code, end.stdout.as_str()), (Some(0), "from local\n"), "{end:?}");
    let mut background = Process::start(
        "mezzo",
        &[format!("--master={master}"), "run".into(), "--".into(), "exec sleep 70004".into()],
        &folder.path().join("background"),
    )?;
    until("a task runs", async || {
        Ok((!kernel::processes_called(&["sleep", "70004"]).is_empty()).then_some(()))
    })
    .await?;
    local.signal(rustix::process::Signal::INT)?;
    assert_eq!(local.ended().await?.code(), Some(0), "{}", local.log());
    background.ended().await?;
    let marker = work_dir.display().to_string();
    assert!(kernel::processes_with(&marker).is_empty(), "processes are left");
    assert!(kernel::processes_called(&["sleep", "70004"]).is_empty(), "a task is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&marker), "mounts are left");
    Ok(())
}

#[tokio::test]
async fn a_local_cluster_ends_with_its_command_and_its_exit_code() -> Done {
    let words = [
        "local",
        "--port=0",
        "--resources=cpus:1;mem:256",
        "--",
        "sh",
        "-c",
        "test -n \"$MEZZO_MASTER\" && exit 5",
    ];
    let end = finished("mezzo", &words, &[]).await?;
    assert_eq!(end.code, Some(5), "{end:?}");
    Ok(())
}
