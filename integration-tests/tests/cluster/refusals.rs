//! Programs that cannot do what their flags ask for say so in one line, and end.

use mezzo_integration_tests::{Cluster, finished, until};

use crate::Done;

/// Starts a program that is to refuse its flags; its last line.
pub(crate) async fn refused(name: &str, flags: &[&str]) -> anyhow::Result<String> {
    let end = finished(name, flags, &[]).await?;
    anyhow::ensure!(end.code.is_some_and(|code| code != 0), "{name} {flags:?}: {end:?}");
    anyhow::ensure!(!end.stderr.contains("panicked"), "{name} {flags:?}: {end:?}");
    Ok(end.stderr.lines().last().unwrap_or_default().to_owned())
}

/// The flags that a program needs, in a folder of its own.
fn needed(name: &str, folder: &std::path::Path) -> Vec<String> {
    let work_dir = format!("--work_dir={}", folder.join("work").display());
    match name {
        "mezzo-agent" => vec![work_dir, "--port=0".to_owned(), "--master=127.0.0.1:1".to_owned()],
        _ => vec![work_dir, "--port=0".to_owned()],
    }
}

#[tokio::test]
async fn unknown_and_wrong_flags_are_one_line_that_says_what_was_expected() -> Done {
    let cases: &[(&str, &str, &[&str])] = &[
        ("mezzo-master", "--allocation_intervall=1secs", &["allocation_interval"]),
        ("mezzo-master", "--allocation_interval=1", &["allocation_interval", "secs"]),
        ("mezzo-master", "--port=65536", &["port", "65536"]),
        ("mezzo-master", "--role_sorter=fifo", &["role_sorter", "drf"]),
        (
            "mezzo-master",
            "--min_allocatable_resources=cpus",
            &["min_allocatable_resources", "cpus:0.01"],
        ),
        ("mezzo-agent", "--resource=cpus:1", &["resources"]),
        ("mezzo-agent", "--resources=cpus:-1", &["resources", "cpus"]),
        ("mezzo-agent", "--resources=cpus:NaN", &["resources", "cpus"]),
        ("mezzo-agent", "--resources=cpus", &["resources", "cpus"]),
        ("mezzo-agent", "--attributes=rack", &["attributes", "rack"]),
        (
            "mezzo-agent",
            "--executor_registration_timeout=soon",
            &["executor_registration_timeout", "secs"],
        ),
        ("mezzo-agent", "--recover=never", &["recover", "reconnect"]),
        ("mezzo-agent", "--domain={", &["domain"]),
        ("mezzo", "--frobnicate", &["frobnicate"]),
    ];
    let mut wrong = Vec::new();
    for (name, flag, words) in cases {
        let folder = tempfile::tempdir()?;
        let mut flags = match *name {
            "mezzo" => Vec::new(),
            name => needed(name, folder.path()),
        };
        flags.retain(|other| !flag.starts_with(other.split('=').next().unwrap_or_default()));
        flags.push((*flag).to_owned());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let end = finished(name, &flags, &[]).await?;
        // What is loaded before the flag is looked at may be logged.
        let told: Vec<&str> = end.stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
        let good = end.code == Some(2) && told.len() == 1;
        if !good || words.iter().any(|word| !end.stderr.contains(word)) {
            wrong.push(format!("{name} {flag}: {words:?} {end:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn a_module_that_is_not_there_is_named() -> Done {
    let folder = tempfile::tempdir()?;
    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library")?;
    let text = text.display().to_string();
    let manifest = |file: &str| {
        format!(r#"--modules={{"libraries":[{{"file":"{file}","modules":[{{"name":"mine"}}]}}]}}"#)
    };
    let (missing, foreign) = (manifest("/no/such/module.so"), manifest(&text));
    let cases: &[(&str, &[&str], &str)] = &[
        ("mezzo-master", &[&missing], "/no/such/module.so"),
        ("mezzo-agent", &[&missing], "/no/such/module.so"),
        ("mezzo-agent", &[&foreign, "--hooks=mine"], "text.so"),
        ("mezzo-master", &["--modules={"], "modules"),
        ("mezzo-master", &["--allocator=no_such_allocator"], "no_such_allocator"),
        ("mezzo-agent", &["--isolation=no/such/isolator"], "no/such/isolator"),
        ("mezzo-agent", &["--hooks=no_such_hook"], "no_such_hook"),
    ];
    for (name, extra, word) in cases {
        let needed = needed(name, folder.path());
        let flags: Vec<&str> =
            needed.iter().map(String::as_str).chain(extra.iter().copied()).collect();
        let line = refused(name, &flags).await?;
        assert!(line.contains(word), "{name} {extra:?}: {line}");
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() -> Done {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way")?;
    // Nobody can make a directory in these, root neither.
    for work_dir in [file.join("below"), "/proc/mezzo".into(), "/dev/null".into()] {
        let flag = format!("--work_dir={}", work_dir.display());
        for (name, other) in [("mezzo-master", "--port=0"), ("mezzo-agent", "--master=127.0.0.1:1")]
        {
            let line = refused(
                name,
                &[&flag, "--port=0", other][..if name == "mezzo-master" { 2 } else { 3 }],
            )
            .await?;
            assert!(line.contains("work_dir"), "{name}: {line}");
            assert!(line.contains(&work_dir.display().to_string()), "{name}: {line}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named() -> Done {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let flag = format!("--port={port}");
    let folder = tempfile::tempdir()?;
    for name in ["mezzo-master", "mezzo-agent"] {
        let mut flags = needed(name, folder.path());
        flags.retain(|other| !other.starts_with("--port"));
        flags.push(flag.clone());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let line = refused(name, &flags).await?;
        assert!(line.contains(&port.to_string()) && line.contains("in use"), "{name}: {line}");
    }
    Ok(())
}

#[tokio::test]
async fn flags_come_from_the_environment_too_and_dashes_are_underscores() -> Done {
    let folder = tempfile::tempdir()?;
    let work_dir = folder.path().join("work").display().to_string();
    let end =
        finished("mezzo-master", &["--work-dir", &work_dir], &[("MEZZO_PORT", "no-port")]).await?;
    assert_eq!(end.code, Some(2), "{end:?}");
    assert!(end.stderr.contains("no-port"), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn an_agent_whose_resources_shrank_is_told_what_to_do() -> Done {
    let mut cluster = Cluster::quick().start().await?;
    // An agent that dies before its id is on disk is a new one when it comes back.
    let known = cluster.agent_work_dir(0).join("meta/agents");
    until("the agent's id is on its disk", async || {
        let mut agents = std::fs::read_dir(&known)?.flatten();
        Ok(agents.any(|agent| agent.path().join("agent.info").exists()).then_some(()))
    })
    .await?;
    cluster.kill_agent(0)?;
    let work_dir = format!("--work_dir={}", cluster.agent_work_dir(0).display());
    let master = format!("--master={}", cluster.master_address());
    let flags =
        [&work_dir, &master, "--port=0", "--resources=cpus:1;mem:64", "--hostname=127.0.0.1"];
    let line = refused("mezzo-agent", &flags.map(|flag: &str| flag)).await?;
    assert!(line.contains("cpus") || line.contains("reconfiguration_policy"), "{line}");
    Ok(())
}
