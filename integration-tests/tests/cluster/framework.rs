//! A framework that does what a test tells it, step by step.

use std::time::Duration;

use anyhow::{Context as _, bail};
use mezzo_integration_tests::{Cluster, slowness, until};
use mezzo_sdk::sandbox::Sandbox;
use mezzo_sdk::scheduler::{Event, Events};
use mezzo_sdk::v1::{FrameworkInfo, Offer, TaskId, TaskState, TaskStatus};
use mezzo_sdk::{Framework, Handle, Packing, SchedulerDriver, Task, is_terminal};

/// Longest wait for any one thing, times [`slowness`].
const PATIENCE: Duration = Duration::from_secs(60);

/// A subscribed framework, the offers it holds and the updates it got.
pub(crate) struct TestFramework {
    pub(crate) handle: Handle,
    pub(crate) updates: Vec<TaskStatus>,
    pub(crate) offers: Vec<Offer>,
    events: Events,
    /// Came while the event before it was acknowledged.
    ahead: Option<Event>,
}

impl TestFramework {
    /// Any framework.
    pub(crate) async fn connect(cluster: &Cluster) -> anyhow::Result<Self> {
        Self::with(cluster, Framework::new("test")).await
    }

    /// This framework.
    pub(crate) async fn with(
        cluster: &Cluster,
        info: impl Into<FrameworkInfo>,
    ) -> anyhow::Result<Self> {
        Self::of(SchedulerDriver::new(cluster.master_address(), info)).await
    }

    /// The framework of this driver, once it is subscribed.
    pub(crate) async fn of(driver: SchedulerDriver) -> anyhow::Result<Self> {
        let driver = driver.backoff(Duration::from_millis(50), Duration::from_millis(200));
        let (handle, events) = driver.start();
        let mut framework =
            Self { handle, events, offers: Vec::new(), updates: Vec::new(), ahead: None };
        while !framework.handle.connected() {
            framework.step().await?;
        }
        Ok(framework)
    }

    /// Its id.
    pub(crate) fn id(&self) -> String {
        self.handle.framework_id().map(|id| id.value).unwrap_or_default()
    }

    /// Takes in one event and gives it back.
    pub(crate) async fn step(&mut self) -> anyhow::Result<Event> {
        let event = match self.ahead.take() {
            Some(event) => event,
            None => {
                let event = tokio::time::timeout(PATIENCE * slowness(), self.events.next()).await;
                let event = event.with_context(|| {
                    format!("nothing happened for a minute; updates so far: {:?}", self.history())
                })?;
                event.context("the driver stopped")?
            }
        };
        // Asking for the next event acknowledges this one.
        self.look_ahead().await;
        match &event {
            Event::Offers(offers) => self.offers.extend(offers.iter().cloned()),
            Event::Rescinded(id) => self.offers.retain(|offer| offer.id != *id),
            Event::Disconnected => self.offers.clear(),
            Event::Update(status) => self.updates.push((**status).clone()),
            Event::Error(message) => bail!("the master refused the framework: {message}"),
            _ => {}
        }
        Ok(event)
    }

    /// Asks for the next event without waiting for it.
    async fn look_ahead(&mut self) {
        tokio::select! {
            biased;
            event = self.events.next() => self.ahead = event,
            () = std::future::ready(()) => {}
        }
    }

    /// Launches a task on the first offer that has room for it. What is left is offered again.
    pub(crate) async fn launch(&mut self, task: &Task) -> anyhow::Result<()> {
        // An offer that was rescinded meanwhile would be a launch in vain.
        if self.ahead.is_none() {
            self.look_ahead().await;
        }
        while self.ahead.is_some() {
            self.step().await?;
        }
        loop {
            let mut packing = Packing::new(std::mem::take(&mut self.offers)).refuse_seconds(0.0);
            let placed = packing.place(task).is_some();
            packing.launch(&self.handle);
            if placed {
                return Ok(());
            }
            while self.offers.is_empty() {
                self.step().await?;
            }
        }
    }

    /// Waits for the next update that `wanted` likes, from those that came already.
    pub(crate) async fn update(
        &mut self,
        wanted: impl Fn(&TaskStatus) -> bool,
    ) -> anyhow::Result<TaskStatus> {
        loop {
            if let Some(status) = self.updates.iter().find(|status| wanted(status)) {
                return Ok(status.clone());
            }
            self.step().await?;
        }
    }

    /// Waits until the task is in `state`. Fails when it ends in another.
    pub(crate) async fn reaches(
        &mut self,
        task: &str,
        state: TaskState,
    ) -> anyhow::Result<TaskStatus> {
        let status = self
            .update(|s| s.task_id.value == task && (s.state() == state || is_terminal(s.state())))
            .await?;
        if status.state() != state {
            bail!("task {task} ended: {status:?}");
        }
        Ok(status)
    }

    /// Waits until the task has ended.
    pub(crate) async fn ended(&mut self, task: &str) -> anyhow::Result<TaskStatus> {
        self.update(|s| s.task_id.value == task && is_terminal(s.state())).await
    }

    /// Launches a task and waits until it runs.
    pub(crate) async fn start(&mut self, task: &Task) -> anyhow::Result<TaskStatus> {
        self.launch(task).await?;
        self.reaches(&task.task_id().value, TaskState::TaskRunning).await
    }

    /// Launches a task and waits until it has ended.
    pub(crate) async fn run(&mut self, task: &Task) -> anyhow::Result<TaskStatus> {
        self.launch(task).await?;
        self.ended(&task.task_id().value).await
    }

    /// Asks for the end of a task.
    pub(crate) fn kill(&self, task: &str) {
        self.handle.kill(TaskId { value: task.to_owned() });
    }

    /// Is removed from the cluster with all its tasks.
    pub(crate) async fn teardown(&mut self) {
        self.handle.teardown();
        while self.step().await.is_ok() {}
    }

    /// The states that tasks were in, in the order in which they were told.
    pub(crate) fn history(&self) -> Vec<(String, TaskState)> {
        self.updates.iter().map(|s| (s.task_id.value.clone(), s.state())).collect()
    }

    /// The states of one task.
    pub(crate) fn states(&self, task: &str) -> Vec<TaskState> {
        let all = self.history();
        all.into_iter().filter(|(id, _)| id == task).map(|(_, state)| state).collect()
    }
}

/// What a task wrote.
impl TestFramework {
    /// Reads a file of a task's sandbox through the first agent.
    pub(crate) async fn read(
        &self,
        cluster: &Cluster,
        task: &str,
        file: &str,
    ) -> anyhow::Result<String> {
        let address = cluster.agent_address(0)?.to_string();
        let id = self.handle.framework_id().context("not subscribed")?;
        let mut sandbox = Sandbox::connect(&address, &id, task).await?;
        Ok(String::from_utf8_lossy(&sandbox.read_from(file, 0).await?).into_owned())
    }

    /// Reads until the file says what is waited for.
    pub(crate) async fn read_until(
        &self,
        cluster: &Cluster,
        task: &str,
        file: &str,
        words: &str,
    ) -> anyhow::Result<String> {
        until(&format!("{file} of {task} says {words:?}"), async || {
            let text = self.read(cluster, task, file).await?;
            Ok(text.contains(words).then_some(text))
        })
        .await
    }
}
