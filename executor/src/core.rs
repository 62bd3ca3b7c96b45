//! The decisions of the command executor: what to do with its one task when something happens.
//!
//! Pure: every method gets the time and answers with [`Action`]s, so that grace periods and races are tested without
//! processes or waiting.

use std::time::{Duration, Instant};

use mezzo_proto::v1::framework_info::capability::Type as Capability;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{
    CommandInfo, DurationInfo, FrameworkInfo, KillPolicy, TaskId, TaskInfo, TaskState,
};

use crate::wording::{self, Exit};

/// Between SIGTERM and SIGKILL when nobody said otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(3);
/// How long to wait for the acknowledgement of the last update.
const LINGER: Duration = Duration::from_secs(60);
/// The same after SHUTDOWN, when there may be nobody left to acknowledge.
const SHUTDOWN_LINGER: Duration = Duration::from_secs(1);
/// What of the shutdown grace is kept back to reap and to report.
const REPORT_TIME: Duration = Duration::from_secs(2);
/// How long a SIGKILL that nobody asked for is kept back. When memory runs out the kernel kills first, and then the agent
/// destroys the container with the true reason: the task's last status should be that one.
const UNASKED_KILL: Duration = Duration::from_millis(250);
/// How long to try to subscribe for the first time.
const SUBSCRIPTION_TIMEOUT: Duration = Duration::from_secs(60);
/// How often SIGKILL is repeated while the task has not ended.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// What the process around this has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Send a status update.
    Report(Report),
    /// Start the command; [`Core::started`] wants to know how it went.
    Start(Box<CommandInfo>),
    /// SIGTERM to everything of the task.
    Terminate,
    /// SIGKILL to everything of the task.
    Kill,
    /// End this process: all is done.
    Exit,
    /// End this process: no agent wants it.
    NoAgent,
}

/// A status update before it has a uuid and a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) task_id: TaskId,
    pub(crate) state: TaskState,
    pub(crate) message: Option<String>,
    pub(crate) reason: Option<Reason>,
    pub(crate) healthy: Option<bool>,
}

/// The command executor: at most one task, ever.
#[derive(Debug)]
pub(crate) struct Core {
    shutdown_grace: Duration,
    recovery_timeout: Option<Duration>,
    reports_killing: bool,
    shutting_down: bool,
    connected: bool,
    was_connected: bool,
    task: Option<Task>,
    /// When to stop waiting for the agent.
    give_up: Option<Instant>,
    /// When to stop waiting for the last acknowledgement.
    leave: Option<Instant>,
}

#[derive(Debug)]
struct Task {
    id: TaskId,
    grace: Duration,
    max_completion: Option<Duration>,
    /// When it has to be done by itself.
    complete_by: Option<Instant>,
    kill: Option<Killing>,
    /// How it ended, and when to say so, if not at once.
    unasked: Option<(Exit, Instant)>,
    ended: bool,
}

#[derive(Debug)]
struct Killing {
    since: Instant,
    sigkill_at: Instant,
    /// Not asked for: it ran too long.
    too_long: bool,
}

