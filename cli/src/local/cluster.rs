//! Starting, watching and stopping the processes of a local cluster.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mezzo_proto::module::v1::ModuleKind;
use mezzo_proto::v1::agent::agent_service_client::AgentServiceClient;
use mezzo_proto::v1::agent::call::GetContainers;
use mezzo_proto::v1::master::call::Teardown;
use mezzo_proto::v1::master::master_service_client::MasterServiceClient;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use super::LocalError;
use super::process::Process;

/// How long the cluster may take to be ready.
const START: Duration = Duration::from_secs(60);
/// How long the containers of frameworks that were torn down may take to end.
const CONTAINERS: Duration = Duration::from_secs(15);
/// How often ports are looked for that are free and stay so.
const ATTEMPTS: u32 = 3;
/// Between two looks at something that should soon be so.
const LOOK: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many agents.
    pub agents: u16,
    /// Port of the master; 0 for any that is free.
    pub port: u16,
    /// Where everything is kept; a temporary directory if none.
    pub work_dir: Option<PathBuf>,
    /// Resources of each agent; what the machine has if none.
    pub resources: Option<String>,
}

/// A running cluster. Dropping it kills its processes; [`LocalCluster::stop`] is the good way.
#[derive(Debug)]
pub struct LocalCluster {
    master: Process,
    agents: Vec<Process>,
    master_address: String,
    agent_addresses: Vec<String>,
    work_dir: PathBuf,
    isolation: String,
    /// Removed with the cluster.
    temporary: Option<TempDir>,
}

impl LocalCluster {
    /// Starts a master and agents from the binaries beside this one, and waits until every agent is
    /// registered.
    ///
    /// # Errors
    /// If a binary is missing, a process does not start or ends, or it takes too long.
    pub async fn start(settings: Settings) -> Result<Self, LocalError> {
        // Between finding a free port and using it, somebody else may take it.
        for _ in 1..ATTEMPTS {
            match Self::attempt(&settings).await {
                Err(LocalError::Ended { last_words, .. })
                    if settings.port == 0 && last_words.contains("in use") => {}
                other => return other,
            }
        }
        Self::attempt(&settings).await
    }

