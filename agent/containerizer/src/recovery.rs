//! After a restart of the agent: which containers run on, which have ended, which nobody wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mezzo_linux::launch;
use mezzo_linux::process::ProcessId;
use mezzo_linux::procfs::Procfs;
use mezzo_model::ContainerId;
use mezzo_module_api::v1::{ContainerConfig, ContainerState, RecoverRequest};
use mezzo_proto::v1::Environment;
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::container::{Beginning, Container};
use crate::isolators;
use crate::launcher::{Launcher, Process, recorded_exit};
use crate::mezzo::Shared;
use crate::pipeline::Job;
use crate::runtime_dir::{self, Files};
use crate::{ContainerSpec, RecoverError, RecoveredContainer, Recovery, Termination};

/// One container that was found, or should have been.
struct Found {
    id: ContainerId,
    /// None for an orphan.
    config: Option<ContainerConfig>,
    process: Option<Arc<dyn Process>>,
    termination: Termination,
}

pub(crate) async fn recover(
    shared: Arc<Shared>,
    expected: Vec<RecoveredContainer>,
) -> Result<Recovery, RecoverError> {
    let found = {
        let (config, launcher) = (Arc::clone(&shared.config), Arc::clone(&shared.launcher));
        let work = move || look(&config, &*launcher, expected);
        spawn_blocking(work).await.map_err(|panic| RecoverError::CutOff(panic.to_string()))??
    };
    tell_isolators(&shared.config, &found).await?;
    let mut recovery = Recovery::default();
    for Found { id, config, process, termination } in found {
        let orphan = config.is_none();
        let spec = Arc::new(ContainerSpec {
            container_id: id.clone(),
            config: config.unwrap_or_default(),
            environment: Environment::default(),
            framework: None,
            forked_pid: None,
        });
        let container = Arc::new(Container::new(Arc::clone(&spec), None));
        if !shared.enter(&container) {
            continue;
        }
        let mut job = Job::new(Arc::clone(&shared.config), Arc::clone(&shared.launcher), spec);
        job.process.clone_from(&process);
        let beginning = match process {
            Some(process) if !orphan => {
                let _ = container.process.set(process.id());
                let Config { isolators, module_call_timeout: patience, .. } = &*shared.config;
                let watched = isolators::watch(isolators, &id, &job.limited, *patience).await;
                if let Err((isolator, error)) = watched {
                    job.limited.lost(&isolator, &error);
                }
                recovery.running.push(id);
                Beginning::Running
            }
            _ => {
                if orphan { &mut recovery.orphans } else { &mut recovery.ended }.push(id);
                Beginning::Over(termination)
            }
        };
        shared.own(container, job, beginning);
    }
    Ok(recovery)
}

fn look(
    config: &Config,
    launcher: &dyn Launcher,
    expected: Vec<RecoveredContainer>,
) -> Result<Vec<Found>, RecoverError> {
    let root = &config.runtime_dir;
    let rebooted = runtime_dir::note_boot(root, &Procfs::default().boot_id().unwrap_or_default())
        .map_err(|source| RecoverError::Read { path: root.join("boot_id"), source })?;
    let mut configs: HashMap<_, _> =
        expected.into_iter().map(|c| (c.container_id, c.config)).collect();
    let mut found = Vec::new();
    let listed = runtime_dir::list(root)
        .map_err(|source| RecoverError::Read { path: root.join("containers"), source })?;
    for id in listed {
        let files = Files::of(root, &id);
        let process = match written_pid(&files) {
            // A pid of another boot is somebody else's now.
            Some(_) if rebooted => None,
            Some(pid) => launcher
                .adopt(pid, &files)
                .map_err(|source| RecoverError::Process { container: id.clone(), source })?,
            None => None,
        };
        let exit = if process.is_none() { recorded_exit(&files) } else { None };
        let termination = Termination { exit, ..Termination::default() };
        found.push(Found { config: configs.remove(&id), id, process, termination });
    }
    // Those of which nothing was written down never ran, or the machine was restarted.
    let lost = configs.into_iter().map(|(id, config)| Found {
        id,
        config: Some(config),
        process: None,
        termination: Termination::default(),
    });
    found.extend(lost);
    Ok(found)
}

/// A file that is empty or damaged is as good as none: its container never ran, or cannot be found any more. A launcher
/// whose agent died before this was written whole has ended by itself.
fn written_pid(files: &Files) -> Option<ProcessId> {
    match launch::read_pid_file(&files.pid()) {
        Ok(id) => id,
        Err(error) => {
            tracing::warn!(%error, "a container's pid cannot be read; it counts as ended");
            None
        }
    }
}

async fn tell_isolators(config: &Config, found: &[Found]) -> Result<(), RecoverError> {
    let mut request = RecoverRequest::default();
    for Found { id, config, process, .. } in found {
        match (config, process) {
            (Some(config), Some(process)) => request.states.push(ContainerState {
                executor_info: config.executor_info.clone(),
                container_info: config.container_info.clone(),
                container_id: id.into(),
                pid: u64::try_from(process.id().pid).unwrap_or_default(),
                directory: config.directory.clone(),
                ephemeral_volumes: config.ephemeral_volumes.clone(),
            }),
            // Cleaned up right after, whoever wanted them.
            _ => request.orphans.push(id.into()),
        }
    }
    for named in &config.isolators {
        let request = request.clone();
        // Nothing can go on without it, so it may take its time; a watchdog tells when that is long.
        isolators::ask(named, "recover", Duration::MAX, move |isolator| isolator.recover(request))
            .await
            .map_err(|source| RecoverError::Isolator {
                isolator: named.name().to_owned(),
                source,
            })?;
    }
    Ok(())
}
