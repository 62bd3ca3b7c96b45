//! Named tasks: every spawned future has a name, a span, a rule for its errors and a rule for the shutdown.
//!
//! [`Tasks`] is what a service holds: it knows what still runs, so that a shutdown can wait for it and name who kept it
//! from ending. [`spawn`] is for the places that own the handle themselves. Nothing else in the tree calls
//! `tokio::spawn` (clippy.toml bans it): a task without a name cannot be found in a trace or in a shutdown that hangs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument as _;

use crate::shutdown::Shutdown;

/// What an error (or a panic) of a task does to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnError {
    /// Log it; the process goes on.
    #[default]
    Log,
    /// Log it and trigger the shutdown: the process is useless without this task.
    Shutdown,
}

/// What the shutdown does to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnShutdown {
    /// Drop its future where it stands.
    #[default]
    Abort,
    /// Let it run: it watches the token itself and ends in its own order.
    Finish,
}

/// What a task may return: nothing, or a result whose error is handled by [`OnError`].
pub trait Outcome: Send + 'static {
    /// The error as one line, if it was one.
    fn error(self) -> Option<String>;
}

impl Outcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display + Send + 'static> Outcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Spawns a named task and gives its handle back. A panic is logged by the panic hook and found in the handle.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "the one place that names what it spawns")]
    tokio::spawn(future.instrument(tracing::info_span!("task", name)))
}

/// The tasks of a process or of one of its services. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Tasks {
    /// No task yet; those that come stop with `shutdown`.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self { tracker: TaskTracker::new(), shutdown, running: Arc::default() }
    }

    /// The token these tasks stop with.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Spawns with the usual rules: errors are logged, the shutdown aborts.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.task(name).spawn(future)
    }

    /// Starts the description of a task: `tasks.task("writer").on_error(OnError::Shutdown).spawn(..)`.
    #[must_use = "a described task runs only after .spawn(future)"]
    pub fn task(&self, name: &'static str) -> TaskBuilder<'_> {
        TaskBuilder {
            tasks: self,
            name,
            on_error: OnError::default(),
            on_shutdown: OnShutdown::default(),
        }
    }

    /// The names of the tasks that run now, with how many of each.
    #[must_use]
    pub fn running(&self) -> Vec<(&'static str, usize)> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|(name, count)| (*name, *count)).collect()
    }

    /// After the shutdown was triggered: waits until every task has ended, at most `deadline`. Names those that had not.
    pub async fn finish(&self, deadline: Duration) -> Result<(), StillRunning> {
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => {
                let names = self.running();
                if names.is_empty() {
                    return Ok(());
                }
                Err(StillRunning { names, deadline })
            }
        }
    }
}

/// A task being described.
pub struct TaskBuilder<'a> {
    tasks: &'a Tasks,
    name: &'static str,
    on_error: OnError,
    on_shutdown: OnShutdown,
}

impl TaskBuilder<'_> {
    /// What an error or a panic does; logging only, unless said.
    #[must_use]
    pub fn on_error(mut self, rule: OnError) -> Self {
        self.on_error = rule;
        self
    }

    /// What the shutdown does; abort, unless said.
    #[must_use]
    pub fn on_shutdown(mut self, rule: OnShutdown) -> Self {
        self.on_shutdown = rule;
        self
    }

    /// Spawns it. Dropping the handle changes nothing; aborting it ends the task.
    pub fn spawn<F>(self, future: F) -> JoinHandle<()>
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        let Self { tasks, name, on_error, on_shutdown } = self;
        let shutdown = tasks.shutdown.clone();
        let counted = Counted::new(name, Arc::clone(&tasks.running));
        let span = tracing::info_span!("task", name);
        let body = async move {
            let _counted = counted;
            let guarded = std::panic::AssertUnwindSafe(future).catch_unwind();
            let ended = match on_shutdown {
                OnShutdown::Finish => guarded.await,
                OnShutdown::Abort => tokio::select! {
                    biased;
                    () = shutdown.triggered() => return,
                    ended = guarded => ended,
                },
            };
            let error = match ended {
                Ok(outcome) => outcome.error(),
                Err(panic) => Some(format!("panicked: {}", panic_text(&*panic))),
            };
            let Some(error) = error else { return };
            tracing::error!(task = name, "task failed: {error}");
            if on_error == OnError::Shutdown {
                shutdown.trigger(format!("task {name} failed: {error}"));
            }
        };
        tasks.tracker.spawn(body.instrument(span))
    }
}

/// Some tasks had not ended when the deadline of a shutdown passed.
#[derive(Debug, thiserror::Error)]
#[error("still running {deadline:?} after the shutdown began: {}", list(names))]
pub struct StillRunning {
    /// Their names, with how many of each.
    pub names: Vec<(&'static str, usize)>,
    /// How long was waited.
    pub deadline: Duration,
}

/// A handle that aborts its task when it is dropped: for a task that must not outlive its owner.
pub fn abort_on_drop<T>(handle: JoinHandle<T>) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(handle)
}

/// What a panic said, as text.
#[must_use]
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

/// Counts a task as running for as long as it lives, however it ends.
struct Counted {
    name: &'static str,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Counted {
    fn new(name: &'static str, running: Arc<Mutex<BTreeMap<&'static str, usize>>>) -> Self {
        *running.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self { name, running }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

fn list(names: &[(&'static str, usize)]) -> String {
    let each: Vec<String> = names.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    each.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_of_a_critical_task_shuts_down() {
        let tasks = Tasks::new(Shutdown::new());
        tasks
            .task("critical")
            .on_error(OnError::Shutdown)
            .spawn(async { Err::<(), _>("disk full") });
        tasks.shutdown().triggered().await;
        assert_eq!(tasks.shutdown().reason(), Some("task critical failed: disk full"));
    }

    #[tokio::test]
    async fn a_panic_counts_as_an_error() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.task("critical").on_error(OnError::Shutdown).spawn(async {
            if true {
                panic!("on purpose")
            }
        });
        tasks.shutdown().triggered().await;
        assert_eq!(tasks.shutdown().reason(), Some("task critical failed: panicked: on purpose"));
    }

    #[tokio::test]
    async fn an_ordinary_error_lets_the_process_live() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn("ordinary", async { Err::<(), _>("once") }).await.unwrap();
        assert!(!tasks.shutdown().is_triggered());
    }

    #[tokio::test]
    async fn the_shutdown_aborts_and_waits_for_those_that_finish() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn("endless", std::future::pending::<()>());
        let (done, ended) = tokio::sync::oneshot::channel();
        let token = tasks.shutdown().clone();
        tasks.task("orderly").on_shutdown(OnShutdown::Finish).spawn(async move {
            token.triggered().await;
            let _ = done.send(());
        });
        assert_eq!(tasks.running(), vec![("endless", 1), ("orderly", 1)]);
        tasks.shutdown().trigger("test");
        tasks.finish(Duration::from_secs(10)).await.unwrap();
        ended.await.unwrap();
        assert!(tasks.running().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_is_named() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.task("stubborn").on_shutdown(OnShutdown::Finish).spawn(std::future::pending::<()>());
        tasks.shutdown().trigger("test");
        let error = tasks.finish(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "still running 1s after the shutdown began: stubborn (1)");
    }
}
