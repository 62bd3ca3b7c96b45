//! `disk/xfs` on a real XFS: containers are directories, tasks are this program. Wants root and a kernel that has XFS, which is why
//! plain `cargo test` leaves it out: `cargo xtask vm-test` runs it in a virtual machine. Fails loudly anywhere else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

#[path = "../../../agent/linux/tests/support/xfs.rs"]
mod xfs;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mezzo_isolator_disk::XfsIsolator;
use mezzo_linux::project_quota::{Limits, ProjectQuotas, project_of};
use mezzo_module_api::types::resource::disk_info::{Persistence, Source, source};
use mezzo_module_api::types::resource::{DiskInfo, ReservationInfo};
use mezzo_module_api::types::task_status::Reason;
use mezzo_module_api::types::value::Scalar;
use mezzo_module_api::types::{ContainerId, Resource, ResourceStatistics, Volume};
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerLimitation, ContainerState, PrepareRequest,
    RecoverRequest, UpdateRequest, UsageRequest, WatchRequest,
};
use mezzo_module_api::{
    Code, Completion, Host, HostProcess, HostServices, Isolator, Level, ModuleError, Parameters,
};

use xfs::{XfsMount, fill, is_quota};

const MB: u64 = 1 << 20;
/// Longer than any machine takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
const ENFORCE: (&str, &str) = ("enforce_container_disk_quota", "true");
const KILL: [(&str, &str); 3] =
    [ENFORCE, ("xfs_kill_containers", "true"), ("container_disk_watch_interval", "50ms")];

/// A work directory on an XFS of its own.
struct Agent {
    mount: XfsMount,
}

struct Quiet;

impl HostServices for Quiet {
    fn log(&self, _: Level, _: &str) {}
    fn count(&self, _: &str, _: u64) {}
}

impl Agent {
    fn new() -> Self {
        Self { mount: XfsMount::new("prjquota") }
    }

    /// A life of the agent: the isolator is all that is lost with it.
    fn life(&self, parameters: &[(&str, &str)]) -> XfsIsolator {
        start(&self.mount.path(), parameters, Vec::new()).unwrap()
    }

    fn sandbox(&self, name: &str) -> PathBuf {
        self.mount.directory(&format!("agents/a/frameworks/f/executors/e/runs/{name}"))
    }

    fn quotas(&self) -> ProjectQuotas {
        ProjectQuotas::of(&self.mount.path()).unwrap()
    }
}

fn start(
    work_dir: &Path,
    parameters: &[(&str, &str)],
    resources: Vec<Resource>,
) -> Result<XfsIsolator, ModuleError> {
    let work_dir = Some(work_dir.to_owned());
    let process = HostProcess { work_dir, resources, ..HostProcess::default() };
    XfsIsolator::new(Host::new(Quiet, process), Parameters::from_pairs(parameters))
}

fn id(name: &str) -> ContainerId {
    ContainerId { value: name.to_owned(), parent: None }
}

fn disk(megabytes: f64) -> Resource {
    let scalar = Some(Scalar { value: megabytes });
    Resource { name: "disk".into(), scalar, ..Resource::default() }
}

/// A persistent volume of the role `db`.
fn volume(name: &str, megabytes: f64, source: Option<Source>) -> Resource {
    let persistence = Some(Persistence { id: name.into(), ..Persistence::default() });
    let volume = Some(Volume { container_path: name.into(), ..Volume::default() });
    let reservation = ReservationInfo { role: Some("db".into()), ..ReservationInfo::default() };
    Resource {
        disk: Some(DiskInfo { persistence, volume, source }),
        reservations: vec![reservation],
        ..disk(megabytes)
    }
}

fn prepare(
    isolator: &XfsIsolator,
    name: &str,
    sandbox: &Path,
    resources: Vec<Resource>,
) -> Result<(), ModuleError> {
    let directory = sandbox.display().to_string();
    let config = ContainerConfig { directory, resources, ..ContainerConfig::default() };
    let request = PrepareRequest { container_id: Some(id(name)), config: Some(config) };
    isolator.prepare(request).map(drop)
}

fn update(isolator: &XfsIsolator, name: &str, requests: Vec<Resource>) {
    let container_id = Some(id(name));
    isolator.update(UpdateRequest { container_id, requests, ..UpdateRequest::default() }).unwrap();
}

fn usage(isolator: &XfsIsolator, name: &str) -> ResourceStatistics {
    let request = UsageRequest { container_id: Some(id(name)) };
    isolator.usage(request).unwrap().statistics.unwrap()
}

