//! The loop: what happens outside goes to [`Core`], what it decides is done here.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mezzo_proto::v1::executor::{Event, event};
use mezzo_proto::v1::{CommandInfo, TaskInfo};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, Heard, sleep_until};
use crate::core::{Action, Core, Report};
use crate::settings::Settings;
use crate::updates::Updates;
use crate::{command, processes};

/// Runs until there is nothing left to do.
pub(crate) async fn run(settings: Settings) -> Result<(), String> {
    let mut children =
        signal(SignalKind::child()).map_err(|e| format!("cannot listen for SIGCHLD: {e}"))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| format!("cannot listen for SIGTERM: {e}"))?;
    processes::adopt_orphans()
        .map_err(|e| format!("cannot become the reaper of the task's processes: {e}"))?;

    let mut executor = Executor {
        core: Core::new(settings.shutdown_grace, settings.recovery_timeout, Instant::now()),
        agent: Agent::new(settings.clone()),
        settings,
        updates: Updates::default(),
        command: None,
    };
    executor.agent.subscribe(executor.updates.subscribe());
    loop {
        let actions = tokio::select! {
            heard = executor.agent.next() => executor.heard(heard),
            _ = children.recv() => executor.reap(),
            _ = terminate.recv() => executor.core.shutdown(Instant::now()),
            () = sleep_until(executor.core.next_tick()) => executor.core.tick(Instant::now()),
        };
        if let Some(outcome) = executor.act(actions) {
            // Nothing is on its way any more: the agent has acknowledged the last update, or has had its time.
            return outcome;
        }
    }
}

struct Executor {
    settings: Settings,
    core: Core,
    agent: Agent,
    updates: Updates,
    /// The pid of the command, until it is reaped.
    command: Option<u32>,
}

impl Executor {
    fn heard(&mut self, heard: Heard) -> Vec<Action> {
        match heard {
            Heard::Event(event) => self.event(*event),
            Heard::Lost => {
                let actions = self.core.disconnected(Instant::now());
                self.agent.subscribe(self.updates.subscribe());
                actions
            }
        }
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        use event::Type;
        let now = Instant::now();
        match event.r#type() {
            Type::Subscribed => {
                if let Some(subscribed) = event.subscribed {
                    self.core.subscribed(&subscribed.framework_info);
                }
                Vec::new()
            }
            Type::Launch => event.launch.map(|l| self.launch(l.task)).unwrap_or_default(),
            // Task groups are for the default executor. A group of one is a task.
            Type::LaunchGroup => event
                .launch_group
                .into_iter()
                .flat_map(|g| g.task_group.tasks)
                .flat_map(|task| self.launch(task))
                .collect(),
            Type::Kill => event
                .kill
                .map(|k| self.core.kill(&k.task_id, k.kill_policy.as_ref(), now))
                .unwrap_or_default(),
            Type::Acknowledged => match event.acknowledged {
                Some(ack) if self.updates.acknowledged(&ack.task_id.value, &ack.uuid) => {
                    self.core.last_update_acknowledged(&ack.task_id)
                }
                _ => Vec::new(),
            },
            Type::Shutdown => self.core.shutdown(now),
            Type::Error => {
                let message = event.error.map(|e| e.message).unwrap_or_default();
                crate::complain(&format!("the agent ends this executor: {message}"));
                self.core.shutdown(now)
            }
            Type::Unknown | Type::Message | Type::Heartbeat => Vec::new(),
        }
    }

    fn launch(&mut self, task: TaskInfo) -> Vec<Action> {
        let actions = self.core.launch(&task);
        if !actions.is_empty() {
            self.updates.add_task(task);
        }
        actions
    }

    fn reap(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (pid, exit) in processes::reap() {
            if self.command == Some(pid) {
                self.command = None;
                actions.extend(self.core.ended(exit, Instant::now()));
            }
        }
        actions
    }

    /// Does what the core wants, and what it wants next because of that. An outcome, if this is the end.
    fn act(&mut self, actions: Vec<Action>) -> Option<Result<(), String>> {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Report(report) => self.report(report),
                Action::Start(info) => {
                    let started = self.start(&info);
                    queue.extend(self.core.started(started, Instant::now()));
                }
                Action::Terminate => {
                    processes::signal_all(self.command, processes::Signal::Terminate)
                }
                Action::Kill => processes::signal_all(self.command, processes::Signal::Kill),
                Action::Exit => return Some(Ok(())),
                Action::NoAgent => {
                    let endpoint = &self.settings.agent_endpoint;
                    return Some(Err(format!(
                        "no agent at MESOS_AGENT_ENDPOINT={endpoint} took the subscription"
                    )));
                }
            }
        }
        None
    }

    fn report(&mut self, report: Report) {
        let epoch_seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let status = self.updates.add(
            report,
            &self.settings.executor_id,
            self.settings.agent_id.as_deref(),
            epoch_seconds,
        );
        self.agent.send(status);
    }

    fn start(&mut self, info: &CommandInfo) -> Result<(), String> {
        let pid = command::start(info, &self.settings.task_environment)?;
        self.command = Some(pid);
        Ok(())
    }
}
