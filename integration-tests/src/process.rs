//! One of our processes.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::until;

/// How long a process may take to end once it was asked to.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A running binary of ours, with its log.
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// The binary `name`, beside this program or one folder up (tests run from `deps/`).
///
/// # Errors
/// When it is not there; the text says how to build it.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folders = here.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).with_context(|| {
        format!("{name} is not beside {}: `cargo build --workspace` makes it", here.display())
    })
}

impl Process {
    /// Starts `name` with `flags`; its output goes to `log`, behind what is there.
    ///
    /// # Errors
    /// When the binary is missing or cannot be started.
    pub fn start(name: &str, flags: &[String], log: &Path) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = Command::new(binary(name)?)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has logged, in all of its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the `occurrence`-th log line with `marker` (from 1) and reads `address=` in it.
    ///
    /// # Errors
    /// When it ends before, or takes too long; the text holds the log.
    pub async fn address(&mut self, marker: &str, occurrence: usize) -> anyhow::Result<SocketAddr> {
        until(&format!("it logs {marker:?}"), async || {
            let log = self.log();
            let line = log.lines().filter(|l| l.contains(marker)).nth(occurrence - 1);
            let address = line.and_then(|l| l.split("address=").nth(1));
            if let Some(text) = address.and_then(|a| a.split_whitespace().next()) {
                return Ok(Some(Ok(text.parse()?)));
            }
            let ended = self.child.try_wait()?;
            Ok(ended.map(|status| Err(anyhow::anyhow!("it ended ({status}); its log:\n{log}"))))
        })
        .await?
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        until("it ends", async || Ok(self.child.try_wait()?)).await
    }

    /// Asks it to end, and makes it when it does not.
    pub fn stop(&mut self) {
        // Fails when it has ended by itself: then there is nothing to ask.
        let _ = self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            #[expect(clippy::disallowed_methods, reason = "called from Drop, which cannot await")]
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Resident memory of a process, in MiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 =
        line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}

/// CPU time of a process so far, in seconds.
///
/// # Errors
/// When there is no such process.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let Some((_, numbers)) = stat.rsplit_once(')') else { bail!("no name in stat") };
    let ticks: Vec<f64> =
        numbers.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    ensure!(ticks.len() == 2, "no times in stat");
    #[expect(clippy::cast_precision_loss, reason = "ticks per second are a small number")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks.iter().sum::<f64>() / per_second)
}
