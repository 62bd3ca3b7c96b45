//! Drives the allocator: tells it what happened, asks for proposals, hands them to the actor.
//!
//! The module is called from one thread that does nothing else. Whatever happens while a run is
//! under way is told in one call before the next, so that a storm of events costs a few runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use mezzo_master_core::{Command, Proposal};
use mezzo_module_api::Allocator;
use mezzo_module_api::v1::{AllocateRequest, AllocatorEvent, ObserveRequest};
use mezzo_runtime::clock::Clock;
use tokio::sync::mpsc;

use crate::actor::Input;
use crate::metrics::Numbers;

/// Between two runs for filters that run out, at least: however often an allocator says that the next one has.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Proposals that the actor is handed at a time, so that a flood of them holds up nobody else.
const BATCH: usize = 1024;
/// Refused events of one batch that are told one by one.
const TOLD: usize = 5;

/// What the driver is told.
enum Word {
    Event(Box<AllocatorEvent>),
    /// One agent, or all of them.
    Allocate(Option<u64>),
}

/// The actor's end.
#[derive(Clone)]
pub(crate) struct ToAllocator(Sender<Word>);

impl ToAllocator {
    pub(crate) fn observe(&self, event: Box<AllocatorEvent>) {
        self.say(Word::Event(event));
    }

    pub(crate) fn allocate(&self, agent: Option<u64>) {
        self.say(Word::Allocate(agent));
    }

    fn say(&self, word: Word) {
        // The driver ends only after the actor has.
        let _ = self.0.send(word);
    }
}

/// The thread that calls the module.
pub(crate) struct Driver {
    words: Receiver<Word>,
    allocator: Arc<dyn Allocator>,
    actor: mpsc::Sender<Input>,
    clock: Clock,
    interval: Duration,
    numbers: Numbers,
    /// Events that the module has not been told of.
    events: Vec<AllocatorEvent>,
    /// Agents to look at in the next run.
    agents: BTreeSet<u64>,
    everything: bool,
    next_periodic: Instant,
    /// When a filter of the module runs out, on the master's clock.
    next_expiry: Option<u64>,
}

impl Driver {
    pub(crate) fn new(
        allocator: Arc<dyn Allocator>,
        actor: mpsc::Sender<Input>,
        clock: Clock,
        interval: Duration,
        numbers: Numbers,
    ) -> (ToAllocator, Self) {
        let (sender, words) = channel();
        let driver = Self {
            words,
            allocator,
            actor,
            clock,
            interval,
            numbers,
            events: Vec::new(),
            agents: BTreeSet::new(),
            everything: false,
            next_periodic: Instant::now() + interval,
            next_expiry: None,
        };
        (ToAllocator(sender), driver)
    }

