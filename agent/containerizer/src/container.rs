//! One container and the task that owns it, from launch to end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mezzo_linux::process::ProcessId;
use mezzo_module_api::v1::ContainerLimitation;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{Resource, TaskState, value};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::pipeline::{Job, Step, Stuck};
use crate::{ContainerSpec, ExitStatus, LaunchError, Launched, Termination};

/// A kill that fails is repeated after a pause between these two.
const KILL_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the reason of a SIGKILL may take to follow the exit that it caused (out of memory).
const REASON_TIME: Duration = Duration::from_millis(200);

/// What others can see of a container, and ask of it.
pub(crate) struct Container {
    pub(crate) spec: Arc<ContainerSpec>,
    phase: watch::Sender<Phase>,
    /// Counts the requests to end it.
    destroy: watch::Sender<u64>,
    /// The launcher, once it is known.
    pub(crate) process: OnceLock<ProcessId>,
    /// What it may use; unknown after a restart of the agent until the first update.
    pub(crate) limits: Mutex<Option<Allowance>>,
}

/// Requests and limits, as last told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowance {
    pub(crate) requests: Vec<Resource>,
    pub(crate) limits: BTreeMap<String, value::Scalar>,
}

/// How far a container is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It starts or runs.
    Alive,
    /// It is being ended.
    Ending,
    /// Its processes do not die; tried again after a while.
    Stuck(Stuck),
    /// It is gone.
    Ended(Arc<Ended>),
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) termination: Termination,
    /// What could not be cleaned up.
    pub(crate) leftovers: Vec<String>,
}

impl Container {
    pub(crate) fn new(spec: Arc<ContainerSpec>, allowance: Option<Allowance>) -> Self {
        Self {
            spec,
            phase: watch::Sender::new(Phase::Alive),
            destroy: watch::Sender::new(0),
            process: OnceLock::new(),
            limits: Mutex::new(allowance),
        }
    }

