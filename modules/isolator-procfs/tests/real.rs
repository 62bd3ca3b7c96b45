//! `mem/procfs` with real processes: a shell and what it starts, watched every fraction of a second.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mezzo_isolator_procfs::ProcfsIsolator;
use mezzo_linux::procfs::Procfs;
use mezzo_module_api::types::task_status::Reason;
use mezzo_module_api::types::value::Scalar;
use mezzo_module_api::types::{ContainerId, Resource, ResourceStatistics};
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerLimitation, ContainerState, IsolateRequest,
    PrepareRequest, RecoverRequest, UpdateRequest, UsageRequest, WatchRequest, WatchResponse,
};
use mezzo_module_api::{
    Code, Completion, Host, HostProcess, HostServices, Isolator, Level, Parameters,
};
use rustix::process::{Pid, Signal, kill_process_group};

/// Longer than any machine takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
const MB: u64 = 1 << 20;
/// Holds 80 MB in one process (`tail` keeps the last line, which does not end), next to three small ones.
const HOLD_80_MB: &str = "(head -c 80M /dev/zero; exec sleep 600) | tail > /dev/null";

/// An isolator and what it tells its host.
struct World {
    isolator: ProcfsIsolator,
    log: Receiver<String>,
    rounds: std::sync::Arc<AtomicU64>,
}

struct Services {
    log: Mutex<mpsc::Sender<String>>,
    rounds: std::sync::Arc<AtomicU64>,
}

impl HostServices for Services {
    fn log(&self, level: Level, message: &str) {
        if level != Level::Debug {
            let _ = self.log.lock().unwrap().send(format!("{level:?}: {message}"));
        }
    }
    fn count(&self, counter: &str, delta: u64) {
        if counter == "rounds" {
            self.rounds.fetch_add(delta, Ordering::SeqCst);
        }
    }
}

impl World {
    fn new(parameters: &[(&str, &str)]) -> Self {
        Self::with_agent_memory(64.0, parameters)
    }

    fn with_agent_memory(megabytes: f64, parameters: &[(&str, &str)]) -> Self {
        let (sender, log) = mpsc::channel();
        let rounds = std::sync::Arc::new(AtomicU64::new(0));
        let services = Services { log: Mutex::new(sender), rounds: rounds.clone() };
        let process = HostProcess { resources: vec![mem(megabytes)], ..HostProcess::default() };
        let mut all = vec![("interval", "150ms")];
        all.extend(parameters);
        let isolator =
            ProcfsIsolator::new(Host::new(services, process), Parameters::from_pairs(&all))
                .unwrap();
        Self { isolator, log, rounds }
    }

    fn prepare(&self, id: &ContainerId, megabytes: f64) {
        let config =
            ContainerConfig { resources: vec![mem(megabytes)], ..ContainerConfig::default() };
        let request = PrepareRequest { container_id: Some(id.clone()), config: Some(config) };
        self.isolator.prepare(request).unwrap();
    }

    fn isolate(&self, id: &ContainerId, task: &Task) {
        let pid = Some(u64::from(task.0.id()));
        self.isolator.isolate(IsolateRequest { container_id: Some(id.clone()), pid }).unwrap();
    }

    /// A task in a container; the limitation, or `None` for "there will be none".
    fn run(
        &self,
        container: &str,
        megabytes: f64,
        script: &str,
    ) -> (Task, Receiver<Option<ContainerLimitation>>) {
        let id = id(container);
        self.prepare(&id, megabytes);
        let mut task = Task::start(script);
        let limitation = self.watch(container);
        self.isolate(&id, &task);
        task.go();
        (task, limitation)
    }

    fn watch(&self, container: &str) -> Receiver<Option<ContainerLimitation>> {
        let (sender, receiver) = mpsc::channel();
        let never = sender.clone();
        let done = Completion::with_never(
            move |result: Result<WatchResponse, _>| {
                let _ = sender.send(Some(result.unwrap().limitation.unwrap()));
            },
            move || {
                let _ = never.send(None);
            },
        );
        self.isolator.watch(WatchRequest { container_id: Some(id(container)) }, done);
        receiver
    }

    fn update(&self, container: &str, megabytes: f64, limit: Option<f64>) {
        let limits: BTreeMap<String, Scalar> =
            limit.map(|value| ("mem".to_owned(), Scalar { value })).into_iter().collect();
        let (container_id, requests) = (Some(id(container)), vec![mem(megabytes)]);
        self.isolator.update(UpdateRequest { container_id, requests, limits }).unwrap();
    }

    fn usage(&self, container: &str) -> ResourceStatistics {
        let request = UsageRequest { container_id: Some(id(container)) };
        self.isolator.usage(request).unwrap().statistics.unwrap()
    }

    fn cleanup(&self, container: &str) {
        self.isolator.cleanup(CleanupRequest { container_id: Some(id(container)) }).unwrap();
    }

    /// Waits for so many more rounds.
    fn rounds(&self, more: u64) {
        let until = self.rounds.load(Ordering::SeqCst) + more;
        wait_until("rounds", || self.rounds.load(Ordering::SeqCst) >= until);
    }
}

