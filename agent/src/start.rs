//! Puts an agent together, runs it, takes it apart.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mezzo_agent_core::{Agent as Core, Checkpoint, Command};
use mezzo_containerizer::{Config, Containerizer, MezzoContainerizer};
use mezzo_linux::procfs::Procfs;
use mezzo_linux::{launch, user};
use mezzo_model::AgentId;
use mezzo_proto::v1::agent::agent_service_server::AgentServiceServer;
use mezzo_proto::v1::executor::executor_service_server::ExecutorServiceServer;
use mezzo_runtime::clock::Clock;
use mezzo_runtime::config::Parsed;
use mezzo_runtime::metrics::Metrics;
use mezzo_runtime::serve::{self, BindError, ServeOptions, Server, TcpIncoming};
use mezzo_runtime::shutdown::Shutdown;
use mezzo_runtime::task::{OnShutdown, Tasks};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::containers::Containers;
use crate::detect::{self, Machine, ResourcesError};
use crate::effects::Effects;
use crate::executors::{Executors, Sessions};
use crate::flags::Flags;
use crate::hooks::Hooks;
use crate::identity::{self, Facts, IdentityError};
use crate::link::{Link, MasterLine};
use crate::modules::{self, Loaded, ModulesError};
use crate::numbers::{ModuleCalls, Numbers};
use crate::service::{Facade, Operators};
use crate::store::{self, Found, Layout, Lock, LockError, WriteError, Writer};
use crate::{actor, effects, service};

/// The most that executors may be waited for after a restart.
const LONGEST_REREGISTRATION: Duration = Duration::from_secs(15);
/// How long the parts of an agent may take to end.
const STOP: Duration = Duration::from_secs(5);
/// Executors may send results of tens of megabytes.
const MAX_MESSAGE: usize = 64 << 20;

/// Why an agent cannot start. One line each, with [`one_line`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A flag says something that cannot be.
    #[error("flag --{flag}: got {value:?}, expected {expected}")]
    Flag {
        /// Which.
        flag: &'static str,
        /// What it says.
        value: String,
        /// What it could say.
        expected: &'static str,
    },
    /// The work directory cannot be used.
    #[error(transparent)]
    WorkDir(#[from] LockError),
    /// The resources make no sense.
    #[error(transparent)]
    Resources(#[from] ResourcesError),
    /// The agent cannot say who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A module is not there.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The port is not free.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The checkpoints cannot be read.
    #[error(transparent)]
    Recover(#[from] store::RecoverError),
    /// The checkpoints cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// This is not the agent that left the checkpoints.
    #[error(
        "the agent in {} was another one: {what}. Start it as it was, allow more with --reconfiguration_policy=additive, or end its executors with --recover=cleanup and remove {}",
        work_dir.display(), meta.display()
    )]
    Incompatible {
        /// The work directory.
        work_dir: PathBuf,
        /// What to remove to start anew.
        meta: PathBuf,
        /// What is different.
        what: String,
    },
    /// Something of the installation is not there.
    #[error("cannot find {what}")]
    Missing {
        /// What.
        what: &'static str,
        /// Where it was looked for.
        #[source]
        source: std::io::Error,
    },
    /// The system refuses something.
    #[error("cannot {action}")]
    System {
        /// What.
        action: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// An error and everything behind it, in one line.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        // Some errors repeat what is behind them.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = source.source();
    }
    line.replace('\n', " ")
}

/// What a test brings instead of the real thing.
#[derive(Default)]
pub struct Parts {
    /// Instead of the one that starts processes.
    pub containerizer: Option<Arc<dyn Containerizer>>,
}

/// Why an agent stopped, if something went wrong. The first reason counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<OnceLock<String>>);

impl Failure {
    pub(crate) fn set(&self, line: String) {
        tracing::error!("{line}");
        let _ = self.0.set(line);
    }
}

/// An agent that is ready to run.
pub struct Agent {
    server: Server,
    incoming: TcpIncoming,
    actor: actor::Handle,
    sessions: Arc<Sessions>,
    tasks: Tasks,
    shutdown: Shutdown,
    failure: Failure,
    effects_ended: oneshot::Receiver<()>,
    _lock: Lock,
}

impl Agent {
    /// Starts an agent as the flags say. It looks for its master from now on.
    pub async fn start(flags: Parsed<Flags>, shutdown: Shutdown) -> Result<Self, StartError> {
        Self::start_with(flags, shutdown, Parts::default()).await
    }

