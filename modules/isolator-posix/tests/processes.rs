//! `posix/cpu` and `posix/mem` on real processes: a shell and what it makes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mezzo_isolator_posix::{CpuIsolator, Measure, MemIsolator, UsageIsolator};
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerState, IsolateRequest, IsolatorCapabilitiesRequest,
    PrepareRequest, RecoverRequest, UpdateRequest, UsageRequest,
};
use mezzo_module_api::{Code, Host, Isolator, ModuleError, Parameters};
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{ContainerId, Resource, ResourceStatistics};

/// Longer than any machine takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
const MEGABYTE: u64 = 1024 * 1024;

fn isolator<M: Measure>() -> UsageIsolator<M> {
    UsageIsolator::new(Host::silent(), Parameters::default()).unwrap()
}

fn id() -> Option<ContainerId> {
    Some(ContainerId { value: "c".into(), parent: None })
}

fn scalar(name: &str, value: f64) -> Resource {
    Resource { name: name.into(), scalar: Some(Scalar { value }), ..Resource::default() }
}

fn prepare(isolator: &dyn Isolator) -> Result<(), ModuleError> {
    let resources = vec![scalar("cpus", 0.5), scalar("mem", 64.0)];
    let config = ContainerConfig { resources, ..ContainerConfig::default() };
    isolator.prepare(PrepareRequest { container_id: id(), config: Some(config) }).map(drop)
}

fn isolate(isolator: &dyn Isolator, pid: u32) {
    isolator.isolate(IsolateRequest { container_id: id(), pid: Some(pid.into()) }).unwrap();
}

fn usage(isolator: &dyn Isolator) -> Result<ResourceStatistics, ModuleError> {
    let response = isolator.usage(UsageRequest { container_id: id() })?;
    Ok(response.statistics.unwrap())
}

fn cleanup(isolator: &dyn Isolator) {
    isolator.cleanup(CleanupRequest { container_id: id() }).unwrap();
}

/// A shell that is told what to do, line by line. It and its children are gone at the end.
struct Shell(Child);

