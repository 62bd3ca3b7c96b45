//! The suites find what is wrong: modules that each break some MUST, and one that breaks none.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use mezzo_allocator_hierarchical::Hierarchical;
use mezzo_module_api::v1::allocator_event::Event;
use mezzo_module_api::v1::{
    AgentPrelaunchRequest, AgentPrelaunchResponse, AgentRemoveExecutorRequest,
    AgentRemoveExecutorResponse, AgentRunTaskLabelsRequest, AgentRunTaskLabelsResponse,
    AllocateRequest, AllocateResponse, CleanupRequest, CleanupResponse, InitializeAllocatorRequest,
    InitializeAllocatorResponse, ObserveRequest, ObserveResponse, PrepareRequest, PrepareResponse,
    UsageRequest, UsageResponse, WatchRequest, WatchResponse,
};
use mezzo_module_api::{
    Allocator, Completion, Hook, Host, Isolator, LimitWatch, ModuleError, Parameters,
};
use mezzo_proto::v1::{Label, Labels};

use crate::{Must, Subject, Verdict, hook, isolator};

fn verdict(subject: &Subject, id: &str) -> Verdict {
    let must = crate::ALL.iter().flat_map(|suite| suite.iter()).find(|must| must.id == id);
    must.unwrap().run(subject)
}

#[track_caller]
fn holds(subject: &Subject, ids: &[&str]) {
    for id in ids {
        verdict(subject, id).unwrap_or_else(|failure| panic!("{id} holds: {failure}"));
    }
}

/// What was found for each.
#[track_caller]
fn breaks(subject: &Subject, ids: &[&str]) -> String {
    let mut found = String::new();
    for id in ids {
        let failure = verdict(subject, id).err();
        found.push_str(&failure.unwrap_or_else(|| panic!("{id} does not hold")).to_string());
        found.push('\n');
    }
    found
}

struct Nothing;
impl Isolator for Nothing {}
impl Hook for Nothing {}

fn nothing(_: Host, parameters: Parameters) -> Result<Nothing, ModuleError> {
    parameters.allow_only(&[]).map(|()| Nothing)
}

#[test]
fn who_does_nothing_breaks_nothing() {
    let report = isolator::conformance(&Subject::isolator("nothing", nothing));
    assert!(report.passed(), "{report}");
    let report = hook::conformance(&Subject::hook("nothing", nothing));
    assert!(report.passed(), "{report}");
}

#[test]
fn a_library_that_is_nowhere_is_told() {
    let report = hook::conformance(&Subject::built("no_such_crate", "example/none"));
    assert!(!report.passed());
    assert!(report.to_string().contains("no `libno_such_crate.so` beside the test"), "{report}");
    let report = hook::conformance(&Subject::library("/etc/hostname", "example/none"));
    assert!(report.to_string().contains("module library `/etc/hostname` is"), "{report}");
}

/// Keeps what it should let go, and knows no parameters but does not look whether there are any.
#[derive(Default)]
struct Hoarder {
    watches: Mutex<Vec<Completion<WatchResponse>>>,
    containers: Mutex<HashMap<String, ()>>,
}