    /// Runs until the actor is gone.
    pub(crate) fn run(mut self) {
        loop {
            match self.words.recv_timeout(self.patience()) {
                Ok(word) => {
                    self.note(word);
                    while let Ok(word) = self.words.try_recv() {
                        self.note(word);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= self.next_periodic {
                self.everything = true;
                self.next_periodic = Instant::now() + self.interval;
            }
            let expired = self.next_expiry.is_some_and(|at| at <= self.clock.monotonic_ns());
            self.observe();
            if (self.everything || expired || !self.agents.is_empty()) && !self.allocate() {
                return;
            }
        }
    }

    /// How long there is nothing to do unless somebody speaks.
    fn patience(&self) -> Duration {
        let periodic = self.next_periodic.saturating_duration_since(Instant::now());
        let expiry = self.next_expiry.map_or(Duration::MAX, |at| {
            Duration::from_nanos(at.saturating_sub(self.clock.monotonic_ns()))
        });
        periodic.min(expiry)
    }

    fn note(&mut self, word: Word) {
        match word {
            Word::Event(event) => self.events.push(*event),
            Word::Allocate(None) => self.everything = true,
            Word::Allocate(Some(agent)) => {
                self.agents.insert(agent);
            }
        }
    }

    fn observe(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let request = ObserveRequest {
            now_nanos: Some(self.clock.monotonic_ns()),
            events: std::mem::take(&mut self.events),
        };
        match self.allocator.observe(request) {
            Ok(response) => {
                for refused in response.refused.iter().take(TOLD) {
                    tracing::warn!(
                        code = refused.code(),
                        "the allocator refused an event: {}",
                        refused.message()
                    );
                }
                let more = response.refused.len().saturating_sub(TOLD);
                if more > 0 {
                    tracing::warn!("the allocator refused {more} more events");
                }
            }
            Err(error) => tracing::error!("the allocator could not take its events: {error}"),
        }
    }

    /// One run. False if nobody is left to hear of it.
    fn allocate(&mut self) -> bool {
        let request = AllocateRequest {
            now_nanos: Some(self.clock.monotonic_ns()),
            all_agents: Some(std::mem::take(&mut self.everything)),
            agents: std::mem::take(&mut self.agents).into_iter().collect(),
        };
        let started = Instant::now();
        let outcome = self.allocator.allocate(request);
        self.numbers.allocation(started.elapsed());
        let response = match outcome {
            Ok(response) => response,
            Err(error) => {
                tracing::error!("the allocator could not allocate: {error}");
                // Not again before the periodic run.
                self.next_expiry = None;
                return true;
            }
        };
        let soonest = self.clock.monotonic_ns().saturating_add(nanos(SHORTEST_PAUSE));
        self.next_expiry = response.next_filter_expiry_nanos.map(|at| at.max(soonest));
        if !response.inverse_proposals.is_empty() {
            tracing::debug!(
                count = response.inverse_proposals.len(),
                "inverse offers are not available in this version; those proposed are not made"
            );
        }
        let mut proposals = response.proposals.into_iter().map(|p| Proposal {
            framework: p.framework(),
            role: p.role(),
            agent: p.agent(),
            resources: p.resources,
        });
        loop {
            let batch: Vec<Proposal> = proposals.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return true;
            }
            if self.actor.blocking_send(Input::Command(Command::Proposed(batch))).is_err() {
                return false;
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use mezzo_module_api::v1::{
        AllocateResponse, InitializeAllocatorRequest, InitializeAllocatorResponse, ObserveResponse,
        allocate_response,
    };
    use mezzo_module_api::{Code, ModuleError};
    use mezzo_runtime::metrics::Metrics;

    use super::*;

    /// Runs so often, with these answers, and then proposes once.
    struct Odd {
        runs: AtomicU32,
        answer: fn() -> Result<AllocateResponse, ModuleError>,
    }

    const RUNS: u32 = 20;

    impl Allocator for Odd {
        fn initialize(
            &self,
            _: InitializeAllocatorRequest,
        ) -> Result<InitializeAllocatorResponse, ModuleError> {
            Ok(InitializeAllocatorResponse::default())
        }

        fn observe(&self, _: ObserveRequest) -> Result<ObserveResponse, ModuleError> {
            Ok(ObserveResponse::default())
        }

        fn allocate(&self, _: AllocateRequest) -> Result<AllocateResponse, ModuleError> {
            if self.runs.fetch_add(1, Ordering::SeqCst) < RUNS {
                return (self.answer)();
            }
            let proposal = allocate_response::Proposal::default();
            let proposals = vec![proposal; BATCH + 1];
            Ok(AllocateResponse { proposals, ..AllocateResponse::default() })
        }
    }

    /// Runs a driver until its first proposals; gives how many came at a time, and how long it took.
    async fn first(
        answer: fn() -> Result<AllocateResponse, ModuleError>,
        interval: Duration,
    ) -> (Vec<usize>, Duration) {
        let (actor, mut inputs) = mpsc::channel(64);
        let allocator = Arc::new(Odd { runs: AtomicU32::new(0), answer });
        let numbers = Numbers::new(&Metrics::new("test"));
        let (to_driver, driver) = Driver::new(allocator, actor, Clock::system(), interval, numbers);
        let begun = Instant::now();
        let thread = std::thread::spawn(move || driver.run());
        to_driver.allocate(None);
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() <= BATCH {
            match inputs.recv().await {
                Some(Input::Command(Command::Proposed(batch))) => sizes.push(batch.len()),
                _ => panic!("something else"),
            }
        }
        let took = begun.elapsed();
        drop((to_driver, inputs));
        thread.join().unwrap();
        (sizes, took)
    }

    #[tokio::test]
    async fn a_filter_that_has_always_run_out_does_not_keep_the_allocator_busy() {
        let out = || {
            let next_filter_expiry_nanos = Some(0);
            Ok(AllocateResponse { next_filter_expiry_nanos, ..AllocateResponse::default() })
        };
        let (sizes, took) = first(out, Duration::from_secs(3600)).await;
        assert!(took >= SHORTEST_PAUSE * (RUNS - 1), "{took:?} for {RUNS} runs");
        assert_eq!(sizes, [BATCH, 1], "a flood comes in batches");
    }

    #[tokio::test]
    async fn answers_that_are_none_cost_a_run_each_and_no_more() {
        let garbage = || Err(ModuleError::new(Code::DataLoss, "cannot be decoded"));
        let (sizes, _) = first(garbage, Duration::from_millis(1)).await;
        assert_eq!(sizes, [BATCH, 1]);
    }
}