impl Shell {
    fn start() -> Self {
        let mut shell = Command::new("sh");
        Self(shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs commands, which must not print, and waits until they are done.
    fn run(&mut self, commands: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{commands}\necho done").unwrap();
        let mut line = String::new();
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let pid = i32::try_from(self.pid()).unwrap();
        mezzo_linux::process::kill_tree(pid, PATIENCE).unwrap();
        self.0.wait().unwrap();
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::yield_now();
    }
}

fn seconds(isolator: &CpuIsolator) -> f64 {
    let used = usage(isolator).unwrap();
    used.cpus_user_time_secs() + used.cpus_system_time_secs()
}

#[test]
fn the_time_of_a_child_in_a_session_of_its_own_counts() {
    let isolator: CpuIsolator = isolator();
    let mut shell = Shell::start();
    prepare(&isolator).unwrap();
    isolate(&isolator, shell.pid());
    shell.run("setsid sh -c 'while :; do :; done' &");
    wait_until("used time", || seconds(&isolator) > 0.2);
    let used = usage(&isolator).unwrap();
    assert_eq!((used.cpus_soft_limit, used.cpus_limit), (Some(0.5), None));
    assert_eq!(used.mem_rss_bytes, None, "that is the other isolator's");
    cleanup(&isolator);
}

#[test]
fn the_time_of_a_child_that_has_ended_still_counts() {
    let isolator: CpuIsolator = isolator();
    let mut shell = Shell::start();
    prepare(&isolator).unwrap();
    isolate(&isolator, shell.pid());
    // The kernel ends it after a second of CPU time, however long that takes here; it counts that second in ticks of its
    // own, and a little less of it is seen.
    shell.run("sh -c 'ulimit -t 1; while :; do :; done' 2>/dev/null");
    let mut last = 0.0;
    wait_until("the time of the one that has ended", || {
        let now = seconds(&isolator);
        assert!(now >= last, "{now} after {last}");
        last = now;
        now >= 0.5
    });
    cleanup(&isolator);
}

#[test]
fn the_memory_of_all_processes_is_added_up() {
    let isolator: MemIsolator = isolator();
    let mut shell = Shell::start();
    prepare(&isolator).unwrap();
    isolate(&isolator, shell.pid());
    let big = r#"sleep 600 | sh -c 'x=$(head -c 20000000 /dev/zero | tr "\0" x); read forever' &"#;
    shell.run(&format!("{big}\n{big}"));
    wait_until("two processes with 20 MB", || {
        usage(&isolator).unwrap().mem_rss_bytes() > 38 * MEGABYTE
    });
    let used = usage(&isolator).unwrap();
    assert_eq!(used.mem_soft_limit_bytes(), 64 * MEGABYTE);
    assert_eq!(used.mem_limit_bytes(), 64 * MEGABYTE);
    assert_eq!(used.cpus_user_time_secs, None);
    cleanup(&isolator);
}

#[test]
fn limits_are_told_as_asked_for_and_an_infinite_one_is_the_machine() {
    let (cpu, mem): (CpuIsolator, MemIsolator) = (isolator(), isolator());
    let both: [&dyn Isolator; 2] = [&cpu, &mem];
    let limits = [("cpus", 2.0), ("mem", f64::INFINITY)];
    let limits = limits.map(|(name, value)| (name.to_owned(), Scalar { value }));
    let requests = vec![scalar("cpus", 1.5), scalar("mem", 32.0)];
    for isolator in both {
        prepare(isolator).unwrap();
        let (requests, limits) = (requests.clone(), limits.clone().into());
        isolator.update(UpdateRequest { container_id: id(), requests, limits }).unwrap();
    }
    let cpus = usage(&cpu).unwrap();
    assert_eq!((cpus.cpus_soft_limit, cpus.cpus_limit), (Some(1.5), Some(2.0)));
    assert_eq!(cpus.cpus_user_time_secs, None, "nothing of it has started");
    let memory = usage(&mem).unwrap();
    assert_eq!(memory.mem_soft_limit_bytes(), 32 * MEGABYTE);
    assert!(memory.mem_limit_bytes() > 128 * MEGABYTE);
}

#[test]
fn a_recovered_container_is_measured_and_its_limits_are_unknown_until_the_update() {
    let isolator: MemIsolator = isolator();
    let shell = Shell::start();
    let state = ContainerState {
        container_id: id().unwrap(),
        pid: shell.pid().into(),
        ..ContainerState::default()
    };
    isolator.recover(RecoverRequest { states: vec![state], orphans: vec![] }).unwrap();
    // A process that has only just begun has nothing yet.
    wait_until("its memory", || usage(&isolator).unwrap().mem_rss_bytes() > 0);
    let used = usage(&isolator).unwrap();
    assert_eq!((used.mem_limit_bytes, used.mem_soft_limit_bytes), (None, None));
    cleanup(&isolator);
    assert_eq!(usage(&isolator).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_container_whose_process_has_ended_is_not_measured_by_another_of_its_pid() {
    let isolator: CpuIsolator = isolator();
    let shell = Shell::start();
    prepare(&isolator).unwrap();
    isolate(&isolator, shell.pid());
    usage(&isolator).unwrap();
    drop(shell);
    // A table of a moment ago may still have it.
    wait_until("its end", || usage(&isolator).is_err());
    assert_eq!(usage(&isolator).unwrap_err().code, Code::NotFound);
    cleanup(&isolator);
}

#[test]
fn what_comes_at_the_wrong_time_is_an_error_or_nothing() {
    let isolator: CpuIsolator = isolator();
    cleanup(&isolator);
    isolator.update(UpdateRequest { container_id: id(), ..UpdateRequest::default() }).unwrap();
    let early = isolator.isolate(IsolateRequest { container_id: id(), pid: Some(1) }).unwrap_err();
    assert_eq!(
        (early.code, early.message.as_str()),
        (Code::NotFound, "container `c` was not prepared")
    );
    prepare(&isolator).unwrap();
    assert_eq!(prepare(&isolator).unwrap_err().code, Code::AlreadyExists);
    let wrong = isolator.isolate(IsolateRequest { container_id: id(), pid: Some(0) }).unwrap_err();
    assert_eq!(wrong.message, "pid is 0, expected a process id above 0");
    let can = isolator.capabilities(IsolatorCapabilitiesRequest::default()).unwrap();
    assert!(!can.nesting() && !can.standalone());
}
