//! The framework that measures: it launches tasks as fast as offers allow and notes when what happened.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mezzo_sdk::scheduler::{Event, Events};
use mezzo_sdk::v1::{Offer, TaskState};
use mezzo_sdk::{Framework, Handle, Packing, SchedulerDriver, Task};

/// Longest wait for anything to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connected framework.
pub(crate) struct Bench {
    handle: Handle,
    events: Events,
    offers: Vec<Offer>,
}

/// When what happened to a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) accepted: Instant,
    pub(crate) running: Option<Instant>,
    pub(crate) ended: Option<Instant>,
}

impl Bench {
    /// Connects and waits for the first offer: by then the agent is part of the cluster.
    pub(crate) async fn connect(master: String) -> anyhow::Result<Self> {
        let (handle, events) = SchedulerDriver::new(master, Framework::new("mezzo-bench")).start();
        let mut bench = Self { handle, events, offers: Vec::new() };
        let mut nothing = BTreeMap::new();
        while bench.offers.is_empty() {
            bench.step(&mut nothing).await?;
        }
        Ok(bench)
    }

    /// Launches all tasks as offers allow, and waits until all have ended (or run, when `until_running`).
    pub(crate) async fn run(
        &mut self,
        mut tasks: Vec<Task>,
        until_running: bool,
    ) -> anyhow::Result<Vec<Times>> {
        let mut times: BTreeMap<String, Times> = BTreeMap::new();
        let done =
            |times: &Times| times.ended.is_some() || until_running && times.running.is_some();
        tasks.reverse();
        while !tasks.is_empty() || !times.values().all(done) {
            if !self.offers.is_empty() {
                self.launch(&mut tasks, &mut times);
            }
            self.step(&mut times).await?;
        }
        Ok(times.into_values().collect())
    }

    /// Places as many tasks as fit into the offers at hand.
    fn launch(&mut self, tasks: &mut Vec<Task>, times: &mut BTreeMap<String, Times>) {
        if tasks.is_empty() {
            // Offers are kept for the next round.
            return;
        }
        let mut packing = Packing::new(std::mem::take(&mut self.offers)).refuse_seconds(0.0);
        let accepted = Instant::now();
        while let Some(task) = tasks.last() {
            let id = task.task_id().value.clone();
            if packing.place(task).is_none() {
                break;
            }
            times.insert(id, Times { accepted, running: None, ended: None });
            tasks.pop();
        }
        packing.launch(&self.handle);
    }

    /// Takes in one event.
    async fn step(&mut self, times: &mut BTreeMap<String, Times>) -> anyhow::Result<()> {
        let event = tokio::time::timeout(PATIENCE, self.events.next()).await;
        match event.context("nothing happened for a minute")?.context("the driver stopped")? {
            Event::Offers(offers) => self.offers.extend(offers),
            Event::Rescinded(id) => self.offers.retain(|offer| offer.id != id),
            Event::Update(status) => {
                let now = Instant::now();
                let state = status.state();
                let Some(times) = times.get_mut(&status.task_id.value) else { return Ok(()) };
                if state == TaskState::TaskRunning {
                    times.running = times.running.or(Some(now));
                } else if mezzo_sdk::is_terminal(state) {
                    let message = status.message();
                    ensure!(state == TaskState::TaskFinished, "a task ended {state:?}: {message}");
                    times.ended = times.ended.or(Some(now));
                }
            }
            Event::Error(message) => bail!("the master refused the framework: {message}"),
            Event::Disconnected => bail!("the master went away"),
            _ => {}
        }
        Ok(())
    }

    /// Ends every task of this framework.
    pub(crate) async fn teardown(mut self) {
        self.handle.teardown();
        while self.events.next().await.is_some() {}
    }
}