impl Isolator for Hoarder {
    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = request.container_id.expect("an id").value;
        self.containers.lock().unwrap().insert(id, ());
        Ok(PrepareResponse::default())
    }

    fn watch(&self, _: WatchRequest, done: Completion<WatchResponse>) {
        self.watches.lock().unwrap().push(done);
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default().value;
        let known = self.containers.lock().unwrap().contains_key(&id);
        let statistics =
            mezzo_proto::v1::ResourceStatistics { mem_rss_bytes: Some(7), ..Default::default() };
        Ok(UsageResponse { statistics: known.then_some(statistics) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default().value;
        if self.containers.lock().unwrap().contains_key(&id) {
            return Ok(CleanupResponse::default());
        }
        Err(ModuleError::not_found(format!("container `{id}` is unknown")))
    }
}

#[test]
fn an_isolator_that_forgets_nothing_is_found_out() {
    let subject = Subject::isolator("hoarder", |_, _| Ok(Hoarder::default()));
    holds(&subject, &["G.3", "G.4", "I.2", "I.3", "I.6", "I.18"]);
    let found = breaks(&subject, &["G.2", "I.4", "I.5", "I.11", "I.14", "I.19", "I.20", "I.21"]);
    assert!(found.contains("nobody will ever answer it"), "{found}");
    assert!(found.contains("after `cleanup`: Ok(UsageResponse"), "{found}");
}

/// Panics when a field is missing, and when it is dropped.
struct Jumpy;

impl Isolator for Jumpy {
    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        request.container_id.expect("an id");
        Ok(PrepareResponse::default())
    }
}

impl Drop for Jumpy {
    #[allow(clippy::panic, reason = "that is what it is for")]
    fn drop(&mut self) {
        panic!("not like this");
    }
}

#[test]
fn panics_are_found_wherever_they_are() {
    let subject = Subject::isolator("jumpy", |_, _| Ok(Jumpy));
    let found = breaks(&subject, &["G.5", "G.6"]);
    assert!(found.contains("a panic in `prepare`: module panicked: an id"), "{found}");
    assert!(found.contains("a panic in `drop`: module panicked: not like this"), "{found}");
}

#[test]
fn threads_that_outlive_their_module_are_found() {
    let subject = Subject::isolator("spinner", |_, _| {
        // Parked for good; the test's process ends them.
        std::thread::spawn(std::thread::park);
        Ok(Nothing)
    });
    let found = breaks(&subject, &["G.7"]);
    assert!(found.contains("threads after 64 instances"), "{found}");
}

#[test]
fn what_is_left_behind_is_found() {
    let subject = Subject::isolator("nothing", nothing).afterwards(|| Err("a cgroup".into()));
    let found = breaks(&subject, &["I.2"]);
    assert!(found.contains("nothing is left behind\n   found: a cgroup"), "{found}");
}

/// Tidies up what is not its own, and says nothing when it refuses.
struct Meddler;

impl Hook for Meddler {
    fn agent_prelaunch(
        &self,
        _: AgentPrelaunchRequest,
    ) -> Result<AgentPrelaunchResponse, ModuleError> {
        Err(ModuleError::invalid(""))
    }

    fn agent_remove_executor(
        &self,
        request: AgentRemoveExecutorRequest,
    ) -> Result<AgentRemoveExecutorResponse, ModuleError> {
        // The sandbox of a test: a file in it.
        let _ = std::fs::remove_file(format!("{}/stdout", request.directory()));
        Err(ModuleError::internal("cannot"))
    }
}

#[test]
fn a_hook_that_meddles_is_found_out() {
    let subject = Subject::hook("meddler", |_, _| Ok(Meddler));
    let found = breaks(&subject, &["H.1", "H.6", "H.8"]);
    assert!(found.contains("`agent_remove_executor` failed: cannot"), "{found}");
}

/// A second `prepare` takes the place of the container: its watch ends, or what was measured is forgotten.
#[derive(Default)]
struct Restarter {
    containers: Mutex<HashMap<String, (LimitWatch, Option<u64>)>>,
    keeps_watch: bool,
}

impl Isolator for Restarter {
    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default().value;
        let mut containers = self.containers.lock().unwrap();
        match containers.get_mut(&id).filter(|_| self.keeps_watch) {
            Some((_, used)) => *used = None,
            None => drop(containers.insert(id, (LimitWatch::default(), Some(7)))),
        }
        Ok(PrepareResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let id = request.container_id.unwrap_or_default().value;
        match self.containers.lock().unwrap().get(&id) {
            Some((limit, _)) => limit.watch(done),
            None => done.never(),
        }
    }

    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default().value;
        let containers = self.containers.lock().unwrap();
        let (_, used) =
            containers.get(&id).ok_or_else(|| ModuleError::not_found("no container"))?;
        let statistics =
            mezzo_proto::v1::ResourceStatistics { mem_rss_bytes: *used, ..Default::default() };
        Ok(UsageResponse { statistics: Some(statistics) })
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default().value;
        drop(self.containers.lock().unwrap().remove(&id));
        Ok(CleanupResponse::default())
    }
}

