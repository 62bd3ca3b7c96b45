//! The programs that people run: the command line and every example, as processes on a cluster that
//! `mezzo local` starts and stops around them.
//!
//! `cargo build --workspace` makes the binaries.
#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod command_line;
mod examples;

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use mezzo_integration_tests::binary;
use tokio::process::Command;

/// The name of a test's end: an error that is shown with all its causes.
pub(crate) type Done = anyhow::Result<()>;

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn last_line(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }
}

/// Runs `program` on a cluster of its own.
pub(crate) async fn on_cluster(
    local: &[&str],
    program: &str,
    args: &[&str],
) -> anyhow::Result<Said> {
    let mut command = Command::new(binary("mezzo")?);
    command.args(["local", "--port=0"]).args(local).arg("--").arg(binary(program)?).args(args);
    said(&mut command).await
}

/// Runs a shell script on a cluster of its own; `mezzo` is on its path.
pub(crate) async fn script(local: &[&str], script: &str) -> anyhow::Result<Said> {
    let mezzo = binary("mezzo")?;
    let folder = mezzo.parent().unwrap_or(Path::new("/")).display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(&mezzo);
    command.args(["local", "--port=0"]).args(local).args(["--", "/bin/sh", "-c", script]);
    command.env("PATH", format!("{folder}:{path}"));
    said(&mut command).await
}

async fn said(command: &mut Command) -> anyhow::Result<Said> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}
