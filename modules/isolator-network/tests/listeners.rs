//! `network/ports` on real processes that listen on loopback.
//!
//! A test binds the socket and gives it to a process as its standard input: then only that process listens, and there is
//! nothing to wait for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mezzo_isolator_network::PortsIsolator;
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerLimitation, ContainerState, IsolateRequest,
    PrepareRequest, RecoverRequest, UpdateRequest, WatchRequest, WatchResponse,
};
use mezzo_module_api::{
    Completion, Host, HostProcess, HostServices, Isolator, Level, ModuleError, Parameters,
};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{ContainerId, Resource, value};

/// Longer than any machine takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that listens, killed at the end.
struct Listener {
    process: Child,
    port: u16,
}

impl Listener {
    /// Starts a shell script whose standard input listens on a free port of this address.
    fn run(script: &str, address: &str) -> Self {
        let socket = TcpListener::bind((address, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(OwnedFd::from(socket)).stdout(Stdio::null());
        Self { process: shell.spawn().unwrap(), port }
    }

    fn start() -> Self {
        Self::run("exec sleep 600", "127.0.0.1")
    }

    fn pid(&self) -> u64 {
        self.process.id().into()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).unwrap();
        mezzo_linux::process::kill_tree(pid, PATIENCE).unwrap();
        self.process.wait().unwrap();
    }
}

fn id(value: &str) -> ContainerId {
    ContainerId { value: value.into(), parent: None }
}

fn nested(parent: &str, value: &str) -> ContainerId {
    ContainerId { value: value.into(), parent: Some(Box::new(id(parent))) }
}

fn ports(list: &[u16]) -> Vec<Resource> {
    let range = |port: &u16| value::Range { begin: (*port).into(), end: (*port).into() };
    let ranges = value::Ranges { range: list.iter().map(range).collect() };
    vec![Resource { name: "ports".into(), ranges: Some(ranges), ..Resource::default() }]
}

/// An isolator that looks all the time, and what it says.
struct World {
    isolator: PortsIsolator,
    log: Log,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl HostServices for Log {
    fn log(&self, level: Level, message: &str) {
        self.0.lock().unwrap().push(format!("{level:?}: {message}"));
    }

    fn count(&self, counter: &str, delta: u64) {
        self.0.lock().unwrap().push(format!("{counter} +{delta}"));
    }
}

impl Log {
    fn wait_for(&self, words: &str) {
        let start = std::time::Instant::now();
        while !self.0.lock().unwrap().iter().any(|line| line.contains(words)) {
            assert!(start.elapsed() < PATIENCE, "no {words} in {:?}", self.0);
            std::thread::yield_now();
        }
    }

    fn count(&self, words: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }
}

impl World {
    fn new(more: &[(&str, &str)]) -> Self {
        Self::with(more, HostProcess::default())
    }

    fn enforcing() -> Self {
        Self::new(&[("enforce_container_ports", "true")])
    }

    fn with(more: &[(&str, &str)], process: HostProcess) -> Self {
        let mut pairs = vec![("container_ports_watch_interval", "10ms")];
        pairs.extend(more);
        let log = Log::default();
        let parameters = Parameters::from_pairs(&pairs);
        let isolator = PortsIsolator::new(Host::new(log.clone(), process), parameters).unwrap();
        Self { isolator, log }
    }

    /// A container with these ports and this process.
    fn contain(
        &self,
        container: &ContainerId,
        resources: Vec<Resource>,
        listener: &Listener,
    ) -> Receiver<Result<ContainerLimitation, ModuleError>> {
        let config = ContainerConfig { resources, ..ContainerConfig::default() };
        let container_id = Some(container.clone());
        let prepare = PrepareRequest { container_id: container_id.clone(), config: Some(config) };
        self.isolator.prepare(prepare).unwrap();
        let watching = self.watch(container);
        let pid = Some(listener.pid());
        self.isolator.isolate(IsolateRequest { container_id, pid }).unwrap();
        watching
    }

    fn watch(&self, container: &ContainerId) -> Receiver<Result<ContainerLimitation, ModuleError>> {
        let (sender, receiver) = mpsc::channel();
        let done = Completion::new(move |result: Result<WatchResponse, ModuleError>| {
            let _ = sender.send(result.map(|response| response.limitation.unwrap()));
        });
        self.isolator.watch(WatchRequest { container_id: Some(container.clone()) }, done);
        receiver
    }

    fn update(&self, container: &ContainerId, requests: Vec<Resource>) {
        let container_id = Some(container.clone());
        self.isolator
            .update(UpdateRequest { container_id, requests, ..UpdateRequest::default() })
            .unwrap();
    }

    fn cleanup(&self, container: &ContainerId) {
        self.isolator.cleanup(CleanupRequest { container_id: Some(container.clone()) }).unwrap();
    }

