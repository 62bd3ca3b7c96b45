//! Calls to isolators and hooks, one function per moment of a container's life.
//!
//! Each call runs on a blocking thread and is waited for only so long ([`mezzo_runtime::lanes`]): a module that hangs fails
//! what it was asked for and holds up nothing else.

use std::time::Duration;

use mezzo_model::ContainerId;
use mezzo_module_api::v1::{
    AgentPostFetchRequest, AgentPrelaunchRequest, CleanupRequest, ContainerLaunchInfo,
    ContainerLimitation, IsolateRequest, PrepareRequest, UpdateRequest, WatchRequest,
    WatchResponse,
};
use mezzo_module_api::{Code, Completion, ModuleError, if_implemented};
use mezzo_proto::v1::task_status::Reason;
use mezzo_runtime::lanes::{Callee, NoAnswer};
use tokio::sync::mpsc;

use crate::config::{AnyHook, AnyIsolator, NamedHook, NamedIsolator};
use crate::variables::{Variables, WrongVariable};
use crate::{ContainerSpec, LaunchError, UpdateError};

/// Asks a module. One that does not do this, or has nothing to say, gives none.
pub(crate) fn ask<M: ?Sized + Send + Sync + 'static, T: Send + 'static>(
    module: &Callee<M>,
    call: &'static str,
    patience: Duration,
    work: impl FnOnce(&M) -> Result<T, ModuleError> + Send + 'static,
) -> impl Future<Output = Result<Option<T>, ModuleError>> + Send {
    let answer = module.call(call, patience, work);
    async move { answered(answer.await) }
}

/// What came back, in terms of modules.
fn answered<T>(answer: Result<Result<T, ModuleError>, NoAnswer>) -> Result<Option<T>, ModuleError> {
    match answer {
        Ok(answer) => if_implemented(answer),
        Err(none) => {
            let code = match none {
                NoAnswer::Late(_) => Code::DeadlineExceeded,
                NoAnswer::Closed(_) => Code::Unavailable,
                NoAnswer::Panicked => Code::Internal,
            };
            Err(ModuleError::new(code, none.to_string()))
        }
    }
}

/// Where completions of `watch` go. The first one ends the container, so one that finds the channel full has nothing to add.
#[derive(Clone)]
pub(crate) struct Limitations(mpsc::Sender<ContainerLimitation>);

impl Limitations {
    pub(crate) fn new(sender: mpsc::Sender<ContainerLimitation>) -> Self {
        Self(sender)
    }

    fn completion(&self, isolator: &str) -> Completion<WatchResponse> {
        let (limited, isolator) = (self.clone(), isolator.to_owned());
        Completion::new(move |result: Result<WatchResponse, ModuleError>| match result {
            Ok(response) => limited.tell(response.limitation.unwrap_or_default()),
            Err(error) if error.code == Code::Unimplemented => {}
            Err(error) => limited.lost(&isolator, &error),
        })
    }

    fn tell(&self, limitation: ContainerLimitation) {
        // The container may be gone already; then nobody needs to know.
        let _ = self.0.try_send(limitation);
    }

    /// A container that nobody watches over any more cannot go on.
    pub(crate) fn lost(&self, isolator: &str, error: &ModuleError) {
        self.tell(ContainerLimitation {
            message: Some(format!(
                "isolator '{isolator}' cannot watch the container any more: {error}"
            )),
            reason: Some(Reason::ContainerLimitation.into()),
            ..ContainerLimitation::default()
        });
    }
}

/// An isolator that did not come back from a call for a container: it cannot be asked about that container any more.
pub(crate) type Missing = String;

/// Asks all in order; their launch infos, by name. Who did not come back is added to `missing`.
pub(crate) async fn prepare(
    isolators: &[NamedIsolator],
    spec: &ContainerSpec,
    patience: Duration,
    missing: &mut Vec<Missing>,
) -> Result<Vec<(String, ContainerLaunchInfo)>, LaunchError> {
    let mut infos = Vec::new();
    for named in isolators {
        let request = PrepareRequest {
            container_id: Some((&spec.container_id).into()),
            config: Some(spec.config.clone()),
        };
        let id = spec.container_id.clone();
        let work = move |isolator: &AnyIsolator| isolator.prepare(request);
        let answer = named.call_or("prepare", patience, work, tidy(id, named.name())).await;
        let response = taken(named, "prepare", answer, missing)?;
        let info = response.and_then(|response| response.launch_info);
        infos.extend(info.map(|info| (named.name().to_owned(), info)));
    }
    Ok(infos)
}

/// Puts the launcher under one isolator's control.
pub(crate) async fn isolate(
    named: &NamedIsolator,
    id: &ContainerId,
    pid: i32,
    patience: Duration,
) -> Result<(), (LaunchError, Option<Missing>)> {
    let request = IsolateRequest { container_id: Some(id.into()), pid: u64::try_from(pid).ok() };
    let work = move |isolator: &AnyIsolator| isolator.isolate(request);
    let answer = named.call_or("isolate", patience, work, tidy(id.clone(), named.name())).await;
    let mut missing = Vec::new();
    taken(named, "isolate", answer, &mut missing).map(drop).map_err(|error| (error, missing.pop()))
}