#[test]
fn a_container_that_is_lost_to_a_second_prepare_is_found() {
    let subject = Subject::isolator("restarter", |_, _| Ok(Restarter::default()));
    holds(&subject, &["I.4", "I.12", "G.6"]);
    let found = breaks(&subject, &["I.9"]);
    assert!(found.contains("the watch ended with a second prepare"), "{found}");
    let subject = Subject::isolator("restarter", |_, _| {
        Ok(Restarter { keeps_watch: true, ..Restarter::default() })
    });
    let found = breaks(&subject, &["I.9"]);
    assert!(found.contains("tells no more of [\"mem_rss_bytes\"]"), "{found}");
}

/// Passes everything on to the one module that all instances share.
struct Shared<T: 'static>(&'static T);

impl Isolator for Shared<Restarter> {
    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        self.0.prepare(request)
    }
    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        self.0.usage(request)
    }
    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        self.0.cleanup(request)
    }
}

impl Allocator for Shared<Hierarchical> {
    fn initialize(
        &self,
        request: InitializeAllocatorRequest,
    ) -> Result<InitializeAllocatorResponse, ModuleError> {
        // The second time it is refused; what it was told stays.
        let _ = self.0.initialize(request);
        Ok(InitializeAllocatorResponse::default())
    }
    fn observe(&self, request: ObserveRequest) -> Result<ObserveResponse, ModuleError> {
        self.0.observe(request).map(|_| ObserveResponse::default())
    }
    fn allocate(&self, request: AllocateRequest) -> Result<AllocateResponse, ModuleError> {
        self.0.allocate(request)
    }
}

/// Numbers the executors that it sees.
impl Hook for Shared<AtomicU64> {
    fn agent_run_task_labels(
        &self,
        _: AgentRunTaskLabelsRequest,
    ) -> Result<AgentRunTaskLabelsResponse, ModuleError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_string();
        let labels = vec![Label { key: "number".into(), value: Some(number) }];
        Ok(AgentRunTaskLabelsResponse { labels: Some(Labels { labels }) })
    }
}

#[test]
fn instances_that_share_what_they_know_are_found() {
    static RESTARTER: LazyLock<Restarter> = LazyLock::new(Restarter::default);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    static HIERARCHICAL: LazyLock<Hierarchical> = LazyLock::new(|| {
        Hierarchical::new(Host::silent(), Parameters::from_pairs(&[])).expect("an allocator")
    });
    let found = breaks(&Subject::isolator("shared", |_, _| Ok(Shared(&*RESTARTER))), &["G.6"]);
    assert!(found.contains("in an instance that was not told of it"), "{found}");
    let found = breaks(&Subject::hook("shared", |_, _| Ok(Shared(&NUMBER))), &["G.6"]);
    assert!(found.contains("`agent_run_task_labels` was answered otherwise"), "{found}");
    let found = breaks(&Subject::allocator("shared", |_, _| Ok(Shared(&*HIERARCHICAL))), &["G.6"]);
    assert!(found.contains("proposals that fit what the allocator has been told"), "{found}");
}

#[test]
fn what_an_instance_counts_for_itself_is_its_own() {
    let own = |_, _| Ok(Shared(Box::leak(Box::new(AtomicU64::new(0))) as &AtomicU64));
    holds(&Subject::hook("counter", own), &["G.6"]);
}

