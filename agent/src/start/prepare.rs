//! What has to be known and to be there before an agent runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mezzo_agent_core::Checkpoint;
use mezzo_containerizer::{Config, Containerizer, MezzoContainerizer};
use mezzo_linux::launch;
use mezzo_linux::procfs::Procfs;
use mezzo_model::Resources;
use mezzo_runtime::serve::{self, BindError, TcpIncoming};
use mezzo_runtime::shutdown::Shutdown;

use super::StartError;
use super::error::system;
use crate::detect::{self, Machine};
use crate::flags::Flags;
use crate::identity;
use crate::modules::{self, Loaded};
use crate::store::{self, Found, Layout, Lock, LockError, Writer};

/// The most that executors may be waited for after a restart.
const LONGEST_REREGISTRATION: Duration = Duration::from_secs(15);

/// What can be known before anything is promised.
pub(super) struct Before {
    pub(super) lock: Lock,
    pub(super) found: Found,
    pub(super) loaded: Loaded,
    /// What this agent has, before hooks change it.
    pub(super) resources: Resources,
}

impl Before {
    pub(super) fn look(
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
        let machine = Machine::look(&flags.work_dir);
        let resources =
            detect::resources(flags.resources.as_deref(), &flags.default_role, machine)?;
        let loaded = modules::load(flags, runtime_dir, root, &resources)?;
        Ok(Self { lock, found, loaded, resources })
    }
}

/// Whether this is the agent that left what was found; if not, it is a new one or does not start.
pub(super) fn resume(
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

pub(super) fn check(flags: &Flags) -> Result<(), StartError> {
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

pub(super) fn executor_environment(flags: &Flags) -> Result<BTreeMap<String, String>, StartError> {
    let Some(text) = &flags.executor_environment_variables else { return Ok(BTreeMap::new()) };
    serde_json::from_str(text).map_err(|_| StartError::Flag {
        flag: "executor_environment_variables",
        value: text.clone(),
        expected: "JSON as {\"NAME\":\"value\"}",
    })
}

/// The work directory as tasks will see it: sandboxes have absolute paths.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, StartError> {
    let failed = |source| LockError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)?;
    Ok(path.canonicalize().map_err(failed)?)
}

/// The port of the flag. An agent that takes any port takes the one it had, since its executors know that one.
pub(super) async fn bind(flags: &Flags, found: &Found) -> Result<TcpIncoming, BindError> {
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

pub(super) const EXECUTOR: &str = "mezzo-executor";

/// A program of ours: in `--launcher_dir`, or beside this one.
pub(super) fn helper(flags: &Flags, name: &'static str) -> Result<PathBuf, StartError> {
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

pub(super) fn containerizer(
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
    config.cpus_are_limited = flags.isolation_flags.cgroups_enable_cfs;
    if let Some(timeout) = flags.isolation_flags.cgroups_destroy_timeout {
        config.kill_timeout = timeout.get();
    }
    config.module_watchdog = flags.module_watchdog.get();
    config.module_call_timeout = flags.module_call_timeout.get();
    Ok(Arc::new(MezzoContainerizer::new(config)))
}

/// Runs what may take long, unless the process is told to stop meanwhile: modules are made here, and one may hang.
pub(super) async fn blocking<T: Send + 'static>(
    shutdown: &Shutdown,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => {
            done.map_err(|error| system("prepare the agent", error))
        }
        () = shutdown.triggered() => Err(StartError::Stopped),
    }
}