    /// Has looked at everything since the call: a new offender was found.
    fn has_looked(&self) {
        let (offender, witness) = (Listener::start(), id("witness"));
        let watching = self.contain(&witness, vec![], &offender);
        self.log.wait_for(&format!(
            "witness is listening on unallocated port(s): [{0}-{0}]",
            offender.port
        ));
        drop(watching);
        self.cleanup(&witness);
        self.log.0.lock().unwrap().retain(|line| !line.contains("witness"));
    }
}

#[test]
fn a_container_that_listens_where_it_may_not_ends_with_reason_ports_and_message() {
    let world = World::enforcing();
    for address in ["127.0.0.1", "::1"] {
        let listener = Listener::run("exec sleep 600", address);
        let limitation = world.contain(&id("c"), ports(&[1, 2]), &listener);
        let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(limitation.reason(), Reason::ContainerLimitation);
        let port = listener.port;
        assert_eq!(
            limitation.message(),
            format!("Container c is listening on unallocated port(s): [{port}-{port}]")
        );
        let ranges = limitation.resources.first().unwrap().ranges.as_ref().unwrap();
        assert_eq!(ranges.range, [value::Range { begin: port.into(), end: port.into() }]);
        world.cleanup(&id("c"));
    }
}

#[test]
fn a_container_may_listen_on_the_ports_it_was_given_until_they_are_taken_away() {
    let world = World::enforcing();
    let listener = Listener::start();
    let limitation = world.contain(&id("c"), ports(&[listener.port, 1]), &listener);
    world.has_looked();
    assert_eq!(limitation.try_recv().unwrap_err(), mpsc::TryRecvError::Empty);
    world.update(&id("c"), ports(&[1]));
    limitation.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn a_grandchild_in_a_session_of_its_own_is_found() {
    let world = World::enforcing();
    // A shell gives what runs in the background no input of its own, so the socket is passed on by another number; then
    // the shell itself closes it.
    let script = "exec 3<&0; setsid sh -c 'sleep 600; :' & exec 3<&- </dev/null; sleep 600";
    let listener = Listener::run(script, "127.0.0.1");
    let limitation = world.contain(&id("c"), vec![], &listener);
    limitation.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn without_enforcement_it_is_told_once_and_counted() {
    let world = World::new(&[]);
    let listener = Listener::start();
    let limitation = world.contain(&id("c"), vec![], &listener);
    let words = "Container c is listening on unallocated port(s)";
    world.log.wait_for(words);
    world.has_looked();
    world.has_looked();
    assert_eq!(world.log.count(words), 1);
    assert!(world.log.count("unallocated_ports +1") >= 1);
    assert_eq!(limitation.try_recv().unwrap_err(), mpsc::TryRecvError::Empty);
    world.cleanup(&id("c"));
    assert_eq!(
        limitation.recv_timeout(PATIENCE).unwrap_err(),
        RecvTimeoutError::Disconnected,
        "never, not failed"
    );
}

#[test]
fn a_nested_container_ends_the_outermost_one() {
    let world = World::enforcing();
    let (root, inner) = (Listener::start(), Listener::start());
    let limitation = world.contain(&id("c"), ports(&[root.port]), &root);
    let never = world.contain(&nested("c", "n"), vec![], &inner);
    assert_eq!(never.recv_timeout(PATIENCE).unwrap_err(), RecvTimeoutError::Disconnected);
    let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(limitation.message().starts_with("Container c.n is listening"), "{limitation:?}");
}

#[test]
fn a_recovered_container_is_judged_once_its_ports_are_known() {
    let world = World::enforcing();
    let listener = Listener::start();
    let state =
        ContainerState { container_id: id("c"), pid: listener.pid(), ..ContainerState::default() };
    world.isolator.recover(RecoverRequest { states: vec![state], orphans: vec![] }).unwrap();
    let limitation = world.watch(&id("c"));
    world.has_looked();
    assert_eq!(limitation.try_recv().unwrap_err(), mpsc::TryRecvError::Empty);
    world.update(&id("c"), ports(&[1]));
    limitation.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn ports_outside_of_the_range_do_not_matter() {
    let (judged, other) = (Listener::start(), Listener::start());
    let range = format!("[{0}-{0}]", judged.port);
    let agents = HostProcess { resources: ports(&[judged.port]), ..HostProcess::default() };
    for world in [
        World::new(&[("container_ports_isolated_range", &range)]),
        World::with(&[("check_agent_port_range_only", "true")], agents),
    ] {
        world.contain(&id("other"), vec![], &other);
        world.contain(&id("judged"), vec![], &judged);
        world.log.wait_for("Container judged is listening");
        world.cleanup(&id("judged"));
        world.contain(&id("again"), vec![], &judged);
        world.log.wait_for("Container again is listening");
        assert_eq!(world.log.count("Container other"), 0, "{:?}", world.log.0);
    }
}

#[test]
fn an_isolator_that_goes_away_ends_nobody() {
    let world = World::enforcing();
    let listener = Listener::start();
    let limitation = world.contain(&id("c"), ports(&[listener.port]), &listener);
    drop(world);
    assert_eq!(limitation.recv_timeout(PATIENCE).unwrap_err(), RecvTimeoutError::Disconnected);
}

#[test]
fn what_comes_at_the_wrong_time_is_an_error_or_nothing() {
    let world = World::enforcing();
    world.cleanup(&id("unknown"));
    world.update(&id("unknown"), vec![]);
    let never = world.watch(&id("unknown"));
    assert_eq!(never.recv_timeout(PATIENCE).unwrap_err(), RecvTimeoutError::Disconnected);
    let isolate = IsolateRequest { container_id: Some(id("unknown")), pid: Some(1) };
    assert_eq!(
        world.isolator.isolate(isolate).unwrap_err().message,
        "container `unknown` was not prepared"
    );
}