    async fn attempt(settings: &Settings) -> Result<Self, LocalError> {
        let (work_dir, temporary) = directory(settings.work_dir.as_deref())?;
        let logs = work_dir.join("logs");
        create(&logs)?;
        let port = if settings.port == 0 { free_port()? } else { settings.port };
        let master_address = format!("127.0.0.1:{port}");
        let flags = vec![
            "--ip=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--work_dir={}", work_dir.join("master").display()),
        ];
        let master = Process::start("master".to_owned(), &binary("mezzo-master")?, &flags, &logs)?;
        let mut cluster = Self {
            master,
            agents: Vec::new(),
            master_address,
            agent_addresses: Vec::new(),
            work_dir,
            isolation: String::new(),
            temporary,
        };
        match timeout(START, cluster.become_ready(settings, &logs)).await {
            Ok(Ok(())) => Ok(cluster),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(LocalError::TooSlow { what: "starting", limit: START, logs }),
        }
    }

    async fn become_ready(&mut self, settings: &Settings, logs: &Path) -> Result<(), LocalError> {
        let channel = channel(&self.master_address)?;
        let mut client = MasterServiceClient::new(channel);
        while client.get_health(()).await.is_err() {
            self.look_again().await?;
        }
        for number in 1..=settings.agents {
            // With a fixed master port the agents are found at fixed ports too.
            let port = match settings.port {
                0 => self.same_port(number)?,
                master => master.checked_add(number).map_or_else(free_port, Ok)?,
            };
            let flags = self.agent_flags(number, port, settings);
            let name = format!("agent-{number}");
            let agent = Process::start(name, &binary("mezzo-agent")?, &flags, logs)?;
            self.agents.push(agent);
            self.agent_addresses.push(format!("127.0.0.1:{port}"));
        }
        loop {
            let agents = client.get_agents(()).await.map(|answer| answer.into_inner().agents);
            let active = agents.unwrap_or_default().iter().filter(|agent| agent.active).count();
            if active >= usize::from(settings.agents) {
                break;
            }
            self.look_again().await?;
        }
        self.isolation = self.ask_for_isolation().await;
        Ok(())
    }

    /// A free port, and the same one in every run in this directory: an agent is known by it.
    fn same_port(&self, number: u16) -> Result<u16, LocalError> {
        let home = self.work_dir.join(format!("agent-{number}"));
        create(&home)?;
        let note = home.join("port");
        let before = std::fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok());
        if let Some(port) = before {
            return Ok(port);
        }
        let port = free_port()?;
        std::fs::write(&note, port.to_string()).map_err(|source| LocalError::Io {
            what: format!("cannot write {}", note.display()),
            source,
        })?;
        Ok(port)
    }

    fn agent_flags(&self, number: u16, port: u16, settings: &Settings) -> Vec<String> {
        let home = self.work_dir.join(format!("agent-{number}"));
        let mut flags = vec![
            format!("--master={}", self.master_address),
            "--ip=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--work_dir={}", home.join("work").display()),
            format!("--runtime_dir={}", home.join("run").display()),
            // Agents of one machine must not take each other's containers for their own.
            format!("--cgroups_root={}", self.cgroups_root(number)),
        ];
        if let Some(resources) = &settings.resources {
            flags.push(format!("--resources={resources}"));
        }
        flags
    }

    /// Named after the directory, so that a second run in it finds what a first one left.
    fn cgroups_root(&self, number: u16) -> String {
        let mut hasher = DefaultHasher::new();
        self.work_dir.hash(&mut hasher);
        format!("mezzo-local-{:016x}-{number}", hasher.finish())
    }

    /// A pause, unless a process has ended meanwhile.
    async fn look_again(&mut self) -> Result<(), LocalError> {
        tokio::select! {
            error = self.ended() => Err(error),
            () = sleep(LOOK) => Ok(()),
        }
    }

    /// What the agents say of how they isolate tasks.
    async fn ask_for_isolation(&self) -> String {
        let Some(address) = self.agent_addresses.first() else { return "no agents".to_owned() };
        let Ok(channel) = channel(address) else { return "unknown".to_owned() };
        let Ok(answer) = AgentServiceClient::new(channel).get_modules(()).await else {
            return "unknown".to_owned();
        };
        let modules = answer.into_inner().modules.into_iter();
        let isolators = modules.filter(|module| module.kind() == ModuleKind::Isolator);
        let isolators: Vec<String> = isolators.filter_map(|module| module.name).collect();
        describe_isolation(&isolators, nix::unistd::geteuid().is_root())
    }

    /// Waits until a process ends by itself, which is an error.
    pub async fn ended(&mut self) -> LocalError {
        let Self { master, agents, .. } = self;
        let mut agents: Vec<_> = agents.iter_mut().map(|agent| Box::pin(agent.ended())).collect();
        let any_agent = std::future::poll_fn(move |context| {
            let ready = agents.iter_mut().find_map(|agent| match agent.as_mut().poll(context) {
                std::task::Poll::Ready(error) => Some(error),
                std::task::Poll::Pending => None,
            });
            ready.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        });
        tokio::select! {
            error = master.ended() => error,
            error = any_agent => error,
        }
    }

    /// Ends all frameworks, waits for their containers, stops all processes, and removes what was
    /// only for this run.
    ///
    /// # Errors
    /// If containers do not end in time; everything else was stopped all the same.
    pub async fn stop(mut self) -> Result<(), LocalError> {
        let emptied = timeout(CONTAINERS, self.end_everything()).await;
        for agent in &mut self.agents {
            agent.stop().await;
        }
        self.master.stop().await;
        for number in (1_u16..).take(self.agents.len()) {
            remove_cgroups(&self.cgroups_root(number));
        }
        let logs = self.work_dir.join("logs");
        if emptied.is_err() {
            // The logs tell why: keep them.
            if let Some(temporary) = self.temporary.take() {
                let _ = temporary.keep();
            }
            let what = "the end of all containers";
            return Err(LocalError::TooSlow { what, limit: CONTAINERS, logs });
        }
        if let Some(temporary) = self.temporary.take() {
            let what = format!("cannot remove {}", temporary.path().display());
            temporary.close().map_err(|source| LocalError::Io { what, source })?;
        }
        Ok(())
    }

    async fn end_everything(&self) {
        let Ok(channel_to_master) = channel(&self.master_address) else { return };
        let mut master = MasterServiceClient::new(channel_to_master);
        // A master that is dead has nothing to tear down any more.
        let frameworks =
            master.get_frameworks(()).await.map(|answer| answer.into_inner().frameworks);
        for framework in frameworks.unwrap_or_default() {
            if let Some(framework_id) = framework.framework_info.id {
                let _ = master.teardown(Teardown { framework_id }).await;
            }
        }
        for address in &self.agent_addresses {
            let Ok(channel) = channel(address) else { continue };
            let mut agent = AgentServiceClient::new(channel);
            while let Ok(answer) = agent.get_containers(GetContainers::default()).await {
                if answer.into_inner().containers.is_empty() {
                    break;
                }
                sleep(LOOK).await;
            }
        }
    }

    /// `host:port` of the master.
    #[must_use]
    pub fn master_address(&self) -> &str {
        &self.master_address
    }

    /// `host:port` of each agent.
    #[must_use]
    pub fn agent_addresses(&self) -> &[String] {
        &self.agent_addresses
    }

    /// Where everything is kept.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// How tasks are isolated, in words.
    #[must_use]
    pub fn isolation(&self) -> &str {
        &self.isolation
    }
}

