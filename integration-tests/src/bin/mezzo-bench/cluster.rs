//! A master and an agent as processes of their own, started beside this program's executable and stopped with it.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// How long a process may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks at a process.
const PAUSE: Duration = Duration::from_millis(2);

/// A running cluster of one master and one agent.
pub(crate) struct Cluster {
    // Dropped in this order: the agent first, so that it does not look for a master that is gone.
    agent: Process,
    master: Process,
    agent_started: Instant,
    cgroups: String,
    _work: tempfile::TempDir,
}

impl Cluster {
    /// Starts both and waits until both answer.
    pub(crate) async fn start(resources: &str) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new().prefix("mezzo-bench-").tempdir()?;
        let cgroups = format!("mezzo-bench-{}", std::process::id());
        let master = Process::start("mezzo-master", work.path(), &[])?;
        master.answers().await?;
        let flags = [
            format!("--master={}", master.address),
            format!("--resources={resources}"),
            format!("--cgroups_root={cgroups}"),
        ];
        let agent_started = Instant::now();
        let agent = Process::start("mezzo-agent", work.path(), &flags)?;
        agent.answers().await?;
        Ok(Self { agent, master, agent_started, cgroups, _work: work })
    }

    /// Where frameworks connect.
    pub(crate) fn master_address(&self) -> String {
        self.master.address.to_string()
    }

    /// Where executors connect.
    pub(crate) fn agent_address(&self) -> String {
        self.agent.address.to_string()
    }

    /// When the agent's process was started.
    pub(crate) fn agent_started(&self) -> Instant {
        self.agent_started
    }

    pub(crate) fn master_pid(&self) -> u32 {
        self.master.child.id()
    }

    pub(crate) fn agent_pid(&self) -> u32 {
        self.agent.child.id()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The agent is still busy with what the framework's end left to it.
        wait_until(|| containers(&self.cgroups) == 0);
        self.agent.stop();
        self.master.stop();
        wait_until(|| {
            remove_cgroups(&self.cgroups);
            cgroups(&self.cgroups).next().is_none()
        });
    }
}

/// One of our processes.
struct Process {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    fn start(name: &'static str, work: &Path, flags: &[String]) -> anyhow::Result<Self> {
        let address = free_address()?;
        let log = work.join(format!("{name}.log"));
        let program = std::env::current_exe()?.with_file_name(name);
        let child = Command::new(&program)
            .arg(format!("--ip={}", address.ip()))
            .arg(format!("--port={}", address.port()))
            .arg(format!("--work_dir={}", work.join(name).display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name, child, address, log })
    }

    /// Waits until the port answers.
    async fn answers(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if Instant::now() > deadline || !is_alive(self.child.id()) {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} does not answer at {}; its log:\n{log}", self.name, self.address);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Asks it to end; makes it when it does not.
    fn stop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            // Fails when it has ended by itself: then there is nothing to ask.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            #[expect(clippy::disallowed_methods, reason = "at the end of the program, in Drop")]
            std::thread::sleep(PAUSE);
        }
    }
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?)
}

/// The cgroups of this name that exist, one in each hierarchy.
fn cgroups(name: &str) -> impl Iterator<Item = PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = folders(base).chain([base.to_owned()]);
    hierarchies.map(move |hierarchy| hierarchy.join(name)).filter(|path| path.is_dir())
}

/// How many containers have cgroups below these.
fn containers(name: &str) -> usize {
    cgroups(name).map(|cgroup| folders(&cgroup).count()).max().unwrap_or(0)
}

/// Removes what is left of the cgroups, deepest first. One that a process still holds stays.
fn remove_cgroups(name: &str) {
    for cgroup in cgroups(name) {
        remove_tree(&cgroup);
    }
}

fn remove_tree(folder: &Path) {
    for child in folders(folder) {
        remove_tree(&child);
    }
    // Fails while a process is in it: the next attempt comes.
    let _ = std::fs::remove_dir(folder);
}

fn folders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink())
}

/// Looks again and again, but not for ever.
fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() && Instant::now() < deadline {
        #[expect(clippy::disallowed_methods, reason = "at the end of the program, in Drop")]
        std::thread::sleep(PAUSE);
    }
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 =
        line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}

/// CPU time of a process in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, numbers) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks: Vec<f64> =
        numbers.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    ensure!(ticks.len() == 2, "no times in stat");
    #[expect(clippy::cast_precision_loss, reason = "ticks per second are a small number")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks.iter().sum::<f64>() / per_second)
}