    /// The same with other parts.
    pub async fn start_with(
        flags: Parsed<Flags>,
        shutdown: Shutdown,
        parts: Parts,
    ) -> Result<Self, StartError> {
        let Parsed { config: mut flags, effective } = flags;
        check(&flags)?;
        flags.work_dir = absolute(&flags.work_dir)?;
        let layout = Layout::new(&flags.work_dir);
        let runtime_dir =
            flags.runtime_dir.clone().unwrap_or_else(|| flags.work_dir.join("runtime"));
        let root = user::is_root();
        let before = {
            let (layout, flags, runtime_dir) = (layout.clone(), flags.clone(), runtime_dir.clone());
            blocking(move || Before::look(&layout, &flags, &runtime_dir, root)).await??
        };
        let Before { lock, mut found, loaded, machine } = before;

        let incoming = bind(&flags, &found).await?;
        let port = incoming.local_addr().port();
        let resources =
            detect::resources(flags.resources.as_deref(), &flags.default_role, machine)?;
        let info = identity::info(&flags, &resources, port)?;
        let info = {
            let hooks = loaded.hooks.clone();
            blocking(move || identity::decorate(info, &hooks)).await?
        };
        tracing::info!("Agent resources: {}", detect::shown(&info.resources));
        resume(&flags, &layout, &mut found, &info)?;

        let metrics = Metrics::new("mezzo_agent");
        let numbers = Numbers::new(&metrics);
        metrics.collector(ModuleCalls(Arc::clone(&loaded.modules)));
        let facts = Facts {
            port,
            command_executor: match &parts.containerizer {
                Some(_) => EXECUTOR.to_owned(),
                None => helper(&flags, EXECUTOR)?.to_string_lossy().into_owned(),
            },
            executor_environment: executor_environment(&flags)?,
            root,
            hooks: !loaded.hooks.is_empty(),
        };
        let containerizer = match parts.containerizer {
            Some(given) => given,
            None => containerizer(&flags, &runtime_dir, &loaded)?,
        };
        let settings = identity::settings(&flags, info.clone(), facts);

        let tasks = Tasks::new(shutdown.clone());
        let failure = Failure::default();
        let (handle, inputs) = actor::channel();
        let (steps, todo) = effects::channel();
        let (connect, connect_wanted) = watch::channel(false);
        let (agent_id, agent_id_known) = watch::channel(found.recovered.id.clone());
        let line = Arc::new(MasterLine::default());
        let sessions = Arc::new(Sessions::default());
        let hooks = match loaded.hooks.is_empty() {
            true => None,
            false => Some(
                Hooks::start(loaded.hooks.clone(), info, handle.clone())
                    .map_err(|e| system("start a thread", e))?,
            ),
        };
        let containers = Containers {
            containerizer: Arc::clone(&containerizer),
            actor: handle.clone(),
            tasks: tasks.clone(),
            hooks: loaded.hooks.clone().into(),
            numbers: numbers.clone(),
            failure: failure.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let effects = Effects {
            writer: Writer::new(layout.clone(), found.recovered.id.clone()),
            sessions: Arc::clone(&sessions),
            master: Arc::clone(&line),
            containers,
            hooks,
            numbers: numbers.clone(),
            connect,
            agent_id,
            failure: failure.clone(),
            shutdown: shutdown.clone(),
        };
        let (ended, effects_ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("effects".to_owned())
            .spawn(move || {
                effects.run(todo);
                // Nobody waits if the agent could not start.
                let _ = ended.send(());
            })
            .map_err(|e| system("start a thread", e))?;
        let core = Core::new(settings);
        let clock = Clock::system();
        tasks.task("actor").on_shutdown(OnShutdown::Finish).spawn(actor::run(
            core,
            inputs,
            steps,
            clock,
            shutdown.clone(),
        ));
        handle.say(Command::Recovered(Box::new(found.recovered))).await;

        let link = Link {
            master: flags.master.clone(),
            line,
            actor: handle.clone(),
            numbers,
            backoff: flags.registration_backoff_factor.get(),
            connect: connect_wanted,
            shutdown: shutdown.clone(),
        };
        tasks.task("master link").on_shutdown(OnShutdown::Finish).spawn(link.run());

        let facade = Arc::new(Facade {
            actor: handle.clone(),
            containerizer,
            layout,
            agent: agent_id_known,
            flags: effective,
            modules: loaded.modules,
            metrics: metrics.clone(),
            pace: service::Pace::default(),
        });
        let executors = Executors {
            actor: handle.clone(),
            sessions: Arc::clone(&sessions),
            tasks: tasks.clone(),
        };
        let server = Server::new(metrics)
            .options(ServeOptions { max_message_bytes: MAX_MESSAGE, ..ServeOptions::default() })
            .descriptors(mezzo_proto::FILE_DESCRIPTOR_SET)
            .service(ExecutorServiceServer::new(executors).max_decoding_message_size(MAX_MESSAGE))
            .service(
                AgentServiceServer::new(Operators(Arc::clone(&facade)))
                    .max_encoding_message_size(usize::MAX),
            )
            .http(service::http(facade));
        let health = server.health();
        for name in ["mezzo.v1.agent.AgentService", "mezzo.v1.executor.ExecutorService"] {
            health.set_serving(name, true).await;
        }
        Ok(Self {
            server,
            incoming,
            actor: handle,
            sessions,
            tasks,
            shutdown,
            failure,
            effects_ended,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.incoming.local_addr()
    }

    /// Runs until the shutdown. Executors go on; the next start of the agent finds them.
    pub async fn run(self) -> Result<(), String> {
        tracing::info!(address = %self.address(), "listening");
        if let Ok(mut leave) = signal(SignalKind::user_defined1()) {
            let actor = self.actor.clone();
            self.tasks.spawn("leave", async move {
                while leave.recv().await.is_some() {
                    actor.say(Command::Leave { unregister: true }).await;
                }
            });
        }
        let (shutdown, sessions) = (self.shutdown.clone(), self.sessions);
        self.tasks.task("session end").on_shutdown(OnShutdown::Finish).spawn(async move {
            shutdown.triggered().await;
            sessions.close_all();
        });
        let served = self.server.serve(self.incoming, self.shutdown.clone()).await;
        self.shutdown.trigger("the server ended");
        if let Err(late) = self.tasks.finish(STOP).await {
            tracing::warn!("{late}");
        }
        // What was decided last is written.
        let _ = tokio::time::timeout(STOP, self.effects_ended).await;
        served.map_err(|error| one_line(&error))?;
        match self.failure.0.get() {
            Some(line) => Err(line.clone()),
            None => Ok(()),
        }
    }
}

/// What can be known before anything is promised.
struct Before {
    lock: Lock,
    found: Found,
    loaded: Loaded,
    machine: Machine,
}

impl Before {
    fn look(
        layout: &Layout,
        flags: &Flags,
        runtime_dir: &Path,
        root: bool,
    ) -> Result<Self, StartError> {
        let lock = Lock::take(layout)?;
        let boot_id = Procfs::default().boot_id().map_err(|e| system("read the boot id", e))?;
        let mut found = store::recover(layout, &boot_id)?;
        found.recovered.cleanup = flags.recover == "cleanup";
        if found.recovered.rebooted {
            tracing::info!(
                "the machine was restarted since this agent last ran: nothing of it runs any more"
            );
            match std::fs::remove_dir_all(runtime_dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(system("clear the runtime directory", error));
                }
                _ => {}
            }
        }
        store::write_boot_id(layout, &boot_id)?;
        let loaded = modules::load(flags, runtime_dir, root)?;
        Ok(Self { lock, found, loaded, machine: Machine::look(&flags.work_dir) })
    }
}

/// Whether this is the agent that left what was found; if not, it is a new one or does not start.
fn resume(
    flags: &Flags,
    layout: &Layout,
    found: &mut Found,
    info: &mezzo_proto::v1::AgentInfo,
) -> Result<(), StartError> {
    let (Some(id), Some(old)) = (found.recovered.id.clone(), found.info.take()) else {
        return Ok(());
    };
    let mut old = old;
    if flags.port == 0 {
        // The operator does not care, so neither do we.
        old.port = info.port;
    }
    let additive = flags.reconfiguration_policy == "additive";
    let mut writer = Writer::new(layout.clone(), Some(id.clone()));
    match identity::changed(&old, info, additive) {
        Some(what) if found.recovered.rebooted => {
            tracing::warn!(agent = %id, "starting as a new agent: {what}");
            writer.write(Checkpoint::RemoveAgent(id))?;
            found.recovered = mezzo_agent_core::Recovered::default();
        }
        Some(what) => {
            let (work_dir, meta) = (layout.work_dir().to_owned(), layout.agents());
            return Err(StartError::Incompatible { work_dir, meta, what });
        }
        None => {
            let mut info = info.clone();
            info.id = Some(id.into());
            writer.write(Checkpoint::Agent(Box::new(info)))?;
        }
    }
    Ok(())
}

fn check(flags: &Flags) -> Result<(), StartError> {
    let port =
        flags.master.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains("//"));
    if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        let value = flags.master.clone();
        return Err(StartError::Flag {
            flag: "master",
            value,
            expected: "host:port, as 127.0.0.1:5050",
        });
    }
    if flags.executor_reregistration_timeout.get() > LONGEST_REREGISTRATION {
        return Err(StartError::Flag {
            flag: "executor_reregistration_timeout",
            value: flags.executor_reregistration_timeout.to_string(),
            expected: "at most 15secs",
        });
    }
    Ok(())
}

fn executor_environment(flags: &Flags) -> Result<BTreeMap<String, String>, StartError> {
    let Some(text) = &flags.executor_environment_variables else { return Ok(BTreeMap::new()) };
    serde_json::from_str(text).map_err(|_| StartError::Flag {
        flag: "executor_environment_variables",
        value: text.clone(),
        expected: "JSON as {\"NAME\":\"value\"}",
    })
}

/// The work directory as tasks will see it: sandboxes have absolute paths.
fn absolute(path: &Path) -> Result<PathBuf, StartError> {
    let failed = |source| LockError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)?;
    Ok(path.canonicalize().map_err(failed)?)
}

