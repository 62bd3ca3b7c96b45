//! A cluster on this machine: the real master and the real agents, as child processes.
//!
//! `mezzo local` runs until Ctrl-C; `mezzo local -- COMMAND` runs until the command ends, with
//! `MEZZO_MASTER` in its environment. Either way nothing stays behind: frameworks are torn down,
//! containers are waited for, processes stopped, and the temporary directory removed.

mod cluster;
mod process;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use self::cluster::{LocalCluster, Settings};
use crate::args::LocalOptions;
use crate::{CliError, output};

/// What a shell reports for a command that a signal ended is 128 plus its number.
const BY_SIGNAL: i32 = 128;

/// Why a local cluster did not start or did not stay up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// A binary is not where it should be.
    #[error("there is no {name} beside {} (or in deps or ../lib/mezzo), expected all binaries of mezzo in one directory", .beside.display())]
    NoBinary {
        /// Which one.
        name: &'static str,
        /// Where it was looked for.
        beside: PathBuf,
    },
    /// A process could not be started.
    #[error("cannot start {name}: {source}")]
    Start {
        /// Which one.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A process ended although nobody asked it to.
    #[error("{name} ended ({status}): {last_words}")]
    Ended {
        /// Which one.
        name: String,
        /// How.
        status: String,
        /// The last lines of its log.
        last_words: String,
    },
    /// Something took too long.
    #[error("{what} took longer than {} s; the logs are in {}", .limit.as_secs(), .logs.display())]
    TooSlow {
        /// What did.
        what: &'static str,
        /// How long it may take.
        limit: Duration,
        /// Where to look for the reason.
        logs: PathBuf,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// `mezzo local`.
pub(crate) async fn run(options: LocalOptions, json: bool) -> Result<u8, CliError> {
    let mut signals = Signals::listen().map_err(CliError::io("cannot listen for signals"))?;
    let settings = Settings {
        agents: options.agents,
        port: options.port,
        work_dir: options.work_dir,
        resources: options.resources,
    };
    let began = std::time::Instant::now();
    let mut cluster = tokio::select! {
        cluster = LocalCluster::start(settings) => cluster?,
        // Dropping a cluster that starts ends its processes.
        () = signals.next() => return Ok(0),
    };
    tell(&cluster, json, began.elapsed());
    let ended = match options.command.split_first() {
        Some((program, arguments)) => command(&mut cluster, &mut signals, program, arguments).await,
        None => {
            tokio::select! {
                error = cluster.ended() => Err(error.into()),
                () = signals.next() => Ok(0),
            }
        }
    };
    let stopped = stop(cluster, &mut signals).await;
    let code = ended?;
    stopped?;
    Ok(code)
}

/// Runs `program` against the cluster and returns its exit code.
async fn command(
    cluster: &mut LocalCluster,
    signals: &mut Signals,
    program: &str,
    arguments: &[String],
) -> Result<u8, CliError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("MEZZO_MASTER", cluster.master_address())
        .stdin(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| LocalError::Start { name: program.to_owned(), source })?;
    let status = tokio::select! {
        status = child.wait() => status.map_err(CliError::io("cannot wait for the command"))?,
        error = cluster.ended() => return Err(error.into()),
        // A terminal's Ctrl-C reaches the command too; this is for everybody else's signals.
        () = signals.next() => {
            process::terminate(&child);
            child.wait().await.map_err(CliError::io("cannot wait for the command"))?
        }
    };
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| BY_SIGNAL + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Stops the cluster, which has a limit in time by itself. Impatience would leave processes behind.
async fn stop(cluster: LocalCluster, signals: &mut Signals) -> Result<(), LocalError> {
    let mut stopping = std::pin::pin!(cluster.stop());
    loop {
        tokio::select! {
            stopped = &mut stopping => return stopped,
            () = signals.next() => output::remark("stopping; this takes a moment"),
        }
    }
}

/// SIGTERM and SIGINT. Other programs of ours exit at once on the second one; this one has
/// processes to look after (and `timeout` sends its signal twice).
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn tell(cluster: &LocalCluster, json: bool, took: Duration) {
    if json {
        let line = serde_json::json!({
            "master": cluster.master_address(),
            "agents": cluster.agent_addresses(),
            "work_dir": cluster.work_dir(),
            "isolation": cluster.isolation(),
        });
        output::answer(&line.to_string());
        return;
    }
    let agents = cluster.agent_addresses();
    output::remark(&format!(
        "master on {}, {}, ready after {:.2} s",
        cluster.master_address(),
        match agents {
            [] => "no agents".to_owned(),
            [one] => format!("agent on {one}"),
            many => format!("{} agents on {}", many.len(), many.join(", ")),
        },
        took.as_secs_f64(),
    ));
    output::remark(&format!("isolation: {}", cluster.isolation()));
    output::remark(&format!("everything is in {}", cluster.work_dir().display()));
}