impl Core {
    /// Gives up when the agent has not taken our subscription after a minute; the agent has given up on us by then.
    pub(crate) fn new(
        shutdown_grace: Duration,
        recovery_timeout: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            shutdown_grace,
            recovery_timeout,
            reports_killing: false,
            shutting_down: false,
            connected: false,
            was_connected: false,
            task: None,
            give_up: Some(now + SUBSCRIPTION_TIMEOUT),
            leave: None,
        }
    }

    /// The agent has taken our subscription.
    pub(crate) fn subscribed(&mut self, framework: &FrameworkInfo) {
        self.connected = true;
        self.was_connected = true;
        self.give_up = None;
        self.reports_killing =
            framework.capabilities.iter().any(|c| c.r#type() == Capability::TaskKillingState);
    }

    /// There is no stream to the agent. A framework that does not checkpoint gives up its tasks when it loses the agent;
    /// others wait for its return.
    pub(crate) fn disconnected(&mut self, now: Instant) -> Vec<Action> {
        if !std::mem::take(&mut self.connected) {
            // Another failed attempt; the time runs already.
            return Vec::new();
        }
        match self.recovery_timeout {
            None => self.shutdown(now),
            Some(timeout) => {
                self.give_up = Some(later(now, timeout));
                Vec::new()
            }
        }
    }

    /// A task has come in.
    pub(crate) fn launch(&mut self, info: &TaskInfo) -> Vec<Action> {
        let id = info.task_id.clone();
        if let Some(task) = &self.task {
            if task.id == id {
                return Vec::new();
            }
            return vec![failed(
                id,
                "A command executor runs one task, and it has got one already".to_owned(),
            )];
        }
        let grace = info
            .kill_policy
            .as_ref()
            .and_then(|p| p.grace_period.as_ref())
            .map_or(DEFAULT_GRACE, duration);
        self.task = Some(Task {
            id: id.clone(),
            grace,
            max_completion: info.max_completion_time.as_ref().map(duration),
            complete_by: None,
            kill: None,
            unasked: None,
            ended: false,
        });
        let mut actions = vec![report(id, TaskState::TaskStarting)];
        actions.push(Action::Start(Box::new(info.command.clone().unwrap_or_default())));
        actions
    }

    /// The command runs, or could not be started.
    pub(crate) fn started(&mut self, outcome: Result<(), String>, now: Instant) -> Vec<Action> {
        let Some(task) = &mut self.task else { return Vec::new() };
        match outcome {
            Ok(()) => {
                // A time that is too far away for this clock is no limit.
                task.complete_by = task.max_completion.and_then(|limit| now.checked_add(limit));
                vec![report(task.id.clone(), TaskState::TaskRunning)]
            }
            Err(message) => {
                task.ended = true;
                let id = task.id.clone();
                self.leave_after_last_report(now);
                vec![failed(id, message)]
            }
        }
    }

    /// The framework wants the task killed. Asked again, the grace can only get shorter.
    pub(crate) fn kill(
        &mut self,
        task_id: &TaskId,
        policy: Option<&KillPolicy>,
        now: Instant,
    ) -> Vec<Action> {
        let Some(task) = self.task.as_ref().filter(|t| t.id == *task_id) else { return Vec::new() };
        let grace = policy.and_then(|p| p.grace_period.as_ref()).map_or(task.grace, duration);
        self.terminate(grace, false, now)
    }

    /// The agent wants this executor to end.
    pub(crate) fn shutdown(&mut self, now: Instant) -> Vec<Action> {
        self.shutting_down = true;
        if self.task.as_ref().is_none_or(|t| t.ended) {
            // Nobody may be there to acknowledge any more.
            let soon = now + SHUTDOWN_LINGER;
            self.leave = Some(self.leave.map_or(now, |leave| leave.min(soon)));
            return self.tick(now);
        }
        self.terminate(self.shutdown_grace.saturating_sub(REPORT_TIME), false, now)
    }

    /// The command has ended.
    pub(crate) fn ended(&mut self, exit: Exit, now: Instant) -> Vec<Action> {
        let Some(task) = self.task.as_mut().filter(|t| !t.ended) else { return Vec::new() };
        if matches!(exit, Exit::Signal { number: 9, .. }) && task.kill.is_none() {
            task.unasked = Some((exit, now + UNASKED_KILL));
            return Vec::new();
        }
        self.report_end(exit, now)
    }

    fn report_end(&mut self, exit: Exit, now: Instant) -> Vec<Action> {
        let Some(task) = self.task.as_mut().filter(|t| !t.ended) else { return Vec::new() };
        task.ended = true;
        let (state, reason) = match &task.kill {
            Some(Killing { too_long: true, .. }) => {
                (TaskState::TaskFailed, Some(Reason::MaxCompletionTimeReached))
            }
            Some(_) => (TaskState::TaskKilled, None),
            None if exit == Exit::Code(0) => (TaskState::TaskFinished, None),
            None => (TaskState::TaskFailed, None),
        };
        let killed = task.kill.is_some();
        let message = Some(wording::message(exit));
        let last = Action::Report(Report {
            task_id: task.id.clone(),
            state,
            message,
            reason,
            healthy: None,
        });
        self.leave_after_last_report(now);
        // What the command has started does not outlive a kill.
        if killed { vec![Action::Kill, last] } else { vec![last] }
    }

    /// The agent has got the last update of a task. If it was ours, nothing is left to do.
    pub(crate) fn last_update_acknowledged(&mut self, task_id: &TaskId) -> Vec<Action> {
        let ours = self.task.as_ref().is_some_and(|t| t.ended && t.id == *task_id);
        if ours { vec![Action::Exit] } else { Vec::new() }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let task = self.task.as_ref().filter(|t| !t.ended);
        let times = [
            self.give_up,
            self.leave,
            task.and_then(|t| t.unasked).map(|(_, at)| at),
            task.and_then(|t| t.kill.as_ref()).map(|k| k.sigkill_at),
            task.filter(|t| t.kill.is_none()).and_then(|t| t.complete_by),
        ];
        times.into_iter().flatten().min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.leave.is_some_and(|leave| leave <= now) {
            return vec![Action::Exit];
        }
        if self.give_up.is_some_and(|at| at <= now) {
            self.give_up = None;
            return if self.was_connected { self.shutdown(now) } else { vec![Action::NoAgent] };
        }
        let Some(task) = self.task.as_mut().filter(|t| !t.ended) else { return Vec::new() };
        if let Some((exit, at)) = task.unasked {
            return if at <= now { self.report_end(exit, now) } else { Vec::new() };
        }
        if let Some(killing) = &mut task.kill {
            if killing.sigkill_at <= now {
                killing.sigkill_at = now + KILL_AGAIN;
                return vec![Action::Kill];
            }
        } else if task.complete_by.is_some_and(|by| by <= now) {
            return self.terminate(Duration::ZERO, true, now);
        }
        Vec::new()
    }

    fn terminate(&mut self, grace: Duration, too_long: bool, now: Instant) -> Vec<Action> {
        let Some(task) = self.task.as_mut().filter(|t| !t.ended && t.unasked.is_none()) else {
            return Vec::new();
        };
        if let Some(killing) = &mut task.kill {
            let deadline = later(killing.since, grace).max(now);
            killing.sigkill_at = killing.sigkill_at.min(deadline);
            return self.tick(now);
        }
        task.kill = Some(Killing { since: now, sigkill_at: later(now, grace), too_long });
        let mut actions = Vec::new();
        if self.reports_killing && !too_long {
            actions.push(report(task.id.clone(), TaskState::TaskKilling));
        }
        actions.push(Action::Terminate);
        actions.extend(self.tick(now));
        actions
    }

    fn leave_after_last_report(&mut self, now: Instant) {
        let gone_for_good = !self.connected && self.shutting_down;
        let linger = match (gone_for_good, self.shutting_down) {
            (true, _) => Duration::ZERO,
            (_, true) => SHUTDOWN_LINGER,
            _ => LINGER,
        };
        self.leave = Some(now + linger);
    }
}

fn report(task_id: TaskId, state: TaskState) -> Action {
    Action::Report(Report { task_id, state, message: None, reason: None, healthy: None })
}

fn failed(task_id: TaskId, message: String) -> Action {
    Action::Report(Report {
        task_id,
        state: TaskState::TaskFailed,
        message: Some(message),
        reason: None,
        healthy: None,
    })
}

/// Negative means none.
fn duration(info: &DurationInfo) -> Duration {
    Duration::from_nanos(u64::try_from(info.nanoseconds).unwrap_or(0))
}

/// A grace of centuries is as good as one of a year.
fn later(from: Instant, by: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    from + by.min(YEAR)
}

#[cfg(test)]
mod tests;
