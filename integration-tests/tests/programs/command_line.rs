//! `mezzo` on a real cluster.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::{Done, on_cluster, script};

#[tokio::test]
async fn run_passes_on_output_and_exit_code() -> Done {
    let said = on_cluster(&[], "mezzo", &["run", "--", "echo out; echo err >&2; exit 3"]).await?;
    ensure!(said.code == Some(3), "{said:?}");
    ensure!(said.out == "out\n", "{said:?}");
    ensure!(said.err.lines().any(|line| line == "err"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn run_passes_arguments_and_environment_as_they_are() -> Done {
    let words = [
        "run",
        "--env",
        "A=b  c",
        "--",
        "/bin/sh",
        "-c",
        "echo \"$A|$1|$2\"",
        "sh",
        "x y",
        "$HOME",
    ];
    let said = on_cluster(&[], "mezzo", &words).await?;
    ensure!(said.out == "b  c|x y|$HOME\n", "{said:?}");
    Ok(())
}

#[tokio::test]
async fn run_starts_many_tasks_of_a_file() -> Done {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tasks");
    fs::write(
        &file,
        "true\n# remark\n{\"argv\":[\"/bin/sh\",\"-c\",\"echo why >&2; exit 4\"],\"name\":\"bad\"}\n",
    )?;
    let path = file.display().to_string();
    let said = on_cluster(&[], "mezzo", &["run", "--tasks", &path]).await?;
    ensure!(said.code == Some(1), "{said:?}");
    ensure!(said.err.contains("bad-2: failed: Command exited with status 4"), "{said:?}");
    ensure!(said.err.contains("bad-2| why"), "{said:?}");
    ensure!(said.err.contains("1 of 2 tasks finished"), "{said:?}");
    let said =
        on_cluster(&["--agents=2"], "mezzo", &["run", "--instances=50", "--", "true"]).await?;
    ensure!(said.code == Some(0) && said.err.contains("50 of 50 tasks finished"), "{said:?}");
    Ok(())
}

/// A task that has written its first line, and can be looked at.
const LONG_TASK: &str = "
mezzo run --name long -- 'echo first; exec sleep 1000' >run.out 2>run.err & run=$!
until grep -q first run.out; do sleep 0.05; done
";

async fn with_long_task(what: &str) -> anyhow::Result<crate::Said> {
    let folder = tempfile::tempdir()?;
    let cd = format!("set -e; cd '{}'", folder.path().display());
    script(&[], &format!("{cd}\n{LONG_TASK}\n{what}\nkill $run 2>/dev/null || true")).await
}

#[tokio::test]
async fn lists_show_what_there_is_to_people_and_programs() -> Done {
    let said = with_long_task("mezzo tasks; mezzo agents; mezzo frameworks; mezzo offers").await?;
    ensure!(said.out.contains("long-1  long  running"), "{said:?}");
    ensure!(said.out.contains("active"), "{said:?}");
    let said =
        with_long_task("mezzo tasks --json; mezzo agents --json; mezzo version --json").await?;
    let answers: Vec<serde_json::Value> =
        said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(answers[0]["tasks"][0]["state"] == "TASK_RUNNING", "{answers:?}");
    ensure!(answers[1]["agents"][0]["active"] == true, "{answers:?}");
    ensure!(answers[2]["master"].is_string(), "{answers:?}");
    Ok(())
}

#[tokio::test]
async fn a_killed_task_ends_its_logs_and_its_run() -> Done {
    let said = with_long_task(
        "mezzo logs -f long-1 & logs=$!
         mezzo kill long-1
         wait $logs
         wait $run && echo well || echo code $?
         mezzo tasks; mezzo tasks -a; mezzo logs long-1; mezzo logs nope || echo code $?",
    )
    .await?;
    let lines: Vec<&str> = said.out.lines().map(str::trim).collect();
    ensure!(lines.contains(&"code 143"), "{said:?}");
    ensure!(lines.iter().filter(|line| **line == "first").count() == 2, "{said:?}");
    ensure!(said.out.contains("killed"), "{said:?}");
    ensure!(said.err.contains("no task 'nope'"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn local_takes_everything_with_it_even_a_running_task() -> Done {
    let folder = tempfile::tempdir()?;
    let note = folder.path().join("pid");
    // The command ends while its task goes on: the cluster has to end it.
    let said = script(
        &[],
        &format!(
            "mezzo run -- 'echo $$ > {0}.new; cat /proc/self/cgroup >> {0}.new; mv {0}.new {0}; exec sleep 1000' &
             until test -e {0}; do sleep 0.05; done; echo $MEZZO_MASTER",
            note.display()
        ),
    )
    .await?;
    ensure!(said.code == Some(0), "{said:?}");
    let dir = said.err.lines().find_map(|line| line.strip_prefix("everything is in "));
    let dir = dir.context("the directory is told")?;
    ensure!(!fs::exists(dir)?, "{dir} is still there");
    let cgroups = fs::read_to_string(&note)?;
    let ours = cgroups.lines().filter_map(|line| line.split(':').nth(2));
    for path in ours.filter(|path| path.contains("mezzo-local")) {
        let root = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        for hierarchy in fs::read_dir("/sys/fs/cgroup")?.flatten() {
            ensure!(!hierarchy.path().join(root).exists(), "cgroup {root} is still there");
        }
    }
    let master = std::net::TcpStream::connect(said.out.trim());
    ensure!(master.is_err(), "the master still listens");
    Ok(())
}

#[tokio::test]
async fn local_may_run_twice_in_one_directory() -> Done {
    let folder = tempfile::tempdir()?;
    let flag = format!("--work-dir={}", folder.path().join("cluster").display());
    for _ in 0..2 {
        let said = on_cluster(&[&flag], "mezzo", &["run", "--", "echo again"]).await?;
        ensure!(said.code == Some(0) && said.out == "again\n", "{said:?}");
    }
    Ok(())
}