/// The hierarchical allocator, with one thing wrong.
struct Wrong {
    right: Hierarchical,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Proposes everything twice.
    Double,
    /// Does not hear who wants nothing.
    Deaf,
    /// Forgets what was refused.
    Forgetful,
    /// Keeps what comes back.
    Greedy,
    /// Draws its own random numbers.
    Dice,
    /// Knows every event, even those that do not exist yet.
    KnowAll,
    /// Looks at all agents, whatever it is asked.
    Eager,
}

impl Allocator for Wrong {
    fn initialize(
        &self,
        mut request: InitializeAllocatorRequest,
    ) -> Result<InitializeAllocatorResponse, ModuleError> {
        if self.fault == Fault::Dice {
            request.seed = Some(Subject::number());
        }
        self.right.initialize(request)
    }

    fn observe(&self, mut request: ObserveRequest) -> Result<ObserveResponse, ModuleError> {
        let fault = self.fault;
        request.events.retain(|event| match &event.event {
            Some(Event::Suppressed(_)) => fault != Fault::Deaf,
            Some(Event::Recovered(_)) => fault != Fault::Greedy,
            None => fault != Fault::KnowAll,
            _ => true,
        });
        for event in &mut request.events {
            if let Some(Event::Recovered(recovered)) = &mut event.event
                && fault == Fault::Forgetful
            {
                recovered.refuse_seconds = None;
            }
        }
        self.right.observe(request)
    }

    fn allocate(&self, mut request: AllocateRequest) -> Result<AllocateResponse, ModuleError> {
        request.all_agents =
            if self.fault == Fault::Eager { Some(true) } else { request.all_agents };
        let mut response = self.right.allocate(request)?;
        if self.fault == Fault::Double {
            response.proposals.extend(response.proposals.clone());
        }
        Ok(response)
    }
}

fn wrong(fault: Fault) -> Subject {
    Subject::allocator("wrong", move |host, parameters| {
        Ok(Wrong { right: Hierarchical::new(host, parameters)?, fault })
    })
}

#[test]
fn an_allocator_with_one_fault_is_found_out() {
    let found = breaks(&wrong(Fault::Double), &["A.1", "A.28", "A.29"]);
    assert!(found.contains("is free there"), "{found}");
    let found = breaks(&wrong(Fault::Deaf), &["A.6", "A.29"]);
    assert!(found.contains("the framework has suppressed the role"), "{found}");
    let found = breaks(&wrong(Fault::Forgetful), &["A.12", "A.13", "A.14", "A.29"]);
    assert!(found.contains("the framework has refused"), "{found}");
    breaks(&wrong(Fault::Greedy), &["A.3", "A.29"]);
    breaks(&wrong(Fault::Dice), &["A.23"]);
    breaks(&wrong(Fault::KnowAll), &["A.22"]);
    let found = breaks(&wrong(Fault::Eager), &["A.11"]);
    assert!(found.contains("the run was not over this agent"), "{found}");
}

#[test]
fn every_must_has_its_own_number_and_a_sentence() {
    let mut seen = BTreeSet::new();
    for must in crate::ALL.iter().flat_map(|suite| suite.iter()) {
        assert!(seen.insert(must.id), "{} is there twice", must.id);
        assert!(seen.insert(must.name), "{} is there twice", must.name);
        assert!(must.sentence.ends_with('.'), "{}", must.id);
    }
}

#[test]
fn the_specification_has_the_same_sentences() {
    let spec = include_str!("../../../docs/module-spec.md");
    let musts: Vec<&Must> = crate::ALL.iter().flat_map(|suite| suite.iter()).collect();
    for must in &musts {
        let line = format!("* **{}** {}\n", must.id, must.sentence);
        assert!(spec.contains(&line), "docs/module-spec.md lacks: {line}");
    }
    let numbered = spec.lines().filter(|line| line.starts_with("* **")).count();
    assert_eq!(numbered, musts.len(), "a numbered sentence without a test, or twice");
}
