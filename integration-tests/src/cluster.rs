//! A master and its agents, as processes of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use mezzo_proto::v1::agent::agent_service_client::AgentServiceClient;
use mezzo_proto::v1::master::master_service_client::MasterServiceClient;
use rustix::process::Signal;
use tonic::transport::{Channel, Endpoint};

use crate::process::Process;
use crate::{cleanup, slowness, until};

/// How a cluster is to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    agents: usize,
    resources: String,
    master_flags: Vec<String>,
    agent_flags: Vec<String>,
}

impl Builder {
    /// How many agents; one unless told.
    #[must_use]
    pub fn agents(mut self, count: usize) -> Self {
        self.agents = count;
        self
    }

    /// What each agent has; `cpus:4;mem:2048;disk:2048` unless told.
    #[must_use]
    pub fn resources(mut self, resources: &str) -> Self {
        resources.clone_into(&mut self.resources);
        self
    }

    /// A flag of the master.
    #[must_use]
    pub fn master_flag(mut self, flag: impl Into<String>) -> Self {
        self.master_flags.push(flag.into());
        self
    }

    /// A flag of every agent.
    #[must_use]
    pub fn agent_flag(mut self, flag: impl Into<String>) -> Self {
        self.agent_flags.push(flag.into());
        self
    }

    /// Starts all of it and waits until every agent is registered.
    ///
    /// # Errors
    /// When a process does not come up; the text holds its log.
    pub async fn start(self) -> anyhow::Result<Cluster> {
        /// Tells the clusters of one test program apart.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut cluster = Cluster {
            cgroup: format!("mezzo-it-{}-{number}", std::process::id()),
            work: tempfile::Builder::new().prefix("mezzo-it-").tempdir()?,
            master: None,
            master_address: SocketAddr::from(([127, 0, 0, 1], 0)),
            master_lives: 0,
            agents: (0..self.agents).map(|_| Agent::default()).collect(),
            builder: self,
        };
        cluster.start_master().await?;
        for n in 0..cluster.agents.len() {
            cluster.spawn_agent(n)?;
        }
        for n in 0..cluster.agents.len() {
            cluster.agent_is_up(n).await?;
        }
        cluster.agents_are_active(cluster.agents.len()).await?;
        Ok(cluster)
    }
}

/// A running cluster. Everything of it is gone when it is dropped.
pub struct Cluster {
    builder: Builder,
    cgroup: String,
    work: tempfile::TempDir,
    master: Option<Process>,
    master_address: SocketAddr,
    master_lives: usize,
    agents: Vec<Agent>,
}

#[derive(Default)]
struct Agent {
    process: Option<Process>,
    address: Option<SocketAddr>,
    lives: usize,
}

