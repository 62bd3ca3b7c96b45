//! Puts a master together. The only file that knows all of its parts.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mezzo_master_core::{Cluster, Config, Instant};
use mezzo_module_api::Allocator;
use mezzo_module_host::{Manifest, Modules, NamedHook, Options, search_path};
use mezzo_proto::v1;
use mezzo_proto::v1::link::agent_link_server::AgentLinkServer;
use mezzo_proto::v1::master::master_service_server::MasterServiceServer;
use mezzo_proto::v1::scheduler::scheduler_service_server::SchedulerServiceServer;
use mezzo_runtime::clock::Clock;
use mezzo_runtime::config::Parsed;
use mezzo_runtime::errors::one_line;
use mezzo_runtime::metrics::Metrics;
use mezzo_runtime::serve::{self, ServeOptions, Server};
use mezzo_runtime::shutdown::Shutdown;
use mezzo_runtime::task::Tasks;
use mezzo_runtime::telemetry;
use mezzo_runtime::vital::Vital;
use tokio::sync::mpsc;

use crate::actor::{self, Actor, Handle};
use crate::allocation::Driver;
use crate::api::{MAX_MESSAGE, link, operator, scheduler};
use crate::config::Flags;
use crate::hooks::Hooks;
use crate::metrics::{Numbers, Readings};
use crate::registry::{self, Disk, Memory, Registry};
use crate::sessions::Sessions;

/// How long open calls may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(5);
/// How often the numbers of the cluster are brought up to date.
const READING_INTERVAL: Duration = Duration::from_secs(5);

/// Runs a master until it is told to stop.
///
/// # Errors
/// If it cannot start (flags, port, registry, modules), or the registry fails while it runs.
pub fn run(parsed: Parsed<Flags>) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(start(parsed));
    // A call that hangs inside a module would never let it end.
    runtime.shutdown_background();
    outcome
}

async fn start(parsed: Parsed<Flags>) -> Result<(), Box<dyn Error>> {
    let Parsed { config: flags, effective } = parsed;
    let telemetry = telemetry::init("mezzo-master", &flags.telemetry)?;
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals()?;
    let tasks = Tasks::new(shutdown.clone());
    let vital = Vital::new(shutdown.clone());
    let clock = Clock::system();
    let metrics = Metrics::new("mezzo_master");

    let listener = serve::bind(SocketAddr::new(flags.ip, flags.port)).await?;
    let address = listener.local_addr();
    let store = open_registry(&flags)?;
    let contents = store.load()?;
    // One that hangs while it is made does not keep the process from being told to stop.
    let loading = flags.clone();
    let loaded = tokio::select! {
        loaded = tokio::task::spawn_blocking(move || load_modules(&loading)) => loaded?,
        () = shutdown.triggered() => return Err("stopped before it had started".into()),
    };
    let Loaded { modules, allocator, hooks } =
        loaded.map_err(|error| -> Box<dyn Error> { error })?;
    let held = (Arc::clone(&allocator), hooks.clone());

    let config = core_config(&flags, address);
    let master_info = config.master_info.clone();
    tracing::info!(
        master = config.master_id,
        %address,
        admitted = contents.admitted.len(),
        unreachable = contents.unreachable.len(),
        "master starts"
    );
    let started = Instant(clock.monotonic_ns());
    let cluster = Cluster::new(config, contents.admitted, contents.unreachable, started);

    let sessions = Arc::new(Sessions::default());
    let numbers = Numbers::new(&metrics);
    let (inputs, queue) = mpsc::channel(actor::QUEUE);
    #[expect(
        clippy::disallowed_methods,
        reason = "the actor may not wait for the disk; a connection of an agent makes few writes"
    )]
    let (writes, committing) = mpsc::unbounded_channel();
    let (to_allocator, driver) = Driver::new(
        allocator,
        inputs.clone(),
        clock.clone(),
        flags.allocation_interval.get(),
        numbers.clone(),
    );
    let committer = inputs.clone();
    vital.thread("registry", move || {
        registry::run(store, committing, &committer).map_err(|error| one_line(&error))
    })?;
    vital.thread("allocator", move || {
        driver.run();
        Ok(())
    })?;
    let handle = Handle::new(inputs);
    let hooks = Hooks::start(hooks, flags.module_watchdog.get(), handle.clone(), &tasks);
    let (hooks, to_hooks) = hooks.unzip();
    let actor = Actor {
        cluster,
        inputs: queue,
        sessions: Arc::clone(&sessions),
        writes,
        allocator: to_allocator,
        hooks: to_hooks,
        numbers,
        clock: clock.clone(),
    };
    let actor_runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let actor_shutdown = shutdown.clone();
    vital.thread("actor", move || {
        actor_runtime.block_on(actor.run(actor_shutdown));
        Ok(())
    })?;

    let readings = Arc::new(Readings::new(&metrics, Arc::clone(&sessions), Arc::clone(&modules)));
    tasks.spawn("readings", read_now_and_then(handle.clone(), Arc::clone(&readings)));

    let heartbeat = flags.heartbeat_interval.get();
    let operator = operator::Service {
        actor: handle.clone(),
        sessions: Arc::clone(&sessions),
        modules: Arc::clone(&modules),
        metrics: metrics.clone(),
        readings,
        facts: operator::Facts {
            flags: effective,
            master_info,
            started: seconds(clock.wall_ns()),
            heartbeat,
        },
    };
    let scheduler =
        scheduler::Service::new(handle.clone(), Arc::clone(&sessions), heartbeat, hooks.clone());
    let link = link::Service::new(handle, sessions, hooks);
    let server = Server::new(metrics)
        .options(ServeOptions { max_message_bytes: MAX_MESSAGE, ..ServeOptions::default() })
        .descriptors(mezzo_proto::FILE_DESCRIPTOR_SET)
        .service(SchedulerServiceServer::new(scheduler).max_decoding_message_size(MAX_MESSAGE))
        .service(AgentLinkServer::new(link).max_decoding_message_size(MAX_MESSAGE))
        .service(MasterServiceServer::new(operator).max_decoding_message_size(MAX_MESSAGE));
    for service in ["scheduler.SchedulerService", "link.AgentLink", "master.MasterService"] {
        server.health().set_serving(&format!("mezzo.v1.{service}"), true).await;
    }
    tracing::info!(%address, "master is ready");
    server.serve(listener, shutdown.clone()).await?;
    if let Err(late) = tasks.finish(DRAIN).await {
        tracing::warn!("{late}");
    }
    for call in modules.stuck() {
        let (module, function) = (call.module, call.function);
        tracing::warn!(module, function, "not waited for: it has been called for {:?}", call.lasts);
    }
    // Among the last to hold the modules, which may have threads to end, and may hang in that.
    let _ = tokio::time::timeout(DRAIN, tokio::task::spawn_blocking(move || drop(held))).await;
    telemetry.finish().await;
    vital.failure().map_or(Ok(()), |line| Err(line.to_owned().into()))
}

