//! Real containers in real cgroups. Fails where it cannot make any:
//! only a kernel makes the files that these isolators write.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic and say why it does nothing"
)]

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mezzo_isolator_cgroups::{CpuIsolator, MemIsolator};
use mezzo_linux::cgroup::{Hierarchies, detect};
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerLimitation, ContainerState, IsolateRequest,
    PrepareRequest, RecoverRequest, UpdateRequest, UsageRequest, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Completion, Host, Isolator, ModuleError, Parameters};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{ContainerId, Resource, ResourceStatistics};

/// Longer than any machine takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
const MEGABYTE: u64 = 1024 * 1024;

/// A cgroup root of a test's own, removed at the end.
struct Machine {
    root: String,
    hierarchies: Hierarchies,
}

impl Machine {
    /// Fails where it cannot make cgroups: a test that did not run must not look like one that passed.
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(mezzo_linux::user::is_root(), "this test makes cgroups: run it as root");
        let hierarchies =
            detect().unwrap().expect("this test needs cgroups: none are mounted here");
        let root = format!(
            "mezzo-test-isolator-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self { root, hierarchies }
    }

    fn parameters(&self, more: &[(&str, &str)]) -> Parameters {
        let mut pairs = vec![("cgroups_root", self.root.as_str())];
        pairs.extend(more);
        Parameters::from_pairs(&pairs)
    }

    fn cpu(&self, more: &[(&str, &str)]) -> CpuIsolator {
        CpuIsolator::new(Host::silent(), self.parameters(more)).unwrap()
    }

    fn mem(&self, more: &[(&str, &str)]) -> MemIsolator {
        MemIsolator::new(Host::silent(), self.parameters(more)).unwrap()
    }

    fn is_v2(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::V2(_))
    }

    fn dir(&self, controller: &str, container: &str) -> PathBuf {
        let path = format!("{}/{container}", self.root);
        let cgroup = match &self.hierarchies {
            Hierarchies::V1(found) => found.cgroup(controller, &path).unwrap(),
            Hierarchies::V2(found) => found.cgroup(&path).unwrap(),
        };
        cgroup.path().to_owned()
    }

    /// A file by its names in version 1 and 2, without the line's end.
    fn read(&self, controller: &str, container: &str, v1: &str, v2: &str) -> String {
        let file = self.dir(controller, container).join(if self.is_v2() { v2 } else { v1 });
        fs::read_to_string(file).unwrap().trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Goes after its isolators, which remove what is empty.
        for controller in ["cpu", "cpuacct", "memory"] {
            let root = self.dir(controller, "x").parent().unwrap().to_owned();
            assert!(std::thread::panicking() || !root.exists(), "{} is left", root.display());
            let _ = fs::remove_dir(root);
        }
    }
}

fn id(value: &str) -> ContainerId {
    ContainerId { value: value.to_owned(), parent: None }
}

fn scalar(name: &str, value: f64) -> Resource {
    Resource { name: name.into(), scalar: Some(Scalar { value }), ..Resource::default() }
}

fn config(cpus: f64, mem: f64, limits: &[(&str, f64)]) -> ContainerConfig {
    ContainerConfig {
        resources: vec![scalar("cpus", cpus), scalar("mem", mem)],
        limits: limits
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Scalar { value: *value }))
            .collect(),
        ..ContainerConfig::default()
    }
}

fn prepare(
    isolator: &dyn Isolator,
    container: &str,
    config: ContainerConfig,
) -> Result<(), ModuleError> {
    let request = PrepareRequest { container_id: Some(id(container)), config: Some(config) };
    isolator.prepare(request).map(drop)
}

fn update(
    isolator: &dyn Isolator,
    container: &str,
    config: &ContainerConfig,
) -> Result<(), ModuleError> {
    let (requests, limits) = (config.resources.clone(), config.limits.clone());
    isolator.update(UpdateRequest { container_id: Some(id(container)), requests, limits }).map(drop)
}

fn usage(isolator: &dyn Isolator, container: &str) -> ResourceStatistics {
    isolator.usage(UsageRequest { container_id: Some(id(container)) }).unwrap().statistics.unwrap()
}