fn cleanup(isolator: &XfsIsolator, name: &str) {
    isolator.cleanup(CleanupRequest { container_id: Some(id(name)) }).unwrap();
}

fn recover(isolator: &XfsIsolator, name: &str, sandbox: &Path) {
    let directory = sandbox.display().to_string();
    let state = ContainerState { container_id: id(name), directory, ..ContainerState::default() };
    isolator.recover(RecoverRequest { states: vec![state], orphans: Vec::new() }).unwrap();
}

fn watch(isolator: &XfsIsolator, name: &str) -> Receiver<Option<ContainerLimitation>> {
    let (sender, receiver) = mpsc::channel();
    let never = sender.clone();
    let done = Completion::with_never(
        move |result: Result<mezzo_module_api::v1::WatchResponse, ModuleError>| {
            let _ = sender.send(Some(result.unwrap().limitation.unwrap()));
        },
        move || {
            let _ = never.send(None);
        },
    );
    isolator.watch(WatchRequest { container_id: Some(id(name)) }, done);
    receiver
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn who_has_used_up_its_disk_cannot_write_and_its_neighbour_can() {
    let agent = Agent::new();
    let isolator = agent.life(&[ENFORCE]);
    let (a, b) = (agent.sandbox("a"), agent.sandbox("b"));
    prepare(&isolator, "a", &a, vec![disk(2.0), disk(2.0)]).unwrap();
    prepare(&isolator, "b", &b, vec![disk(64.0)]).unwrap();
    assert_eq!((project_of(&a).unwrap(), project_of(&b).unwrap()), (Some(5000), Some(5001)));
    let limitation = watch(&isolator, "a");

    assert!(fill(&a.join("first"), 1).1.is_none());
    assert_eq!(usage(&isolator, "a").disk_used_bytes(), MB);
    let (_, refused) = fill(&a.join("second"), 8);
    let refused = refused.unwrap();
    assert!(is_quota(&refused), "{refused:?}");
    assert!(fill(&b.join("file"), 8).1.is_none());

    let statistics = usage(&isolator, "a");
    assert_eq!(statistics.disk_limit_bytes(), 4 * MB);
    assert!((3 * MB..=4 * MB).contains(&statistics.disk_used_bytes()), "{statistics:?}");
    let one = &statistics.disk_statistics[0];
    assert_eq!((one.limit_bytes, one.used_bytes), (Some(4 * MB), statistics.disk_used_bytes));
    assert_eq!(usage(&isolator, "b").disk_used_bytes(), 8 * MB);
    // It is not ended: its watch ends with it, and without a reason.
    cleanup(&isolator, "a");
    assert_eq!(limitation.recv_timeout(PATIENCE).unwrap(), None);
    let unknown = isolator.usage(UsageRequest { container_id: Some(id("a")) }).unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
}

#[test]
fn more_disk_is_room_to_write_at_once_and_less_is_none() {
    let agent = Agent::new();
    let isolator = agent.life(&[ENFORCE]);
    let sandbox = agent.sandbox("a");
    prepare(&isolator, "a", &sandbox, vec![disk(2.0)]).unwrap();
    assert!(fill(&sandbox.join("file"), 8).1.is_some());
    update(&isolator, "a", vec![disk(32.0)]);
    assert!(fill(&sandbox.join("file"), 8).1.is_none());
    update(&isolator, "a", vec![disk(4.0)]);
    assert!(fill(&sandbox.join("file"), 8).1.is_some());
    // Without disk resources there is nothing to hold it to.
    update(&isolator, "a", Vec::new());
    assert!(fill(&sandbox.join("file"), 8).1.is_none());
    assert_eq!(usage(&isolator, "a").disk_limit_bytes, None);
    update(&isolator, "nobody", vec![disk(1.0)]);
    assert!(prepare(&isolator, "a", &sandbox, Vec::new()).unwrap_err().code == Code::AlreadyExists);
}

#[test]
fn who_is_only_counted_may_write_on() {
    let agent = Agent::new();
    let isolator = agent.life(&[("xfs_kill_containers", "true")]);
    let sandbox = agent.sandbox("a");
    prepare(&isolator, "a", &sandbox, vec![disk(2.0)]).unwrap();
    assert!(fill(&sandbox.join("file"), 16).1.is_none());
    let statistics = usage(&isolator, "a");
    assert_eq!((statistics.disk_used_bytes(), statistics.disk_limit_bytes()), (16 * MB, 2 * MB));
    assert_eq!(agent.quotas().usage(5000).unwrap().limits, Limits::default());
}

#[test]
fn who_is_over_its_quota_is_ended_with_that_reason_and_stopped_a_little_later() {
    let agent = Agent::new();
    let isolator = agent.life(&KILL);
    let (a, b) = (agent.sandbox("a"), agent.sandbox("b"));
    prepare(&isolator, "a", &a, vec![disk(4.0)]).unwrap();
    prepare(&isolator, "b", &b, vec![disk(4.0)]).unwrap();
    let (greedy, modest) = (watch(&isolator, "a"), watch(&isolator, "b"));
    assert!(fill(&b.join("file"), 3).1.is_none());
    let (written, refused) = fill(&a.join("file"), 32);
    assert!(is_quota(&refused.unwrap()));
    assert!((13 * MB..=14 * MB).contains(&written), "ten megabytes above: {written}");
    let limitation = greedy.recv_timeout(PATIENCE).unwrap().expect("it is over its quota");
    assert_eq!(limitation.reason(), Reason::ContainerLimitationDisk);
    let message = limitation.message();
    assert!(
        message.starts_with("Disk usage (") && message.ends_with(" exceeds quota (4MB)"),
        "{message}"
    );
    assert_eq!(limitation.resources, [disk(4.0)]);
    // The other is looked at as often.
    assert!(modest.try_recv().is_err());
    drop(isolator);
    assert_eq!(modest.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn after_a_restart_directories_tell_their_projects_and_the_kernel_the_limits() {
    let agent = Agent::new();
    let (a, b) = (agent.sandbox("a"), agent.sandbox("b"));
    let first = agent.life(&KILL);
    prepare(&first, "ended", &agent.sandbox("ended"), vec![disk(1.0)]).unwrap();
    prepare(&first, "a", &a, vec![disk(4.0)]).unwrap();
    drop(first);
    assert!(fill(&a.join("file"), 2).1.is_none());

    let second = agent.life(&KILL);
    recover(&second, "a", &a);
    recover(&second, "gone", &agent.mount.path().join("no/such/sandbox"));
    recover(&second, "unlimited", &agent.sandbox("unlimited"));
    let limitation = watch(&second, "a");
    assert_eq!(watch(&second, "unlimited").recv_timeout(PATIENCE).unwrap(), None);
    let statistics = usage(&second, "a");
    assert_eq!((statistics.disk_used_bytes(), statistics.disk_limit_bytes()), (2 * MB, 4 * MB));
    // What the first life gave out is not given to somebody else, also where nobody told of it.
    prepare(&second, "b", &b, vec![disk(4.0)]).unwrap();
    assert_eq!(project_of(&b).unwrap(), Some(5002));
    // Held to its limit even before the first update.
    assert!(fill(&a.join("file"), 3).1.is_none());
    let message = limitation.recv_timeout(PATIENCE).unwrap().unwrap().message().to_owned();
    assert!(message.ends_with(" exceeds quota (4MB)"), "{message}");
}

#[test]
fn a_project_is_given_out_again_when_the_sandbox_is_gone_and_not_before() {
    let agent = Agent::new();
    let parameters = [ENFORCE, ("xfs_project_range", "[7-8]"), ("disk_watch_interval", "50ms")];
    let isolator = agent.life(&parameters);
    let [a, b, c] = ["a", "b", "c"].map(|name| agent.sandbox(name));
    prepare(&isolator, "a", &a, vec![disk(4.0)]).unwrap();
    prepare(&isolator, "b", &b, vec![disk(4.0)]).unwrap();
    fs::write(a.join("file"), "x").unwrap();
    cleanup(&isolator, "a");
    cleanup(&isolator, "a");
    let exhausted = prepare(&isolator, "c", &c, vec![disk(4.0)]).unwrap_err();
    assert_eq!(exhausted.code, Code::ResourceExhausted);
    assert!(
        exhausted
            .message
            .contains("`xfs_project_range` (2 in all): 1 held by containers, 1 by files"),
        "{exhausted}"
    );
    // The cleanup that follows a failed prepare.
    cleanup(&isolator, "c");

    fs::remove_dir_all(&a).unwrap();
    wait_until("the limits of a sandbox that is gone to be lifted", || {
        agent.quotas().usage(7).unwrap().limits == Limits::default()
    });
    prepare(&isolator, "c", &c, vec![disk(8.0)]).unwrap();
    assert_eq!(project_of(&c).unwrap(), Some(7));
    assert_eq!(agent.quotas().usage(7).unwrap().limits.hard, Some(8 * MB));
}

#[test]
fn a_volume_has_a_project_of_its_own_which_outlives_its_container() {
    let agent = Agent::new();
    let isolator = agent.life(&[ENFORCE]);
    let (a, b) = (agent.sandbox("a"), agent.sandbox("b"));
    let data = agent.mount.directory("volumes/roles/db/data");
    prepare(&isolator, "a", &a, vec![disk(4.0), volume("data", 8.0, None)]).unwrap();
    let project = project_of(&data).unwrap();
    assert_eq!((project_of(&a).unwrap(), project), (Some(5000), Some(5001)));
    assert!(fill(&data.join("file"), 6).1.is_none());
    let statistics = usage(&isolator, "a");
    assert_eq!((statistics.disk_used_bytes(), statistics.disk_limit_bytes()), (0, 4 * MB));
    let one = statistics.disk_statistics.iter().find(|one| one.persistence.is_some()).unwrap();
    assert_eq!((one.used_bytes, one.limit_bytes), (Some(6 * MB), Some(8 * MB)));
    assert!(fill(&a.join("file"), 8).1.is_some());
    assert!(fill(&data.join("file"), 8).1.is_some());

    cleanup(&isolator, "a");
    fs::remove_dir_all(&a).unwrap();
    prepare(&isolator, "b", &b, vec![disk(4.0), volume("data", 16.0, None)]).unwrap();
    assert_eq!(project_of(&data).unwrap(), project, "it keeps its own");
    assert_ne!(project_of(&b).unwrap(), project);
    assert!(fill(&data.join("more"), 6).1.is_none());
    // Not asked for any more: no longer told of.
    update(&isolator, "b", vec![disk(4.0)]);
    assert_eq!(usage(&isolator, "b").disk_statistics.len(), 1);
    let missing = prepare(&isolator, "c", &agent.sandbox("c"), vec![volume("none", 1.0, None)]);
    assert!(missing.unwrap_err().message.contains("volumes/roles/db/none"));
}

#[test]
fn a_disk_that_is_a_path_has_quotas_of_its_own_and_one_that_is_a_mount_none() {
    let (agent, other, whole) = (Agent::new(), Agent::new(), Agent::new());
    let root = |agent: &Agent| Some(agent.mount.path().display().to_string());
    let path = Source {
        r#type: source::Type::Path.into(),
        path: Some(source::Path { root: root(&other) }),
        ..Source::default()
    };
    let mount = Source {
        r#type: source::Type::Mount.into(),
        mount: Some(source::Mount { root: root(&whole) }),
        ..Source::default()
    };
    let data = other.mount.directory("volumes/roles/db/data");
    let resources = vec![volume("data", 4.0, Some(path)), volume("whole", 4.0, Some(mount))];
    let disks = resources.clone();
    let isolator = start(&agent.mount.path(), &[ENFORCE], disks).unwrap();
    prepare(&isolator, "a", &agent.sandbox("a"), resources).unwrap();
    assert!(fill(&data.join("file"), 8).1.is_some());
    assert!(fill(&whole.mount.path().join("file"), 8).1.is_none());
    let statistics = usage(&isolator, "a").disk_statistics;
    let used: Vec<_> =
        statistics.iter().filter(|one| one.source.is_some()).map(|one| one.used_bytes()).collect();
    assert!(used[0] > 3 * MB && used[0] <= 4 * MB, "{statistics:?}");
    assert!(used[1] >= 8 * MB, "{statistics:?}");
}

#[test]
fn a_work_directory_without_quotas_is_refused_with_what_to_do() {
    let error = |work_dir: &Path, parameters: &[(&str, &str)]| {
        start(work_dir, parameters, Vec::new()).unwrap_err().message
    };
    let told = error(Path::new("/run"), &[]);
    assert!(
        told.contains("/run is on tmpfs")
            && told.contains("expected XFS mounted with the option prjquota"),
        "{told}"
    );
    let off = XfsMount::new("noquota");
    let told = error(&off.directory("work"), &[]);
    assert!(told.contains(off.path().to_str().unwrap()) && told.contains("prjquota"), "{told}");
    let idle = XfsMount::new("pqnoenforce");
    let told = error(&idle.directory("work"), &[ENFORCE]);
    assert!(
        told.contains("`enforce_container_disk_quota` is `true`") && told.contains("pqnoenforce"),
        "{told}"
    );
    start(&idle.directory("work"), &[], Vec::new()).unwrap();
    let told = error(&off.path(), &[("xfs_range", "1")]);
    assert!(told.contains("unknown parameter `xfs_range`"), "{told}");
}