    /// The limits it has, if they are known.
    pub(crate) fn allowance(&self) -> Option<Allowance> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn allow(&self, allowance: Allowance) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Some(allowance);
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Alive)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }

    /// Until it has ended.
    pub(crate) async fn ended(&self) -> Arc<Ended> {
        let mut phase = self.phase.subscribe();
        loop {
            if let Phase::Ended(ended) = &*phase.borrow_and_update() {
                return Arc::clone(ended);
            }
            if phase.changed().await.is_err() {
                // Cannot be: `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks for its end, now; the future is the outcome of that.
    pub(crate) fn destroy(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<Arc<Ended>, Stuck>> + Send + 'static {
        let container = Arc::clone(self);
        let mut phase = container.phase.subscribe();
        // A failure of an earlier attempt is not the answer to this request.
        let mut before = matches!(*phase.borrow_and_update(), Phase::Stuck(_));
        container.destroy.send_modify(|count| *count += 1);
        async move {
            loop {
                match &*phase.borrow_and_update() {
                    Phase::Ended(ended) => return Ok(Arc::clone(ended)),
                    Phase::Stuck(stuck) if !before => return Err(stuck.clone()),
                    _ => {}
                }
                before = false;
                if phase.changed().await.is_err() {
                    // Cannot be: `container` holds the sender.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// How far its owner has to take a container.
pub(crate) enum Beginning {
    /// From nothing. The outcome goes to whoever asked for it, and to the registry.
    Launch { turn: Arc<Semaphore>, outcome: oneshot::Sender<Result<Launched, LaunchError>> },
    /// It was launched by an earlier life of the agent and runs.
    Running,
    /// It has ended, or must; what is left of it has to go.
    Over(Termination),
}

/// Owns a container to its end. `gone` is called once it has ended; with false if it was never launched.
pub(crate) async fn own(
    container: Arc<Container>,
    mut job: Job,
    beginning: Beginning,
    gone: impl FnOnce(bool),
) {
    let mut destroy = container.destroy.subscribe();
    let mut done = Step::ALL.to_vec();
    let termination = match beginning {
        Beginning::Over(termination) => termination,
        Beginning::Running => live(&mut job, &mut destroy).await,
        Beginning::Launch { turn, outcome } => {
            done.clear();
            // Boxed, as a launch is short and the life of a container long.
            let launch = Box::pin(launch(&container, &mut job, &mut done, &destroy, turn));
            let launched = launch.await;
            job.turn = None;
            match launched {
                Ok(launched) => {
                    let _ = outcome.send(Ok(launched));
                    live(&mut job, &mut destroy).await
                }
                Err(error) => {
                    let termination = failed_launch(&error);
                    Box::pin(undo(&container, &mut job, done, &mut destroy)).await;
                    gone(false);
                    publish(&container, termination, &mut job);
                    let _ = outcome.send(Err(error));
                    return;
                }
            }
        }
    };
    Box::pin(undo(&container, &mut job, done, &mut destroy)).await;
    let termination = Termination { exit: job.exit.or(termination.exit), ..termination };
    publish(&container, termination, &mut job);
    gone(true);
}

/// Does all steps; those that were begun are in `done`.
async fn launch(
    container: &Container,
    job: &mut Job,
    done: &mut Vec<Step>,
    destroy: &watch::Receiver<u64>,
    turn: Arc<Semaphore>,
) -> Result<Launched, LaunchError> {
    // The semaphore is never closed.
    job.turn = turn.acquire_owned().await.ok();
    for step in Step::ALL {
        if *destroy.borrow() > 0 {
            return Err(LaunchError::Destroyed(container.spec.container_id.clone()));
        }
        done.push(step);
        step.run(job).await?;
    }
    let id = job
        .process
        .as_ref()
        .map(|p| p.id())
        .ok_or_else(|| LaunchError::CutOff("no process was started".to_owned()))?;
    let _ = container.process.set(id);
    Ok(Launched { pid: u32::try_from(id.pid).unwrap_or_default() })
}

/// Until the container has to end: its process has, an isolator says so, or somebody asks for it.
async fn live(job: &mut Job, destroy: &mut watch::Receiver<u64>) -> Termination {
    let Some(process) = job.process.clone() else { return Termination::default() };
    let asked = async {
        let _ = destroy.wait_for(|count| *count > 0).await;
    };
    tokio::select! {
        // An isolator knows more than an exit status.
        biased;
        Some(limitation) = job.limitations.recv() => limited(limitation),
        () = process.ended() => {
            job.reap().await;
            // The kernel kills, then tells why. The launcher itself may have been the victim, so no status counts as well.
            if matches!(job.exit, Some(ExitStatus::Signaled(9)) | None) {
                let reason = tokio::time::timeout(REASON_TIME, job.limitations.recv()).await;
                return reason.ok().flatten().map(limited).unwrap_or_default();
            }
            Termination::default()
        }
        () = asked => Termination::default(),
    }
}

/// Undoes what was done, the last step first.
async fn undo(
    container: &Container,
    job: &mut Job,
    mut done: Vec<Step>,
    destroy: &mut watch::Receiver<u64>,
) {
    container.phase.send_replace(Phase::Ending);
    let (mut pause, longest) = KILL_PAUSE;
    while let Some(step) = done.last().copied() {
        match step.undo(job).await {
            Ok(()) => drop(done.pop()),
            Err(stuck) => {
                tracing::error!(container = %container.spec.container_id, reason = stuck.0, "a container cannot be killed");
                destroy.borrow_and_update();
                container.phase.send_replace(Phase::Stuck(stuck));
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
                    _ = destroy.changed() => {}
                }
                container.phase.send_replace(Phase::Ending);
            }
        }
    }
}

fn publish(container: &Container, termination: Termination, job: &mut Job) {
    let leftovers = std::mem::take(&mut job.leftovers);
    container.phase.send_replace(Phase::Ended(Arc::new(Ended { termination, leftovers })));
}

fn limited(limitation: ContainerLimitation) -> Termination {
    Termination {
        exit: None,
        state: Some(TaskState::TaskFailed),
        reason: Some(match limitation.reason {
            // Not `reason()`: its default is the first of the enumeration.
            Some(number) => Reason::try_from(number).unwrap_or(Reason::ContainerLimitation),
            None => Reason::ContainerLimitation,
        }),
        message: limitation.message,
        limited_resources: limitation.resources,
    }
}

fn failed_launch(error: &LaunchError) -> Termination {
    Termination {
        state: Some(TaskState::TaskFailed),
        reason: Some(Reason::ContainerLaunchFailed),
        message: Some(error.task_message()),
        ..Termination::default()
    }
}