fn cleanup(isolator: &dyn Isolator, container: &str) {
    isolator.cleanup(CleanupRequest { container_id: Some(id(container)) }).unwrap();
}

fn watch(
    isolator: &dyn Isolator,
    container: &str,
) -> Receiver<Result<ContainerLimitation, ModuleError>> {
    let (sender, receiver) = mpsc::channel();
    let done = Completion::new(move |result: Result<WatchResponse, ModuleError>| {
        let _ = sender.send(result.map(|response| response.limitation.unwrap()));
    });
    isolator.watch(WatchRequest { container_id: Some(id(container)) }, done);
    receiver
}

/// A shell that waits for a line before it runs its script, as a launcher does. Killed at the end.
struct Task(Child);

impl Task {
    fn start(script: &str) -> Self {
        let script = format!("read go\n{script}");
        Self(
            Command::new("sh")
                .args(["-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn isolate(&self, isolator: &dyn Isolator, container: &str) {
        let pid = Some(u64::from(self.0.id()));
        isolator.isolate(IsolateRequest { container_id: Some(id(container)), pid }).unwrap();
    }

    fn go(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::yield_now();
    }
}

#[test]
fn shares_and_quota_follow_requests_and_limits() {
    let machine = Machine::new();
    let isolator = machine.cpu(&[]);
    prepare(&isolator, "c", config(0.5, 64.0, &[("cpus", 1.5)])).unwrap();
    let shares = || machine.read("cpu", "c", "cpu.shares", "cpu.weight");
    let quota = || machine.read("cpu", "c", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(shares(), if machine.is_v2() { "50" } else { "512" });
    assert_eq!(quota(), if machine.is_v2() { "150000 100000" } else { "150000" });
    update(&isolator, "c", &config(2.0, 64.0, &[("cpus", f64::INFINITY)])).unwrap();
    assert_eq!(shares(), if machine.is_v2() { "200" } else { "2048" });
    assert_eq!(quota(), if machine.is_v2() { "max 100000" } else { "-1" });
    cleanup(&isolator, "c");
    assert!(!machine.dir("cpu", "c").exists());
}

#[test]
fn without_a_limit_only_cfs_makes_a_quota_and_it_shows_in_the_statistics() {
    let machine = Machine::new();
    let isolator = machine
        .cpu(&[("cgroups_enable_cfs", "true"), ("cgroups_cpu_enable_pids_and_tids_count", "true")]);
    prepare(&isolator, "c", config(0.2, 64.0, &[])).unwrap();
    let mut task = Task::start("while :; do :; done");
    task.isolate(&isolator, "c");
    task.go();
    wait_until("throttling", || usage(&isolator, "c").cpus_nr_throttled() > 0);
    let used = usage(&isolator, "c");
    assert_eq!((used.cpus_soft_limit(), used.cpus_limit()), (0.2, 0.2));
    assert_eq!((used.processes(), used.threads()), (1, 1));
    assert!(used.cpus_throttled_time_secs() > 0.0 && used.cpus_nr_periods() > 0);
    wait_until("used time", || {
        let used = usage(&isolator, "c");
        used.cpus_user_time_secs() + used.cpus_system_time_secs() > 0.0
    });
    cleanup(&isolator, "c");
    assert_eq!(task.0.wait().unwrap().signal(), Some(9), "cleanup kills what is left");
}

#[test]
fn a_container_over_its_memory_ends_with_reason_message_and_amount() {
    let machine = Machine::new();
    let isolator = machine.mem(&[]);
    prepare(&isolator, "c", config(0.1, 40.0, &[])).unwrap();
    let mut task = Task::start("exec tail /dev/zero");
    let limitation = watch(&isolator, "c");
    task.isolate(&isolator, "c");
    task.go();
    let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(limitation.reason(), Reason::ContainerLimitationMemory);
    assert!(
        limitation.message().starts_with("Memory limit exceeded: Requested: 40MB"),
        "{}",
        limitation.message()
    );
    let mem = limitation.resources.first().unwrap();
    let used = mem.scalar.as_ref().unwrap().value;
    assert!(mem.name == "mem" && (35.0..=41.0).contains(&used), "{used}");
    cleanup(&isolator, "c");
}

#[test]
fn an_event_before_anybody_watches_is_not_lost() {
    let machine = Machine::new();
    let isolator = machine.mem(&[]);
    prepare(&isolator, "c", config(0.1, 32.0, &[])).unwrap();
    let mut task = Task::start("exec tail /dev/zero");
    task.isolate(&isolator, "c");
    task.go();
    task.0.wait().unwrap();
    watch(&isolator, "c").recv_timeout(PATIENCE).unwrap().unwrap();
    cleanup(&isolator, "c");
}

#[test]
fn a_watch_ends_without_an_answer_when_the_container_is_cleaned_up() {
    let machine = Machine::new();
    let isolator = machine.mem(&[]);
    prepare(&isolator, "c", config(0.1, 32.0, &[])).unwrap();
    let watching = watch(&isolator, "c");
    cleanup(&isolator, "c");
    assert!(watching.recv_timeout(PATIENCE).is_err());
}

#[test]
fn the_memory_limit_rises_and_never_falls() {
    let machine = Machine::new();
    let isolator = machine.mem(&[]);
    let hard = || machine.read("memory", "c", "memory.limit_in_bytes", "memory.max");
    let soft = || machine.read("memory", "c", "memory.soft_limit_in_bytes", "memory.low");
    let bytes = |megabytes: u64| (megabytes * MEGABYTE).to_string();
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    assert_eq!((soft(), hard()), (bytes(64), bytes(64)));
    update(&isolator, "c", &config(0.1, 16.0, &[])).unwrap();
    assert_eq!(
        (soft(), hard()),
        (bytes(32), bytes(64)),
        "the floor is 32 MB, the hard limit stays"
    );
    update(&isolator, "c", &config(0.1, 64.0, &[("mem", 100.9)])).unwrap();
    assert_eq!((soft(), hard()), (bytes(64), bytes(100)), "limits are whole megabytes");

    // A new life of the agent: the first update is not the container's first.
    let reborn = machine.mem(&[]);
    let state = ContainerState { container_id: id("c"), ..ContainerState::default() };
    reborn.recover(RecoverRequest { states: vec![state], orphans: vec![] }).unwrap();
    assert_eq!(usage(&reborn, "c").mem_limit_bytes, None, "not known before the first update");
    update(&reborn, "c", &config(0.1, 50.0, &[])).unwrap();
    assert_eq!((soft(), hard()), (bytes(50), bytes(100)));
    assert_eq!(
        usage(&reborn, "c").mem_limit_bytes(),
        50 * MEGABYTE,
        "what was asked for is told, not what the cgroup holds"
    );
    cleanup(&reborn, "c");
}

#[test]
fn memory_statistics_are_the_cgroups() {
    let machine = Machine::new();
    let isolator = machine.mem(&[]);
    prepare(&isolator, "c", config(0.1, 64.0, &[("mem", f64::INFINITY)])).unwrap();
    let mut task = Task::start("x=$(head -c 4000000 /dev/zero | tr '\\0' x); read end");
    task.isolate(&isolator, "c");
    task.go();
    wait_until("memory", || usage(&isolator, "c").mem_rss_bytes() > 3 * MEGABYTE);
    let used = usage(&isolator, "c");
    assert_eq!(used.mem_rss_bytes, used.mem_anon_bytes);
    assert_eq!(used.mem_cache_bytes, used.mem_file_bytes);
    assert!(used.mem_total_bytes() >= used.mem_rss_bytes());
    assert_eq!(used.mem_soft_limit_bytes(), 64 * MEGABYTE);
    assert!(used.mem_limit_bytes() > 256 * MEGABYTE, "no limit is the machine's memory");
    cleanup(&isolator, "c");
}

#[test]
fn both_isolators_hold_one_container() {
    let machine = Machine::new();
    let (cpu, mem) = (machine.cpu(&[]), machine.mem(&[]));
    let both: [&dyn Isolator; 2] = [&cpu, &mem];
    for isolator in both {
        prepare(isolator, "c", config(0.1, 64.0, &[])).unwrap();
    }
    let task = Task::start("read end");
    both.iter().for_each(|isolator| task.isolate(*isolator, "c"));
    let cgroups =
        fs::read_to_string(Path::new("/proc").join(task.0.id().to_string()).join("cgroup"))
            .unwrap();
    let ours = cgroups.lines().filter(|line| line.contains(&machine.root)).count();
    assert_eq!(ours, if machine.is_v2() { 1 } else { 3 }, "{cgroups}");
    drop(task);
    both.iter().rev().for_each(|isolator| cleanup(*isolator, "c"));
    assert!(!machine.dir("cpu", "c").exists() && !machine.dir("memory", "c").exists());
}

#[test]
fn a_nested_container_shares_its_roots_cgroup_unless_it_wants_its_own() {
    let machine = Machine::new();
    let isolator = machine.mem(&[]);
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    let nested = |name: &str| ContainerId { value: name.into(), parent: Some(Box::new(id("c"))) };
    let prepare_nested = |name, share| {
        let mut config = config(0.1, 40.0, &[]);
        config
            .container_info
            .get_or_insert_default()
            .linux_info
            .get_or_insert_default()
            .share_cgroups = share;
        isolator
            .prepare(PrepareRequest { container_id: Some(nested(name)), config: Some(config) })
            .unwrap();
    };
    prepare_nested("shared", None);
    prepare_nested("own", Some(false));
    assert!(
        !machine.dir("memory", "c/mezzo/shared").exists()
            && machine.dir("memory", "c/mezzo/own").exists()
    );

    let task = Task::start("read end");
    let isolate =
        IsolateRequest { container_id: Some(nested("shared")), pid: Some(task.0.id().into()) };
    isolator.isolate(isolate).unwrap();
    let procs = machine.read("memory", "c", "cgroup.procs", "leaf/cgroup.procs");
    assert_eq!(procs, task.0.id().to_string());
    assert_eq!(
        isolator.usage(UsageRequest { container_id: Some(nested("shared")) }).unwrap().statistics,
        None
    );
    drop(task);
    for name in ["own", "shared"] {
        isolator.cleanup(CleanupRequest { container_id: Some(nested(name)) }).unwrap();
    }
    cleanup(&isolator, "c");
}

#[test]
fn a_leftover_is_not_adopted_and_cleanup_takes_what_it_finds() {
    let machine = Machine::new();
    let isolator = machine.cpu(&[]);
    fs::create_dir_all(machine.dir("cpu", "left")).unwrap();
    let error = prepare(&isolator, "left", config(0.1, 64.0, &[])).unwrap_err();
    assert!(error.message.contains("left"), "{error}");
    cleanup(&isolator, "left");
    assert!(!machine.dir("cpu", "left").exists());
    cleanup(&isolator, "never-heard-of");
    update(&isolator, "never-heard-of", &config(0.1, 64.0, &[])).unwrap();
}

#[test]
fn a_recovered_container_without_a_cgroup_is_no_error() {
    let machine = Machine::new();
    let state = || ContainerState { container_id: id("gone"), ..ContainerState::default() };
    let request = || RecoverRequest { states: vec![state()], orphans: vec![id("orphan")] };
    machine.mem(&[]).recover(request()).unwrap();
    machine.cpu(&[]).recover(request()).unwrap();
}

#[test]
fn requests_without_the_resource_are_refused_by_name() {
    let machine = Machine::new();
    let only = |name: &str| ContainerConfig {
        resources: vec![scalar(name, 64.0)],
        ..ContainerConfig::default()
    };
    let (cpu, mem) = (machine.cpu(&[]), machine.mem(&[]));
    assert_eq!(
        prepare(&cpu, "c", only("mem")).unwrap_err().message,
        "container `c` requests no cpus"
    );
    assert_eq!(
        prepare(&mem, "c", only("cpus")).unwrap_err().message,
        "container `c` requests no mem"
    );
    cleanup(&cpu, "c");
    cleanup(&mem, "c");
}
