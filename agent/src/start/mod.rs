//! Puts an agent together, runs it, takes it apart.

mod error;
mod prepare;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mezzo_agent_core::{Agent as Core, Command};
use mezzo_containerizer::{Containerizer, NamedHook};
use mezzo_linux::user;
use mezzo_model::AgentId;
use mezzo_proto::v1::agent::agent_service_server::AgentServiceServer;
use mezzo_proto::v1::executor::executor_service_server::ExecutorServiceServer;
use mezzo_runtime::clock::Clock;
use mezzo_runtime::config::Parsed;
use mezzo_runtime::errors::one_line;
use mezzo_runtime::metrics::Metrics;
use mezzo_runtime::serve::{ServeOptions, Server, TcpIncoming};
use mezzo_runtime::shutdown::Shutdown;
use mezzo_runtime::task::{OnError, OnShutdown, Tasks};
use mezzo_runtime::vital::Vital;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

pub use error::StartError;

use error::system;
use prepare::{
    Before, EXECUTOR, absolute, bind, blocking, check, containerizer, executor_environment, helper,
    resume,
};

use crate::containers::{Awaited, Containers};
use crate::detect;
use crate::effects::Effects;
use crate::executors::{Executors, Sessions};
use crate::flags::Flags;
use crate::hooks::{Hooks, Patience};
use crate::identity::{self, Facts};
use crate::link::{Link, MasterLine};
use crate::modules::Loaded;
use crate::numbers::{ModuleCalls, Numbers};
use crate::service::{Facade, Operators};
use crate::store::{Layout, Lock, Writer};
use crate::{actor, effects, service};

/// How long the parts of an agent may take to end.
const STOP: Duration = Duration::from_secs(5);
/// Executors may send results of tens of megabytes.
const MAX_MESSAGE: usize = 64 << 20;

/// What a test brings instead of the real thing.
#[derive(Default)]
pub struct Parts {
    /// Instead of the one that starts processes.
    pub containerizer: Option<Arc<dyn Containerizer>>,
}

/// An agent that is ready to run.
pub struct Agent {
    server: Server,
    incoming: TcpIncoming,
    actor: actor::Handle,
    sessions: Arc<Sessions>,
    tasks: Tasks,
    shutdown: Shutdown,
    vital: Vital,
    effects_ended: oneshot::Receiver<()>,
    loaded: Loaded,
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
            blocking(&shutdown, move || Before::look(&layout, &flags, &runtime_dir, root)).await??
        };
        let Before { lock, mut found, loaded, resources } = before;
        let patience = Patience {
            prompt: flags.module_watchdog.get(),
            blocking: flags.module_call_timeout.get(),
        };

        let incoming = bind(&flags, &found).await?;
        let port = incoming.local_addr().port();
        let info = identity::info(&flags, &resources, port)?;
        let info = tokio::select! {
            info = identity::decorate(info, &loaded.hooks, patience.blocking) => info,
            () = shutdown.triggered() => return Err(StartError::Stopped),
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
        let vital = Vital::new(shutdown.clone());
        let (handle, inputs) = actor::channel();
        let (steps, todo) = effects::channel();
        let (connect, connect_wanted) = watch::channel(false);
        let (agent_id, agent_id_known) = watch::channel(found.recovered.id.clone());
        let line = Arc::new(MasterLine::default());
        let sessions = Arc::new(Sessions::default());
        let chain: Arc<[NamedHook]> = loaded.hooks.clone().into();
        let hooks = (!chain.is_empty()).then(|| {
            Hooks::start(Arc::clone(&chain), info, handle.clone(), tasks.clone(), patience)
        });
        let containers = Containers {
            containerizer: Arc::clone(&containerizer),
            actor: handle.clone(),
            tasks: tasks.clone(),
            hooks: chain,
            patience: patience.blocking,
            awaited: Awaited::default(),
            numbers: numbers.clone(),
            vital: vital.clone(),
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
            vital: vital.clone(),
            shutdown: shutdown.clone(),
        };
        let (ended, effects_ended) = oneshot::channel();
        vital
            .thread("effects", move || {
                effects.run(todo);
                // Nobody waits if the agent could not start.
                let _ = ended.send(());
                Ok(())
            })
            .map_err(|e| system("start a thread", e))?;
        let core = Core::new(settings);
        let clock = Clock::system();
        let actor = tasks.task("actor").on_shutdown(OnShutdown::Finish).on_error(OnError::Shutdown);
        actor.spawn(actor::run(core, inputs, steps, clock, shutdown.clone()));
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
            modules: Arc::clone(&loaded.modules),
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
            vital,
            effects_ended,
            loaded,
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
        for call in self.loaded.modules.stuck() {
            tracing::warn!(
                module = call.module,
                function = call.function,
                "not waited for: it has been called for {:?}",
                call.lasts
            );
        }
        // They are the last to hold the modules, which may have threads to end, and may hang in that.
        let loaded = self.loaded;
        let _ = tokio::time::timeout(STOP, tokio::task::spawn_blocking(move || drop(loaded))).await;
        served.map_err(|error| one_line(&error))?;
        self.vital.failure().map_or(Ok(()), |line| Err(line.to_owned()))
    }
}

/// The id as others of this crate need it.
pub(crate) type AgentIdKnown = watch::Receiver<Option<AgentId>>;