/// The directory of this run: the given one, or one that goes with the cluster.
fn directory(given: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), LocalError> {
    let Some(given) = given else {
        let io = |source| LocalError::Io {
            what: "cannot make a temporary directory".to_owned(),
            source,
        };
        let temporary = tempfile::Builder::new().prefix("mezzo-local-").tempdir().map_err(io)?;
        // Tasks may run as other users, who have to get through to their sandboxes.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(temporary.path(), open).map_err(io)?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    create(given)?;
    let absolute = std::path::absolute(given).unwrap_or_else(|_| given.to_owned());
    Ok((absolute, None))
}

fn create(path: &Path) -> Result<(), LocalError> {
    std::fs::create_dir_all(path).map_err(|source| LocalError::Io {
        what: format!("cannot make the directory {}", path.display()),
        source,
    })
}

fn free_port() -> Result<u16, LocalError> {
    let io = |source| LocalError::Io { what: "cannot find a free port".to_owned(), source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
    Ok(listener.local_addr().map_err(io)?.port())
}

fn channel(address: &str) -> Result<Channel, LocalError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        let source = std::io::Error::other(error);
        LocalError::Io { what: format!("'{address}' is no address"), source }
    })?;
    Ok(endpoint.connect_timeout(Duration::from_secs(5)).connect_lazy())
}

/// A binary of ours: beside this one, in `deps` below it, or in `../lib/mezzo`.
fn binary(name: &'static str) -> Result<PathBuf, LocalError> {
    let own = std::env::current_exe().map_err(|source| LocalError::Io {
        what: "cannot tell where this program is".to_owned(),
        source,
    })?;
    let here = own.parent().unwrap_or(Path::new("/")).to_owned();
    let places = [here.clone(), here.join(".."), here.join("deps"), here.join("../lib/mezzo")];
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    found.ok_or(LocalError::NoBinary { name, beside: here })
}

/// What isolates tasks, given the names of the isolators that an agent has loaded.
fn describe_isolation(isolators: &[String], root: bool) -> String {
    // An agent that is root gives each container its own view of processes and mounts.
    let namespaces = root.then_some("pid and mount namespaces");
    let parts: Vec<&str> = isolators.iter().map(String::as_str).chain(namespaces).collect();
    match (parts.is_empty(), root) {
        (false, _) => parts.join(", "),
        (true, false) => "none (not root): nothing keeps a task within its limits".to_owned(),
        (true, true) => "none".to_owned(),
    }
}

/// Removes the (empty) cgroups of an agent that has ended.
fn remove_cgroups(root: &str) {
    let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
    // Version 1 has one such cgroup in each hierarchy, version 2 has one.
    let below = hierarchies.flatten().map(|entry| entry.path().join(root));
    for cgroup in below.chain([Path::new("/sys/fs/cgroup").join(root)]) {
        // Most are not there; one with something in it is not ours to remove.
        let _ = std::fs::remove_dir(cgroup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_is_told_as_it_is() {
        let isolators = ["cgroups/cpu".to_owned(), "cgroups/mem".to_owned()];
        let told = describe_isolation(&isolators, true);
        assert_eq!(told, "cgroups/cpu, cgroups/mem, pid and mount namespaces");
        assert!(describe_isolation(&[], false).starts_with("none (not root)"));
    }
}
