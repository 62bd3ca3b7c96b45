//! Running one of our programs to its end.

use std::fs;
use std::process::{Command, Stdio};

use crate::{binary, until};

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Runs the binary `name` until it ends by itself. Of the environment's `MEZZO_…` it sees only what
/// `environment` has.
///
/// # Errors
/// When it is missing or does not end.
pub async fn finished(
    name: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<Finished> {
    let folder = tempfile::Builder::new().prefix("mezzo-it-").tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    let ours = ours.filter(|name| name.to_string_lossy().starts_with("MEZZO_"));
    let mut command = Command::new(binary(name)?);
    for variable in ours {
        command.env_remove(variable);
    }
    let mut child = command
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out)?)
        .stderr(fs::File::create(&err)?)
        .spawn()?;
    let ended = until(&format!("{name} {arguments:?} ends"), async || Ok(child.try_wait()?)).await;
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (stdout, stderr) = (text(out)?, text(err)?);
    match ended {
        Ok(status) => Ok(Finished { code: status.code(), stdout, stderr }),
        Err(error) => Err(error.context(format!("it said\n{stdout}\n{stderr}"))),
    }
}