impl Cluster {
    /// A cluster of one agent, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            agents: 1,
            resources: "cpus:4;mem:2048;disk:2048".to_owned(),
            master_flags: Vec::new(),
            agent_flags: Vec::new(),
        }
    }

    /// As [`Cluster::builder`], but what is freed is offered again at once, and a test that sits on an
    /// offer does not keep it from others for long.
    #[must_use]
    pub fn quick() -> Builder {
        Self::builder()
            .master_flag("--allocation_interval=50ms")
            .master_flag(format!("--offer_timeout={}secs", 3 * slowness()))
    }

    /// One agent and default flags.
    ///
    /// # Errors
    /// As for [`Builder::start`].
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Where frameworks connect: `127.0.0.1:port`.
    #[must_use]
    pub fn master_address(&self) -> String {
        self.master_address.to_string()
    }

    /// The operator API of the master.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn master(&self) -> anyhow::Result<MasterServiceClient<Channel>> {
        let channel = channel(self.master_address).await?;
        Ok(MasterServiceClient::new(channel).max_decoding_message_size(usize::MAX))
    }

    /// The operator API of an agent.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn agent(&self, n: usize) -> anyhow::Result<AgentServiceClient<Channel>> {
        Ok(AgentServiceClient::new(channel(self.agent_address(n)?).await?))
    }

    /// Where an agent listens.
    ///
    /// # Errors
    /// When it was never started.
    pub fn agent_address(&self, n: usize) -> anyhow::Result<SocketAddr> {
        self.agents.get(n).and_then(|a| a.address).with_context(|| format!("no agent {n}"))
    }

    /// The folder of everything that the cluster writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.work.path()
    }

    /// The `--work_dir` of an agent.
    #[must_use]
    pub fn agent_work_dir(&self, n: usize) -> PathBuf {
        self.folder().join(format!("agent-{n}"))
    }

    /// The process id of the master, if it runs.
    #[must_use]
    pub fn master_pid(&self) -> Option<u32> {
        self.master.as_ref().map(Process::pid)
    }

    /// The process id of an agent, if it runs.
    #[must_use]
    pub fn agent_pid(&self, n: usize) -> Option<u32> {
        self.agents.get(n).and_then(|a| a.process.as_ref()).map(Process::pid)
    }

    /// What the master has logged.
    #[must_use]
    pub fn master_log(&self) -> String {
        std::fs::read_to_string(self.folder().join("master.log")).unwrap_or_default()
    }

    /// What an agent has logged.
    #[must_use]
    pub fn agent_log(&self, n: usize) -> String {
        std::fs::read_to_string(self.agent_log_file(n)).unwrap_or_default()
    }

    /// Ends the master at once, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_master(&mut self) -> anyhow::Result<()> {
        self.master.take().context("the master does not run")?.kill()
    }

    /// Starts the master, at its old address if it ran before.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_master(&mut self) -> anyhow::Result<()> {
        let mut flags = vec![
            format!("--port={}", self.master_address.port()),
            format!("--work_dir={}", self.folder().join("master").display()),
        ];
        flags.extend(self.builder.master_flags.iter().cloned());
        let log = self.folder().join("master.log");
        let mut process = Process::start("mezzo-master", &flags, &log)?;
        self.master_lives += 1;
        self.master_address = process.address("master is ready", self.master_lives).await?;
        self.master = Some(process);
        Ok(())
    }

    /// Ends an agent at once, as a crash would. What it runs goes on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_agent(&mut self, n: usize) -> anyhow::Result<()> {
        let agent = self.agents.get_mut(n).with_context(|| format!("no agent {n}"))?;
        agent.process.take().context("the agent does not run")?.kill()
    }

    /// Asks the master to end and waits for it.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn stop_master(&mut self) -> anyhow::Result<ExitStatus> {
        stop(self.master.take().context("the master does not run")?).await
    }

    /// Asks an agent to end and waits for it. What it runs goes on.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn stop_agent(&mut self, n: usize) -> anyhow::Result<ExitStatus> {
        let agent = self.agents.get_mut(n).with_context(|| format!("no agent {n}"))?;
        stop(agent.process.take().context("the agent does not run")?).await
    }

    /// Starts an agent again, at its old address.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_agent(&mut self, n: usize) -> anyhow::Result<()> {
        self.spawn_agent(n)?;
        self.agent_is_up(n).await
    }

    /// Waits until so many agents are active.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn agents_are_active(&self, count: usize) -> anyhow::Result<()> {
        let mut master = self.master().await?;
        until(&format!("{count} agents are active"), async || {
            let agents = master.get_agents(()).await?.into_inner().agents;
            Ok((agents.iter().filter(|a| a.active).count() == count).then_some(()))
        })
        .await
    }

    fn agent_log_file(&self, n: usize) -> PathBuf {
        self.folder().join(format!("agent-{n}.log"))
    }

    fn spawn_agent(&mut self, n: usize) -> anyhow::Result<()> {
        let work_dir = self.agent_work_dir(n);
        let log = self.agent_log_file(n);
        let agent = self.agents.get_mut(n).with_context(|| format!("no agent {n}"))?;
        let mut flags = vec![
            format!("--master={}", self.master_address),
            format!("--port={}", agent.address.map_or(0, |a| a.port())),
            format!("--work_dir={}", work_dir.display()),
            format!("--resources={}", self.builder.resources),
            format!("--cgroups_root={}/{n}", self.cgroup),
            "--hostname=127.0.0.1".to_owned(),
        ];
        if slowness() > 1 {
            // Two seconds otherwise, in which an executor has to see that its agent is back.
            flags.push(format!("--executor_reregistration_timeout={}secs", 2 * slowness()));
        }
        flags.extend(self.builder.agent_flags.iter().cloned());
        agent.process = Some(Process::start("mezzo-agent", &flags, &log)?);
        agent.lives += 1;
        Ok(())
    }

    async fn agent_is_up(&mut self, n: usize) -> anyhow::Result<()> {
        let agent = self.agents.get_mut(n).with_context(|| format!("no agent {n}"))?;
        let process = agent.process.as_mut().context("the agent does not run")?;
        agent.address = Some(process.address("listening", agent.lives).await?);
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.show_logs();
        for agent in &mut self.agents {
            agent.process = None;
        }
        self.master = None;
        cleanup::sweep(self.work.path(), &self.cgroup);
    }
}

impl Cluster {
    /// A test that failed is understood by its logs. Of one that did not, nobody sees them.
    #[expect(clippy::print_stderr, reason = "that is where a failing test is explained")]
    fn show_logs(&self) {
        eprintln!("--- master\n{}", self.master_log());
        for n in 0..self.agents.len() {
            eprintln!("--- agent {n}\n{}", self.agent_log(n));
        }
    }
}

async fn stop(mut process: Process) -> anyhow::Result<ExitStatus> {
    process.signal(Signal::TERM)?;
    process.ended().await
}

async fn channel(address: SocketAddr) -> anyhow::Result<Channel> {
    until(&format!("{address} answers"), async || {
        Ok(Some(Endpoint::from_shared(format!("http://{address}"))?.connect().await?))
    })
    .await
}