fn open_registry(flags: &Flags) -> Result<Box<dyn Registry>, registry::RegistryError> {
    match flags.registry.as_str() {
        "in_memory" => Ok(Box::new(Memory::default())),
        _ => Ok(Box::new(Disk::open(&flags.work_dir)?)),
    }
}

/// The modules of a master.
struct Loaded {
    modules: Arc<Modules>,
    allocator: Arc<dyn Allocator>,
    hooks: Vec<NamedHook>,
}

fn load_modules(flags: &Flags) -> Result<Loaded, Box<dyn Error + Send + Sync>> {
    let runtime_dir = flags.work_dir.join("run");
    let mut options = Options::new("mezzo-master", env!("CARGO_PKG_VERSION"), runtime_dir);
    options.search = search_path(&[]);
    options.work_dir = Some(flags.work_dir.clone());
    options.watchdog = flags.module_watchdog.get();
    if let Some(modules) = &flags.modules {
        options.manifests.push(Manifest::from_flag(modules).map_err(of_flag("modules"))?);
    }
    if let Some(dir) = &flags.modules_dir {
        options.manifests.push(Manifest::from_dir(dir).map_err(of_flag("modules_dir"))?);
    }
    let modules = Arc::new(Modules::load(options)?);
    let allocator = modules.allocator(&flags.allocator).map_err(of_flag("allocator"))?;
    let hooks = modules.hooks(flags.hooks.as_deref().unwrap_or_default());
    let hooks = hooks.map_err(of_flag("hooks"))?;
    modules.sweep();
    allocator.initialize(crate::config::allocator_options(flags)?)?;
    Ok(Loaded { modules, allocator, hooks })
}

/// Says which flag it was.
fn of_flag<E: Error>(flag: &'static str) -> impl Fn(E) -> String {
    move |error| format!("flag --{flag}: {}", one_line(&error))
}

fn core_config(flags: &Flags, address: SocketAddr) -> Config {
    let master_id = uuid::Uuid::new_v4().to_string();
    let hostname = flags.hostname.clone().unwrap_or_else(|| address.ip().to_string());
    let packed = match address.ip() {
        // In network byte order, as Mesos packs it.
        IpAddr::V4(ip) => u32::from_ne_bytes(ip.octets()),
        IpAddr::V6(_) => 0,
    };
    let master_info = v1::MasterInfo {
        id: master_id.clone(),
        ip: packed,
        port: u32::from(address.port()),
        pid: Some(format!("master@{address}")),
        hostname: Some(hostname.clone()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        address: Some(v1::Address {
            hostname: Some(hostname),
            ip: Some(address.ip().to_string()),
            port: i32::from(address.port()),
        }),
        ..v1::MasterInfo::default()
    };
    Config {
        master_id,
        master_info,
        heartbeat_interval: flags.heartbeat_interval.get(),
        agent_ping_timeout: flags.agent_ping_timeout.get(),
        max_agent_ping_timeouts: flags.max_agent_ping_timeouts,
        agent_reregister_timeout: flags.agent_reregister_timeout.get(),
        offer_timeout: flags.offer_timeout.map(|t| t.get()),
        max_completed_frameworks: flags.max_completed_frameworks,
        max_completed_tasks_per_framework: flags.max_completed_tasks_per_framework,
        max_unreachable_tasks_per_framework: flags.max_unreachable_tasks_per_framework,
        root_submissions: flags.root_submissions,
    }
}

async fn read_now_and_then(actor: Handle, readings: Arc<Readings>) {
    let mut interval = tokio::time::interval(READING_INTERVAL);
    loop {
        interval.tick().await;
        let Ok(books) = actor.snapshot().await else { return };
        readings.read(&books);
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds are enough for a start time")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
