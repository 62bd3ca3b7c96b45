//! Calls to isolators and hooks, one function per moment of a container's life. All block.

use mezzo_model::ContainerId;
use mezzo_module_api::v1::{
    AgentPrelaunchRequest, CleanupRequest, ContainerLaunchInfo, ContainerLimitation,
    IsolateRequest, PrepareRequest, UpdateRequest, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Completion, ModuleError};
use mezzo_proto::v1::task_status::Reason;
use tokio::sync::mpsc;

use crate::config::{NamedHook, NamedIsolator};
use crate::merge::Variables;
use crate::pipeline::is_unimplemented;
use crate::{ContainerSpec, LaunchError, UpdateError};

/// Where completions of `watch` go. The first one ends the container, so one that finds the channel full has nothing to add.
#[derive(Clone)]
pub(crate) struct Limitations(mpsc::Sender<ContainerLimitation>);

impl Limitations {
    pub(crate) fn new(sender: mpsc::Sender<ContainerLimitation>) -> Self {
        Self(sender)
    }

    fn completion(&self, isolator: &str) -> Completion<WatchResponse> {
        let (sender, isolator) = (self.0.clone(), isolator.to_owned());
        Completion::new(move |result: Result<WatchResponse, ModuleError>| {
            let limitation = match result {
                Ok(response) => response.limitation.unwrap_or_default(),
                Err(error) if is_unimplemented(&error) => return,
                Err(error) => lost(&isolator, &error),
            };
            // The container may be gone already; then nobody needs to know.
            let _ = sender.try_send(limitation);
        })
    }
}

/// A container that nobody watches over any more cannot go on.
fn lost(isolator: &str, error: &ModuleError) -> ContainerLimitation {
    ContainerLimitation {
        message: Some(format!(
            "isolator '{isolator}' cannot watch the container any more: {error}"
        )),
        reason: Some(Reason::ContainerLimitation.into()),
        ..ContainerLimitation::default()
    }
}

/// Asks all in order; their launch infos, by name.
pub(crate) fn prepare(
    isolators: &[NamedIsolator],
    spec: &ContainerSpec,
) -> Result<Vec<(String, ContainerLaunchInfo)>, LaunchError> {
    let mut infos = Vec::new();
    for NamedIsolator { name, isolator } in isolators {
        let request = PrepareRequest {
            container_id: Some((&spec.container_id).into()),
            config: Some(spec.config.clone()),
        };
        match isolator.prepare(request) {
            Ok(response) => infos.extend(response.launch_info.map(|info| (name.clone(), info))),
            Err(error) if is_unimplemented(&error) => {}
            Err(source) => {
                return Err(LaunchError::Isolator {
                    isolator: name.clone(),
                    call: "prepare",
                    source,
                });
            }
        }
    }
    Ok(infos)
}

/// Lets a hook see what is about to start; adds the variables it wants.
pub(crate) fn prelaunch(
    NamedHook { name, hook }: &NamedHook,
    spec: &ContainerSpec,
    environment: &mut Variables,
    task_environment: &mut Variables,
) -> Result<(), LaunchError> {
    let request = AgentPrelaunchRequest {
        container_id: Some((&spec.container_id).into()),
        framework: spec.framework.clone(),
        config: Some(spec.config.clone()),
        environment: Some(environment.to_proto()),
    };
    match hook.agent_prelaunch(request) {
        Ok(response) => {
            if let Some(more) = &response.executor_environment {
                environment.set(more)?;
            }
            if let Some(more) = &response.task_environment {
                task_environment.set(more)?;
            }
            Ok(())
        }
        Err(error) if is_unimplemented(&error) => Ok(()),
        Err(source) => Err(LaunchError::Hook { hook: name.clone(), source }),
    }
}

/// Arms all; whoever has to say something says it to `limited`.
pub(crate) fn watch(isolators: &[NamedIsolator], id: &ContainerId, limited: &Limitations) {
    for NamedIsolator { name, isolator } in isolators {
        isolator.watch(WatchRequest { container_id: Some(id.into()) }, limited.completion(name));
    }
}

/// Puts the launcher under one isolator's control.
pub(crate) fn isolate(
    NamedIsolator { name, isolator }: &NamedIsolator,
    id: &ContainerId,
    pid: i32,
) -> Result<(), LaunchError> {
    let request = IsolateRequest { container_id: Some(id.into()), pid: u64::try_from(pid).ok() };
    match isolator.isolate(request) {
        Ok(_) => Ok(()),
        Err(error) if is_unimplemented(&error) => Ok(()),
        Err(source) => {
            Err(LaunchError::Isolator { isolator: name.clone(), call: "isolate", source })
        }
    }
}

/// Tells all the new limits; the first refusal is the outcome, but all are told.
pub(crate) fn update(
    isolators: &[NamedIsolator],
    id: &ContainerId,
    request: &UpdateRequest,
) -> Result<(), UpdateError> {
    let mut outcome = Ok(());
    for NamedIsolator { name, isolator } in isolators {
        match isolator.update(request.clone()) {
            Ok(_) => {}
            Err(error) if is_unimplemented(&error) => {}
            Err(source) => {
                let error = UpdateError { container: id.clone(), isolator: name.clone(), source };
                outcome = outcome.and(Err(error));
            }
        }
    }
    outcome
}

/// Asks all in reverse order, whatever the others say; what went wrong, in words.
pub(crate) fn clean_up(isolators: &[NamedIsolator], id: &ContainerId) -> Vec<String> {
    let mut failures = Vec::new();
    for NamedIsolator { name, isolator } in isolators.iter().rev() {
        match isolator.cleanup(CleanupRequest { container_id: Some(id.into()) }) {
            Ok(_) => {}
            Err(error) if is_unimplemented(&error) => {}
            Err(error) => failures.push(format!("isolator '{name}': {error}")),
        }
    }
    failures
}