/// What is done when an isolator comes back after nobody waited any more: the container is gone, and it was not asked to
/// clean up, since that must not overlap.
fn tidy<T>(
    id: ContainerId,
    name: &str,
) -> impl FnOnce(&AnyIsolator, Result<T, ModuleError>) + Send + 'static {
    let name = name.to_owned();
    move |isolator, _| {
        let cleaned = isolator.cleanup(CleanupRequest { container_id: Some((&id).into()) });
        match cleaned {
            Ok(_) => {
                tracing::info!(container = %id, isolator = name, "an isolator came back late and cleaned up")
            }
            Err(error) => {
                tracing::warn!(container = %id, isolator = name, "an isolator came back late and could not clean up: {error}")
            }
        }
    }
}

fn taken<T>(
    named: &NamedIsolator,
    call: &'static str,
    answer: Result<Result<T, ModuleError>, NoAnswer>,
    missing: &mut Vec<Missing>,
) -> Result<Option<T>, LaunchError> {
    if let Err(NoAnswer::Late(_)) = &answer {
        missing.push(named.name().to_owned());
    }
    answered(answer).map_err(|source| LaunchError::Isolator {
        isolator: named.name().to_owned(),
        call,
        source,
    })
}

/// Lets a hook see what is about to start; adds the variables it wants.
pub(crate) async fn prelaunch(
    hook: &NamedHook,
    spec: &ContainerSpec,
    environment: &mut Variables,
    task_environment: &mut Variables,
    patience: Duration,
) -> Result<(), LaunchError> {
    let request = AgentPrelaunchRequest {
        container_id: Some((&spec.container_id).into()),
        framework: spec.framework.clone(),
        config: Some(spec.config.clone()),
        environment: Some(environment.to_proto()),
    };
    let answer = ask(hook, "prelaunch", patience, move |hook| hook.agent_prelaunch(request)).await;
    let response = answer
        .map_err(|source| LaunchError::Hook { hook: hook.name().to_owned(), source })?
        .unwrap_or_default();
    let wrong = |variable: WrongVariable| variable.of_module("hook", hook.name());
    if let Some(more) = &response.executor_environment {
        environment.set(more).map_err(wrong)?;
    }
    if let Some(more) = &response.task_environment {
        task_environment.set(more).map_err(wrong)?;
    }
    Ok(())
}

/// Tells all hooks, in order, that the sandbox has everything it is to have. One that fails is passed over.
pub(crate) async fn post_fetch(hooks: &[NamedHook], spec: &ContainerSpec, patience: Duration) {
    for hook in hooks {
        let request = AgentPostFetchRequest {
            container_id: Some((&spec.container_id).into()),
            directory: Some(spec.config.directory.clone()),
        };
        let work = move |hook: &AnyHook| if_implemented(hook.agent_post_fetch(request));
        hook.call_or_pass("post_fetch", patience, work).await;
    }
}

/// Arms all; whoever has to say something says it to `limited`. The first that does not come back is the outcome.
pub(crate) async fn watch(
    isolators: &[NamedIsolator],
    id: &ContainerId,
    limited: &Limitations,
    patience: Duration,
) -> Result<(), (String, ModuleError)> {
    for named in isolators {
        let request = WatchRequest { container_id: Some(id.into()) };
        let done = limited.completion(named.name());
        let work = move |isolator: &AnyIsolator| {
            isolator.watch(request, done);
            Ok(())
        };
        ask(named, "watch", patience, work)
            .await
            .map_err(|source| (named.name().to_owned(), source))?;
    }
    Ok(())
}

/// Tells all the new limits; the first refusal is the outcome, but all are told.
pub(crate) async fn update(
    isolators: &[NamedIsolator],
    id: &ContainerId,
    request: &UpdateRequest,
    patience: Duration,
) -> Result<(), UpdateError> {
    let mut outcome = Ok(());
    for named in isolators {
        let request = request.clone();
        let work = move |isolator: &AnyIsolator| isolator.update(request);
        if let Err(source) = ask(named, "update", patience, work).await {
            let isolator = named.name().to_owned();
            outcome = outcome.and(Err(UpdateError { container: id.clone(), isolator, source }));
        }
    }
    outcome
}

/// What could not be cleaned up.
#[derive(Debug, Default)]
pub(crate) struct Uncleaned {
    /// By whom, and why.
    pub(crate) failures: Vec<(String, ModuleError)>,
    /// Who did not come back.
    pub(crate) missing: Vec<Missing>,
}

/// Asks all in reverse order, whatever the others say, but those that are still busy with this container.
pub(crate) async fn clean_up(
    isolators: &[NamedIsolator],
    id: &ContainerId,
    patience: Duration,
    busy: &[Missing],
) -> Uncleaned {
    let mut uncleaned = Uncleaned::default();
    let asked = isolators.iter().rev().filter(|named| !busy.iter().any(|b| b == named.name()));
    for named in asked {
        let request = CleanupRequest { container_id: Some(id.into()) };
        let work = move |isolator: &AnyIsolator| isolator.cleanup(request);
        let answer = named.call("cleanup", patience, work).await;
        let late = matches!(answer, Err(NoAnswer::Late(_)));
        if let Err(error) = answered(answer) {
            uncleaned.failures.push((named.name().to_owned(), error));
            if late {
                uncleaned.missing.push(named.name().to_owned());
            }
        }
    }
    uncleaned
}