/// The port of the flag. An agent that takes any port takes the one it had, since its executors know that one.
async fn bind(flags: &Flags, found: &Found) -> Result<TcpIncoming, BindError> {
    if flags.port == 0 {
        let before = found
            .info
            .as_ref()
            .and_then(|info| info.port)
            .and_then(|port| u16::try_from(port).ok());
        if let Some(port) = before
            && let Ok(incoming) = serve::bind((flags.ip, port).into()).await
        {
            return Ok(incoming);
        }
    }
    serve::bind((flags.ip, flags.port).into()).await
}

const EXECUTOR: &str = "mezzo-executor";

/// A program of ours: in `--launcher_dir`, or beside this one.
fn helper(flags: &Flags, name: &'static str) -> Result<PathBuf, StartError> {
    let missing = |source| StartError::Missing { what: name, source };
    let mut places = Vec::new();
    if let Some(dir) = &flags.launcher_dir {
        places.push(dir.join(name));
    } else {
        let own = std::env::current_exe().map_err(missing)?;
        for dir in own.ancestors().skip(1).take(2) {
            places.push(dir.join(name));
            places.push(dir.join("deps").join(name));
        }
        places.extend(own.ancestors().nth(2).map(|above| above.join("lib/mezzo").join(name)));
    }
    if let Some(found) = places.iter().find(|place| place.is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Err(missing(std::io::Error::new(
        std::io::ErrorKind::NotFound,
        format!("looked at {}", looked.join(", ")),
    )))
}

fn containerizer(
    flags: &Flags,
    runtime_dir: &Path,
    loaded: &Loaded,
) -> Result<Arc<dyn Containerizer>, StartError> {
    let launcher = match &flags.launcher_dir {
        Some(_) => helper(flags, launch::LAUNCHER)?,
        None => launch::find_launcher()
            .map_err(|source| StartError::Missing { what: launch::LAUNCHER, source })?,
    };
    let mut config = Config::new(runtime_dir, launcher);
    config.isolators.clone_from(&loaded.isolators);
    config.hooks.clone_from(&loaded.hooks);
    config.cpus_are_limited = flags.cgroups_enable_cfs;
    config.kill_timeout = flags.cgroups_destroy_timeout.get();
    Ok(Arc::new(MezzoContainerizer::new(config)))
}

fn system(action: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> StartError {
    StartError::System { action, source: source.into() }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| system("prepare the agent", error))
}

/// The id as others of this crate need it.
pub(crate) type AgentIdKnown = watch::Receiver<Option<AgentId>>;