fn id(value: &str) -> ContainerId {
    ContainerId { value: value.to_owned(), parent: None }
}

fn mem(value: f64) -> Resource {
    Resource { name: "mem".into(), scalar: Some(Scalar { value }), ..Resource::default() }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::yield_now();
    }
}

/// A shell that waits for a line before it runs its script, as a launcher does. It and all it starts are killed at the end.
struct Task(Child);

impl Task {
    fn start(script: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("read go\n{script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        Self(child.unwrap())
    }

    fn go(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.0.wait();
    }
}

fn limited(limitation: &Receiver<Option<ContainerLimitation>>) -> ContainerLimitation {
    limitation.recv_timeout(PATIENCE).expect("a limitation").expect("not never")
}

const PHYSICAL_ONLY: (&str, &str) = ("vmem_check_enabled", "false");

#[test]
fn a_tree_that_stays_over_its_memory_ends_with_a_dump_of_it() {
    let world = World::new(&[PHYSICAL_ONLY]);
    let (task, limitation) = world.run("c", 50.0, HOLD_80_MB);
    let limitation = limited(&limitation);
    assert_eq!(limitation.reason(), Reason::ContainerLimitationMemory);
    let used = limitation.resources[0].scalar.as_ref().unwrap().value;
    assert!(limitation.resources[0].name == "mem" && used > 50.0, "{used}");
    let message = limitation.message();
    let pid = task.0.id();
    let start = format!("Container [pid={pid},containerID=c] is running ");
    assert!(message.starts_with(&start), "{message}");
    assert!(message.contains("B beyond the 'PHYSICAL' memory limit. Current usage: "), "{message}");
    assert!(message.contains(" of 50 MB physical memory used; "), "{message}");
    assert!(
        message.contains("Killing container.\nDump of the process-tree for c :\n\t|- PID PPID")
    );
    let lines: Vec<&str> = message.lines().skip(3).collect();
    assert!(lines[0].starts_with(&format!("\t|- {pid} ")), "{message}");
    assert!(lines[0].contains(" (sh) ") && lines[0].contains("sh -c read go"), "{message}");
    let tail = lines.iter().find(|line| line.contains(" (tail) ")).expect(message);
    assert!(tail.starts_with("\t|- ") && tail.contains(&format!(" {pid} {pid} ")), "{message}");
    assert_eq!(world.usage("c").mem_limit_bytes(), 50 * MB);
    assert!(world.usage("c").mem_rss_bytes() > 50 * MB);
}

#[test]
fn short_lived_children_that_double_the_memory_are_forgiven() {
    let world = World::new(&[PHYSICAL_ONLY, ("interval", "1500ms")]);
    let script = "while :; do head -c 8M /dev/zero | tail > /dev/null; done";
    let (_task, limitation) = world.run("c", 10.0, script);
    world.rounds(4);
    assert!(limitation.try_recv().is_err());
    wait_until("a measurement", || world.usage("c").mem_rss_bytes.is_some());
}

#[test]
fn virtual_memory_is_limited_by_the_ratio_and_told_first() {
    let world = World::new(&[("vmem_pmem_ratio", "1.0")]);
    // Over both: no shell does with so little.
    let (_task, limitation) = world.run("c", 0.5, "exec sleep 600");
    let limitation = limited(&limitation);
    assert!(limitation.message().contains("beyond the 'VIRTUAL' memory limit"));
    assert!(limitation.message().contains(" of 512 KB virtual memory used. Killing container.\n"));
}

#[test]
fn limits_follow_updates() {
    let world = World::new(&[PHYSICAL_ONLY]);
    let (_task, limitation) = world.run("c", 500.0, HOLD_80_MB);
    wait_until("the memory", || world.usage("c").mem_rss_bytes() > 80 * MB);
    world.update("c", 10.0, Some(400.0));
    assert_eq!(world.usage("c").mem_limit_bytes(), 400 * MB);
    world.rounds(3);
    world.update("c", 10.0, Some(f64::INFINITY));
    assert_eq!(world.usage("c").mem_limit_bytes, None);
    world.rounds(3);
    assert!(limitation.try_recv().is_err());
    world.update("c", 60.0, None);
    assert!(limited(&limitation).message().contains(" of 60 MB physical memory used"));
}

#[test]
fn what_is_nested_counts_for_the_container_around_it() {
    let world = World::new(&[PHYSICAL_ONLY]);
    let (_outer, limitation) = world.run("c", 50.0, "exec sleep 600");
    let nested = ContainerId { value: "n".into(), parent: Some(Box::new(id("c"))) };
    world.prepare(&nested, 1.0);
    let mut inner = Task::start(HOLD_80_MB);
    world.isolate(&nested, &inner);
    inner.go();
    let message = limited(&limitation).message().to_owned();
    assert!(message.contains("containerID=c]") && message.contains("(tail)"), "{message}");
    let usage = world.isolator.usage(UsageRequest { container_id: Some(nested) }).unwrap();
    assert_eq!(usage.statistics.unwrap().mem_limit_bytes, None, "it has no limit of its own");
}

#[test]
fn smaps_and_a_program_of_ones_own_measure_too() {
    let smaps = World::new(&[PHYSICAL_ONLY, ("measure", "smaps"), ("smaps_rule", "older")]);
    let (_task, limitation) = smaps.run("c", 50.0, HOLD_80_MB);
    assert!(limited(&limitation).message().contains("'PHYSICAL'"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("measure").display().to_string();
    let install =
        format!("printf '#!/bin/sh\\necho $1 4096 123456789\\n' > {path}; chmod 755 {path}");
    assert!(Command::new("sh").args(["-c", &install]).status().unwrap().success());
    let program = World::new(&[PHYSICAL_ONLY, ("measure", &format!("command:{path}"))]);
    let (_task, limitation) = program.run("c", 50.0, "exec sleep 600");
    let limitation = limited(&limitation);
    assert!(limitation.message().contains("117.7 MB of 50 MB physical memory used; 4 KB of"));

    // A program that goes wrong later is told, and nobody is ended for it.
    std::fs::remove_file(&path).unwrap();
    let (_task, limitation) = program.run("d", 50.0, "exec sleep 600");
    let complaint = |line: &String| line.contains("cannot measure container `d`");
    wait_until("a complaint", || program.log.try_iter().any(|line| complaint(&line)));
    program.rounds(3);
    assert!(!program.log.try_iter().any(|line| complaint(&line)), "once is enough");
    assert!(limitation.try_recv().is_err());
}

#[test]
fn a_recovered_container_is_limited_from_its_first_update_on() {
    let world = World::new(&[PHYSICAL_ONLY]);
    let mut task = Task::start(HOLD_80_MB);
    task.go();
    let state = |container_id, pid| ContainerState {
        container_id,
        pid,
        directory: "/tmp".into(),
        ..ContainerState::default()
    };
    let states = vec![state(id("c"), u64::from(task.0.id())), state(id("gone"), u64::MAX)];
    world.isolator.recover(RecoverRequest { states, orphans: vec![id("orphan")] }).unwrap();
    let limitation = world.watch("c");
    wait_until("the memory", || world.usage("c").mem_rss_bytes() > 80 * MB);
    world.rounds(2);
    assert!(limitation.try_recv().is_err());
    world.update("c", 50.0, None);
    limited(&limitation);
    for container in ["c", "gone", "orphan"] {
        world.cleanup(container);
    }
}

#[test]
fn a_container_that_goes_ends_its_watch_and_is_forgotten() {
    let world = World::new(&[]);
    let (_task, limitation) = world.run("c", 500.0, "exec sleep 600");
    world.cleanup("c");
    assert_eq!(limitation.recv_timeout(PATIENCE).unwrap(), None);
    let request = UsageRequest { container_id: Some(id("c")) };
    assert_eq!(world.isolator.usage(request).unwrap_err().code, Code::NotFound);
    world.cleanup("c");
    world.update("c", 1.0, None);
    assert_eq!(world.watch("c").recv_timeout(PATIENCE).unwrap(), None);
    let (_task, limitation) = world.run("d", 500.0, "exec sleep 600");
    let started = Instant::now();
    drop(world);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(limitation.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn a_second_prepare_is_refused_and_the_container_stays_limited() {
    let world = World::new(&[PHYSICAL_ONLY]);
    let (_task, limitation) = world.run("c", 500.0, HOLD_80_MB);
    wait_until("the memory", || world.usage("c").mem_rss_bytes() > 80 * MB);
    let request = PrepareRequest { container_id: Some(id("c")), config: None };
    assert_eq!(world.isolator.prepare(request).unwrap_err().code, Code::AlreadyExists);
    assert!(world.usage("c").mem_rss_bytes() > 80 * MB);
    assert!(limitation.try_recv().is_err(), "the watch goes on");
    world.update("c", 50.0, None);
    limited(&limitation);
}

#[test]
fn without_an_interval_nothing_is_limited() {
    let world = World::new(&[("interval", "0secs")]);
    let (_task, limitation) = world.run("c", 0.1, "exec sleep 600");
    assert_eq!(world.rounds.load(Ordering::SeqCst), 0);
    assert!(limitation.try_recv().is_err());
    world.cleanup("c");
    assert_eq!(limitation.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn too_much_memory_for_containers_is_warned_of_at_start() {
    #[allow(clippy::cast_precision_loss, reason = "megabytes")]
    let total = Procfs::default().meminfo().unwrap().total as f64 / MB as f64;
    let warned = |share: f64, parameters: &[(&str, &str)]| {
        let world = World::with_agent_memory(total * share, parameters);
        world.log.try_iter().any(|line| line.contains("it may thrash"))
    };
    assert!(warned(0.81, &[]));
    assert!(!warned(0.79, &[]));
    assert!(!warned(0.95, &[("pmem_check_enabled", "false")]));
}
